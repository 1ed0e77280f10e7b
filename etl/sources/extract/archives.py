"""Unpack archives and workbooks into a private folder.

The members of ZIP and tar archives, plain or compressed by gzip, are unpacked because they cannot
be read in place: compressed data has no ranges, and every file of an extract is opened
several times, by several processes.

Each sheet of an Excel workbook, read with calamine, becomes a delimited file. Row numbers stay
those of the sheet. Numbers are written with the digits that Excel has, 15 at most; what it does not
keep (leading zeros of a number) is not in the workbook.
"""

from __future__ import annotations

import csv
import gzip
import lzma
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, time
from decimal import Decimal
from pathlib import Path
from typing import IO, Any, BinaryIO, Final, cast

from etl.errors import ExtractError, StoreError
from etl.sources.files.listed_files import CHUNK_BYTES, UnpackedBudget
from etl.sources.files.stored_files import disk_error

MOST_MEMBERS: Final = 10_000
MOST_AT_ONCE: Final = 16 << 20
"""No header of a tar archive is longer."""
_BROKEN: Final = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    gzip.BadGzipFile,
)
_ENCRYPTED: Final = 0x1
_METHODS: Final = {
    zipfile.ZIP_STORED,
    zipfile.ZIP_DEFLATED,
    zipfile.ZIP_BZIP2,
    zipfile.ZIP_LZMA,
}
_DRIVE: Final = re.compile(r"[A-Za-z]:")
_BLOCK: Final = 512
"""Size of a block of a tar archive, whose end is a block of zeros."""


@dataclass(frozen=True, slots=True)
class _Member:
    """A file in an archive.

    Attributes:
        path: its name in the archive.
        bytes: the size that the archive declares.
        is_file: whether it is a file, not a link or device.
    """

    path: str
    bytes: int
    is_file: bool

    @property
    def folder(self) -> str:
        return "/".join(part for part in self.path.split("/")[:-1] if part not in ("", "."))

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


def unpack_zip(stream: BinaryIO, size: int, name: str, folder: Path) -> None:
    """Unpack the files of a ZIP archive.

    The extract is the files at the top, or if there are none, those of the only folder.

    Args:
        stream: the archive, a seekable stream.
        size: its size in bytes.
        name: its name in messages.
        folder: an empty private folder for the files.

    Raises:
        ExtractError: it is broken, encrypted, too large unpacked, has a name that leads out of it,
            or files in several folders.
        StoreError: the disk is full.
    """
    with _explain_errors(name), zipfile.ZipFile(stream) as archive:
        infos = [info for info in archive.infolist() if not info.is_dir()]
        if len(infos) > MOST_MEMBERS:
            raise _too_many_error(name)
        packed = sum(info.compress_size for info in infos)
        if packed > size:
            raise ExtractError(f"{name}: its members overlap, as those of a ZIP bomb do")
        members = [_Member(info.orig_filename, info.file_size, _is_plain(info)) for info in infos]
        wanted = _extract_members(members, name)
        budget = UnpackedBudget(size, name)
        budget.take(sum(member.bytes for member in wanted.values()))
        for info in infos:
            member = wanted.get(info.orig_filename)
            if member is None:
                continue
            if info.flag_bits & _ENCRYPTED:
                raise ExtractError(
                    f"{name}: {member.name} is encrypted; unpack it with its password into a "
                    "folder and name the folder"
                )
            if info.compress_type not in _METHODS:
                raise ExtractError(
                    f"{name}: {member.name} is compressed by method {info.compress_type}, which "
                    "is not known here; write the archive with deflate"
                )
            with archive.open(info) as source:
                _unpack(source, member, folder, name)


def refuse_bomb(stream: BinaryIO, size: int, name: str) -> None:
    """Refuse a ZIP archive that would unpack to far more than its size.

    Args, Raises: as for `unpack_zip`.
    """
    with _explain_errors(name), zipfile.ZipFile(stream) as archive:
        UnpackedBudget(size, name).take(sum(info.file_size for info in archive.infolist()))


def unpack_tar(stream: BinaryIO, size: int, name: str, folder: Path) -> None:
    """Unpack the files of a tar archive, plain or compressed by gzip.

    Args, Raises: as for `unpack_zip`.
    """
    with _explain_errors(name):
        head = stream.read(2)
        stream.seek(0)
        if head != b"\x1f\x8b":
            _unpack_tar(_BudgetedReader(stream), size, name, folder)
            return
        with gzip.GzipFile(fileobj=stream) as unpacked:
            _unpack_tar(_BudgetedReader(cast("IO[bytes]", unpacked)), size, name, folder)


