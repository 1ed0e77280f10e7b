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
from etl.engine.must_support import ElementCounts, counts_of_patterns
from etl.engine.unmapped import Mention
from etl.errors import StoreError
from etl.quality.check import REJECTED_SCHEMA, Checked
from etl.quality.totals import by_member
from etl.rows import FINDINGS_SCHEMA, arrow_stream
from etl.sources.partition.partitions import Partitions

_WORD: Final = pa.dictionary(pa.int32(), pa.string())
_OWNER: Final = pa.field("owner", pa.uint64())
_PLACE: Final = (pa.field("source", _WORD), pa.field("at", pa.int32()))


def _schema(*fields: pa.Field | tuple[str, pa.DataType]) -> pa.Schema:
    return pa.schema([_OWNER, *fields])


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
* `elements`: how many resources have which must-support elements, as `must_support.fill_patterns`
  names such a set.
* `asked`: ids of others that rules looked up, and whether they were there.
* `names`: hashes of the ids and NPIs that were looked up in the directory.
"""

Ledger: TypeAlias = Mapping[str, pa.Table]

_FORMAT: Final = 5
"""Of the bytes of a ledger."""

_SHORTEST: Final = 512
"""Rows that pieces have at least, on average; a table of shorter ones is copied more quickly."""

RULES: Final = ""
"""Crosswalk of a finding that a rule made."""


def no_ledger() -> Ledger:
    """Return a ledger without members."""
    return {name: schema.empty_table() for name, schema in SCHEMAS.items()}


def only(ledger: Ledger, owners: Hashes) -> Ledger:
    """Return the entries of some members, given by ascending hashes."""
    return {name: _kept(table, owners) for name, table in ledger.items()}


def _kept(table: pa.Table, owners: Hashes) -> pa.Table:
    here = among(table.column("owner").to_numpy(), owners)
    edges = np.flatnonzero(np.diff(here, prepend=False, append=False)).tolist()
    if len(edges) // 2 * _SHORTEST > len(here):
        return table.filter(pa.array(here))
    return _pieced(table, zip(edges[::2], edges[1::2], strict=True))


def joined(ledgers: Iterable[Ledger]) -> Ledger:
    """Return the entries of several ledgers, ordered by member."""
    parts = [no_ledger(), *ledgers]
    # Each by itself first: then only what is new is sorted, and put between what stays.
    return {
        name: _ordered(pa.concat_tables(_ordered(part[name]) for part in parts)) for name in SCHEMAS
    }


def _ordered(table: pa.Table) -> pa.Table:
    owner = table.column("owner").to_numpy()
    falls = np.flatnonzero(owner[1:] < owner[:-1])
    if not len(falls):  # of partitions one after the other
        return table
    if len(falls) == 1:  # members that are kept, and members that were processed
        pieces = _merging(owner, int(falls[0]) + 1)
        if len(pieces) * _SHORTEST <= len(owner):
            return _pieced(table, pieces)
    # To take rows out of many pieces costs several times what it does out of one.
    return table.combine_chunks().take(pa.array(np.argsort(owner, kind="stable")))


def _merging(owner: Hashes, second: int) -> list[tuple[int, int]]:
    """Return the pieces that two ascending runs of owners are one of: where each begins and ends.

    Args:
        owner: both runs.
        second: where the second begins; of equal owners, those of the first come first.
    """
    position = np.searchsorted(owner[:second], owner[second:], side="right")
    begins = np.flatnonzero(np.diff(position, prepend=-1))
    first = list(pairwise([0, *position[begins].tolist(), second]))
    other = pairwise([*(begins + second).tolist(), len(owner)])
    return [*chain.from_iterable(zip(first[:-1], other, strict=True)), first[-1]]


def _pieced(table: pa.Table, pieces: Iterable[tuple[int, int]]) -> pa.Table:
    """Return some pieces of a table one after the other, without copying them.

    Nearly all members are kept from one night to the next, so that there are long pieces and few.
    """
    parts = [table.slice(start, end - start) for start, end in pieces]
    return pa.concat_tables([table.slice(0, 0), *parts])


def to_bytes(ledger: Ledger) -> bytes:
    """Return a ledger as bytes: the same for the same entries, however they came about."""
    pieces, sizes = [], {}
    for name, schema in SCHEMAS.items():
        table = _plain(ledger[name], schema)
        pieces.append(arrow_stream(table, compressed=True).to_pybytes())
        sizes[name] = len(pieces[-1])
    head = json.dumps({"format": _FORMAT, "sizes": sizes}, separators=(",", ":")).encode() + b"\n"
    return head + b"".join(pieces)


def _plain(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return a table in one piece, words numbered in the order in which they come."""
    columns = []
    for field in schema:
        column = table.column(field.name)
        if isinstance(column, pa.ChunkedArray):
            column = column.unify_dictionaries().combine_chunks()
        columns.append(_in_order(column) if pa.types.is_dictionary(field.type) else column)
    return pa.Table.from_arrays(columns, schema=schema)


