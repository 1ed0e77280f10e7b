"""Rows that a mapping leaves out because a value required with them is absent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import pyarrow as pa

from etl.engine.evaluate import Values, both, opposite
from etl.mapping.expressions import Condition, IsPresent, walk
from etl.mapping.plan import Loop, nodes_of
from etl.model.canonical_tables import TABLES
from etl.model.logic import AllOf, AnyOf
from etl.rows import no_findings, once_each

OMITTED: Final = "incomplete-row"
"""Rule of a row that is left out of a list."""


def omitted(values: Values) -> pa.Table:
    """Return rows that a loop skips because each of several values is absent.

    A condition `… and (a is present or b …)` of a loop states that: the row would make an entry,
    and its profile requires something with it. An example is a rendering provider without a
    taxonomy code on an outpatient claim.

    Returns:
        `etl.rows.FINDINGS_SCHEMA`, each row once.
    """
    parts: list[pa.Table] = []
    for _, node in nodes_of(values.plan.body):
        if isinstance(node, Loop) and node.level in values.levels:
            for needed, others in _needs(node.condition):
                lacking = both(
                    *(values.holds(condition, node.level) for condition in others),
                    opposite(values.holds(needed, node.level)),
                )
                size = values.levels[node.level].size
                rows = np.flatnonzero(np.broadcast_to(np.asarray(lacking), size))
                if len(rows):
                    parts.append(_places(values, node.level, rows))
    return once_each(parts)


def _needs(condition: Condition) -> Iterator[tuple[Condition, tuple[Condition, ...]]]:
    """Yield each required alternative of a loop's condition, with the other parts."""
    if isinstance(condition, AllOf):
        for part in condition.parts:
            if isinstance(part, AnyOf) and any(
                isinstance(inner, IsPresent) for inner in walk(part)
            ):
                yield part, tuple(other for other in condition.parts if other is not part)


def _places(values: Values, at: int, rows: np.ndarray) -> pa.Table:
    level = values.levels[at]
    if level.table not in TABLES:
        return no_findings()
    positions = rows if level.rows is None else level.rows[rows]
    return values.partition.findings(level.table, positions, OMITTED)
