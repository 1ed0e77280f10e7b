"""The outcome of partitions, and its form as bytes, which cannot carry executable code.

A line of JSON with every value in it, then the tables one after the other as Arrow IPC streams.
The line is padded with spaces, so that the streams are aligned as Arrow requires and are read in
place. Only values of the classes below are made of it. Whether the bytes are those that were
written is checked where they are kept (`etl.sources.finished_steps`).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final

import numpy as np
import pyarrow as pa

from etl.engine.must_support import ElementCounts, add_element_counts
from etl.engine.unmapped import Mention
from etl.pipeline.sidecar.pieces import SidecarPiece
from etl.publish.kept_objects import ObjectRef
from etl.quality import Checked, RowCounts, add_counts, add_money
from etl.quality.totals.filled import FilledKey, add_filled
from etl.quality.totals.money import MoneyKey, MoneyTotals
from etl.rows import arrow_stream, once_each


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
        ledger: the object in the target that keeps it by member; None where nothing is kept.
        rows: raw table -> how many of the extract's rows it is of.
        sidecar: the pieces in the target that name its rows; none where none are kept.
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

    def __add__(self, other: Outcome) -> Outcome:
        """Return the outcome of two parts of a partition."""
        mine, theirs = self.checked, other.checked
        return Outcome(
            checked=Checked(
                tables={},
                findings=pa.concat_tables([mine.findings, theirs.findings]),
                rejected=pa.concat_tables([mine.rejected, theirs.rejected]),
                counts=add_counts([mine.counts, theirs.counts]),
                money=add_money([mine.money, theirs.money]),
                filled=add_filled([mine.filled, theirs.filled]),
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
    )
}
_ALIGNMENT: Final = 64
"""Bytes of which the length of the line is a multiple; those of a stream are one of eight."""
_ONE: Final = "_"
"""Column of a table that holds an array alone."""


def outcome_to(outcome: Outcome) -> bytes:
    """Return an outcome as bytes.

    Raises:
        TypeError: a value in it is of a class that is not supported here (a bug).
    """
    streams: list[bytes] = []
    body = _plain(outcome, streams)
    head = {"sizes": [len(stream) for stream in streams], "body": body}
    line = json.dumps(head, separators=(",", ":")).encode()
    return line + b" " * (-(len(line) + 1) % _ALIGNMENT) + b"\n" + b"".join(streams)


def outcome_from(data: bytes) -> Outcome:
    """Return the outcome of some bytes that `outcome_to` made."""
    end = data.index(b"\n") + 1
    head = json.loads(data[:end])
    view, tables = pa.py_buffer(data), []
    for size in head["sizes"]:
        with pa.ipc.open_stream(view.slice(end, size)) as reader:
            tables.append(reader.read_all())
        end += size
    outcome: Outcome = _value(head["body"], tables)
    return outcome


def _plain(value: Any, streams: list[bytes]) -> Any:
    """Return a value as JSON: a list of what it is and what is in it, but for plain ones."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, Mapping):
        pairs = [[_plain(key, streams), _plain(inner, streams)] for key, inner in value.items()]
        return ["mapping", pairs]
    if isinstance(value, tuple):
        return ["tuple", [_plain(entry, streams) for entry in value]]
    if isinstance(value, frozenset):
        return ["set", sorted((_plain(entry, streams) for entry in value), key=json.dumps)]
    if isinstance(value, pa.Table):
        return ["table", _streamed(value, streams)]
    if isinstance(value, pa.Array | pa.ChunkedArray):
        return ["array", _streamed(pa.table({_ONE: value}), streams)]
    if isinstance(value, np.ndarray):
        return ["numbers", _streamed(pa.table({_ONE: pa.array(value)}), streams)]
    name = type(value).__name__
    if type(value) not in _CLASSES.values():
        raise TypeError(f"{name} has no place in an outcome that is kept")
    inside = {field.name: _plain(getattr(value, field.name), streams) for field in fields(value)}
    return [name, inside]


def _streamed(table: pa.Table, streams: list[bytes]) -> int:
    streams.append(arrow_stream(table, compressed=True).to_pybytes())
    return len(streams) - 1


def _value(plain: Any, tables: list[pa.Table]) -> Any:
    if not isinstance(plain, list):
        return plain
    kind, inside = plain
    match kind:
        case "mapping":
            return {_value(key, tables): _value(inner, tables) for key, inner in inside}
        case "tuple":
            return tuple(_value(entry, tables) for entry in inside)
        case "set":
            return frozenset(_value(entry, tables) for entry in inside)
        case "table":
            return tables[inside]
        case "array":
            return tables[inside].column(_ONE).combine_chunks()
        case "numbers":
            return tables[inside].column(_ONE).to_numpy()
        case _:
            return _CLASSES[kind](**{name: _value(inner, tables) for name, inner in inside.items()})