def _in_order(words: pa.DictionaryArray) -> pa.DictionaryArray:
    """Return words numbered in the order in which they come, without those that do not."""
    numbers = words.indices.dictionary_encode()
    return pa.DictionaryArray.from_arrays(
        numbers.indices, words.dictionary.take(numbers.dictionary)
    )


def from_bytes(data: bytes, what: str) -> Ledger:
    """Return the ledger of some bytes.

    Raises:
        StoreError: they are no ledger.
    """
    try:
        end = data.index(b"\n") + 1
        head = json.loads(data[:end])
        if head["format"] != _FORMAT:
            raise StoreError(f"{what} is of another format than {_FORMAT}: run again")
        columns, view = {}, pa.py_buffer(data)
        for name, size in head["sizes"].items():
            with pa.ipc.open_stream(view.slice(end, size)) as reader:
                columns[name] = reader.read_all()
            end += size
        return {name: columns[name].cast(schema) for name, schema in SCHEMAS.items()}
    except (ValueError, KeyError, TypeError, pa.ArrowException):
        raise StoreError(f"{what} is not a ledger: the object is damaged; run verify") from None


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
    def of(cls, partitions: Partitions, indexes: Sequence[int]) -> Places:
        """Return the places of some partitions."""
        tables = partitions.marks(indexes)
        keys, sources, owners, ats, marks = [], [], [], [], []
        owned = {}
        for number, (name, table) in enumerate(tables.items()):
            file, row, owner, low, high = (column.to_numpy() for column in table.columns)
            places = place_keys(file, row)
            order = _by_owner(owner, places)
            own = owner[order]
            starts = _starts(own)
            sizes = np.diff(np.append(starts, len(own)))
            among = (np.arange(len(own)) - np.repeat(starts, sizes)).astype(np.int32)
            owned[name] = (own, places[order])
            marks.append(_marks(own, starts, number, among, low[order], high[order]))
            numbers = np.empty_like(among)
            numbers[order] = among
            keys.append(places)
            owners.append(owner)
            sources.append(np.full(len(owner), number, dtype=np.int32))
            ats.append(numbers)
        if not keys:
            empty = np.empty(0, dtype=np.int64)
            return cls((), empty, empty, empty, empty, {}, _no_marks())
        joined_keys = np.concatenate(keys)
        order = np.argsort(joined_keys, kind="stable")  # nearly in order already
        return cls(
            tuple(tables),
            joined_keys[order],
            np.concatenate(sources)[order],
            np.concatenate(owners)[order],
            np.concatenate(ats)[order],
            owned,
            _all_marks(marks),
        )

    def own(self, files: Any, rows: Any) -> tuple[Any, Any, Any]:
        """Return owner, number of the raw table and number of the row for each place."""
        wanted = place_keys(files, rows)
        position = np.searchsorted(self.keys, wanted)
        return self.owner[position], self.source[position], self.at[position]

    def back(self, table: pa.Table) -> tuple[Any, Any]:
        """Return file and row for entries with `owner`, `source`, `at`."""
        places = np.zeros(table.num_rows, dtype=np.int64)
        names = table.column("source").cast(pa.string())
        owner, position = table.column("owner").to_numpy(), table.column("at").to_numpy()
        for name in pc.unique(names).to_pylist():
            here = np.asarray(pc.equal(names, name))
            owners, own = self.owned[name]
            places[here] = own[np.searchsorted(owners, owner[here]) + position[here]]
        return (places >> 40).astype(np.int32), places & ((1 << 40) - 1)


def _no_marks() -> pa.Table:
    return SCHEMAS["owners"].empty_table().drop_columns(["latest"])


