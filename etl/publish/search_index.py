"""The search index of a block: where each resource is, and what a search can ask of it.

One JSON document, stored by column: each field is on a line of its own, and the first line has the
positions of the others. So a reader of a patient with 5,000 claims only fetches the two columns
that it needs, while `json.load` can still read the whole document.

Rows are the block's resources in the block's order. A column of texts that repeat is
`{"rows": […], "values": […]}`: the distinct values in order of appearance, and for each row the
number of its value, or a list of numbers if it has none or several.
"""

from __future__ import annotations

import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, chain, groupby
from typing import Final, NamedTuple

from etl.errors import DamagedObject
from etl.publish import object_keys
from etl.publish.canonical_json import JSON, dumps, loads

WHOLE: Final = 128 * 1024
"""Indexes up to this size are read completely; of larger ones, the head and needed sections."""

HEAD: Final = 16 * 1024
"""Bytes in which the head of any index fits."""

_CHECKSUM_KEY: Final = "check"
"""Member of the head: CRC-32 of the head without it, for readers of the head alone."""


@dataclass(frozen=True, slots=True)
class DeletedResource:
    """A resource that was published once and is no more.

    Attributes:
        type: FHIR resource type.
        id: logical id.
        when: instant at which it was retracted.
    """

    type: str
    id: str
    when: str


class BlockPart(NamedTuple):
    """One independently compressed part of a block.

    Attributes:
        first: number of its first row.
        rows: how many rows it has; none for the part with the header line.
        offset: its offset in the block.
        length: its compressed size.
        size: its size as plain NDJSON.
    """

    first: int
    rows: int
    offset: int
    length: int
    size: int


@dataclass(frozen=True, slots=True)
class IndexColumn:
    """One column of texts.

    Attributes:
        values: the distinct values.
        rows: for each row the numbers of its values.
    """

    values: Sequence[str]
    rows: Sequence[Sequence[int]]

    def values_of(self, row: int) -> list[str]:
        """Return the values of one row."""
        return [self.values[number] for number in self.rows[row]]


class IndexRow(NamedTuple):
    """Input of an index, for each resource of the block in order."""

    type: str
    id: str
    version: str
    last_updated: str
    stated: bool
    search: Mapping[str, Sequence[str]]


def render_index(
    head: Mapping[str, JSON],
    parts: Sequence[tuple[int, int, int]],
    rows: Sequence[IndexRow],
    deleted: Sequence[DeletedResource],
) -> bytes:
    """Serialize the index of a block.

    Args:
        head: what the index is of: block key, its bytes, patient or shard.
        parts: rows, length and size of each part of the block.
        rows: what the block holds, in its order.
        deleted: what it held once.
    """
    stated = [row.stated for row in rows]
    sections: dict[str, bytes] = {
        "parts": dumps([list(part) for part in parts]),
        "ids": dumps([row.id for row in rows]),
        "versions": dumps([row.version for row in rows]),
        "lastUpdated": _encode_column([[row.last_updated] for row in rows]),
        "stated": dumps(stated[0] if len(set(stated)) == 1 else [int(flag) for flag in stated]),
        "gone": dumps([[deleted.type, deleted.id, deleted.when] for deleted in deleted]),
    }
    types = [(name, len(list(run))) for name, run in groupby(row.type for row in rows)]
    first_row = 0
    for resource_type, count in types:
        type_rows = rows[first_row : first_row + count]
        first_row += count
        for parameter in sorted(set[str]().union(*(row.search for row in type_rows))):
            sections[f"search/{resource_type}/{parameter}"] = _encode_column(
                [row.search.get(parameter, ()) for row in type_rows]
            )
    positions: dict[str, list[int]] = {}
    lines: list[bytes] = []
    offset = 0
    for name, section in sections.items():
        label = dumps(name) + b":"
        positions[name] = [offset + len(label), len(section), zlib.crc32(section)]
        lines.append(label + section)
        offset += len(label) + len(section) + 2  # the comma and the line break
    full_head = {**head, "format": object_keys.FORMAT, "sections": positions, "types": types}
    head_line = dumps({**full_head, _CHECKSUM_KEY: zlib.crc32(dumps(full_head))})
    if len(head_line) > HEAD - 32:
        raise ValueError("too many search parameters: the head of an index would not fit")
    return b'{"head":' + head_line + b",\n" + b",\n".join(lines) + b"}\n"


