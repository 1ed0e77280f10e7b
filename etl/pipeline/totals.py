"""The outcome of each unit, its form as bytes, and the totals of a run.

The bytes cannot carry executable code: a line of JSON with every value, then the tables one after
the other as Arrow IPC streams. The line is padded with spaces, so that the streams are aligned as
Arrow requires and are read in place. Only values of the listed classes are made of it; whether the
bytes are those that were written is checked where they are kept (`partition.finished_steps`).
"""

from __future__ import annotations

import heapq
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.places import NO_SOURCES, RowSources
from etl.engine.element_counts import ElementCounts, add_element_counts
from etl.engine.unmapped import OMITTED, WITHOUT_CODE, Mention
from etl.model.canonical_tables import HEADERS, KEYS, LINES, OWNER_COLUMNS, TABLES
from etl.pipeline.sidecar.pieces import SidecarPiece
from etl.publish.kept_objects import ObjectRef
from etl.quality.check import Checked
from etl.quality.rules.book import RuleBook
from etl.quality.totals.counts import FilledKey, RowCounts, add_counts, add_filled
from etl.quality.totals.money import MoneyKey, MoneyTotals, add_money
from etl.reports.finding_places import FindingPlaces
from etl.reports.report_values import Example, RuleTotals, Unmapped
from etl.rows import arrow_stream, no_findings, once_each


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one partition, beside the resources themselves.

    Attributes:
        checked: the result of the rules; its tables are left out.
        unmapped: crosswalk -> cells for which it has no code; `etl.rows.FINDINGS_SCHEMA`.
        resources: FHIR type -> how many.
        elements: how many of them have each must-support element.
        missing: directory resources that resources refer to and the directory does not hold.
        reused: members whose results are those of the previous release.
        ledger: the object in the target that keeps it by member; None if nothing is kept.
        rows: raw table -> how many of the extract's rows it is of.
        sidecar: the pieces in the target that name its rows; none if none are kept.
        sources: the payer's rows behind those with findings, where queries computed them.
        members: hashes of members' cells (`quality.checks.members`); none for the directory.
    """

    checked: Checked
    unmapped: Mapping[str, pa.Table]
    resources: Mapping[str, int]
    elements: ElementCounts = field(default_factory=dict)
    missing: frozenset[Mention] = field(default=frozenset())
    reused: int = 0
    ledger: ObjectRef | None = None
    rows: Mapping[str, int] = field(default_factory=dict)
    sidecar: tuple[SidecarPiece, ...] = ()
    sources: RowSources = NO_SOURCES
    members: pa.Table = field(default_factory=no_findings)

    @property
    def row_count(self) -> int:
        """How many of the extract's rows it is of."""
        return sum(self.rows.values())

    def with_sources(self, sources: RowSources) -> Outcome:
        """Return a copy with the payer's rows behind its findings."""
        finding_sources = sources.only(self.checked.findings, *self.unmapped.values())
        return replace(self, sources=finding_sources)

    def __add__(self, other: Outcome) -> Outcome:
        """Add the outcome of another part of the partition."""
        own_checked, other_checked = self.checked, other.checked
        return Outcome(
            checked=Checked(
                tables={},
                findings=pa.concat_tables([own_checked.findings, other_checked.findings]),
                rejected=pa.concat_tables([own_checked.rejected, other_checked.rejected]),
                counts=add_counts([own_checked.counts, other_checked.counts]),
                money=add_money([own_checked.money, other_checked.money]),
                filled=add_filled([own_checked.filled, other_checked.filled]),
            ),
            unmapped={
                name: once_each(
                    outcome.unmapped[name] for outcome in (self, other) if name in outcome.unmapped
                )
                for name in sorted(self.unmapped.keys() | other.unmapped.keys())
            },
            resources=Counter(self.resources) + Counter(other.resources),
            elements=add_element_counts([self.elements, other.elements]),
            missing=self.missing | other.missing,
            reused=self.reused + other.reused,
            rows=Counter(self.rows) + Counter(other.rows),
        )


_CLASSES: Final[Mapping[str, Callable[..., Any]]] = {
    kind.__name__: kind
    for kind in (
        Outcome,
        Checked,
        RowCounts,
        MoneyKey,
        MoneyTotals,
        FilledKey,
        Mention,
        ObjectRef,
        SidecarPiece,
        RowSources,
    )
}
_ALIGNMENT: Final = 64
"""Bytes of which the length of the line is a multiple; those of a stream are one of eight."""
_ARRAY_COLUMN: Final = "_"
"""Column of a table that holds an array alone."""


