"""Errors of the operating system in a sentence: a full disk needs no traceback."""

from __future__ import annotations

import errno
import os
from types import MappingProxyType
from typing import Final

_SPACE: Final = "free some space and run again"
_OWNER: Final = "check who owns it, and who may write there"
_WHAT_TO_DO: Final = MappingProxyType(
    {
        errno.ENOSPC: _SPACE,
        errno.EDQUOT: _SPACE,
        errno.EFBIG: "raise the limit of file sizes (ulimit -f)",
        errno.EACCES: _OWNER,
        errno.EPERM: _OWNER,
        errno.EROFS: "name a folder that can be written to",
        errno.ENOTDIR: "a file stands where a folder should be",
        errno.EEXIST: "a file stands where a folder should be",
        errno.EISDIR: "a folder stands where a file should be",
        errno.ENAMETOOLONG: "choose a shorter path",
        errno.ELOOP: "a link leads back to itself",
        errno.EMFILE: "raise the limit of open files (ulimit -n)",
        errno.ENFILE: "too many files are open on this machine",
        errno.EIO: "the disk may be broken",
        errno.ESTALE: "the network drive went away",
        errno.ENOMEM: "give it more memory, or make run.partition_rows smaller",
    }
)


def sentence_of(error: OSError) -> str | None:
    """Return the system's error and the remedy; None where it looks like a bug."""
    code = error.errno
    if code is None or code not in _WHAT_TO_DO:
        return None
    where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
    reason = os.strerror(code).lower()
    return f"{where}{reason}; {_WHAT_TO_DO[code]}"
