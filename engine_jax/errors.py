"""The error that a user can do something about, and what its message is made of."""

import errno
import os
import re
from collections.abc import Sequence

# Errors of XLA and of its connections begin with a status, such as "UNAVAILABLE: ".
_STATUS = re.compile(r"[A-Z_]+: ")
# What a disk says that takes no more; libraries bury it among the names of their own temporary files.
_REFUSALS = tuple(map(os.strerror, (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)))


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
    for refusal in _REFUSALS:
        if refusal in text:
            return refusal
    return text if len(text) <= most else f"{text[: most - 1]}…"


def failed_computation(error: BaseException) -> bool:
    """Whether XLA may have raised it, as any computation of several processes does when one of them has ended.

    Tensorstore's errors begin with a status too; those of a full disk are told apart by what they say.
    """
    text = str(error)
    return (
        bool(_STATUS.match(text))
        and not isinstance(error, UserError)
        and not any(refusal in text for refusal in _REFUSALS)
    )
