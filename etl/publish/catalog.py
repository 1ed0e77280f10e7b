"""The catalog: which patient's block is which object, in shards of bounded size.

A shard holds the patients whose ID hashes (SHA-256) start with the same bits. Logical ids are
hashes already, but nothing here depends on that.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from etl.errors import StoreError
from etl.publish.canonical_json import JSON, dumps, loads
from etl.publish.kept_objects import ObjectRef
from etl.publish.object_keys import digest_of

ID: Final = re.compile(r"[A-Za-z0-9\-.]{1,64}")
"""FHIR's data type id."""

CATALOG_TARGET: Final = 1024
"""Patients of one shard on average, at most. A row is about 400 bytes."""

DIRECTORY_TARGET: Final = 512
"""Resources of one directory shard on average, at most."""


class CatalogEntry(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """One row of the catalog: a patient, or one shard of the directory.

    Attributes:
        id: logical id of the patient; for the directory, the number of the shard.
        index: key of the search index.
        index_bytes: its size.
        block: key of the block; None if everything in it was retracted.
        bytes: size of the block.
        content: hash of what went in: equal content means that there is nothing to write.
        counts: resources by type.
        last_updated: the latest `meta.lastUpdated`; empty if there is no block.
        retracted: instant at which the last of it was retracted; None while there is a block.
    """

    id: str
    index: str
    index_bytes: int
    block: str | None = None
    bytes: int = 0
    content: str = ""
    counts: Mapping[str, int] = {}
    last_updated: str = ""
    retracted: str | None = None

    def __post_init__(self) -> None:
        """Refuse a row of neither a block nor a retraction: msgspec reports it as invalid."""
        if (self.block is None) == (self.retracted is None):
            raise ValueError("a row has either a block or a retraction")

    def objects(self) -> Iterator[ObjectRef]:
        """Yield its index, and its block where it has one."""
        yield ObjectRef(self.index, digest_of(self.index), self.index_bytes)
        if self.block is not None:
            yield ObjectRef(self.block, digest_of(self.block), self.bytes)

    def to_json(self) -> JSON:
        """Return the row as its JSON object, the id left out."""
        row = msgspec.to_builtins(self)
        del row["id"]
        return row


def entry_of(unit_id: str, fields: JSON) -> CatalogEntry:
    """Return the entry of a catalog row.

    Unknown fields are ignored: rows of older trees may have `source`.

    Raises:
        StoreError: the row is invalid.
    """
    try:
        return msgspec.convert({**fields, "id": unit_id}, CatalogEntry)
    except (TypeError, msgspec.ValidationError):
        raise StoreError(f"the catalog row of {unit_id} is invalid; run verify") from None


def id_hash(unit_id: str) -> str:
    """Return the SHA-256 of an ID, 64 hex digits: it orders the catalog."""
    return hashlib.sha256(unit_id.encode()).hexdigest()


def shard_number(unit_id: str, bits: int) -> int:
    """Return an ID's shard: the first `bits` bits of its hash, as a number."""
    return int.from_bytes(hashlib.sha256(unit_id.encode()).digest()[:4]) >> (32 - bits)


def choose_shard_bits(count: int, previous_bits: int | None, shard_size: int) -> int:
    """Choose the number of bits for shard numbers, so that shards stay below a target size.

    The previous bits stay until shards are twice too large or eight times too small, so that a
    count near a boundary does not move every row each night.
    """
    ideal_bits = max(0, (max(count, 1) - 1) // shard_size).bit_length()
    if previous_bits is None or not ideal_bits - 1 <= previous_bits <= ideal_bits + 2:
        return ideal_bits
    return previous_bits


def render_shard(bits: int, number: int, units: Sequence[CatalogEntry]) -> bytes:
    """Render a shard as canonical JSON, with a line break around each row.

    The line breaks let a reader find one patient without parsing the rest (`find_row`).
    """
    rows = [
        b'"%b":%b' % (unit.id.encode(), dumps(unit.to_json()))
        for unit in sorted(units, key=lambda unit: unit.id)
    ]
    return b'{"bits":%d,"patients":{\n%b\n},"shard":%d}\n' % (bits, b",\n".join(rows), number)


def parse_shard(data: bytes, object_name: str) -> list[CatalogEntry]:
    """Return the rows of a shard, ordered by ID hash."""
    rows: dict[str, JSON] = loads(data, object_name)["patients"]
    return sorted(
        (entry_of(patient, value) for patient, value in rows.items()),
        key=lambda unit: id_hash(unit.id),
    )


def row_lines(data: bytes) -> frozenset[bytes]:
    """Return the unparsed rows of a shard, each the text of one JSON field."""
    lines = data.split(b"\n")[1:-2]  # the first and the last are not rows
    return frozenset(line.removesuffix(b",") for line in lines if line)


def parse_rows(lines: Iterable[bytes], object_name: str) -> list[CatalogEntry]:
    """Parse the rows of `row_lines`, in no order."""
    rows: dict[str, JSON] = loads(b"{%b}" % b",".join(lines), object_name)
    return [entry_of(patient, value) for patient, value in rows.items()]


def find_row(data: bytes, patient_id: str, object_name: str) -> CatalogEntry | None:
    """Find one patient's row in a shard; parses only that line."""
    if not ID.fullmatch(patient_id):
        return None
    row_prefix = b'\n"%b":' % patient_id.encode()
    start = data.find(row_prefix)
    if start < 0:
        return None
    start += len(row_prefix)
    line = data[start : data.index(b"\n", start)].removesuffix(b",")
    return entry_of(patient_id, loads(line, object_name))


def by_shard(ids: Iterable[str], bits: int) -> dict[int, list[str]]:
    """Group IDs by shard number."""
    shards: dict[int, list[str]] = {}
    for unit_id in ids:
        shards.setdefault(shard_number(unit_id, bits), []).append(unit_id)
    return shards
