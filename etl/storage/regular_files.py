"""Files of a tree, opened without trust: a link there may lead to a device or a pipe."""

from __future__ import annotations

import errno
import os
from stat import S_ISDIR, S_ISREG


def open_regular_file(path: str) -> tuple[int, int]:
    """Return the descriptor of a file that is opened for reading, and its size.

    Raises:
        OSError: it cannot be opened, or is no regular file: reading such a one may never end.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe waits otherwise
    try:
        status = os.fstat(descriptor)
        if S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        if not S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "a device or a pipe stands where a file should be", path)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor, status.st_size
