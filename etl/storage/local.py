"""A store in a folder of this machine, safe against crashes of the process and of the machine."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import secrets
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from stat import S_IMODE, S_ISDIR, S_ISREG
from typing import Any, Final

from filelock import FileLock, Timeout

from etl.errors import CommitConflict, CommitUnknown, NotFound, StoreError
from etl.storage.port import OWNER, Entry, Tagged, checked_key


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
            raise OSError(errno.EINVAL, "there is a device or a pipe where a file is needed", path)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor, status.st_size


STAGING: Final = ".staging"
"""Staging folder of files that have no name yet. Its content after a crash is garbage."""

_LOCK: Final = ".lock"
_LOCK_SECONDS: Final = 30.0
_FEW: Final = 100
"""Most files that are synced one by one, at 0.4 ms each; else the whole file system is synced."""

_WHY: Final = {
    errno.ENOSPC: "no space is left on the device; free some space, and run the command again",
    errno.EDQUOT: "the disk quota is used up; free some space, and run the command again",
    errno.EACCES: "permission denied; check its owner and permissions",
    errno.EPERM: "permission denied; check its owner and permissions",
    errno.EROFS: "the file system is read-only",
    errno.ENOTDIR: "there is a file where a folder is needed",
    errno.EEXIST: "there is a file where a folder is needed",
    errno.EISDIR: "there is a folder where a file is needed",
    errno.ELOOP: "there is a link where a file is needed",
    errno.EMFILE: "too many files are open; raise the limit (ulimit -n)",
}


def _no_syncfs(_: int) -> int | None:
    return None


def _find_syncfs() -> Callable[[int], int | None]:
    """Return Linux's syncfs(2); elsewhere a function that returns None.

    One call for a partition's thousands of files, where fsync(2) would be called for each.
    """
    if not sys.platform.startswith("linux"):
        return _no_syncfs
    try:
        call = ctypes.CDLL(None, use_errno=True).syncfs
    except (OSError, AttributeError):
        return _no_syncfs

    def syncfs(descriptor: int) -> int | None:
        if call(descriptor):
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        return 0

    return syncfs


_syncfs: Final = _find_syncfs()


class LocalStore:
    """Objects as files of a folder, keys as their paths.

    A file is written under a temporary name and renamed, so that readers see all of it or nothing
    whenever the process dies. `sync` makes written files survive a power cut, and `swap` calls it
    first, so that a pointer never reaches the disk before its target. Existing objects are synced
    as well: their writer may have died before doing so. A file that was renamed but not yet synced
    may be damaged after a power cut: `put` compares the bytes before it skips an existing object.

    Folders and files get the configured mode, whatever the umask. A folder of the tree with another
    mode is changed; an existing root is left as it is.

    Args:
        folder: made on the first write.
        lock_seconds: how long a swap waits for one of another process.
        mode: mode of folders; files have the same without the right to execute.
        closed: first folders of keys (`quarantine`) that stay private, whatever the mode.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        lock_seconds: float = _LOCK_SECONDS,
        mode: int = OWNER,
        closed: Iterable[str] = (),
    ) -> None:
        self._root = Path(folder)
        self._base = f"{self._root}/"  # thousands of paths are made of it: as text
        self._lock_seconds = lock_seconds
        self._mode = mode
        self._closed = frozenset({STAGING, *closed})
        self._made: set[str] = set()  # keys of folders
        self._pending: set[str] = set()  # keys of objects
        self._guard = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the state of this process: its lock, and its files to sync."""
        return {
            "folder": self._root,
            "lock_seconds": self._lock_seconds,
            "mode": self._mode,
            "closed": self._closed,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Start afresh on the same folder."""
        self.__init__(**state)  # type: ignore[misc]

    @property
    def name(self) -> str:
        """The folder."""
        return str(self._root)

    @property
    def concurrency(self) -> int:
        """One: writing to the page cache waits for nothing."""
        return 1

    def path(self, key: str) -> Path:
        """Return the path of an object, existing or not."""
        return Path(self._path(key))

    def get(self, key: str) -> bytes:
        """Return the whole object."""
        path = self._path(key)
        with self._explained("read", key):
            try:
                return _read(path)
            except (IsADirectoryError, NotADirectoryError):
                raise FileNotFoundError from None

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Return `length` bytes from `start` on, or fewer at the end of the object."""
        path = self._path(key)
        with self._explained("read", key):
            try:
                descriptor, _ = open_regular_file(path)
            except (IsADirectoryError, NotADirectoryError):
                raise FileNotFoundError from None
            try:
                return _read_range(descriptor, start, length)
            finally:
                os.close(descriptor)

    def read(self, key: str) -> Tagged:
        """Return the whole object and its tag, the SHA-256 of its bytes."""
        data = self.get(key)
        self._note(key)  # a pointer may not be on the disk yet if its writer died
        return Tagged(data, _tag(data))

    def put(self, key: str, data: bytes) -> bool:
        """Write an object under a key derived from its bytes; return whether it was not there.

        An existing object with other bytes is damaged, and is replaced.
        """
        path = self._path(key)
        with self._explained("write", key):
            try:
                there = os.stat(path).st_size
            except FileNotFoundError:
                self._write(key, data)
                return True
            if there != len(data) or _read(path) != data:
                self._write(key, data)
            else:
                self._note(key)
            return False

    def swap(self, key: str, data: bytes, expected: str | None) -> str:
        """Replace an object on the condition that its tag is still the expected one.

        Compare and replace happen under a file lock, which the kernel releases when a process dies.
        """
        path = self._path(key)
        self.sync()
        with self._explained("write", key), self._locked():
            try:
                tag: str | None = _tag(_read(path))
            except FileNotFoundError:
                tag = None
            if tag != expected:
                raise CommitConflict(f"{self.name}: {key} was changed by someone else")
            self._write(key, data, durable=True)
            return _tag(data)

    def list(self, prefix: str = "") -> Iterator[Entry]:
        """Yield the objects with keys that start with `prefix`; hidden files are skipped."""
        folder = self._root / prefix.rpartition("/")[0]
        stack = [folder]
        while stack:
            with self._explained("list", prefix):
                try:
                    found = list(os.scandir(stack.pop()))
                except (FileNotFoundError, NotADirectoryError):
                    continue
                for item in found:
                    if item.name.startswith("."):
                        continue
                    key = Path(item.path).relative_to(self._root).as_posix()
                    if item.is_dir():
                        stack.append(Path(item.path))
                    elif key.startswith(prefix):
                        with suppress(FileNotFoundError):
                            stat = item.stat()
                            when = datetime.fromtimestamp(stat.st_mtime, UTC)
                            yield Entry(key, stat.st_size, when)

    def delete(self, keys: Iterable[str]) -> int:
        """Delete objects, and the folders that become empty, except those of the first level."""
        count = 0
        for key in keys:
            path = self.path(key)
            with self._explained("delete", key):
                path.unlink(missing_ok=True)
                self._remove_empty(_folder_of(key))
            count += 1
        return count

    def _remove_empty(self, folder: str) -> None:
        while "/" in folder:
            with self._guard:
                self._made.discard(folder)
            try:
                os.rmdir(self._base + folder)
            except OSError:
                return
            folder = _folder_of(folder)

    def sync(self) -> None:
        """Sync to disk everything that this process has put or read."""
        with self._guard:
            pending, self._pending = self._pending, set()
        if not pending:
            return
        with self._explained("write", "to the disk"):
            if len(pending) > _FEW and self._sync_all():
                return
            for key in pending:
                _fsync(self._root / key)
            for parent in {parent for key in pending for parent in self._above(key)}:
                _fsync(parent)

    def _path(self, key: str) -> str:
        return self._base + checked_key(key)

    def _note(self, key: str) -> None:
        with self._guard:
            self._pending.add(key)

    def _above(self, key: str) -> Iterator[Path]:
        """Yield the folders above an object: the tree's own, and the one that the tree is in."""
        yield from (self._root / above for above in PurePosixPath(key).parents)
        yield self._root.parent

    def _sync_all(self) -> bool:
        """Sync the whole file system, if the platform can; this includes other programs' files."""
        descriptor = os.open(self._root, os.O_RDONLY)
        try:
            return _syncfs(descriptor) is not None
        finally:
            os.close(descriptor)

    def clean(self, older_than: datetime) -> int:
        """Delete files left in the staging folder by crashed writers; return their number."""
        count = 0
        with self._explained("delete", STAGING), suppress(FileNotFoundError):
            for item in os.scandir(self._root / STAGING):
                if datetime.fromtimestamp(item.stat().st_mtime, UTC) < older_than:
                    Path(item.path).unlink(missing_ok=True)
                    count += 1
        return count

    def _write(self, key: str, data: bytes, *, durable: bool = False) -> None:
        self._make(STAGING)
        staged = f"{self._base}{STAGING}/{secrets.token_hex(16)}"
        descriptor = os.open(staged, os.O_CREAT | os.O_EXCL | os.O_WRONLY, OWNER & 0o666)
        try:
            try:
                os.fchmod(descriptor, self._mode_of(key) & 0o666)
                view = memoryview(data)
                while view:
                    view = view[os.write(descriptor, view) :]
                if durable:
                    os.fsync(descriptor)
            finally:
                os.close(descriptor)
            self._rename(staged, key)
        except BaseException:
            with suppress(OSError):
                os.unlink(staged)
            raise
        if durable:
            try:
                for parent in self._above(key):
                    _fsync(parent)
            except OSError as error:
                name, why = PurePosixPath(key).name, error.strerror or str(error)
                raise CommitUnknown(
                    f"{self.name}: {name} was replaced, and may not survive a power cut: {why}"
                ) from error
        else:
            self._note(key)

    def _rename(self, staged: str, key: str) -> None:
        folder = _folder_of(key)
        self._make(folder)
        try:
            os.replace(staged, self._base + key)
        except FileNotFoundError:  # another process deleted the last object and with it the folder
            with self._guard:
                self._made.discard(folder)
            self._make(folder)
            os.replace(staged, self._base + key)

    def _make(self, folder: str) -> None:
        """Create a folder of the tree where it is missing, by its key: "" is the tree's own."""
        if folder in self._made:
            return
        path = self._root / folder
        if folder:
            self._make(_folder_of(folder))
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
        if _make_folder(path) or folder:
            _set_mode(path, self._mode_of(folder))
        with self._guard:
            self._made.add(folder)

    def _mode_of(self, key: str) -> int:
        return OWNER if key.partition("/")[0] in self._closed else self._mode

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._make("")
        lock = FileLock(self._root / _LOCK, self._lock_seconds, mode=OWNER & 0o666)
        try:
            with lock:
                yield
        except Timeout:
            raise StoreError(
                f"{self.name}: another process has held {_LOCK} for {self._lock_seconds:g} s; "
                "see whether it hangs, then run again"
            ) from None

    @contextmanager
    def _explained(self, verb: str, key: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise NotFound(f"{self.name}: there is no object {key}") from None
        except OSError as error:
            why = _WHY.get(error.errno or 0) or error.strerror or str(error)
            at = "" if key in str(error.filename or key) else f" ({error.filename})"
            raise StoreError(f"{self.name}: cannot {verb} {key}: {why}{at}") from error


def _folder_of(key: str) -> str:
    """Return the key of the folder that an object or a folder is in; "" for the tree's own."""
    return key.rpartition("/")[0]


def _read(path: str) -> bytes:
    descriptor, size = open_regular_file(path)
    try:
        return _read_range(descriptor, 0, size)
    finally:
        os.close(descriptor)


def _make_folder(folder: Path) -> bool:
    """Create a folder with access for its owner only; return whether it was missing."""
    try:
        folder.mkdir(OWNER)
    except FileExistsError:
        if not folder.is_dir():
            raise
        return False
    return True


def _set_mode(folder: Path, mode: int) -> None:
    """Set a folder's mode, if this user may; other bits (setgid) stay."""
    has = S_IMODE(folder.stat().st_mode)
    if has & 0o777 != mode:
        with suppress(PermissionError):
            folder.chmod(has & ~0o777 | mode)


def _read_range(descriptor: int, start: int, length: int) -> bytes:
    data = os.pread(descriptor, length, start)
    if len(data) == length or not data:
        return data
    parts = [data]
    while data and (left := length - sum(map(len, parts))):
        data = os.pread(descriptor, left, start + length - left)
        parts.append(data)
    return b"".join(parts)


def _fsync(path: Path) -> None:
    with suppress(FileNotFoundError, PermissionError):  # of the folder that the tree is in
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _tag(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