def _by_owner(owner: Any, places: Any) -> Any:
    """Return the order of rows by owner, and within one by place.

    Rows of a member mostly stand together, and in order: there is less to sort than there are rows.
    """
    starts = _starts(owner)
    sizes = np.diff(np.append(starts, len(owner)))
    runs = np.argsort(owner[starts], kind="stable")
    before = np.cumsum(sizes[runs]) - sizes[runs]
    order = np.repeat(starts[runs] - before, sizes[runs]) + np.arange(len(owner))
    own, ordered = owner[order], places[order]
    if np.any((own[1:] == own[:-1]) & (ordered[1:] < ordered[:-1])):
        return np.lexsort((places, owner))
    return order


def _starts(owner: Any) -> Any:
    """Return where another owner's rows begin."""
    return np.flatnonzero(np.diff(owner, prepend=owner[:1] + np.uint64(1)) != 0)


_Sums: TypeAlias = tuple[Any, Any, Any, Any]
"""Owners, and the sums of `low`, `high` and `order` of each."""


def _marks(owner: Any, starts: Any, source: int, positions: Any, low: Any, high: Any) -> _Sums:
    """Return digests of each member's rows of one raw table, which are ordered by member.

    They are sums, so that the order of rows shows in `order` alone.
    """
    if not len(owner):
        return owner, low, high, low
    number = (np.uint64(source) << np.uint64(32)) | positions.astype(np.uint64)
    placed = _mixed(low ^ _mixed(number + np.uint64(1)))
    sums = (np.add.reduceat(part, starts) for part in (_mixed(low), _mixed(high), placed))
    return owner[starts], *sums


def _all_marks(marks: Sequence[_Sums]) -> pa.Table:
    """Return the digests of each member's rows of all raw tables."""
    owner, *parts = (np.concatenate(part) for part in zip(*marks, strict=True))
    ids, code = np.unique(owner, return_inverse=True)
    sums = [np.zeros(len(ids), dtype=np.uint64) for _ in parts]
    for total, part in zip(sums, parts, strict=True):
        np.add.at(total, code, part)
    return pa.table(
        {"owner": ids, "low": sums[0], "high": sums[1], "order": sums[2]},
        schema=_no_marks().schema,
    )


def _mixed(value: Any) -> Any:
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


def checked_of(ledger: Ledger, places: Places) -> Checked:
    """Return the result of the rules for the members of a ledger, without tables and samples."""
    findings = ledger["findings"]
    mine = findings.filter(pc.equal(findings.column("crosswalk").cast(pa.string()), RULES))
    return Checked(
        tables={},
        findings=_findings(mine, places),
        rejected=_rejected(ledger["rejected"], places),
        counts=by_member.summed_counts(ledger["counts"]),
        money=by_member.summed_money(ledger["money"]),
        filled=by_member.summed_filled(ledger["filled"]),
    )


def unmapped_of(ledger: Ledger, places: Places) -> dict[str, pa.Table]:
    """Return the cells without a code, by crosswalk."""
    findings = ledger["findings"]
    names = findings.column("crosswalk").cast(pa.string())
    return {
        name: _findings(findings.filter(pc.equal(names, name)), places)
        for name in sorted(pc.unique(names).to_pylist())
        if name != RULES
    }


def resources_of(ledger: Ledger) -> Counter[str]:
    """Return how many resources there are of each type."""
    counts: Counter[str] = Counter()
    table = ledger["resources"].unify_dictionaries()
    for row in table.group_by("type").aggregate([("count", "sum")]).to_pylist():
        counts[row["type"]] = row["count_sum"]
    return counts


def elements_of(ledger: Ledger) -> ElementCounts:
    """Return how many resources have each must-support element."""
    table = ledger["elements"].unify_dictionaries()
    sums = table.group_by("pattern").aggregate([("count", "sum")])
    return counts_of_patterns((row["pattern"], row["count_sum"]) for row in sums.to_pylist())


def missing_of(missing: pa.Table) -> frozenset[Mention]:
    """Return the directory resources that are referred to and have no row."""
    table = missing.select(["resource", "key", "payer"])
    return frozenset(Mention(**row) for row in table.to_pylist())


def _findings(table: pa.Table, places: Places) -> pa.Table:
    file, row = places.back(table)
    words = {name: _text(table, name) for name in ("rule", "table", "column")}
    return pa.table({**words, "file": file, "row": row}, schema=FINDINGS_SCHEMA)


def _rejected(table: pa.Table, places: Places) -> pa.Table:
    file, row = places.back(table)
    words = {name: _text(table, name) for name in ("table", "rule", "cause", "rules")}
    return pa.table({**words, "file": file, "row": row}, schema=REJECTED_SCHEMA)


def _text(table: pa.Table, name: str) -> pa.ChunkedArray:
    return table.column(name).cast(pa.string())