def outcome_to(outcome: Outcome) -> bytes:
    """Serialize an outcome to bytes.

    Raises:
        TypeError: a value in it is of a class that is not supported here (a bug).
    """
    streams: list[bytes] = []
    body = _encode(outcome, streams)
    head = {"sizes": [len(stream) for stream in streams], "body": body}
    line = json.dumps(head, separators=(",", ":")).encode()
    return line + b" " * (-(len(line) + 1) % _ALIGNMENT) + b"\n" + b"".join(streams)


def outcome_from(data: bytes) -> Outcome:
    """Restore an outcome from the bytes of `outcome_to`."""
    end = data.index(b"\n") + 1
    head = json.loads(data[:end])
    view, tables = pa.py_buffer(data), []
    for size in head["sizes"]:
        with pa.ipc.open_stream(view.slice(end, size)) as reader:
            tables.append(reader.read_all())
        end += size
    outcome: Outcome = _decode(head["body"], tables)
    return outcome


def _encode(value: Any, streams: list[bytes]) -> Any:
    """Encode a value as JSON: plain as it is, others as `[kind, content]`."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, Mapping):
        pairs = [[_encode(key, streams), _encode(item, streams)] for key, item in value.items()]
        return ["mapping", pairs]
    if isinstance(value, tuple):
        return ["tuple", [_encode(entry, streams) for entry in value]]
    if isinstance(value, frozenset):
        return ["set", sorted((_encode(entry, streams) for entry in value), key=json.dumps)]
    if isinstance(value, pa.Table):
        return ["table", _append_stream(value, streams)]
    if isinstance(value, pa.Array | pa.ChunkedArray):
        return ["array", _append_stream(pa.table({_ARRAY_COLUMN: value}), streams)]
    if isinstance(value, np.ndarray):
        return ["numbers", _append_stream(pa.table({_ARRAY_COLUMN: pa.array(value)}), streams)]
    name = type(value).__name__
    if type(value) not in _CLASSES.values():
        raise TypeError(f"{name} has no place in an outcome that is kept")
    content = {field.name: _encode(getattr(value, field.name), streams) for field in fields(value)}
    return [name, content]


def _append_stream(table: pa.Table, streams: list[bytes]) -> int:
    """Append a table as an Arrow stream; return the stream's number."""
    streams.append(arrow_stream(table, compressed=True).to_pybytes())
    return len(streams) - 1


def _decode(encoded: Any, tables: list[pa.Table]) -> Any:
    """Restore a value from the JSON of `_encode`."""
    if not isinstance(encoded, list):
        return encoded
    kind, content = encoded
    match kind:
        case "mapping":
            return {_decode(key, tables): _decode(inner, tables) for key, inner in content}
        case "tuple":
            return tuple(_decode(entry, tables) for entry in content)
        case "set":
            return frozenset(_decode(entry, tables) for entry in content)
        case "table":
            return tables[content]
        case "array":
            return tables[content].column(_ARRAY_COLUMN).combine_chunks()
        case "numbers":
            return tables[content].column(_ARRAY_COLUMN).to_numpy()
        case _:
            return _CLASSES[kind](
                **{name: _decode(inner, tables) for name, inner in content.items()}
            )


NetSums: TypeAlias = Mapping[str, Mapping[str, str]]

NetClaims: TypeAlias = Mapping[str, Mapping[str, int]]
"""Claim type -> name -> how many claims have an amount in that sum."""

_ONE_CENT: Final = Decimal(1).scaleb(-2)


def published_money(money: Mapping[MoneyKey, MoneyTotals]) -> tuple[NetSums, NetClaims]:
    """Return net sums and their claim counts; each adjustment chain counts at most once.

    Names are `level.category`, such as `claim_line.benefit`.
    """
    sums: dict[str, dict[str, str]] = {}
    claims: dict[str, dict[str, int]] = {}
    for key, totals in money.items():
        sum_name = f"{key.level}.{key.category}"
        sums.setdefault(key.claim_type, {})[sum_name] = str(Decimal(totals.net) * _ONE_CENT)
        claims.setdefault(key.claim_type, {})[sum_name] = totals.net_claims
    return sums, claims


EXAMPLES: Final = 10
"""Number of places kept of each rule."""
REQUIRED: Final = "required"
"""The rule about compulsory cells that are empty."""
OWN_COLUMNS: Final = MappingProxyType({name: KEYS[name] for name in (*HEADERS, "member")})
"""Table of owners -> the column of their own id."""
_ID_COLUMNS: Final = frozenset({*OWNER_COLUMNS.values(), *OWN_COLUMNS.values()})
_ID_NAMES: Final = pa.array(sorted(_ID_COLUMNS))
_NO_FILE: Final = -1
"""File of a finding about the extract as a whole."""


