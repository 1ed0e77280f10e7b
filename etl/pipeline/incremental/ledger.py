"""Results of a partition by member, in a form that outlives the run.

A *ledger* is a handful of Arrow tables that all begin with the column `owner`: the hash of the
member (`etl.sources.partition.partition_rows.OWNER_COLUMN`). Places are recorded as raw table and
number of the row among the member's own, so that they stay valid when rows of others come and go
above them. The sum of all members' entries is the outcome of the partition.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any, Final, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.digests import Hashes, among
from etl.columns.places import place_keys
from etl.engine.element_counts import ElementCounts, counts_of_element_sets
from etl.engine.unmapped import Mention
from etl.errors import StoreError
from etl.quality.check import REJECTED_SCHEMA, Checked
from etl.quality.totals import by_member
from etl.rows import FINDINGS_SCHEMA, arrow_stream
from etl.sources.partition.partitions import Partitions

_WORD: Final = pa.dictionary(pa.int32(), pa.string())
_OWNER_FIELD: Final = pa.field("owner", pa.uint64())
_PLACE: Final = (pa.field("source", _WORD), pa.field("at", pa.int32()))


def _schema(*fields: pa.Field | tuple[str, pa.DataType]) -> pa.Schema:
    return pa.schema([_OWNER_FIELD, *fields])


SCHEMAS: Final[Mapping[str, pa.Schema]] = {
    "owners": _schema(
        ("low", pa.uint64()), ("high", pa.uint64()), ("order", pa.uint64()), ("latest", pa.int32())
    ),
    "patients": _schema(("patient", pa.string()), ("own", pa.bool_())),
    "counts": by_member.COUNTS_SCHEMA,
    "money": by_member.MONEY_SCHEMA,
    "filled": by_member.FILLED_SCHEMA,
    "findings": _schema(
        ("crosswalk", _WORD), *_PLACE, ("rule", _WORD), ("table", _WORD), ("column", _WORD)
    ),
    "rejected": _schema(
        *_PLACE, ("table", _WORD), ("rule", _WORD), ("cause", _WORD), ("rules", _WORD)
    ),
    "resources": _schema(("type", _WORD), ("count", pa.int64())),
    "elements": _schema(("pattern", _WORD), ("count", pa.int64())),
    "missing": _schema(("resource", _WORD), ("key", pa.string()), ("payer", pa.bool_())),
    "asked": _schema(("kind", _WORD), ("id", pa.uint64()), ("there", pa.bool_())),
    "names": _schema(("name", pa.uint64())),
}
"""Table of a ledger -> its columns.

* `owners`: digest of the member's rows whatever their order, digest of their order, and the latest
  day in a column that rules compare with the day of the extract.
* `patients`: into whose blocks the member's resources went; `own` where the Patient is among them.
* `findings`: of rules where `crosswalk` is empty, else of cells that it has no code for.
* `elements`: how many resources have which must-support elements, as
  `etl.engine.element_counts.count_element_sets` names such a set.
* `asked`: ids of others that rules looked up, and whether they were there.
* `names`: hashes of the ids and NPIs that were looked up in the directory.
"""

Ledger: TypeAlias = Mapping[str, pa.Table]

_FORMAT: Final = 5
"""Of the bytes of a ledger."""

_MIN_SLICE_ROWS: Final = 512
"""Rows that pieces have at least, on average; a table of shorter ones is copied more quickly."""

RULES: Final = ""
"""Crosswalk of a finding that a rule made."""


def no_ledger() -> Ledger:
    """Return a ledger without members."""
    return {name: schema.empty_table() for name, schema in SCHEMAS.items()}


def select_owners(ledger: Ledger, owners: Hashes) -> Ledger:
    """Return the entries of some members, given by ascending hashes."""
    return {name: _filter_owners(table, owners) for name, table in ledger.items()}


def _filter_owners(table: pa.Table, owners: Hashes) -> pa.Table:
    """Select owners' rows: by slices if those are long, else by copying."""
    is_selected = among(table.column("owner").to_numpy(), owners)
    edges = np.flatnonzero(np.diff(is_selected, prepend=False, append=False)).tolist()
    if len(edges) // 2 * _MIN_SLICE_ROWS > len(is_selected):
        return table.filter(pa.array(is_selected))
    return _concat_slices(table, zip(edges[::2], edges[1::2], strict=True))


