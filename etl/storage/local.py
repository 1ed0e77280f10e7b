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
from etl.storage.port import OWNER, Entry, Tagged, check_key


def open_regular_file(path: str) -> tuple[int, int]:
    """Open a regular file for reading; return its descriptor and size.

    Raises:
        OSError: the file cannot be opened, or is not regular: reading a pipe may never end.
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
_MAX_SINGLE_SYNCS: Final = 100
"""Most files that are synced one by one, at 0.4 ms each; else the whole file system is synced."""

_ADVICE: Final = {
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

    One call replaces an fsync(2) for each of a partition's thousands of files.
    """
    if not sys.platform.startswith("linux"):
        return _no_syncfs
    try:
        libc_syncfs = ctypes.CDLL(None, use_errno=True).syncfs
    except (OSError, AttributeError):
        return _no_syncfs

    def syncfs(descriptor: int) -> int | None:
        if libc_syncfs(descriptor):
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
        self._path_prefix = f"{self._root}/"  # thousands of paths are made of it: as text
        self._lock_seconds = lock_seconds
        self._mode = mode
        self._private_folders = frozenset({STAGING, *closed})
        self._created_folders: set[str] = set()  # keys of folders
        self._pending: set[str] = set()  # keys of objects
        self._state_lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the state of this process: its lock, and its files to sync."""
        return {
            "folder": self._root,
            "lock_seconds": self._lock_seconds,
            "mode": self._mode,
            "closed": self._private_folders,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a store on the same folder, without pending files."""
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
        with self._explain_errors("read", key):
            try:
                return _read(path)
            except (IsADirectoryError, NotADirectoryError):
                raise FileNotFoundError from None

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Return `length` bytes from `start` on, or fewer at the end of the object."""
        path = self._path(key)
        with self._explain_errors("read", key):
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
        self._add_pending(key)  # a pointer may not be on the disk yet if its writer died
        return Tagged(data, _content_tag(data))

    def put(self, key: str, data: bytes) -> bool:
        """Write an object under a key derived from its bytes; return whether it is new.

        An existing object with other bytes is damaged, and is replaced.
        """
        path = self._path(key)
        with self._explain_errors("write", key):
            try:
                existing_size = os.stat(path).st_size
            except FileNotFoundError:
                self._write(key, data)
                return True
            if existing_size != len(data) or _read(path) != data:
                self._write(key, data)
            else:
                self._add_pending(key)
            return False

    def swap(self, key: str, data: bytes, expected: str | None) -> str:
        """Replace an object if its tag is still the expected one.

        Compare and replace happen under a file lock, which the kernel releases when a process dies.
        """
        path = self._path(key)
        self.sync()
        with self._explain_errors("write", key), self._swap_lock():
            try:
                tag: str | None = _content_tag(_read(path))
            except FileNotFoundError:
                tag = None
            if tag != expected:
                raise CommitConflict(f"{self.name}: {key} was changed by someone else")
            self._write(key, data, durable=True)
            return _content_tag(data)

    def list(self, prefix: str = "") -> Iterator[Entry]:
        """Yield the objects whose keys start with a prefix; skips hidden files."""
        folder = self._root / prefix.rpartition("/")[0]
        folders = [folder]
        while folders:
            with self._explain_errors("list", prefix):
                try:
                    items = list(os.scandir(folders.pop()))
                except (FileNotFoundError, NotADirectoryError):
                    continue
                for item in items:
                    if item.name.startswith("."):
                        continue
                    key = Path(item.path).relative_to(self._root).as_posix()
                    if item.is_dir():
                        folders.append(Path(item.path))
                    elif key.startswith(prefix):
                        with suppress(FileNotFoundError):
                            stat = item.stat()
                            modified = datetime.fromtimestamp(stat.st_mtime, UTC)
                            yield Entry(key, stat.st_size, modified)

    def delete(self, keys: Iterable[str]) -> int:
        """Delete objects, and folders that become empty, except those of the first level."""
        count = 0
        for key in keys:
            path = self.path(key)
            with self._explain_errors("delete", key):
                path.unlink(missing_ok=True)
                self._remove_empty(_folder_of(key))
            count += 1
        return count

    def _remove_empty(self, folder: str) -> None:
        while "/" in folder:
            with self._state_lock:
                self._created_folders.discard(folder)
            try:
                os.rmdir(self._path_prefix + folder)
            except OSError:
                return
            folder = _folder_of(folder)

    def sync(self) -> None:
        """Sync all objects that this process has written or read."""
        with self._state_lock:
            pending, self._pending = self._pending, set()
        if not pending:
            return
        with self._explain_errors("write", "to the disk"):
            if len(pending) > _MAX_SINGLE_SYNCS and self._sync_all():
                return
            for key in pending:
                _fsync(self._root / key)
            for parent in {parent for key in pending for parent in self._parent_folders(key)}:
                _fsync(parent)

    def _path(self, key: str) -> str:
        return self._path_prefix + check_key(key)

    def _add_pending(self, key: str) -> None:
        with self._state_lock:
            self._pending.add(key)

    def _parent_folders(self, key: str) -> Iterator[Path]:
        """Yield the folders above an object, up to the one around the tree."""
        yield from (self._root / parent for parent in PurePosixPath(key).parents)
        yield self._root.parent

    def _sync_all(self) -> bool:
        """Sync the whole file system, including other programs' files, if possible."""
        descriptor = os.open(self._root, os.O_RDONLY)
        try:
            return _syncfs(descriptor) is not None
        finally:
            os.close(descriptor)

    def clean(self, older_than: datetime) -> int:
        """Delete staged files of crashed writers; return their number."""
        count = 0
        with self._explain_errors("delete", STAGING), suppress(FileNotFoundError):
            for item in os.scandir(self._root / STAGING):
                if datetime.fromtimestamp(item.stat().st_mtime, UTC) < older_than:
                    Path(item.path).unlink(missing_ok=True)
                    count += 1
        return count

    def _write(self, key: str, data: bytes, *, durable: bool = False) -> None:
        self._make_parents(STAGING)
        staged_path = f"{self._path_prefix}{STAGING}/{secrets.token_hex(16)}"
        descriptor = os.open(staged_path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, OWNER & 0o666)
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
            self._rename(staged_path, key)
        except BaseException:
            with suppress(OSError):
                os.unlink(staged_path)
            raise
        if durable:
            try:
                for parent in self._parent_folders(key):
                    _fsync(parent)
            except OSError as error:
                name, reason = PurePosixPath(key).name, error.strerror or str(error)
                raise CommitUnknown(
                    f"{self.name}: {name} was replaced, and may not survive a power cut: {reason}"
                ) from error
        else:
            self._add_pending(key)

    def _rename(self, staged: str, key: str) -> None:
        folder = _folder_of(key)
        self._make_parents(folder)
        try:
            os.replace(staged, self._path_prefix + key)
        except FileNotFoundError:  # another process deleted the last object and with it the folder
            with self._state_lock:
                self._created_folders.discard(folder)
            self._make_parents(folder)
            os.replace(staged, self._path_prefix + key)

    def _make_parents(self, folder: str) -> None:
        """Create a missing folder of the tree and its parents, by its key."""
        if folder in self._created_folders:
            return
        path = self._root / folder
        if folder:
            self._make_parents(_folder_of(folder))
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
        if _make_folder(path) or folder:
            _set_mode(path, self._mode_of(folder))
        with self._state_lock:
            self._created_folders.add(folder)

    def _mode_of(self, key: str) -> int:
        return OWNER if key.partition("/")[0] in self._private_folders else self._mode

    @contextmanager
    def _swap_lock(self) -> Iterator[None]:
        self._make_parents("")
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
    def _explain_errors(self, verb: str, key: str) -> Iterator[None]:
        """Translate OS errors into store errors that name the action."""
        try:
            yield
        except FileNotFoundError:
            raise NotFound(f"{self.name}: there is no object {key}") from None
        except OSError as error:
            reason = _ADVICE.get(error.errno or 0) or error.strerror or str(error)
            location = "" if key in str(error.filename or key) else f" ({error.filename})"
            raise StoreError(f"{self.name}: cannot {verb} {key}: {reason}{location}") from error


def _folder_of(key: str) -> str:
    """Return the key of the folder around an object or folder; "" for the root."""
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
    """Set a folder's permissions, if this user may; keeps other bits (setgid)."""
    current_mode = S_IMODE(folder.stat().st_mode)
    if current_mode & 0o777 != mode:
        with suppress(PermissionError):
            folder.chmod(current_mode & ~0o777 | mode)


def _read_range(descriptor: int, start: int, length: int) -> bytes:
    data = os.pread(descriptor, length, start)
    if len(data) == length or not data:
        return data
    chunks = [data]
    while data and (missing_bytes := length - sum(map(len, chunks))):
        data = os.pread(descriptor, missing_bytes, start + length - missing_bytes)
        chunks.append(data)
    return b"".join(chunks)


def _fsync(path: Path) -> None:
    """Sync a file or folder to disk; skips missing and inaccessible ones."""
    with suppress(FileNotFoundError, PermissionError):  # of the folder that the tree is in
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _content_tag(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
