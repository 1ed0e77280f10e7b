"""The nightly use: everything from an extract to the release that readers see."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from etl.errors import if_interrupted
from etl.mapping.library import MappingSet
from etl.pipeline.default_stamp import default_stamp
from etl.pipeline.definitions import Definitions
from etl.pipeline.deltas.layers import keep_layers
from etl.pipeline.events import Emit, StageBegan
from etl.pipeline.intake import take_in
from etl.pipeline.money import Totals, money_difference, published_money
from etl.pipeline.nights import release_before, write_nights_page
from etl.pipeline.process import Settled, Tree, keep_remembered, settle
from etl.pipeline.publish import (
    Published,
    Target,
    as_instant,
    open_block_sink,
    publish,
    stage,
)
from etl.pipeline.release_limits import ReleaseLimits, input_verdicts, retraction_verdicts
from etl.pipeline.report import (
    QUARANTINE,
    REPORT,
    About,
    LimitBroken,
    Reported,
    page_of,
    write_reports,
)
from etl.pipeline.suites import share_of
from etl.pipeline.validate import run_id
from etl.pipeline.workers import Workers
from etl.publish.bulk import with_bulk
from etl.publish.bulk_files import BulkOptions
from etl.publish.bulk_pages import write_pages
from etl.publish.change_counts import Changes
from etl.publish.id_fingerprint import id_facts
from etl.publish.lease import Lease
from etl.publish.manifest import Named, ReleaseFacts
from etl.publish.reader import Current
from etl.publish.release import is_published, put_named
from etl.quality.suites.rows import SuiteRows
from etl.reports import DefaultStamp, ReleaseBefore
from etl.sources import Extract
from etl.storage.port import Store


@dataclass(frozen=True, slots=True)
class Ran:
    """What a run came to.

    Attributes:
        release: id of the release that readers see.
        published: the release; None where the same was published before.
        reported: the report; None where the same was published before.
        changes: members and resources that it added, changed and retracted.
        money: claim type -> name of the total -> what was added to it.
    """

    release: str
    published: Published | None
    reported: Reported | None
    changes: Changes = field(default_factory=Changes)
    money: Totals = field(default_factory=dict)


def run(
    extract: Extract,
    work: Path,
    target: Target,
    store: Store,
    base: Current,
    definitions: Definitions,
    workers: Workers,
    *,
    when: datetime,
    partition_rows: int,
    gx_rows: int,
    small_cells: int,
    emit: Emit,
    lease: Lease | None = None,
    bulk: BulkOptions | None = None,
    limits: ReleaseLimits,
    keep_rows: bool = False,
) -> Ran:
    """Publish an extract.

    Args:
        extract: what to publish.
        work: folder for what is in progress.
        target: the store, as every process opens it.
        store: the store, open.
        base: what readers see now, and what of it is to be made again.
        definitions: rules and mappings.
        workers: where the work is done.
        when: when the run began; an attempt that is gone on from began earlier, and its time is
            taken.
        partition_rows: about how many rows to a partition.
        gx_rows: about how many rows of the largest file the suites look at; 0 to run none.
        small_cells: most claims whose sum of money is withheld; 0 to withhold none.
        emit: takes events.
        lease: the run's lease on the target; None where nothing prunes it.
        bulk: how bulk files are made; None to make none.
        limits: what may be missing or moved against the release before.
        keep_rows: whether deltas are to follow a full extract; after a delta they always may.

    Raises:
        UsageError: a delta, and the release that it changes did not keep its rows.
        LimitBroken: a limit does not hold; the report tells why, readers see what they saw.
        StoreError: storage failed; readers see what they saw.
    """
    if (
        base.release is not None
        and not base.lost
        and is_published(base, facts_of(extract, definitions))
    ):
        if bulk is not None:
            write_pages(store, bulk)  # an attempt that died after its commit did not get there
        store.sync()  # nor may it have got its pointer to the disk
        write_nights_page(store, unless_named=base.release.id)
        return Ran(base.release.id, None, None)
    taken_in = take_in(
        extract,
        work,
        store,
        base,
        definitions,
        workers,
        when=when,
        keep_rows=keep_rows,
        partition_rows=partition_rows,
        emit=emit,
    )
    rows, when = taken_in.rows, taken_in.when
    unstated = default_stamp(rows, when)
    target = replace(target, now=as_instant(when), stamp=unstated.instant)
    share = share_of(rows.partitions, gx_rows)
    with SuiteRows(rows.work / "suites", definitions.book, share) as suite_rows:
        taken = suite_rows if gx_rows else None
        sink = open_block_sink(rows.work, target)
        settled = settle(
            rows,
            definitions,
            workers,
            sink,
            suite_rows=taken,
            emit=emit,
            tree=Tree(target.store, base),
            is_reported=True,
        )
        parent = base.release.manifest if base.release is not None else None
        facts = facts_of(extract, definitions, settled)
        settled = settled.judged(input_verdicts(limits, parent, facts))

        def stop_at_limits(looked_at: Settled) -> None:
            if all(verdict.holds for verdict in looked_at.verdicts):
                return
            about = _about(
                looked_at,
                unstated,
                when,
                run_id(when, rows),
                None,
                release_before(base, None),
                {},
                small_cells,
            )
            reported = write_reports(looked_at, definitions, taken, about, rows.work, emit)
            _store_reports(store, reported, about.run, base)
            write_nights_page(store)
            page = page_of(target.name, about.run)
            raise LimitBroken(looked_at, looked_at.rejected(definitions), reported.report, page)

        stop_at_limits(settled)
        emit(StageBegan("publish"))
        staged = stage(settled, definitions, store, base, facts, target)
        settled = settled.judged(retraction_verdicts(limits, parent, staged.manifest.counts))
        stop_at_limits(settled)
        if bulk is not None:
            manifest = with_bulk(store, base, staged.manifest, replace(bulk, work=rows.work))
            staged = replace(staged, manifest=manifest)
        release = staged.manifest.release
        changes = Changes.from_json(staged.manifest.counts["changes"])
        before = release_before(base, changes)
        about = _about(
            settled, unstated, when, release, release, before, staged.resources, small_cells
        )
        known = settled.memory.suite_results(store) if taken and settled.memory else {}
        reported = write_reports(settled, definitions, taken, about, rows.work, emit, known)
    named, base = _store_reports(store, reported, release, base)
    named += keep_remembered(store, settled, definitions, reported.suites)
    if taken_in.layers:
        named += keep_layers(store, taken_in.layers)
    uncertain = (
        f"release {release} was being published: `cpcds releases {store.name}` tells whether "
        "readers see it, and running the same again finishes it"
    )
    with if_interrupted(uncertain):
        published = publish(staged, named, store, base, lease)
        if bulk is not None:
            write_pages(store, bulk)
    write_nights_page(store)
    return Ran(
        release,
        published,
        reported,
        changes,
        money_difference(parent.facts.totals if parent is not None else {}, facts.totals),
    )


def _about(
    settled: Settled,
    unstated: DefaultStamp,
    when: datetime,
    run: str,
    release: str | None,
    before: ReleaseBefore | None,
    directory: Mapping[str, int],
    small_cells: int,
) -> About:
    return About(
        run=run,
        when=when,
        release=release,
        parent=before.release if before is not None else None,
        resources={**settled.totals.resources, **directory},
        quarantine=f"../../{QUARANTINE}/{run}",
        small_cells=small_cells,
        default_stamp=unstated,
        before=before,
        all_reports="../index.html",
    )


def _store_reports(
    store: Store, reported: Reported, name: str, base: Current
) -> tuple[list[Named], Current]:
    """Put the files of a report into the store, and return what the manifest says of them.

    An attempt that died before its commit may have left others under the same keys, if it ran
    other suites, and S3 leaves what is there. Where that attempt is alive, it cannot commit any
    more what it named: its base is not the one that is returned.
    """
    named = []
    for key, path in _files(reported.folder, name):
        data = path.read_bytes()
        base = put_named(store, key, data, base)
        named.append(Named(key, hashlib.sha256(data).hexdigest(), len(data)))
    return named, base


def _files(folder: Path, name: str) -> Iterator[tuple[str, Path]]:
    for kind, prefix in ((REPORT, "reports"), (QUARANTINE, QUARANTINE)):
        root = folder / kind
        for path in sorted(root.rglob("*")):
            if path.is_file():
                yield f"{prefix}/{name}/{path.relative_to(root).as_posix()}", path


def _searched(mappings: MappingSet) -> dict[str, list[str]]:
    """Return which columns the indexes have: resource type → names, for readers to know."""
    found: dict[str, set[str]] = {}
    for plan in mappings.plans:
        found.setdefault(plan.resource, set()).update(plan.search)
    return {name: sorted(columns) for name, columns in sorted(found.items())}


def facts_of(
    extract: Extract, definitions: Definitions, settled: Settled | None = None
) -> ReleaseFacts:
    """Return what the manifest is to say of a run; of its rows and money once it is settled."""
    inputs: list[Mapping[str, Any]] = [
        {"name": file.name, "sha256": file.sha256, "bytes": file.bytes} for file in extract.files
    ]
    counts = settled.totals.tally.counts if settled is not None else {}
    # A tree without amounts says nothing of their sums either.
    is_summed = settled is not None and definitions.mappings.view.states_money
    return ReleaseFacts(
        kind=extract.kind,
        inputs=inputs,
        mapping={
            "set": definitions.mappings.name,
            "version": definitions.mappings.version,
            "view": definitions.mappings.view.name,
            "fingerprint": definitions.fingerprint,
            "layout": extract.layout.name,
            "search": _searched(definitions.mappings),
        },
        run={
            table: {
                "in": each.rows_in,
                "published": each.published,
                "quarantined": each.quarantined,
                "superseded": each.superseded,
            }
            for table, each in counts.items()
            if each.rows_in
        },
        totals=published_money(settled.totals.tally.money) if settled and is_summed else {},
        ids=id_facts(definitions.payer, definitions.id_key),
    )