def merge_ledgers(ledgers: Iterable[Ledger]) -> Ledger:
    """Merge ledgers, ordered by member."""
    all_ledgers = [no_ledger(), *ledgers]
    # Sort each ledger first: then only new entries move in between reused ones.
    return {
        name: _sort_by_owner(
            pa.concat_tables(_sort_by_owner(ledger[name]) for ledger in all_ledgers)
        )
        for name in SCHEMAS
    }


def _sort_by_owner(table: pa.Table) -> pa.Table:
    owner = table.column("owner").to_numpy()
    descents = np.flatnonzero(owner[1:] < owner[:-1])
    if not len(descents):  # consecutive partitions
        return table
    if len(descents) == 1:  # reused members, then processed members
        ranges = _merge_ranges(owner, int(descents[0]) + 1)
        if len(ranges) * _MIN_SLICE_ROWS <= len(owner):
            return _concat_slices(table, ranges)
    # Combine first: taking rows from many chunks costs several times as much.
    return table.combine_chunks().take(pa.array(np.argsort(owner, kind="stable")))


def _merge_ranges(owner: Hashes, second_start: int) -> list[tuple[int, int]]:
    """Return the ranges that merge two ascending runs of owners.

    Args:
        owner: both runs.
        second_start: where the second run starts; of equal owners, the first run's come first.
    """
    insert_positions = np.searchsorted(owner[:second_start], owner[second_start:], side="right")
    range_starts = np.flatnonzero(np.diff(insert_positions, prepend=-1))
    first_ranges = list(pairwise([0, *insert_positions[range_starts].tolist(), second_start]))
    second_ranges = pairwise([*(range_starts + second_start).tolist(), len(owner)])
    return [
        *chain.from_iterable(zip(first_ranges[:-1], second_ranges, strict=True)),
        first_ranges[-1],
    ]


def _concat_slices(table: pa.Table, ranges: Iterable[tuple[int, int]]) -> pa.Table:
    """Concatenate slices of a table without copying them.

    Nearly all members are reused from one night to the next, so slices are few and long.
    """
    slices = [table.slice(start, end - start) for start, end in ranges]
    return pa.concat_tables([table.slice(0, 0), *slices])


def to_bytes(ledger: Ledger) -> bytes:
    """Serialize a ledger; equal entries give equal bytes."""
    streams, sizes = [], {}
    for name, schema in SCHEMAS.items():
        table = _normalize_table(ledger[name], schema)
        streams.append(arrow_stream(table, compressed=True).to_pybytes())
        sizes[name] = len(streams[-1])
    head = json.dumps({"format": _FORMAT, "sizes": sizes}, separators=(",", ":")).encode() + b"\n"
    return head + b"".join(streams)


