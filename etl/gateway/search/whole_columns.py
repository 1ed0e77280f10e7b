"""Columns of a whole directory, as a search needs them: read once, kept while they are used."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import Final

from etl.errors import StoreError
from etl.gateway.release_reader import ReleaseTree
from etl.gateway.search.comparisons import Test, folded
from etl.publish.segments import KEYS, Segment, SegmentColumn

Masks = Sequence[bytes]
"""For each segment, a byte for each row of a type: 1 where it is meant, else 0."""

RowNumbers = Sequence["array[int]"]
"""For each segment, the rows of a type that are meant: what masks of few rows are kept as."""

_TEXT: Final = 120
"""Bytes in memory of a short text and its folded form."""

_FLIPPED: Final = bytes((1, 0)) + bytes(254)


@dataclass(slots=True)
class WholeColumn:
    """One column of one type in one segment.

    Attributes:
        column: as it was published.
    """

    column: SegmentColumn
    _folded: Sequence[str] = field(default=(), init=False)

    @property
    def is_reference(self) -> bool:
        """Whether its values are keys."""
        return isinstance(self.column.values, array)

    def codes_meeting(self, test: Test, *, is_folded: bool) -> list[int]:
        """Return the numbers of the texts that pass a test. The column has no references.

        Args:
            test: takes a text.
            is_folded: whether it takes texts without case and accents.
        """
        texts: Sequence[str] = self.column.values  # type: ignore[assignment]
        if is_folded:
            if not self._folded:
                self._folded = list(map(folded, texts))
            texts = self._folded
        return [code for code, text in enumerate(texts) if test(text)]

    @property
    def cost(self) -> int:
        """About how many bytes it takes."""
        each = 8 if self.is_reference else _TEXT
        return 8 * len(self.column.rows) + each * len(self.column.values)


NO_COLUMN: Final = WholeColumn(SegmentColumn((), array("I"), array("I")))
"""A column of a segment in which no row has a value."""


class DirectoryColumns:
    """The columns of one release that were asked for.

    Args:
        segments: those of the release that are not empty.
        held: for each of them its sections by name.
    """

    def __init__(
        self, segments: Sequence[Segment], held: Sequence[Mapping[str, array[int] | WholeColumn]]
    ) -> None:
        self._segments = segments
        self._held = held

    def all_rows(self, kind: str) -> Masks:
        """Return all rows of a type."""
        return [b"\1" * segment.count(kind) for segment in self._segments]

    def no_rows(self, kind: str) -> list[bytearray]:
        """Return none of the rows of a type, to add some."""
        return [bytearray(segment.count(kind)) for segment in self._segments]

    def masks_of(self, kind: str, rows: RowNumbers) -> Masks:
        """Return rows of a type as masks."""
        masks = self.no_rows(kind)
        for mask, of_segment in zip(masks, rows, strict=True):
            for row in of_segment:
                mask[row] = 1
        return [bytes(mask) for mask in masks]

    def column(self, kind: str, parameter: str) -> Iterator[WholeColumn]:
        """Yield a column, segment by segment."""
        name = f"{kind}/{parameter}"
        for held in self._held:
            column = held.get(name, NO_COLUMN)
            assert isinstance(column, WholeColumn)  # noqa: S101 - of a name that is no `_keys`
            yield column

    def keys(self, kind: str) -> Iterator[array[int]]:
        """Yield the keys of a type's rows, segment by segment."""
        for held in self._held:
            keys = held.get(f"{kind}/{KEYS}", _NO_KEYS)
            assert isinstance(keys, array)  # noqa: S101 - of such a name
            yield keys

    def keys_of(self, kind: str, masks: Masks) -> set[int]:
        """Return the keys of some rows."""
        found: set[int] = set()
        for keys, mask in zip(self.keys(kind), masks, strict=True):
            found.update(compress(keys, mask))
        return found

    def rows_of(self, kind: str, keys: set[int]) -> Masks:
        """Return the rows that have one of some keys."""
        return [bytes(map(keys.__contains__, of_segment)) for of_segment in self.keys(kind)]

    def place(self, kind: str, segment: int, row: int) -> tuple[int, int]:
        """Return the shard of a row of a segment, and its row of the type there."""
        return self._segments[segment].shard_of(kind, row)

    def page(self, kind: str, masks: Masks, start: int, stop: int) -> list[tuple[int, int]]:
        """Return shard, and row of the type there, of some of the rows that are meant, in order."""
        page: list[tuple[int, int]] = []
        before = 0
        for segment, mask in zip(self._segments, masks, strict=True):
            here = mask.count(1)
            if before + here > start:
                at = mask.find(1)
                while at >= 0 and before < stop:
                    if before >= start:
                        page.append(segment.shard_of(kind, at))
                    before += 1
                    at = mask.find(1, at + 1)
            else:
                before += here
            if before >= stop:
                break
        return page


_NO_KEYS: Final[array[int]] = array("Q")


def row_numbers(masks: Masks) -> RowNumbers:
    """Return the rows that are meant by masks."""
    return [array("I", compress(range(len(mask)), mask)) for mask in masks]


def flipped(mask: bytes) -> bytes:
    """Return the other rows."""
    return mask.translate(_FLIPPED)


def both(one: bytes, other: bytes) -> bytes:
    """Return the rows of both masks."""
    size = len(one)
    return (int.from_bytes(one) & int.from_bytes(other)).to_bytes(size)


def either(masks: Sequence[bytes]) -> bytes:
    """Return the rows of any of some masks."""
    if len(masks) == 1:
        return masks[0]
    rows = 0
    for mask in masks:
        rows |= int.from_bytes(mask)
    return rows.to_bytes(len(masks[0]))


async def columns_of(tree: ReleaseTree, wanted: Iterable[tuple[str, str]]) -> DirectoryColumns:
    """Return columns of a release.

    Args:
        tree: the release.
        wanted: type and parameter of each column; `_keys` for the keys of the type's rows.

    Raises:
        StoreError: storage failed, or what it holds is damaged, or the release has none.
    """
    columns = list(dict.fromkeys(wanted))
    entries = [entry for entry in tree.manifest.segments if entry is not None]
    if not entries and any(tree.manifest.directory):
        raise StoreError(f"release {tree.id} has no columns to search; publish it with a run")
    segments = await tree.in_turns(map(tree.segment, entries))

    async def section(number: int, kind: str, parameter: str) -> array[int] | WholeColumn:
        segment, name = segments[number], f"{kind}/{parameter}"

        def parsed(data: bytes) -> tuple[array[int] | WholeColumn, int]:
            if parameter == KEYS:
                return segment.keys(kind, data), len(data)
            column = WholeColumn(segment.column(name, data))
            return column, column.cost

        return await tree.section(entries[number], segment, name, parsed)

    held: list[dict[str, array[int] | WholeColumn]] = [{} for _ in segments]
    missing = []
    for number, entry in enumerate(entries):
        for kind, parameter in columns:
            name = f"{kind}/{parameter}"
            kept = tree.held_section(entry, name)
            if kept is not None:
                held[number][name] = kept
            elif segments[number].place(name) is not None:
                missing.append((number, kind, parameter))
    read = await tree.in_turns(section(*one) for one in missing)
    for (number, kind, parameter), found in zip(missing, read, strict=True):
        held[number][f"{kind}/{parameter}"] = found
    return DirectoryColumns(segments, held)
