"""Files of FHIR into resources: NDJSON, single resources and Bundles, plain or gzipped."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, Protocol

import orjson

from etl.errors import UsageError

NDJSON: Final = (".ndjson", ".ndjson.gz")
DOCUMENT: Final = (".json", ".json.gz")


@dataclass(frozen=True, slots=True)
class Record:
    """One resource as it was found.

    Attributes:
        line: line of the file, from 1; None in a document.
        above: FHIRPath of the Bundle entry that holds it, or empty.
        resource: as parsed; None where the text is no JSON.
        url: the entry's fullUrl, or empty.
    """

    line: int | None
    above: str
    resource: Any
    url: str = ""


class Source(Protocol):
    """Something with a name that yields records: a file, or a block of a published tree."""

    @property
    def name(self) -> str:
        """What findings call it."""

    def records(self) -> Iterator[Record]:
        """Yield its resources, in order.

        Raises:
            UsageError: it cannot be read.
        """


@dataclass(frozen=True, slots=True)
class Lines:
    """NDJSON that is in memory or comes from elsewhere, such as a block of a published tree."""

    name: str
    lines: Iterable[bytes]

    def records(self) -> Iterator[Record]:
        """Yield the resource of every line that is not blank."""
        return line_records(self.lines)


@dataclass(frozen=True, slots=True)
class File:
    """A file of NDJSON, or one whose name ends in `.json` with one resource or Bundle."""

    path: Path
    name: str

    def records(self) -> Iterator[Record]:
        """Yield its resources.

        Raises:
            UsageError: it cannot be opened, or its gzip is broken.
        """
        try:
            with self._open() as file:
                if self.path.name.endswith(DOCUMENT):
                    yield from document_records(file.read())
                else:
                    yield from line_records(file)
        except (gzip.BadGzipFile, EOFError, zlib.error):
            raise UsageError(
                f"{self.name}: the gzip is broken or cut off; copy the file again"
            ) from None
        except OSError as error:
            raise UsageError(f"{self.name}: cannot be read: {error.strerror}") from None

    def _open(self) -> IO[bytes]:
        if self.path.name.endswith(".gz"):
            return gzip.open(self.path, "rb")  # type: ignore[return-value]
        return self.path.open("rb")


def line_records(lines: Iterable[bytes]) -> Iterator[Record]:
    """Yield the resource of every line that is not blank, Bundles unpacked."""
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield from _unpacked(_parsed(line), number)


def document_records(text: bytes) -> Iterator[Record]:
    """Yield the resource that a text is, or those of a Bundle."""
    yield from _unpacked(_parsed(text), None)


def _parsed(text: bytes) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def _unpacked(resource: Any, line: int | None) -> Iterator[Record]:
    bundle = type(resource) is dict and resource.get("resourceType") == "Bundle"
    inside = resource.get("entry", []) if bundle else None
    if type(inside) is not list:
        yield Record(line, "", resource)
        return
    for index, entry in enumerate(inside):
        if type(entry) is dict and "resource" in entry:
            url = entry.get("fullUrl")
            above = f"Bundle.entry[{index}].resource"
            yield Record(line, above, entry["resource"], url if type(url) is str else "")


def file_sources(paths: Iterable[Path]) -> list[File]:
    """Return the files that paths name: files as they are, of folders the FHIR in them.

    Of a folder these are all NDJSON files below it, or, if there are none, its JSON files.

    Raises:
        UsageError: a path names nothing, or a folder has no such file.
    """
    found: list[File] = []
    for path in paths:
        if path.is_dir():
            inside = _below(path, NDJSON) or _below(path, DOCUMENT)
            if not inside:
                raise UsageError(f"{path}: no .ndjson, .ndjson.gz or .json file in this folder")
            found += [File(file, str(file.relative_to(path))) for file in inside]
        elif path.exists():
            found.append(File(path, str(path)))
        else:
            raise UsageError(f"{path}: no such file or folder")
    return found


def _below(folder: Path, endings: tuple[str, ...]) -> list[Path]:
    return sorted(f for f in folder.rglob("*") if f.name.endswith(endings) and f.is_file())