class _BudgetedReader:
    """A stream that refuses the large reads that a forged tar header asks for."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def read(self, size: int) -> bytes:
        if size > MOST_AT_ONCE:
            raise tarfile.ReadError
        return self._stream.read(size)

    def seek(self, offset: int) -> int:
        return self._stream.seek(offset)

    def tell(self) -> int:
        return self._stream.tell()


def _unpack_tar(stream: _BudgetedReader, size: int, name: str, folder: Path) -> None:
    # What is wanted shows once every name is known, but a compressed archive is gone through once:
    # so files are unpacked by number, and named at the end.
    members, budget = list[_Member](), UnpackedBudget(size, name)
    with tarfile.open(fileobj=cast("IO[bytes]", stream), mode="r:") as archive:
        for info in archive:
            if info.isdir():
                continue
            if len(members) == MOST_MEMBERS:
                raise _too_many_error(name)
            members.append(_Member(info.name, info.size, info.isreg()))
            budget.take(info.size)
            if not info.isreg() or _is_hidden(info.name):
                continue
            source = archive.extractfile(info)
            if source is not None:
                unnamed = _Member(f".{len(members)}", info.size, is_file=True)
                _unpack(source, unnamed, folder, name)
        # tarfile takes a broken header for the end.
        stream.seek(archive.offset)
        end = stream.read(_BLOCK)
    if len(end) < _BLOCK or end.count(0) < _BLOCK:
        raise tarfile.ReadError
    while chunk := stream.read(CHUNK_BYTES):  # up to the checksum of what is compressed
        budget.take(len(chunk))
    wanted = _extract_members(members, name)
    for number, member in enumerate(members, start=1):
        unpacked = folder / f".{number}"
        if member.path in wanted:
            unpacked.rename(folder / member.name)
        else:
            unpacked.unlink(missing_ok=True)


def _extract_members(members: Iterable[_Member], name: str) -> dict[str, _Member]:
    """Return the members of an archive that belong to the extract, by path."""
    shown = [member for member in members if not _is_hidden(member.path)]
    for member in shown:
        _refuse_path(member.path, name)
        if not member.is_file:
            raise ExtractError(
                f"{name}: {member.name} is a link or a device; put the file itself into it"
            )
    folders = {member.folder for member in shown}
    top = "" if "" in folders or not folders else min(folders)
    if top and len(folders) > 1:
        raise ExtractError(
            f"{name} has files in several folders ({', '.join(sorted(folders)[:3])}); an extract "
            "must be in one folder"
        )
    members_by_path: dict[str, _Member] = {}
    names = set[str]()
    for member in shown:
        if member.folder != top:
            continue
        if member.name in names:
            raise ExtractError(f"{name} has {member.name} twice; remove one of them")
        names.add(member.name)
        members_by_path[member.path] = member
    if not members_by_path:
        raise ExtractError(f"{name} contains no files")
    return members_by_path


def _refuse_path(path: str, name: str) -> None:
    """Refuse a member whose path leaves the archive or is no valid file name."""
    parts = path.split("/")
    bad = path.startswith("/") or ".." in parts or "\\" in path or _DRIVE.match(path)
    if bad or not path.isprintable() or not parts[-1]:
        raise ExtractError(
            f"{name}: a file name points outside the archive or contains characters that are "
            f"not allowed ({path[:80]!r}); nothing was unpacked"
        )


def _is_hidden(path: str) -> bool:
    """Return whether a member is hidden or belongs to an operating system."""
    parts = [part for part in path.split("/") if part not in ("", ".", "..")]
    return "__MACOSX" in parts or any(part.startswith(".") for part in parts)


def _is_plain(info: zipfile.ZipInfo) -> bool:
    kind = stat.S_IFMT(info.external_attr >> 16)
    return kind in (0, stat.S_IFREG)


def _too_many_error(name: str) -> ExtractError:
    return ExtractError(
        f"{name} has more than {MOST_MEMBERS:,} files; use a folder with fewer files"
    )


def _unpack(source: IO[bytes], member: _Member, folder: Path, archive: str) -> None:
    """Unpack a member, with exactly as many bytes as the archive declares."""
    path = folder / member.name
    bytes_left = member.bytes
    try:
        with path.open("xb") as target:
            path.chmod(0o600)
            if shutil.disk_usage(folder).free < bytes_left:
                raise StoreError(
                    f"{archive}: {member.name} needs {bytes_left >> 20:,} MB, and {folder} does "
                    "not have enough space; free some space, or set run.work to another folder"
                )
            while chunk := _read(source, min(bytes_left, CHUNK_BYTES)):
                target.write(chunk)
                bytes_left -= len(chunk)
    except OSError as error:
        if isinstance(error, (*_BROKEN, _ArchiveReadError)):
            raise
        raise disk_error(error) from None
    if bytes_left:
        raise EOFError


class _ArchiveReadError(OSError):
    """The archive itself cannot be read."""


def _read(source: IO[bytes], size: int) -> bytes:
    try:
        return source.read(size) if size else b""
    except _BROKEN:
        raise
    except OSError as error:
        raise _ArchiveReadError(error.errno, error.strerror) from None


@contextmanager
def _explain_errors(name: str) -> Iterator[None]:
    try:
        yield
    except _BROKEN:
        raise ExtractError(f"{name}: the archive is broken or incomplete; copy it again") from None
    except (NotImplementedError, RuntimeError):
        raise ExtractError(
            f"{name}: its format is not supported; unpack it into a folder, and use the folder"
        ) from None
    except OSError as error:
        raise ExtractError(f"{name} cannot be read: {error.strerror or 'input error'}") from None


_MOST_EXACT: Final = 1e15
"""From here on Excel has replaced digits by zeros."""


def stage_workbook(stream: BinaryIO, size: int, name: str, folder: Path) -> tuple[str, ...]:
    """Write the sheets of a workbook as files, and return their names.

    The only sheet has the workbook's name, each of several its own. Empty sheets are left out.

    Args:
        stream: the workbook, which can be sought in.
        size: its size in bytes.
        folder: closed to others.

    Raises:
        ExtractError: it is broken, encrypted, too large unpacked, has a hidden sheet with cells, or
            a cell whose value Excel has rounded.
        StoreError: the disk is full.
    """
    from python_calamine import CalamineError, CalamineWorkbook, SheetVisibleEnum

    refuse_bomb(stream, size, name)
    stream.seek(0)
    try:
        with CalamineWorkbook.from_filelike(stream) as workbook:
            shown = []
            for sheet in workbook.sheets_metadata:
                cells = workbook.get_sheet_by_name(sheet.name)
                if cells.start is None:
                    continue
                if sheet.visible != SheetVisibleEnum.Visible:
                    raise ExtractError(
                        f"{name} has a hidden sheet with cells; unhide or delete it, so that "
                        "all data is visible"
                    )
                shown.append((sheet.name, cells))
            written = []
            for title, cells in shown:
                file = f"{name.rpartition('.')[0] if len(shown) == 1 else title}.csv"
                if not file.isprintable() or "/" in file or file.startswith("."):
                    raise ExtractError(f"{name}: a sheet has a name that a file cannot have")
                _write_rows(cells.iter_rows(), f"{name}, sheet {title}", folder / file)
                written.append(file)
    except CalamineError:
        raise ExtractError(
            f"{name}: the workbook is broken, incomplete, or encrypted; save it again without a "
            "password"
        ) from None
    if not written:
        raise ExtractError(f"{name} has no sheet with cells")
    return tuple(written)


def _write_rows(rows: Iterable[list[Any]], where: str, path: Path) -> None:
    try:
        with path.open("x", encoding="utf-8", newline="") as target:
            path.chmod(0o600)
            minimal = csv.writer(target, lineterminator="\n")
            # Python 3.12 and older do not quote a lone CR unless all cells are quoted.
            quoted = csv.writer(target, lineterminator="\n", quoting=csv.QUOTE_ALL)
            for number, row in enumerate(rows, start=1):
                texts = [
                    _cell_text(cell, where, number, at) for at, cell in enumerate(row, start=1)
                ]
                writer = quoted if any("\r" in text for text in texts) else minimal
                writer.writerow(texts)
    except FileExistsError:
        raise ExtractError(f"{path.name} is in the extract twice; remove one of them") from None
    except OSError as error:
        raise disk_error(error) from None


def _cell_text(cell: Any, where: str, row: int, column: int) -> str:
    cell_name = f"{where}, row {row}, column {column}"
    if isinstance(cell, str):
        return cell
    if isinstance(cell, bool):
        return "Y" if cell else "N"
    if isinstance(cell, int | float):
        if abs(cell) >= _MOST_EXACT:
            raise ExtractError(
                f"{cell_name}: a number with more than 15 digits, of which Excel kept only 15; "
                "format the column as text, and enter the numbers again"
            )
        return f"{Decimal(f'{cell:.15g}') + 0:f}"
    if isinstance(cell, date | time):  # a datetime is a date
        return cell.isoformat()
    raise ExtractError(f"{cell_name}: a duration, which no column can contain; format it as text")
