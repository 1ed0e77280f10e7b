"""Read resources from FHIR files: NDJSON, single resources and Bundles, plain or gzipped."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, Protocol

import orjson

from etl.conform.findings import ConformanceRule, error
from etl.errors import UsageError

_READ_BYTES: Final = 1 << 20
NDJSON: Final = (".ndjson", ".ndjson.gz")
DOCUMENT: Final = (".json", ".json.gz")


UNREAD: Final = object()
"""Placeholder for the resource of invalid JSON."""


BYTE_ORDER_MARK: Final = error(
    "byte-order-mark",
    "The file begins with a byte order mark, which JSON must not have (RFC 8259, 8.1); remove it.",
)
_WIDE: Final = error("encoding", "The file is UTF-16 or UTF-32; JSON of FHIR is UTF-8.")
_NOT_UTF_8: Final = error("encoding", "The text is not UTF-8, as JSON of FHIR has to be.")
_LINE: Final = error("json", "The line is no JSON; write one resource a line.")
_FILE: Final = error("json", "The file is no JSON; it holds one resource or Bundle.")
_EMPTY: Final = error("json", "The file is empty; it holds one resource or Bundle.")
_LINES: Final = error(
    "json", "The file holds several lines of JSON; give it a name that ends in .ndjson."
)
_BOM: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Record:
    """One resource of a file.

    Attributes:
        line: line of the file, from 1; None in a document.
        above: FHIRPath of its Bundle entry, or empty.
        resource: as parsed; `UNREAD` if the text isn't JSON.
        url: the entry's fullUrl, or empty.
        fault: the rule that the text itself breaks, or None.
    """

    line: int | None
    above: str
    resource: Any
    url: str = ""
    fault: ConformanceRule | None = None


class Source(Protocol):
    """Something with a name that yields records: a file, or a block of a published tree."""

    @property
    def name(self) -> str:
        """Its name in findings."""

    def records(self) -> Iterator[Record]:
        """Yield its resources, in order.

        Raises:
            UsageError: the source can't be read.
        """


@dataclass(frozen=True, slots=True)
class Lines:
    """NDJSON lines from elsewhere, such as a block of a published tree."""

    name: str
    lines: Iterable[bytes]

    def records(self) -> Iterator[Record]:
        """Yield the resource of every line that is not blank."""
        return line_records(self.lines)


@dataclass(frozen=True, slots=True)
class File:
    """A file of NDJSON, or one with a name in `.json` that holds one resource or Bundle."""

    path: Path
    name: str

    def records(self) -> Iterator[Record]:
        """Yield its resources.

        Raises:
            UsageError: the file can't be opened, or its gzip is broken.
        """
        try:
            with self._open() as file:
                if self.path.name.endswith(DOCUMENT):
                    yield from document_records(file.read())
                else:
                    yield from line_records(file)
        except (gzip.BadGzipFile, EOFError, zlib.error):
            raise UsageError(
                f"{self.name}: the gzip is broken or incomplete; copy the file again"
            ) from None
        except OSError as error:
            raise UsageError(f"{self.name}: cannot be read: {error.strerror}") from None

    def count(self) -> int:
        """Count the lines of NDJSON; 1 for a document, 0 for an unreadable file."""
        if self.path.name.endswith(DOCUMENT):
            return 1
        try:
            with self._open() as file:
                return sum(
                    chunk.count(b"\n") for chunk in iter(lambda: file.read(_READ_BYTES), b"")
                )
        except (OSError, EOFError, zlib.error):  # reported when the file is read
            return 0

    def _open(self) -> IO[bytes]:
        if self.path.name.endswith(".gz"):
            return gzip.open(self.path, "rb")  # type: ignore[return-value]
        return self.path.open("rb")


def line_records(lines: Iterable[bytes]) -> Iterator[Record]:
    """Yield the resource of every line that is not blank, Bundles unpacked."""
    for number, line in enumerate(lines, 1):
        text, faults = _strip_byte_order_mark(line) if number == 1 else (line, ())
        yield from faults
        if text is None:
            return
        if text.strip():
            yield from _parse_records(text, number, _LINE)


def document_records(text: bytes) -> Iterator[Record]:
    """Yield the resource of a document, or the resources of a Bundle."""
    json, faults = _strip_byte_order_mark(text)
    yield from faults
    if json is not None and json.strip():
        yield from _parse_records(json, None, _LINES if _has_several_lines(json) else _FILE)
    elif json is not None:
        yield Record(None, "", UNREAD, fault=_EMPTY)


def _strip_byte_order_mark(text: bytes) -> tuple[bytes | None, tuple[Record, ...]]:
    """Strip a byte order mark; return the text (None if UTF-16 or UTF-32) and its faults."""
    if text.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in text[:4]:  # UTF-16 or UTF-32
        return None, (Record(None, "", UNREAD, fault=_WIDE),)
    if text.startswith(_BOM):
        return text.removeprefix(_BOM), (Record(None, "", UNREAD, fault=BYTE_ORDER_MARK),)
    return text, ()


def _has_several_lines(text: bytes) -> bool:
    """Return whether the first two lines of a text are valid JSON each."""
    lines = [line for line in text.split(b"\n", 3)[:2] if line.strip()]
    return len(lines) == 2 and all(_parse_json(line) is not UNREAD for line in lines)


def _parse_records(text: bytes, line: int | None, fault: ConformanceRule) -> Iterator[Record]:
    resource = _parse_json(text)
    if resource is not UNREAD:
        yield from _unpack_bundle(resource, line)
        return
    try:
        text.decode()
    except UnicodeDecodeError:
        fault = _NOT_UTF_8
    yield Record(line, "", UNREAD, fault=fault)


def _parse_json(text: bytes) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return UNREAD


def _unpack_bundle(resource: Any, line: int | None) -> Iterator[Record]:
    is_bundle = type(resource) is dict and resource.get("resourceType") == "Bundle"
    bundle_entries = resource.get("entry", []) if is_bundle else None
    if type(bundle_entries) is not list:
        yield Record(line, "", resource)
        return
    for index, entry in enumerate(bundle_entries):
        if type(entry) is dict and "resource" in entry:
            url = entry.get("fullUrl")
            above = f"Bundle.entry[{index}].resource"
            yield Record(line, above, entry["resource"], url if type(url) is str else "")


def file_sources(paths: Iterable[Path]) -> list[File]:
    """List the given files, and the FHIR files in the given folders.

    In a folder these are all NDJSON files below it or, if there are none, its JSON files.

    Raises:
        UsageError: a path doesn't exist, isn't a regular file (a pipe, a device), or is a folder
            without such files.
    """
    files: list[File] = []
    for path in paths:
        if path.is_dir():
            paths_inside = _list_files(path, NDJSON) or _list_files(path, DOCUMENT)
            if not paths_inside:
                raise UsageError(f"{path}: no .ndjson, .ndjson.gz or .json file in this folder")
            files += [File(file, str(file.relative_to(path))) for file in paths_inside]
        elif not path.exists():
            raise UsageError(f"{path}: no such file or folder")
        else:
            files.append(File(path, str(path)))
    for file in files:
        if not file.path.is_file():  # reading a pipe could block or never end
            raise UsageError(f"{file.path}: is no regular file; write it to one first")
    return files


def _list_files(folder: Path, endings: tuple[str, ...]) -> list[Path]:
    return sorted(f for f in folder.rglob("*") if f.name.endswith(endings) and not f.is_dir())