class Tally:
    """Totals of the partitions seen so far, whatever their order.

    Attributes:
        counts: table -> counts of its rows, by fate.
        money: sums by level, claim type and category.
        filled: filled cells of accepted rows.
        cells: (rule id, table, column) -> how many findings; column is empty for whole rows.
        causes: (rule id, table) -> rows in quarantine for which the rule began the chain.
        unowned: number of a file -> its rows that name no claim or member that they are part of.
    """

    def __init__(self, example_count: int = EXAMPLES) -> None:
        self.counts: dict[str, RowCounts] = {}
        self.money: dict[MoneyKey, MoneyTotals] = {}
        self.filled: dict[FilledKey, int] = {}
        self.cells: Counter[tuple[str, str, str]] = Counter()
        self.causes: Counter[tuple[str, str]] = Counter()
        self.unowned: Counter[int] = Counter()
        self._examples: dict[str, list[Example]] = {}
        self._example_count = example_count

    def add(self, checked: Checked, sources: RowSources = NO_SOURCES) -> None:
        """Add one partition (or the directory), given the payer's rows behind its findings."""
        self.counts = add_counts([self.counts, checked.counts])
        self.money = add_money([self.money, checked.money])
        self.filled = add_filled([self.filled, checked.filled])
        causes = checked.rejected.group_by(["cause", "table"]).aggregate([([], "count_all")])
        for cause in causes.to_pylist():
            self.causes[cause["cause"], cause["table"]] += cause["count_all"]
        self.add_findings(sources.of_findings(checked.findings))

    def add_findings(self, findings: pa.Table) -> None:
        """Add findings alone: those about whole files belong to no partition.

        Args:
            findings: `etl.rows.FINDINGS_SCHEMA`, at the payer's rows.
        """
        grouped = findings.group_by(["rule", "table", "column"]).aggregate([([], "count_all")])
        for group in grouped.to_pylist():
            self.cells[group["rule"], group["table"], group["column"] or ""] += group["count_all"]
        self._add_unowned(findings)
        for rule in pc.unique(findings.column("rule")).to_pylist():
            matches = findings.filter(pc.equal(findings.column("rule"), rule))
            # A row without its ID lacks what the ID would look up: show the ID first.
            is_no_id = pc.invert(pc.is_in(matches["column"], value_set=_ID_NAMES))
            sort_columns = {"file": matches["file"], "row": matches["row"], "other": is_no_id}
            sort_columns["column"] = matches["column"]
            sorted_indices = pc.sort_indices(
                pa.table(sort_columns), [(name, "ascending") for name in sort_columns]
            )
            first_findings = matches.take(sorted_indices[: self._example_count])
            examples = [_build_example(group) for group in first_findings.to_pylist()]
            all_examples = {*self._examples.get(rule, []), *examples}
            self._examples[rule] = heapq.nsmallest(
                self._example_count, all_examples, key=_example_order
            )

    def _add_unowned(self, findings: pa.Table) -> None:
        """Count the rows of each file without an owner, each once.

        A claim's or member's own row without its ID covers the rows derived from it: none of them
        is published. But in layouts that assemble claims from their lines, a row that makes a claim
        *and* a line of it is a line of another claim.
        """
        is_id_column = pc.is_in(findings["column"], value_set=_ID_NAMES)
        missing_ids = findings.filter(pc.and_(pc.equal(findings["rule"], REQUIRED), is_id_column))
        owner_rows: set[tuple[int, int]] = set()
        child_rows: set[tuple[int, int]] = set()
        line_rows: set[tuple[int, int]] = set()
        for row in missing_ids.to_pylist():
            position = (row["file"], row["row"])
            if OWN_COLUMNS.get(row["table"]) == row["column"]:
                owner_rows.add(position)
            elif OWNER_COLUMNS.get(row["table"]) == row["column"]:
                (line_rows if row["table"] in LINES.values() else child_rows).add(position)
        self.unowned.update(file for file, _ in line_rows | (child_rows - owner_rows))

    @property
    def findings(self) -> Mapping[tuple[str, str], int]:
        """(rule id, table) -> how many findings."""
        totals: Counter[tuple[str, str]] = Counter()
        for (rule, table, _), count in self.cells.items():
            totals[rule, table] += count
        return totals

    @property
    def findings_of(self) -> Mapping[str, int]:
        """Rule id -> how many findings, over all tables."""
        totals: Counter[str] = Counter()
        for (rule, _, _), count in self.cells.items():
            totals[rule] += count
        return totals

    def rules(self, book: RuleBook) -> tuple[RuleTotals, ...]:
        """Return what each rule found: rejecting rules first, by the rows that they cost."""
        totals, by_table = self.findings_of, self.findings
        rejected_rows: Counter[str] = Counter()
        for (rule_id, _), count in self.causes.items():
            rejected_rows[rule_id] += count
        limited_rules = set(book.limits.findings)
        rule_totals = [
            RuleTotals(
                rule=rule.id,
                severity=rule.severity,
                default=rule.default,
                says=rule.says,
                spoils=rule.spoils,
                findings=totals.get(rule.id, 0),
                tables={
                    table: by_table[rule.id, table]
                    for table in TABLES
                    if by_table.get((rule.id, table))
                },
                rejected_rows=rejected_rows[rule.id],
                rejected_claims=self.causes.get((rule.id, "claim"), 0),
                examples=tuple(self._examples.get(rule.id, ())),
            )
            for rule in book.rules
            if totals.get(rule.id) or rejected_rows[rule.id] or rule.id in limited_rules
        ]
        rule_totals.sort(key=_rule_order)
        return tuple(rule_totals)