def _normalize_table(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return a table in one chunk, with words numbered by first use."""
    columns = []
    for field in schema:
        column = table.column(field.name)
        if isinstance(column, pa.ChunkedArray):
            column = column.unify_dictionaries().combine_chunks()
        columns.append(_renumber_words(column) if pa.types.is_dictionary(field.type) else column)
    return pa.Table.from_arrays(columns, schema=schema)


def _renumber_words(words: pa.DictionaryArray) -> pa.DictionaryArray:
    """Renumber dictionary words by first use; drop unused ones."""
    numbers = words.indices.dictionary_encode()
    return pa.DictionaryArray.from_arrays(
        numbers.indices, words.dictionary.take(numbers.dictionary)
    )


def from_bytes(data: bytes, label: str) -> Ledger:
    """Parse a ledger.

    Raises:
        StoreError: the bytes are no ledger.
    """
    try:
        end = data.index(b"\n") + 1
        head = json.loads(data[:end])
        if head["format"] != _FORMAT:
            raise StoreError(f"{label} is of another format than {_FORMAT}: run again")
        columns, view = {}, pa.py_buffer(data)
        for name, size in head["sizes"].items():
            with pa.ipc.open_stream(view.slice(end, size)) as reader:
                columns[name] = reader.read_all()
            end += size
        return {name: columns[name].cast(schema) for name, schema in SCHEMAS.items()}
    except (ValueError, KeyError, TypeError, pa.ArrowException):
        raise StoreError(f"{label} is not a ledger: the object is damaged; run verify") from None


@dataclass(frozen=True, slots=True)
class Places:
    """Rows of a partition by member, and back.

    Attributes:
        sources: names of the raw tables.
        keys: `place_keys` of every row, ascending.
        source: place in `sources`, for each of `keys`.
        owner: the owner of each row.
        at: number of each row among its owner's in the raw table, from 0.
        owned: raw table -> owners of its rows, ascending, and the places, within one in order.
        marks: `owner`, `low`, `high`, `order`: the first four columns of `owners`.
    """

    sources: tuple[str, ...]
    keys: Any
    source: Any
    owner: Any
    at: Any
    owned: Mapping[str, tuple[Any, Any]]
    marks: pa.Table

    @classmethod
    def from_partitions(cls, partitions: Partitions, indexes: Sequence[int]) -> Places:
        """Return the row positions of some partitions."""
        tables = partitions.marks(indexes)
        keys, sources, owners, numbers_in_owner, digests = [], [], [], [], []
        owned = {}
        for number, (name, table) in enumerate(tables.items()):
            file, row, owner, low, high = (column.to_numpy() for column in table.columns)
            row_keys = place_keys(file, row)
            order = _order_by_owner(owner, row_keys)
            sorted_owners = owner[order]
            starts = _owner_starts(sorted_owners)
            sizes = np.diff(np.append(starts, len(sorted_owners)))
            numbers = (np.arange(len(sorted_owners)) - np.repeat(starts, sizes)).astype(np.int32)
            owned[name] = (sorted_owners, row_keys[order])
            digests.append(
                _digest_rows(sorted_owners, starts, number, numbers, low[order], high[order])
            )
            by_row = np.empty_like(numbers)
            by_row[order] = numbers
            keys.append(row_keys)
            owners.append(owner)
            sources.append(np.full(len(owner), number, dtype=np.int32))
            numbers_in_owner.append(by_row)
        if not keys:
            empty = np.empty(0, dtype=np.int64)
            return cls((), empty, empty, empty, empty, {}, _empty_digests())
        joined_keys = np.concatenate(keys)
        order = np.argsort(joined_keys, kind="stable")  # nearly in order already
        return cls(
            tuple(tables),
            joined_keys[order],
            np.concatenate(sources)[order],
            np.concatenate(owners)[order],
            np.concatenate(numbers_in_owner)[order],
            owned,
            _sum_digests(digests),
        )

    def find_owners(self, files: Any, rows: Any) -> tuple[Any, Any, Any]:
        """Return owner, raw table number, and row number of file rows."""
        keys = place_keys(files, rows)
        indices = np.searchsorted(self.keys, keys)
        return self.owner[indices], self.source[indices], self.at[indices]

    def find_positions(self, table: pa.Table) -> tuple[Any, Any]:
        """Return file and row of entries with `owner`, `source`, `at`."""
        row_keys = np.zeros(table.num_rows, dtype=np.int64)
        names = table.column("source").cast(pa.string())
        owner, row_numbers = table.column("owner").to_numpy(), table.column("at").to_numpy()
        for name in pc.unique(names).to_pylist():
            mask = np.asarray(pc.equal(names, name))
            owners, positions = self.owned[name]
            row_keys[mask] = positions[np.searchsorted(owners, owner[mask]) + row_numbers[mask]]
        return (row_keys >> 40).astype(np.int32), row_keys & ((1 << 40) - 1)


def _empty_digests() -> pa.Table:
    return SCHEMAS["owners"].empty_table().drop_columns(["latest"])


def _order_by_owner(owner: Any, row_keys: Any) -> Any:
    """Return the order of rows by owner, and within an owner by position.

    Rows of a member are mostly adjacent and in order, so sorting runs is cheaper than rows.
    """
    starts = _owner_starts(owner)
    sizes = np.diff(np.append(starts, len(owner)))
    run_order = np.argsort(owner[starts], kind="stable")
    run_offsets = np.cumsum(sizes[run_order]) - sizes[run_order]
    order = np.repeat(starts[run_order] - run_offsets, sizes[run_order]) + np.arange(len(owner))
    sorted_owners, sorted_keys = owner[order], row_keys[order]
    if np.any((sorted_owners[1:] == sorted_owners[:-1]) & (sorted_keys[1:] < sorted_keys[:-1])):
        return np.lexsort((row_keys, owner))
    return order


def _owner_starts(owner: Any) -> Any:
    """Return the indices where another owner's rows begin."""
    return np.flatnonzero(np.diff(owner, prepend=owner[:1] + np.uint64(1)) != 0)


_Sums: TypeAlias = tuple[Any, Any, Any, Any]
"""Owners, and the sums of `low`, `high` and `order` of each."""


def _digest_rows(
    owner: Any, starts: Any, source: int, positions: Any, low: Any, high: Any
) -> _Sums:
    """Return digests of each member's rows of one raw table, ordered by member.

    They are sums, so only `order` depends on the order of rows.
    """
    if not len(owner):
        return owner, low, high, low
    numbers = (np.uint64(source) << np.uint64(32)) | positions.astype(np.uint64)
    order_digests = _mix_bits(low ^ _mix_bits(numbers + np.uint64(1)))
    sums = (
        np.add.reduceat(digests, starts)
        for digests in (_mix_bits(low), _mix_bits(high), order_digests)
    )
    return owner[starts], *sums


def _sum_digests(marks: Sequence[_Sums]) -> pa.Table:
    """Add up the digests of each member's rows over all raw tables."""
    owner, *columns = (np.concatenate(column) for column in zip(*marks, strict=True))
    ids, codes_of = np.unique(owner, return_inverse=True)
    sums = [np.zeros(len(ids), dtype=np.uint64) for _ in columns]
    for sums_by_owner, column in zip(sums, columns, strict=True):
        np.add.at(sums_by_owner, codes_of, column)
    return pa.table(
        {"owner": ids, "low": sums[0], "high": sums[1], "order": sums[2]},
        schema=_empty_digests().schema,
    )


def _mix_bits(value: Any) -> Any:
    """Mix the bits of 64-bit numbers (the finalizer of SplitMix64)."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


def checked_of(ledger: Ledger, positions: Places) -> Checked:
    """Return the rules' results for a ledger's members, without tables or samples."""
    findings = ledger["findings"]
    rule_findings = findings.filter(pc.equal(findings.column("crosswalk").cast(pa.string()), RULES))
    return Checked(
        tables={},
        findings=_locate_findings(rule_findings, positions),
        rejected=_locate_rejected(ledger["rejected"], positions),
        counts=by_member.sum_counts(ledger["counts"]),
        money=by_member.sum_money(ledger["money"]),
        filled=by_member.sum_filled(ledger["filled"]),
    )


def unmapped_of(ledger: Ledger, positions: Places) -> dict[str, pa.Table]:
    """Return cells without a code, by crosswalk."""
    findings = ledger["findings"]
    names = findings.column("crosswalk").cast(pa.string())
    return {
        name: _locate_findings(findings.filter(pc.equal(names, name)), positions)
        for name in sorted(pc.unique(names).to_pylist())
        if name != RULES
    }


def resources_of(ledger: Ledger) -> Counter[str]:
    """Count resources by type."""
    counts: Counter[str] = Counter()
    table = ledger["resources"].unify_dictionaries()
    for row in table.group_by("type").aggregate([("count", "sum")]).to_pylist():
        counts[row["type"]] = row["count_sum"]
    return counts


def elements_of(ledger: Ledger) -> ElementCounts:
    """Count the resources that have each must-support element."""
    table = ledger["elements"].unify_dictionaries()
    sums = table.group_by("pattern").aggregate([("count", "sum")])
    return counts_of_element_sets((row["pattern"], row["count_sum"]) for row in sums.to_pylist())


def missing_of(missing: pa.Table) -> frozenset[Mention]:
    """Return the directory resources that are mentioned but have no row."""
    table = missing.select(["resource", "key", "payer"])
    return frozenset(Mention(**row) for row in table.to_pylist())


def _locate_findings(table: pa.Table, positions: Places) -> pa.Table:
    file, row = positions.find_positions(table)
    words = {name: _text_column(table, name) for name in ("rule", "table", "column")}
    return pa.table({**words, "file": file, "row": row}, schema=FINDINGS_SCHEMA)


def _locate_rejected(table: pa.Table, positions: Places) -> pa.Table:
    file, row = positions.find_positions(table)
    words = {name: _text_column(table, name) for name in ("table", "rule", "cause", "rules")}
    return pa.table({**words, "file": file, "row": row}, schema=REJECTED_SCHEMA)


def _text_column(table: pa.Table, name: str) -> pa.ChunkedArray:
    return table.column(name).cast(pa.string())
