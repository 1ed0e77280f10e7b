"""Settle whole claims of a partition: chains of adjustments, and sensitive codes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.claims.adjustment_chains import Chains, chains_of
from etl.claims.masking import Masker
from etl.claims.prepare import prepare
from etl.columns.arrays import Bools, over_distinct
from etl.engine.partition_columns import Partition
from etl.mapping.environment import Environment
from etl.model.adjustment_chains import Role
from etl.model.crosswalks import Crosswalk
from etl.pipeline.definitions import Definitions
from etl.quality.checks.cascade import SUCCESSOR_REJECTED, DecidedRows, decide_rows
from etl.quality.checks.claims import (
    Noticed,
    chained_rows,
    in_frame,
    is_readable,
    leave_out,
    note,
    readable_rows,
)
from etl.quality.checks.frames import Work
from etl.quality.checks.rejections import Rejections

_STATUS: Final = "claim_status"
_ACTIVE: Final = "active"


@dataclass(frozen=True, slots=True)
class FinalizedClaims:
    """The claims of one partition: chain and masking of each are decided.

    Attributes:
        decided: its rows; claims that are left out are superseded.
        chains: what each published claim is within its chain, those that are left out among them.
        masker: finds sensitive codes.
    """

    decided: DecidedRows
    chains: Chains
    masker: Masker

    def partition(
        self,
        tables: Mapping[str, pa.Table],
        environment: Environment,
        keep: Bools | None = None,
    ) -> Partition:
        """Return accepted rows as mappings run over them.

        Args:
            tables: the accepted rows, and the directory's.
            environment: the directory and the crosswalks, as mappings read them.
            keep: which of the accepted claims `tables` holds; None for all of them.
        """
        chains = self.chains if keep is None else self.chains.only(keep)
        return Partition(prepare(tables, environment, self.masker.masks(tables)), chains)


@dataclass(frozen=True, slots=True)
class ClaimRules:
    """Rules that settle claims, as configured.

    Attributes:
        masker: finds sensitive codes.
        statuses: the crosswalk of claim statuses; None where there is none.
        leave_out: whether superseded claims are not published.
    """

    masker: Masker
    statuses: Crosswalk | None
    leave_out: bool

    @classmethod
    def of(cls, definitions: Definitions) -> ClaimRules:
        """Return the rules that a payer's definitions configure."""
        return cls(
            Masker(definitions.sensitive, definitions.crosswalks),
            definitions.crosswalks.get(_STATUS),
            definitions.leave_out_superseded,
        )

    def finalize(self, work: Work) -> FinalizedClaims:
        """Decide on the checked rows of a partition and on the chains of their claims.

        Irregular chains, and sensitive codes that cannot be masked, may reject rows. Which claims
        are left out, and which count in net sums, follows from the accepted rows.
        """
        tables = readable_rows(work)
        chains = chains_of(tables)
        note(work, self._noticed(tables, chains))

        def find_bereft(rejected: Mapping[str, Rejections]) -> Bools:
            nonlocal chains
            if any(rejected[name].rows.any() for name in ("claim", "claim_line")):
                chains = chains_of(*chained_rows(work, rejected))
            return in_frame(work.frames["claim"], chains.findings[SUCCESSOR_REJECTED])

        decided = decide_rows(work, find_bereft)
        accepted = ~decided.rejected["claim"].rows
        chains = chains.only(accepted[is_readable(work.frames["claim"])])
        counted = np.asarray(pc.equal(chains.role, Role.CURRENT.value))
        counted = counted & self._active(decided.accepted)
        left_out = ~chains.last if self.leave_out else np.zeros(len(chains.last), dtype=np.bool_)
        return FinalizedClaims(
            leave_out(decided, left_out, counted), chains.only(~left_out), self.masker
        )

    def _noticed(self, tables: Mapping[str, pa.Table], chains: Chains) -> Iterator[Noticed]:
        """Yield irregular chains, and the places of sensitive codes."""
        for rule, where in chains.findings.items():
            yield Noticed(rule, "claim", None, where)
        for cells in chains.cell_findings:
            yield Noticed(*cells)
        for cell in self.masker.masks(tables).cells:
            yield Noticed("sensitive-code", cell.table, cell.column, cell.where)
            if cell.withholds.any():
                yield Noticed("sensitive-code-required", cell.table, cell.column, cell.withholds)

    def _active(self, tables: Mapping[str, pa.Table]) -> Bools:
        """Return which claims the source calls active, as the mapping of the status has it."""
        statuses = self.statuses
        is_active = over_distinct(
            tables["claim"].column("status").combine_chunks(),
            lambda words: [word if statuses is None else statuses.answer(word) for word in words],
        )
        return np.asarray(pc.equal(pc.coalesce(is_active, _ACTIVE), _ACTIVE))
