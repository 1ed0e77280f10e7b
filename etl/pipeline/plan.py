"""The nightly use without its effect: what a run would publish, and whether it may."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from etl.errors import EtlError
from etl.pipeline.default_stamp import default_stamp
from etl.pipeline.definitions import Definitions
from etl.pipeline.events import Emit, StageBegan
from etl.pipeline.intake import take_in
from etl.pipeline.money import Totals, money_difference
from etl.pipeline.process import Settled, Tree, settle
from etl.pipeline.publish import Target, open_block_sink, stage
from etl.pipeline.release_limits import ReleaseLimits, input_verdicts, retraction_verdicts
from etl.pipeline.run import facts_of
from etl.pipeline.workers import Workers
from etl.publish.canonical_json import instant
from etl.publish.change_counts import Changes
from etl.publish.manifest import Manifest
from etl.publish.reader import Current
from etl.publish.release import is_published
from etl.reports import Rejected
from etl.sources import Extract


@dataclass(frozen=True, slots=True)
class Planned:
    """What a run would come to.

    Attributes:
        parent: id of the release that it would follow; None before the first.
        settled: the extract, worked through, with the limits looked at; None where the same was
            published already, and the run would do nothing.
        manifest: what would be published; its bulk files and reports are not in it.
        changes: patients and resources that would be added, changed and retracted.
        money: claim type -> name of the total -> what would be added to it.
        rejected: what would be rejected, by first cause.
        refusal: why the run would stop all the same; None where it would not.
    """

    parent: str | None
    settled: Settled | None
    manifest: Manifest | None
    changes: Changes
    money: Totals
    rejected: Rejected
    refusal: EtlError | None = None


def plan(
    extract: Extract,
    work: Path,
    target: Target,
    base: Current,
    definitions: Definitions,
    workers: Workers,
    *,
    partition_rows: int,
    limits: ReleaseLimits,
    emit: Emit,
) -> Planned:
    """Work an extract through as a run would, writing nothing to the target.

    Args:
        extract: what would be published.
        work: a folder of this plan's own: what is in it never was written, so no run may go on
            from it.
        target: the store, as every process opens it; dry.
        base: what readers see now.
        definitions: rules and mappings.
        workers: where the work is done.
        partition_rows: about how many rows to a partition.
        limits: what may be missing or moved against the release before.
        emit: takes events.

    Raises:
        StoreError: the target cannot be read.
    """
    if not target.dry:
        raise ValueError("a plan needs a dry target")
    parent = base.release.manifest if base.release is not None else None
    name = parent.release if parent is not None else None
    if is_published(base, facts_of(extract, definitions)):
        return Planned(name, None, None, Changes(), {}, Rejected(0, 0, ()))
    store = target.store()
    rows = take_in(
        extract,
        work,
        store,
        base,
        definitions,
        workers,
        when=instant(target.now),
        keep_rows=False,
        partition_rows=partition_rows,
        emit=emit,
    ).rows
    target = replace(target, stamp=default_stamp(rows, instant(target.now)).instant)
    sink = open_block_sink(rows.work, target)
    settled = settle(
        rows,
        definitions,
        workers,
        sink,
        suite_rows=None,
        emit=emit,
        tree=Tree(target.store, base),
    )
    emit(StageBegan("publish"))
    facts = facts_of(extract, definitions, settled)
    staged = stage(settled, definitions, store, base, facts, target)
    settled = settled.judged(
        (
            *input_verdicts(limits, parent, facts),
            *retraction_verdicts(limits, parent, staged.manifest.counts),
        )
    )
    return Planned(
        name,
        settled,
        staged.manifest,
        Changes.from_json(staged.manifest.counts["changes"]),
        money_difference(parent.facts.totals if parent is not None else {}, facts.totals),
        settled.rejected(definitions),
    )
