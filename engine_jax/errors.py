"""The error that a user can do something about, and what its message is made of."""

import errno
import os
import re
from collections.abc import Sequence

# Errors of XLA and of its connections begin with a status, such as "UNAVAILABLE: ".
_STATUS = re.compile(r"[A-Z_]+: ")


class UserError(ValueError):
    """Bad input: a file, a flag or a config value.

    The message is one line that names the file or field, what was found there and what is accepted. Command line
    programs print it and exit with status 1; everything else that is raised is a defect and keeps its traceback.
    """


def listed(names: Sequence[str], most: int = 8) -> str:
    """The first of some names, for a message, and how many more there are."""
    more = f", and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def reason(error: BaseException, most: int = 160) -> str:
    """What another error says, on one line and without what is too long to read."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = " ".join(str(error).split()) or type(error).__name__
    # Libraries bury these among the names of their own temporary files.
    for refusal in map(os.strerror, (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)):
        if refusal in text:
            return refusal
    return text if len(text) <= most else f"{text[: most - 1]}…"


def failed_computation(error: BaseException) -> bool:
    """Whether XLA raised it: among several processes, one of which has ended, any computation may.

    Some are a ValueError, as those of tensorstore are, which begin with a status too and name their source files.
    """
    text = str(error)
    return (
        bool(_STATUS.match(text)) and not isinstance(error, UserError) and "tensorstore" not in text
    )
