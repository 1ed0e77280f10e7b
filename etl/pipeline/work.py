"""One partition: rows in, checked, mapped; resources handed on. The same work in any process."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import numpy as np
import pyarrow as pa

from etl.engine.kernels import text_bytes
from etl.engine.noticed import Mention, findings, mentions, once_each
from etl.engine.partition import Partition
from etl.engine.prepare import prepare
from etl.engine.render import Rendered, render
from etl.mapping.environment import Environment
from etl.mapping.plan import Plan
from etl.pipeline.directory import Providers
from etl.pipeline.tools import Tools
from etl.quality import Checked, check
from etl.sources import GlobalKeys, Loaded

_REFERENCE: Final = re.compile(rb'"reference":"((?:Organization|Practitioner)/[a-z2-7]{32})"')

Sink: TypeAlias = Callable[[Plan, list[Rendered], Partition], None]
"""Takes all resources that a plan made of a partition."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one partition, beside the resources themselves.

    Attributes:
        checked: what the rules said; its tables are left out.
        unmapped: crosswalk -> cells for which it has no code; `etl.rows.FINDINGS_SCHEMA`.
        resources: FHIR type -> how many.
        missing: directory resources that resources refer to and the directory does not hold.
    """

    checked: Checked
    unmapped: Mapping[str, pa.Table]
    resources: Mapping[str, int]
    missing: frozenset[Mention] = field(default=frozenset())


@dataclass(frozen=True, slots=True)
class KeysOf:
    """`KnownKeys` for rules, over what reading the extract found.

    Attributes:
        found: ids of all partitions.
    """

    found: GlobalKeys

    def claim_exists(self, ids: pa.Array) -> pa.BooleanArray:
        """Return which claims are there."""
        return self.found.claim_exists(ids)

    def member_exists(self, ids: pa.Array) -> pa.BooleanArray:
        """Return which members are there."""
        return self.found.member_exists(ids)

    def coverage_exists(self, ids: pa.Array) -> pa.BooleanArray:
        """Return which coverages are there."""
        return self.found.coverage_exists(ids)

    def duplicate_claims(self, ids: pa.Array) -> pa.BooleanArray:
        """Return which claim ids stand on rows of more than one member."""
        return self.found.claim_shared(ids)

    def duplicate_coverages(self, ids: pa.Array) -> pa.BooleanArray:
        """Return which coverage ids stand on rows of more than one member."""
        return self.found.coverage_shared(ids)


def work(
    loaded: Loaded,
    keys: GlobalKeys,
    providers: Providers,
    tools: Tools,
    sink: Sink | None,
    *,
    as_of: int | None,
    sample_rows: int,
) -> Outcome:
    """Check a partition and map what was accepted.

    Args:
        loaded: its rows.
        keys: ids of all partitions.
        providers: the directory.
        tools: rules and mappings.
        sink: takes the resources, plan by plan; None to make none.
        as_of: day of the extract, in days since 1970; None where nobody said.
        sample_rows: how many rows of each table to keep for the suites.
    """
    checked = check(
        loaded.tables,
        loaded.findings,
        tools.book,
        KeysOf(keys),
        providers.known,
        as_of=as_of,
        sample_rows=sample_rows,
    )
    made = mapped(
        tools.patient_plans, {**checked.tables, **providers.tables}, providers.environment, sink
    )
    missing = frozenset(one for one in made.mentioned if not providers.holds(one))
    return Outcome(
        checked=_without_tables(checked),
        unmapped=made.unmapped,
        resources=made.resources,
        missing=_referred(missing, made, providers.environment),
    )


@dataclass(frozen=True, slots=True)
class Mapped:
    """What running some plans came to.

    Attributes:
        resources: FHIR type -> how many.
        unmapped: crosswalk -> cells for which it has no code.
        mentioned: directory resources that were named, used or not.
        references: `Type/id` of directory resources that are referred to; only looked for where
            something is mentioned that may be missing.
    """

    resources: Mapping[str, int]
    unmapped: Mapping[str, pa.Table]
    mentioned: frozenset[Mention]
    references: Callable[[], frozenset[str]]


def mapped(
    plans: tuple[Plan, ...],
    tables: Mapping[str, pa.Table],
    environment: Environment,
    sink: Sink | None,
) -> Mapped:
    """Run plans over accepted rows and hand on what they make."""
    partition = Partition(prepare(tables) if "claim" in tables else tables)
    counts: Counter[str] = Counter()
    unmapped: dict[str, list[pa.Table]] = {}
    mentioned: set[Mention] = set()
    bodies: list[pa.StringArray] = []
    for plan in plans:
        rendering = render(plan, partition, environment)
        made = list(_once_each(rendering))
        mentioned |= mentions(rendering.values)
        for name, found in findings(rendering.values).items():
            unmapped.setdefault(name, []).append(found)
        counts[plan.resource] += sum(len(run.ids) for run in made)
        bodies += [run.bodies for run in made]
        if sink is not None:
            sink(plan, made, partition)
    return Mapped(
        counts,
        {name: once_each(found) for name, found in unmapped.items()},
        frozenset(mentioned),
        lambda: _references(bodies),
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
        found.update(_REFERENCE.findall(text_bytes(column).tobytes()))
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
    )