class Index:
    """A search index, read column by column.

    Args:
        object_name: its name in messages.
        head: the first bytes of the object, at least up to the first line break.
        fetch: returns bytes of the object by start and length; not called for what is in `head`.

    Raises:
        DamagedObject: (from every method) the object is damaged.
    """

    def __init__(self, object_name: str, head: bytes, fetch: Callable[[int, int], bytes]) -> None:
        self._object_name = object_name
        self._head_bytes = head
        self._fetch = fetch
        end = head.find(b",\n")
        if end < 0 or not head.startswith(b'{"head":'):
            raise DamagedObject(f"{object_name} is not an index: the object is damaged; run verify")
        self._base = end + 2
        self.head: JSON = loads(head[8:end], object_name)
        checksum = self.head.pop(_CHECKSUM_KEY, None)
        if checksum is not None and checksum != zlib.crc32(dumps(self.head)):
            raise DamagedObject(f"{object_name}: its head is damaged; run verify")
        self._loaded: dict[str, JSON] = {}

    @classmethod
    def from_bytes(cls, data: bytes, object_name: str) -> Index:
        """Return the index of an object that was read completely."""
        return cls(object_name, data, lambda start, length: data[start : start + length])

    def span(self, names: Iterable[str]) -> tuple[int, int]:
        """Return start and length of the byte range that contains some sections."""
        positions = [self._locate(name) for name in names]
        start = min(position[0] for position in positions)
        return self._base + start, max(position[0] + position[1] for position in positions) - start

    def load(self, *names: str) -> None:
        """Read several sections with one fetch."""
        missing = self.missing(*names)
        if missing:
            start, length = self.span(missing)
            self.load_sections(missing, start, self._read(start, length))

    def missing(self, *names: str) -> list[str]:
        """Return the existing sections among these that are not loaded yet."""
        return [name for name in names if name not in self._loaded and self.has(name)]

    def load_sections(self, names: Iterable[str], start: int, data: bytes) -> None:
        """Load sections from bytes that the caller has already fetched.

        Args:
            names: the sections.
            start: where in the object `data` starts: what `span` says of these names.
            data: bytes of the object that contain all these sections.
        """
        for name in names:
            offset, size, check = self._locate(name)
            offset += self._base - start
            self._loaded[name] = self._parse(name, data[offset : offset + size], check)

    def holds(self, start: int, length: int) -> bool:
        """Return whether a byte range of the object is already in memory."""
        return start + length <= len(self._head_bytes)

    def size(self, name: str) -> int:
        """Return how many bytes of the object a section takes."""
        return self._locate(name)[1]

    @property
    def object_size(self) -> int:
        """Size of the whole object, as its head states it."""
        end: int = max(start + length for start, length, _ in self.head["sections"].values())
        return self._base + end + 2  # the brace and the line break

    def has(self, name: str) -> bool:
        """Return whether the index has a section."""
        return name in self.head["sections"]

    @cached_property
    def types(self) -> dict[str, range]:
        """Row numbers of each type."""
        types: dict[str, range] = {}
        first = 0
        for name, count in self.head["types"]:
            types[name] = range(first, first + count)
            first += count
        return types

    @property
    def count(self) -> int:
        """Number of resources in the block."""
        return sum(len(rows) for rows in self.types.values())

    @property
    def block(self) -> str | None:
        """Key of the block; None if everything was retracted."""
        key: str | None = self.head["block"]
        return key

    @cached_property
    def parts(self) -> list[BlockPart]:
        """The block's parts in order."""
        triples = self._section("parts")
        firsts = accumulate((rows for rows, _, _ in triples), initial=0)
        offsets = accumulate((length for _, length, _ in triples), initial=0)
        return [
            BlockPart(first, rows, offset, length, size)
            for first, offset, (rows, length, size) in zip(firsts, offsets, triples, strict=False)
        ]

    @property
    def ids(self) -> list[str]:
        """Logical id of each row."""
        ids: list[str] = self._section("ids")
        return ids

    @property
    def versions(self) -> list[str]:
        """`meta.versionId` of each row."""
        versions: list[str] = self._section("versions")
        return versions

    @cached_property
    def last_updated(self) -> IndexColumn:
        """`meta.lastUpdated` of each row."""
        return _decode_column(self._section("lastUpdated"))

    @cached_property
    def stated(self) -> list[bool]:
        """Whether the source states the `lastUpdated` of each row."""
        flags = self._section("stated")
        return [flags] * self.count if isinstance(flags, bool) else [bool(flag) for flag in flags]

    @cached_property
    def deleted(self) -> list[DeletedResource]:
        """Retracted resources, and the time of their retraction."""
        return [DeletedResource(*entry) for entry in self._section("gone")]

    def parameters(self, resource_type: str) -> list[str]:
        """Return the search parameters that rows of this type have values for."""
        start = f"search/{resource_type}/"
        return [name[len(start) :] for name in self.head["sections"] if name.startswith(start)]

    def search(self, resource_type: str, parameter: str) -> IndexColumn:
        """Return the values of one parameter for the rows of one type, the first row being 0."""
        name = f"search/{resource_type}/{parameter}"
        if not self.has(name):
            return IndexColumn((), [()] * len(self.types.get(resource_type, ())))
        return _decode_column(self._section(name))

    def row_of(self, resource_type: str, resource_id: str) -> int | None:
        """Return the row of a resource; None if the block lacks it."""
        rows = self.types.get(resource_type)
        if not rows or not self._first_rows:
            return None
        try:
            return self.ids.index(resource_id, rows.start, rows.stop)
        except ValueError:
            return None

    def parts_of(self, rows: range) -> list[BlockPart]:
        """Return the parts that contain consecutive rows; they are contiguous in the block."""
        if not rows or not self._first_rows:
            return []
        first = bisect_right(self._first_rows, rows.start) - 1
        return self.parts[first : bisect_left(self._first_rows, rows.stop, first)]

    @cached_property
    def _first_rows(self) -> list[int]:
        return [part.first for part in self.parts]

    def _locate(self, name: str) -> tuple[int, int, int]:
        try:
            start, length, checksum = self.head["sections"][name]
        except (KeyError, TypeError, ValueError):
            raise DamagedObject(f"{self._object_name} has no section {name}; run verify") from None
        return start, length, checksum

    def _section(self, name: str) -> JSON:
        if name not in self._loaded:
            start, length, checksum = self._locate(name)
            self._loaded[name] = self._parse(name, self._read(self._base + start, length), checksum)
        return self._loaded[name]

    def _read(self, start: int, length: int) -> bytes:
        if self.holds(start, length):
            return self._head_bytes[start : start + length]
        return self._fetch(start, length)

    def _parse(self, name: str, data: bytes, checksum: int) -> JSON:
        if zlib.crc32(data) != checksum:
            raise DamagedObject(f"{self._object_name}: section {name} is damaged; run verify")
        return loads(data, self._object_name)


