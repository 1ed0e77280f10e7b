"""The ids that a unit names: its own, and those of which only the whole extract knows."""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa

from etl.columns.digests import NO_HASHES, Hashes, filled, hash_ids
from etl.pipeline.incremental.dependencies import KEYS
from etl.pipeline.incremental.ledger import Ledger, Places, no_ledger
from etl.pipeline.incremental.reuse import ComparedFacts, unchanged
from etl.pipeline.unit import UnitContext
from etl.sources import GlobalKeys, Loaded, Partitions
from etl.sources.keys import UnitIds
from etl.storage.port import Store

_NO_KEYS: Final = GlobalKeys(*[NO_HASHES] * 6)


def unit_ids(context: UnitContext, unit: range, rows: Partitions, store: Store | None) -> UnitIds:
    """Return the ids that `process_unit` may look up for a unit.

    Args:
        context: rules, mappings, and the task.
        unit: the partitions.
        rows: their rows; the keys are not looked at.
        store: the target; None where nothing is published.
    """
    if store is None:
        (index,) = unit
        return _ids(context, rows.load(index), no_ledger())
    # Of members whose rows are as they were, the ledger has the ids that they name.
    places, task = Places.of(rows, unit), context.task
    before = task.previous.members(store, unit, rows.facts.count)
    canonical = rows.facts.layout.canonical
    now = ComparedFacts(places, _NO_KEYS, context.dependencies, context.partition.as_of, canonical)
    owners = np.setdiff1d(places.marks.column("owner").to_numpy(), unchanged(now, before))
    return _ids(context, rows.load_members(unit, owners), before.ledger)


def _ids(context: UnitContext, loaded: Loaded, ledger: Ledger) -> UnitIds:
    kinds = ledger["asked"].column("kind").cast(pa.string()).to_numpy(zero_copy_only=False)
    remembered = ledger["asked"].column("id").to_numpy()
    own, foreign = {}, {}
    for table, columns in context.dependencies.ids.items():
        own[table] = np.unique(_hashes(loaded.tables[table], KEYS[table]))
        # Rows of which only the ids are known are looked up like others, and are nobody's own.
        named = [
            _hashes(tables[name], column)
            for name, column in (*columns, (table, KEYS[table]))
            for tables in (loaded.tables, loaded.unread)
            if name in tables
        ]
        foreign[table] = np.setdiff1d(
            np.concatenate([remembered[kinds == table], *named]), own[table]
        )
    return UnitIds(own, foreign)


def _hashes(table: pa.Table, column: str) -> Hashes:
    texts = table.column(column)
    return hash_ids(texts)[filled(texts)]
