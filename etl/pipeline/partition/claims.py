"""What becomes of whole claims of a partition: chains of adjustments, and sensitive codes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.arrays import Bools, over_distinct
from etl.engine.adjustment_chains import Chains, chains_of
from etl.engine.masking import Masker
from etl.engine.partition_columns import Partition
from etl.engine.prepare import prepare
from etl.mapping.environment import Environment
from etl.model.adjustment_chains import Role
from etl.model.crosswalks import Crosswalk
from etl.pipeline.definitions import Definitions
from etl.quality.checks.claims import Noticed, Standing

_STATUS: Final = "claim_status"
_ACTIVE: Final = "active"


@dataclass
class Claims:
    """Settles the claims of one partition, and makes of its accepted rows what mappings run over.

    It stands in for `etl.quality.checks.claims.Settling`, and remembers what claims that are left
    out have to do with those that are not.

    Attributes:
        masker: finds sensitive codes.
        statuses: the crosswalk of claim statuses; None where there is none.
        leave_out: whether superseded claims are not published.
    """

    masker: Masker
    statuses: Crosswalk | None
    leave_out: bool
    _chains: Chains | None = None
    _seen: tuple[tuple[int, int], Chains] | None = None

    @classmethod
    def of(cls, definitions: Definitions) -> Claims:
        """Return what settles claims as the configuration wants it."""
        return cls(
            Masker(definitions.sensitive, definitions.crosswalks),
            definitions.crosswalks.get(_STATUS),
            definitions.leave_out_superseded,
        )

    def notice(self, tables: Mapping[str, pa.Table]) -> Iterator[Noticed]:
        """Return what is odd in chains, and where sensitive codes stand."""
        chains = chains_of(tables)
        self._seen = _size(tables), chains
        for rule, where in (
            ("claim-replaced-twice", chains.rivals),
            ("claim-chain-circle", chains.circular),
            ("reversal-without-claim", chains.unpaired),
        ):
            yield Noticed(rule, "claim", None, where)
        for cell in self.masker.masks(tables).cells:
            yield Noticed("sensitive-code", cell.table, cell.column, cell.where)
            if cell.withholds.any():
                yield Noticed("sensitive-code-required", cell.table, cell.column, cell.withholds)

    def standing(self, tables: Mapping[str, pa.Table]) -> Standing:
        """Return which claims are left out, and whose money counts: that of the active ones."""
        seen = self._seen
        # Accepted rows are some of those seen before: as many are the same.
        same = seen is not None and seen[0] == _size(tables)
        chains = seen[1] if seen is not None and same else chains_of(tables)
        counted = np.asarray(pc.equal(chains.role, Role.CURRENT.value)) & self._active(tables)
        left_out = ~chains.last if self.leave_out else np.zeros(len(chains.last), dtype=np.bool_)
        self._chains = chains.only(~left_out)
        return Standing(left_out, counted)

    def _active(self, tables: Mapping[str, pa.Table]) -> Bools:
        """Return which claims the source calls active, as the mapping of the status has it."""
        statuses = self.statuses
        told = over_distinct(
            tables["claim"].column("status").combine_chunks(),
            lambda words: [word if statuses is None else statuses.answer(word) for word in words],
        )
        return np.asarray(pc.equal(pc.coalesce(told, _ACTIVE), _ACTIVE))

    def partition(
        self,
        tables: Mapping[str, pa.Table],
        environment: Environment,
        keep: Bools | None = None,
    ) -> Partition:
        """Return accepted rows as mappings run over them.

        Args:
            tables: those that `standing` was asked about, without what is left out, and the
                directory's.
            environment: the directory and the crosswalks, as mappings look at them.
            keep: which of these claims `tables` holds; None for all of them.
        """
        chains = self._chains if self._chains is None or keep is None else self._chains.only(keep)
        return Partition(prepare(tables, environment, self.masker.masks(tables)), chains)


def _size(tables: Mapping[str, pa.Table]) -> tuple[int, int]:
    return tables["claim"].num_rows, tables["claim_line"].num_rows
