"""One partition: rows in, checked, mapped; resources handed on. The same work in any process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import TypeAlias

import numpy as np
import pyarrow as pa

from etl.columns.arrays import text_bytes
from etl.engine.evaluate import Values
from etl.engine.omitted_rows import OMITTED, omitted
from etl.engine.partition_columns import Partition
from etl.engine.render import Rendered, render
from etl.engine.unmapped import Mention, findings, mentions
from etl.mapping.environment import Environment
from etl.mapping.plan import Plan
from etl.pipeline.definitions import Definitions
from etl.pipeline.incremental.attribution import MadeBy
from etl.pipeline.partition.claims import ClaimRules, SettledClaims
from etl.pipeline.partition.conformance import (
    ObligationChecks,
    Obligations,
    rejecting_words,
    with_broken,
)
from etl.pipeline.partition.providers import Providers
from etl.pipeline.partition.references import REFERENCE
from etl.publish.manifest import Named
from etl.quality import (
    Checked,
    RuleContext,
    add_counts,
    add_money,
    check_rows,
    check_totals,
)
from etl.quality.suites.sample import Sampled, with_samples
from etl.quality.totals.by_member import NOBODY, RowOwners
from etl.quality.totals.filled import add_filled
from etl.rows import once_each
from etl.sources import GlobalKeys, Loaded

Sink: TypeAlias = Callable[[Plan, list[Rendered], Partition], None]
"""Takes all resources that a plan made of a partition."""
Note: TypeAlias = Callable[[Plan, Values, list[Rendered], Partition], None]
"""Takes note of what a plan made, and of the values that it made it of."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one partition, beside the resources themselves.

    Attributes:
        checked: what the rules said; its tables are left out.
        unmapped: crosswalk -> cells for which it has no code; `etl.rows.FINDINGS_SCHEMA`.
        resources: FHIR type -> how many.
        missing: directory resources that resources refer to and the directory does not hold.
        remembered: members whose part in it is from the release before.
        memory: the object in the tree that remembers it; None where nothing was kept.
        rows: raw table -> how many of the extract's rows it is of.
    """

    checked: Checked
    unmapped: Mapping[str, pa.Table]
    resources: Mapping[str, int]
    missing: frozenset[Mention] = field(default=frozenset())
    remembered: int = 0
    memory: Named | None = None
    rows: Mapping[str, int] = field(default_factory=dict)

    def __add__(self, other: Outcome) -> Outcome:
        """Return the outcome of two parts of a partition; samples are those of the other."""
        mine, theirs = self.checked, other.checked
        return Outcome(
            checked=Checked(
                tables={},
                findings=pa.concat_tables([mine.findings, theirs.findings]),
                rejected=pa.concat_tables([mine.rejected, theirs.rejected]),
                counts=add_counts([mine.counts, theirs.counts]),
                money=add_money([mine.money, theirs.money]),
                filled=add_filled([mine.filled, theirs.filled]),
                samples=theirs.samples,
                owned=mine.owned | theirs.owned,
            ),
            unmapped={
                name: once_each(one.unmapped[name] for one in (self, other) if name in one.unmapped)
                for name in sorted(self.unmapped.keys() | other.unmapped.keys())
            },
            resources=Counter(self.resources) + Counter(other.resources),
            missing=self.missing | other.missing,
            remembered=self.remembered + other.remembered,
            rows=Counter(self.rows) + Counter(other.rows),
        )


def work(
    loaded: Loaded,
    keys: GlobalKeys,
    providers: Providers,
    definitions: Definitions,
    sink: Sink | None,
    *,
    as_of: int | None,
    sampled: Sampled,
) -> Outcome:
    """Check a partition and map what was accepted.

    Args:
        loaded: its rows.
        keys: ids of all partitions.
        providers: the directory.
        definitions: rules and mappings.
        sink: takes the resources, plan by plan; None to make none.
        as_of: day of the extract, in days since 1970; None where nobody said.
        sampled: which rows to keep for the suites.
    """
    checked, made, _ = work_through(
        loaded, keys, providers, definitions, sink, as_of=as_of, sampled=sampled
    )
    missing = frozenset(one for one in made.mentioned if not providers.holds(one))
    return Outcome(
        checked=_without_tables(checked),
        unmapped=made.unmapped,
        resources=made.resources,
        missing=_referred(missing, made, providers.environment),
        rows=loaded.rows,
    )


def work_through(
    loaded: Loaded,
    keys: GlobalKeys,
    providers: Providers,
    definitions: Definitions,
    sink: Sink | None,
    *,
    as_of: int | None,
    sampled: Sampled,
    owners: RowOwners | None = None,
) -> tuple[Checked, Mapped, MadeBy]:
    """Check a partition and map what was accepted, until all that is made keeps its profile.

    Arguments are those of `work`; with `owners`, what is found is told member by member as well.
    """
    context = RuleContext(definitions.book, keys, providers.known, as_of)
    claim_rules = ClaimRules.of(definitions)
    found = loaded.findings
    while True:
        claims = claim_rules.settle(check_rows(loaded.tables, found, context, loaded.unread))
        checked = check_totals(claims.decided, owners)
        checked = with_samples(checked, claims.decided, sampled)
        tables = {**checked.tables, **providers.tables}
        by = MadeBy(owners or NOBODY, providers)
        made = mapped(
            definitions.patient_plans,
            tables,
            providers.environment,
            sink,
            definitions.obligations,
            claims,
            by.take if owners is not None else None,
            rejecting_words(definitions.book),
        )
        if not made.broken.num_rows:
            return checked, made, by
        found = with_broken(found, made.broken)


@dataclass(frozen=True, slots=True)
class Mapped:
    """What running some plans came to.

    Attributes:
        resources: FHIR type -> how many.
        unmapped: crosswalk -> cells for which it has no code.
        mentioned: directory resources that were named, used or not.
        references: `Type/id` of directory resources that are referred to; only looked for where
            something is mentioned that may be missing.
        broken: rows that would make a resource which breaks its profile, or that a payer's rules
            reject for what was noticed while mapping (`etl.rows.FINDINGS_SCHEMA`). Where there are
            any, nothing was handed on.
    """

    resources: Mapping[str, int]
    unmapped: Mapping[str, pa.Table]
    mentioned: frozenset[Mention]
    references: Callable[[], frozenset[str]]
    broken: pa.Table


def mapped(
    plans: tuple[Plan, ...],
    tables: Mapping[str, pa.Table],
    environment: Environment,
    sink: Sink | None,
    obligations: Obligations,
    claims: SettledClaims | None = None,
    note: Note | None = None,
    rejecting: frozenset[str] = frozenset(),
) -> Mapped:
    """Run plans over accepted rows and hand on what they make, if all of it keeps its profile.

    `rejecting`: rules of cells and rows noticed while mapping that keep a row from being published.
    """
    partition = Partition(tables) if claims is None else claims.partition(tables, environment)
    counts: Counter[str] = Counter()
    unmapped: dict[str, list[pa.Table]] = {}
    mentioned: set[Mention] = set()
    made: list[tuple[Plan, list[Rendered]]] = []
    checks = ObligationChecks(obligations)
    renderings = [render(plan, partition, environment) for plan in plans]
    checks.expect(rendering.values for rendering in renderings)
    for plan in plans:
        rendering = renderings.pop(0)
        runs = list(_once_each(rendering))
        made.append((plan, runs))
        mentioned |= mentions(rendering.values)
        for name, found in findings(rendering.values).items():
            unmapped.setdefault(name, []).append(found)
        left_out = omitted(rendering.values)
        if left_out.num_rows:
            unmapped.setdefault(OMITTED, []).append(left_out)
        counts[plan.resource] += sum(len(run.ids) for run in runs)
        checks.check(rendering.values)
        if note is not None:
            note(plan, rendering.values, runs, partition)
    broken = checks.broken(chain.from_iterable(unmapped.values()), rejecting)
    if sink is not None and not broken.num_rows:
        for plan, runs in made:
            sink(plan, runs, partition)
    bodies = [run.bodies for _, runs in made for run in runs]
    return Mapped(
        counts,
        {name: once_each(found) for name, found in unmapped.items()},
        frozenset(mentioned),
        lambda: _references(bodies),
        broken,
    )


def _once_each(runs: Iterable[Rendered]) -> Iterator[Rendered]:
    """Yield runs without resources whose id came before: rows of the table may name one twice."""
    seen: set[str] = set()
    for run in runs:
        fresh = []
        for logical_id in run.ids.to_pylist():
            fresh.append(logical_id not in seen)
            seen.add(logical_id)
        yield run if all(fresh) else run.only(np.array(fresh))


def _references(bodies: list[pa.StringArray]) -> frozenset[str]:
    found: set[bytes] = set()
    for column in bodies:
        found.update(REFERENCE.findall(text_bytes(column).tobytes()))
    return frozenset(one.decode() for one in found)


def _referred(
    missing: frozenset[Mention], made: Mapped, environment: Environment
) -> frozenset[Mention]:
    if not missing:
        return missing
    references = made.references()
    return frozenset(
        one
        for one in missing
        if f"{one.resource}/{environment.logical_id(one.resource, one.key)}" in references
    )


def _without_tables(checked: Checked) -> Checked:
    return Checked(
        tables={},
        findings=checked.findings,
        rejected=checked.rejected,
        counts=checked.counts,
        money=checked.money,
        filled=checked.filled,
        samples=checked.samples,
        owned=checked.owned,
    )