def _build_example(finding: Mapping[str, Any]) -> Example:
    file = finding["file"]
    return Example(_NO_FILE if file is None else file, finding["row"], finding["column"] or "")


def _example_order(example: Example) -> tuple[int, int, bool, str]:
    row = -1 if example.row is None else example.row
    return example.file, row, example.column not in _ID_COLUMNS, example.column


def _rule_order(totals: RuleTotals) -> tuple[bool, int, int, str]:
    is_rejecting = totals.severity.rejects
    return not is_rejecting, -totals.rejected_rows, -totals.findings, totals.rule


_EXAMPLES: Final = 10


@dataclass
class Totals:
    """Totals after some partitions.

    Attributes:
        finding_places: takes places of findings; None if no report is written.
        tally: counts, money and findings.
        resources: FHIR type -> how many were made.
        elements: how many of them have each must-support element.
        missing: directory resources that are referred to and have no row.
        rejected: tables of `REJECTED_SCHEMA`, of units that have any.
        owned: `place_keys` of rows that could not be read and that some rejected claim lacks.
    """

    finding_places: FindingPlaces | None = None
    tally: Tally = field(default_factory=Tally)
    resources: Counter[str] = field(default_factory=Counter)
    elements: ElementCounts = field(default_factory=dict)
    missing: set[Mention] = field(default_factory=set)
    rejected: list[pa.Table] = field(default_factory=list)
    _unmapped: Counter[str] = field(default_factory=Counter)
    _where: dict[str, pa.Table] = field(default_factory=dict)

    def add(self, outcome: Outcome) -> None:
        """Count the outcome of one more unit, or of the directory."""
        sources = outcome.sources
        self.tally.add(outcome.checked, sources)
        if self.finding_places is not None:
            self.finding_places.add(sources.of_findings(outcome.checked.findings))
        # A cell that two crosswalks look up counts once.
        self.add_findings(sources.of_findings(once_each(outcome.unmapped.values())))
        self.resources.update(outcome.resources)
        self.elements = add_element_counts([self.elements, outcome.elements])
        self.missing |= outcome.missing
        if outcome.checked.rejected.num_rows:
            self.rejected.append(outcome.checked.rejected)
        for crosswalk, words in outcome.unmapped.items():
            if crosswalk in (OMITTED, WITHOUT_CODE):
                continue  # these name rows, or words that crosswalks do contain
            self._unmapped[crosswalk] += words.num_rows
            earlier = self._where.get(crosswalk, no_findings())
            joined = pa.concat_tables([earlier, sources.of_findings(words)])
            ordered = joined.sort_by([("file", "ascending"), ("row", "ascending")])
            self._where[crosswalk] = ordered.slice(0, _EXAMPLES)

    def add_findings(self, findings: pa.Table) -> None:
        """Count findings alone: those about whole files belong to no partition."""
        self.tally.add_findings(findings)
        if self.finding_places is not None:
            self.finding_places.add(findings)

    def unmapped(self) -> tuple[Unmapped, ...]:
        """Return words that crosswalks lack, the most frequent of each crosswalk first."""
        words = [
            Unmapped(crosswalk, count, tuple(_list_examples(self._where[name])), word)
            for name, count in self._unmapped.items()
            for crosswalk, _, word in [name.partition("#")]
            if count
        ]
        return tuple(sorted(words, key=lambda word: (word.crosswalk, -word.count, word.first)))


def _list_examples(findings: pa.Table) -> list[Example]:
    return [
        Example(finding["file"], finding["row"], finding["column"] or "")
        for finding in findings.to_pylist()
    ]
