"""Columns that the engine derives, so that mappings need no arithmetic."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.engine.kernels import Bools, cents_of_money, money_of_cents, total_of_groups
from etl.mapping.rows import RELATIONS, Many
from etl.model.codes import SERVICE_SYSTEMS
from etl.model.tables import AMOUNT_COLUMNS

if TYPE_CHECKING:
    from etl.engine.partition import Partition

_LINES: Final = RELATIONS["claim"]["lines"]


def column(partition: Partition, table: str, name: str) -> pa.StringArray:
    """Return a derived column of a table; shape (rows of the table,).

    Raises:
        KeyError: there is no such column.
    """
    match table, name:
        case _, "has_amounts":
            return _flag(_any_amount(partition, table))
        case "claim", "has_line_amounts":
            return _flag(_any_line_amount(partition))
        case _, "position":
            return _position(partition, table)
        case "claim_line", "service_system":
            return _service_system(partition)
        case "claim", total if total.startswith("total_"):
            return _total(partition, f"amount_{total.removeprefix('total_')}")
        case _:
            raise KeyError(f"{table}.{name}")


def _flag(where: Bools) -> pa.StringArray:
    return pc.if_else(pa.array(where), "Y", "N")


def _any_amount(partition: Partition, table: str) -> Bools:
    found = np.zeros(partition.size(table), dtype=np.bool_)
    for name in AMOUNT_COLUMNS:
        amounts = partition.column(table, name)
        if amounts.null_count != len(amounts):
            found |= np.asarray(amounts.is_valid())
    return found


def _any_line_amount(partition: Partition) -> Bools:
    assert isinstance(_LINES, Many)  # noqa: S101 - tells mypy what the relation is
    lines = partition.children("claim", _LINES)
    has = np.asarray(pc.equal(partition.column("claim_line", "has_amounts"), "Y"))
    counts = np.bincount(lines.parents[has[lines.rows]], minlength=partition.size("claim"))
    return counts > 0


def _position(partition: Partition, table: str) -> pa.StringArray:
    """Return 1, 2, … within the rows of each claim."""
    relation = next(
        relation
        for relation in RELATIONS["claim"].values()
        if isinstance(relation, Many) and relation.table == table
    )
    children = partition.children("claim", relation)
    counts = np.bincount(children.parents, minlength=partition.size("claim"))
    starts = np.concatenate(([0], np.cumsum(counts)))[children.parents]
    positions = np.zeros(partition.size(table), dtype=np.int64)
    positions[children.rows] = np.arange(len(children.rows)) - starts + 1
    return pa.array(positions).cast(pa.string())


def _total(partition: Partition, amount: str) -> pa.StringArray:
    """Return the header's amount where stated, else the sum of the lines that state one."""
    stated = partition.column("claim", amount)
    if stated.null_count == 0:
        return stated
    assert isinstance(_LINES, Many)  # noqa: S101 - tells mypy what the relation is
    lines = partition.children("claim", _LINES)
    amounts = partition.column("claim_line", amount).take(pa.array(lines.rows))
    size = partition.size("claim")
    sums = total_of_groups(cents_of_money(amounts), lines.parents, size)
    has = np.bincount(lines.parents[np.asarray(amounts.is_valid())], minlength=size) > 0
    return pc.coalesce(stated, money_of_cents(sums, has))


def _service_system(partition: Partition) -> pa.StringArray:
    """Return the system that is stated, else the one whose shape the code has."""
    stated = pc.ascii_upper(partition.column("claim_line", "service_code_system"))
    if stated.null_count == 0:
        return stated
    codes = partition.column("claim_line", "service_code").dictionary_encode()
    told = pa.array(
        [
            next((name for name, shape in SERVICE_SYSTEMS if shape.fullmatch(code)), None)
            for code in codes.dictionary.to_pylist()
        ],
        pa.string(),
    )
    return pc.coalesce(stated, told.take(codes.indices))
