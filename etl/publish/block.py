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
"""Search value of an Organization or Practitioner without an NPI: why others may see it. There is
none where nothing but claims name it."""

ROW: Final = "row"
"""It has a row of the directory: everybody may."""

NAMED: Final = "named"
"""A row of the directory names it, and no claim does: every member may."""

_RANKS: Final[Mapping[str, int]] = MappingProxyType(
    {name: rank for rank, name in enumerate((*PATIENT_TYPES, *DIRECTORY_TYPES))}
)


def rank(resource_type: str) -> tuple[int, str]:
    """Return where a type stands in a block."""
    return (_RANKS.get(resource_type, len(_RANKS)), resource_type)


class Resource(NamedTuple):
    """One FHIR resource, rendered but for its version and its time.

    Attributes:
        type: FHIR resource type.
        id: logical id.
        body: JSON text that follows on `"meta":{"versionId":…,"lastUpdated":…,`: it starts inside
            `meta` (`"profile":[…]}`) and ends with the brace that closes the resource.
        last_updated: FHIR instant that the source states; None where it states none.
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
    """Everything there is of one patient.

    Attributes:
        patient_id: logical id of the Patient.
        resources: the Patient, and what its block holds beside it, in any order.
    """

    patient_id: str
    resources: Sequence[Resource]


class Resources(Protocol):
    """Resources by number: a list of them, or an object that makes each on access."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Resource: ...


PART_ROWS: Final = 10
"""Resources of one part at most: the gateway's default page, so that it reads one part."""

PART_SIZE: Final = 128 * 1024
"""Bytes of plain NDJSON after which a part ends. One larger resource is a part of its own."""

_LEVEL: Final = 1
"""Compression level: see docs/decisions/0002-published-tree.md for what was measured."""

DATES: Final = ("billable-period-start", "service-start-date", "service-date")
"""Search parameters whose earliest date orders ExplanationOfBenefits; the first that is there."""


class Line(NamedTuple):
    """One resource of a block.

    Attributes:
        row: its row of the index.
        body: the text after the version and the time.
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


def in_block_order(lines: Iterable[Line]) -> list[Line]:
    """Return lines in the order of a block.

    By type; within a type by id; but ExplanationOfBenefits by date first, the newest in front,
    which is the gateway's default order: so a default page is one contiguous range.
    """
    by_type: dict[str, list[Line]] = {}
    for line in lines:
        by_type.setdefault(line.row.type, []).append(line)
    ordered: list[Line] = []
    for name in sorted(by_type, key=rank):
        of_type = sorted(by_type[name], key=lambda line: line.row.id)
        if name == "ExplanationOfBenefit":
            of_type.sort(key=lambda line: order_date(line.row), reverse=True)
        ordered += of_type
    return ordered


def order_date(row: IndexRow) -> str:
    """Return the date that orders an ExplanationOfBenefit; empty where it has none."""
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
    """Return what the version hashes before the body: a line's start without version and time."""
    return f'{{"resourceType":"{resource_type}","id":"{resource_id}","meta":{{'.encode()


def header_line(patient_id: str) -> bytes:
    """Return the line that opens a resource block (Bulk Data, output file organization)."""
    return (
        '{"resourceType":"Parameters","parameter":[{"name":"header",'
        f'"valueReference":{{"reference":"Patient/{patient_id}"}}}}]}}\n'
    ).encode()


def render_block(lines: Sequence[Line], patient_id: str | None) -> Block:
    """Return the block of these lines.

    Args:
        lines: in block order.
        patient_id: owner of the block; None for the directory, which has no header line.
    """
    compressed: list[bytes] = []
    parts: list[tuple[int, int, int]] = []

    def close(rows: int, pieces: list[bytes | memoryview]) -> None:
        plain = b"".join(pieces)
        packed = bytes(deflate.gzip_compress(plain, _LEVEL))
        compressed.append(packed)
        parts.append((rows, len(packed), len(plain)))

    if patient_id is not None:
        close(0, [header_line(patient_id)])
    pieces: list[bytes | memoryview] = []
    rows = size = 0
    kind = ""
    for line in lines:
        head = line_head(line.row)
        length = len(head) + len(line.body) + 1
        full = rows == PART_ROWS or size + length > PART_SIZE or line.row.type != kind
        if full and rows:
            close(rows, pieces)
            pieces, rows, size = [], 0, 0
        kind = line.row.type
        pieces += (head, line.body, b"\n")
        rows += 1
        size += length
    if rows:
        close(rows, pieces)
    return Block(b"".join(compressed), tuple(parts))


def unpack(data: bytes | memoryview, part: BlockPart, what: str) -> bytearray:
    """Return the plain NDJSON of one part, in the library's own buffer to avoid a copy.

    Args:
        data: exactly the part's bytes.
        part: its place in the index.
        what: what messages call the block.

    Raises:
        DamagedObject: length, checksum or size are not what they should be.
    """
    if len(data) == part.length:
        try:
            plain = deflate.gzip_decompress(data, part.size)
        except (deflate.DeflateError, ValueError):
            plain = bytearray()
        if len(plain) == part.size:
            return plain
    raise DamagedObject(f"{what}: bytes {part.offset} to {part.offset + part.length} are damaged")
