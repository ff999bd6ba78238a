"""The error that a user can do something about, and lists of names in its message."""

from collections.abc import Sequence


class UserError(ValueError):
    """Bad input: a file, a flag or a config value.

    The message is one line that names the file or field, what was found there and what is accepted. Command line
    programs print it and exit with status 1; everything else that is raised is a defect and keeps its traceback.
    """


def listed(names: Sequence[str], most: int = 8) -> str:
    """The first of some names, for a message, and how many more there are."""
    more = f", and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