def rows_of(index: Index) -> list[IndexRow]:
    """Return all rows of an index, as `render_index` received them."""
    columns = {
        (type_name, parameter): index.search(type_name, parameter)
        for type_name in index.types
        for parameter in index.parameters(type_name)
    }
    rows: list[IndexRow] = []
    for type_name, type_rows in index.types.items():
        for row in type_rows:
            search = {
                parameter: values
                for (of_type, parameter), column in columns.items()
                if of_type == type_name and (values := column.values_of(row - type_rows.start))
            }
            (last_updated,) = index.last_updated.values_of(row)
            rows.append(
                IndexRow(
                    type_name,
                    index.ids[row],
                    index.versions[row],
                    last_updated,
                    index.stated[row],
                    search,
                )
            )
    return rows


def _encode_column(rows: Sequence[Sequence[str]]) -> bytes:
    """Encode a column: its distinct values, and their numbers by row."""
    values = list(dict.fromkeys(chain.from_iterable(rows)))
    numbers = {value: number for number, value in enumerate(values)}
    encoded_rows = [
        numbers[texts[0]] if len(texts) == 1 else [numbers[text] for text in texts]
        for texts in rows
    ]
    return dumps({"rows": encoded_rows, "values": values})


def _decode_column(value: JSON) -> IndexColumn:
    rows = [(codes,) if isinstance(codes, int) else codes for codes in value["rows"]]
    return IndexColumn(value["values"], rows)
