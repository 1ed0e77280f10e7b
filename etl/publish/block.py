"""Blocks: one patient's resources as NDJSON, compressed in parts that can be read alone.

A patient's block is a *resource block* of HL7's Bulk Data (`outputOrganizedBy` Patient): a
`Parameters` resource that names the patient, the Patient, and what refers to it. The whole object
is a gzip file of several members (RFC 1952, section 2.2), so `gunzip` gives plain NDJSON.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, NamedTuple, Protocol

import deflate

from etl.errors import DamagedObject
from etl.publish.search_index import BlockPart, IndexRow

PATIENT_TYPES: Final = ("Patient", "Coverage", "RelatedPerson", "ExplanationOfBenefit")
"""Resource types of a patient's block, in their order. Other types come after."""

DIRECTORY_TYPES: Final = ("Organization", "Practitioner", "PractitionerRole", "Location")
"""Resource types of the shared directory, in their order."""

REFERENCE: Final = re.compile(
    rb'"reference":\s*"([A-Za-z]+/[A-Za-z0-9\-.]{1,64})(?:/_history/[^"]*)?"'
)
"""A relative reference in JSON: `Type/id`."""

LISTED: Final = "_listed"
"""Search value of an Organization or Practitioner without an NPI: why others may see it. Absent if
only claims name it."""

ROW: Final = "row"
"""It has a directory row, so everyone may see it."""

NAMED: Final = "named"
"""A directory row names it and no claim does, so every member may see it."""

_RANKS: Final[Mapping[str, int]] = MappingProxyType(
    {name: rank for rank, name in enumerate((*PATIENT_TYPES, *DIRECTORY_TYPES))}
)


def rank(resource_type: str) -> tuple[int, str]:
    """Return a type's sort key in a block."""
    return (_RANKS.get(resource_type, len(_RANKS)), resource_type)


class Resource(NamedTuple):
    """One FHIR resource, rendered except for its version and time.

    Attributes:
        type: FHIR resource type.
        id: logical ID.
        body: JSON text after `"meta":{"versionId":…,"lastUpdated":…,`: it starts inside `meta`
            (`"profile":[…]}`) and ends with the brace that closes the resource.
        last_updated: FHIR instant that the source states; None if it states none.
        search: canonical JSON object, search parameter -> list of strings, never empty. A date or
            period is `start/end`, or one date or dateTime.
    """

    type: str
    id: str
    body: bytes | memoryview
    last_updated: str | None = None
    search: bytes = b"{}"


@dataclass(frozen=True, slots=True)
class PatientResources:
    """All resources of one patient.

    Attributes:
        patient_id: logical ID of the Patient.
        resources: the Patient and the other resources of its block, in any order.
    """

    patient_id: str
    resources: Sequence[Resource]


class Resources(Protocol):
    """A sequence of resources: a list, or an object that makes each on access."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Resource: ...


PART_ROWS: Final = 10
"""Most resources in one part: the gateway's default page, so that it reads one part."""

PART_SIZE: Final = 128 * 1024
"""Most bytes of plain NDJSON in one part. A larger resource gets a part of its own."""

_GZIP_LEVEL: Final = 1
"""Compression level; measurements are in docs/decisions/0002-published-tree.md."""

DATES: Final = ("billable-period-start", "service-start-date", "service-date")
"""The first filled one of these search parameters orders ExplanationOfBenefits by earliest date."""


class Line(NamedTuple):
    """One resource of a block.

    Attributes:
        row: its row of the index.
        body: the text after the version and time.
        search: the row's search values as canonical JSON.
    """

    row: IndexRow
    body: bytes | memoryview
    search: bytes


@dataclass(frozen=True, slots=True)
class Block:
    """A compressed block.

    Attributes:
        data: its bytes.
        parts: rows, length and size of each part.
    """

    data: bytes
    parts: tuple[tuple[int, int, int], ...]


def sort_block_lines(lines: Iterable[Line]) -> list[Line]:
    """Sort lines in the order of a block: by type and ID.

    ExplanationOfBenefits are sorted by date first, newest first. This is the gateway's default
    order, so a default page is one contiguous byte range.
    """
    by_type: dict[str, list[Line]] = {}
    for line in lines:
        by_type.setdefault(line.row.type, []).append(line)
    sorted_lines: list[Line] = []
    for name in sorted(by_type, key=rank):
        type_lines = sorted(by_type[name], key=lambda line: line.row.id)
        if name == "ExplanationOfBenefit":
            type_lines.sort(key=lambda line: order_date(line.row), reverse=True)
        sorted_lines += type_lines
    return sorted_lines


def order_date(row: IndexRow) -> str:
    """Return the date that orders an ExplanationOfBenefit; empty if it has none."""
    for parameter in DATES:
        values = row.search.get(parameter)
        if values:
            return min(value.partition("/")[0] for value in values)
    return ""


def line_head(row: IndexRow) -> bytes:
    """Return the start of a line, up to where `Resource.body` continues."""
    return (
        f'{{"resourceType":"{row.type}","id":"{row.id}","meta":'
        f'{{"versionId":"{row.version}","lastUpdated":"{row.last_updated}",'
    ).encode()


def hashed_head(resource_type: str, resource_id: str) -> bytes:
    """Return the start of a line without version and time, which the version hash begins with."""
    return f'{{"resourceType":"{resource_type}","id":"{resource_id}","meta":{{'.encode()


def header_line(patient_id: str) -> bytes:
    """Return the first line of a resource block (Bulk Data, output file organization)."""
    return (
        '{"resourceType":"Parameters","parameter":[{"name":"header",'
        f'"valueReference":{{"reference":"Patient/{patient_id}"}}}}]}}\n'
    ).encode()


def render_block(lines: Sequence[Line], patient_id: str | None) -> Block:
    """Compress lines to a block.

    Args:
        lines: in block order.
        patient_id: owner of the block; None for the directory, which has no header line.
    """
    compressed: list[bytes] = []
    parts: list[tuple[int, int, int]] = []

    def close(rows: int, chunks: list[bytes | memoryview]) -> None:
        ndjson = b"".join(chunks)
        gzip_part = bytes(deflate.gzip_compress(ndjson, _GZIP_LEVEL))
        compressed.append(gzip_part)
        parts.append((rows, len(gzip_part), len(ndjson)))

    if patient_id is not None:
        close(0, [header_line(patient_id)])
    chunks: list[bytes | memoryview] = []
    rows = size = 0
    kind = ""
    for line in lines:
        head = line_head(line.row)
        line_size = len(head) + len(line.body) + 1
        is_full = rows == PART_ROWS or size + line_size > PART_SIZE or line.row.type != kind
        if is_full and rows:
            close(rows, chunks)
            chunks, rows, size = [], 0, 0
        kind = line.row.type
        chunks += (head, line.body, b"\n")
        rows += 1
        size += line_size
    if rows:
        close(rows, chunks)
    return Block(b"".join(compressed), tuple(parts))


def unpack(data: bytes | memoryview, part: BlockPart, label: str) -> bytearray:
    """Decompress one part to NDJSON, in the library's buffer to avoid a copy.

    Args:
        data: exactly the part's bytes.
        part: the part's entry in the index.
        label: name of the block in messages.

    Raises:
        DamagedObject: length, checksum or size are wrong.
    """
    if len(data) == part.length:
        try:
            ndjson = deflate.gzip_decompress(data, part.size)
        except (deflate.DeflateError, ValueError):
            ndjson = bytearray()
        if len(ndjson) == part.size:
            return ndjson
    raise DamagedObject(f"{label}: bytes {part.offset} to {part.offset + part.length} are damaged")
