"""One partition: rows checked, whole claims finalized, then mapped to resources that conform."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Final, NamedTuple, Protocol, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.claims.adjustment_chains import Chains, find_chains
from etl.claims.masking import Masker, Masks
from etl.claims.prepare import prepare_for_mapping
from etl.columns.arrays import Bools, join, over_distinct, text_bytes
from etl.engine.element_counts import ElementCounts, add_element_counts, count_elements
from etl.engine.evaluate import Values
from etl.engine.obligation_checks import broken_rows
from etl.engine.partition_columns import Partition
from etl.engine.render import ResourceBatch, render
from etl.engine.unmapped import (
    MISSHAPEN,
    OMITTED,
    UNMAPPED,
    WITHOUT_CODE,
    Mention,
    findings,
    mentions,
    omitted_rows,
)
from etl.mapping.plan import Environment, Plan
from etl.mapping.row_tests import Obligation
from etl.model.adjustment_chains import Role
from etl.model.crosswalks import Crosswalk
from etl.pipeline.definitions import Definitions
from etl.pipeline.partition.providers import Providers
from etl.quality.check import Checked, check_rows, check_totals
from etl.quality.checks.cascade import NEIGHBOR_REJECTED, DecidedRows, decide_rows
from etl.quality.checks.claims import (
    Findings,
    chain_rows,
    in_frame,
    is_readable,
    readable_rows,
    record_findings,
    supersede,
)
from etl.quality.checks.frames import Rejections, RuleContext, Work
from etl.quality.rules.book import RuleBook
from etl.quality.totals.by_member import RowOwners
from etl.rows import once_each
from etl.sources.partition.ids import GlobalKeys
from etl.sources.partition.partitions import Loaded

_STATUS: Final = "claim_status"
_ACTIVE: Final = "active"


@dataclass(frozen=True, slots=True)
class FinalizedClaims:
    """The claims of one partition: chain and masking of each are decided.

    Attributes:
        decided: its rows; claims that are left out are superseded.
        chains: what each published claim is within its chain, those that are left out among them.
        masks: the sensitive codes of accepted rows, and the claims that a sensitive code in any
            row affects, a rejected one included.
    """

    decided: DecidedRows
    chains: Chains
    masks: Masks

    def partition(self, tables: Mapping[str, pa.Table], environment: Environment) -> Partition:
        """Return accepted rows as mappings run over them.

        Args:
            tables: the accepted rows, and the directory's.
            environment: the directory and the crosswalks, as mappings read them.
        """
        return Partition(prepare_for_mapping(tables, environment, self.masks), self.chains)


@dataclass(frozen=True, slots=True)
class ClaimRules:
    """Rules that finalize claims, as configured.

    Attributes:
        masker: finds sensitive codes.
        statuses: the crosswalk of claim statuses; None if there is none.
        leave_out: whether superseded claims are not published.
    """

    masker: Masker
    statuses: Crosswalk | None
    leave_out: bool

    @classmethod
    def from_definitions(cls, definitions: Definitions) -> ClaimRules:
        """Return the rules that a payer's definitions configure."""
        return cls(
            Masker(definitions.sensitive, definitions.crosswalks),
            definitions.crosswalks.get(_STATUS),
            definitions.leave_out_superseded,
        )

    def finalize(self, work: Work) -> FinalizedClaims:
        """Decide on the checked rows of a partition and on their claim chains.

        Irregular chains, and sensitive codes that cannot be masked, may reject rows. Which claims
        are left out, and which count in net sums, follows from the accepted rows.
        """
        tables, frames = readable_rows(work), work.frames
        readable = {name: is_readable(frame) for name, frame in frames.items()}
        chains = find_chains(tables)
        # Rules may have emptied a misspelled code, and may reject its row.
        source_rows = {name: frame.source(readable[name]) for name, frame in frames.items()}
        masks = self.masker.masks(source_rows, tables["claim"])
        record_findings(work, self._chain_and_code_findings(tables, chains, masks))

        def claims_next_to_rejected(rejected: Mapping[str, Rejections]) -> Mapping[str, Bools]:
            nonlocal chains
            if any(rejected[name].rows.any() for name in ("claim", "claim_line")):
                chains = find_chains(*chain_rows(work, rejected))
            claims = work.frames["claim"]
            return {rule: in_frame(claims, chains.findings[rule]) for rule in NEIGHBOR_REJECTED}

        decided = decide_rows(work, claims_next_to_rejected)
        accepted = ~decided.rejected["claim"].rows
        chains = chains.filter(accepted[readable["claim"]])
        is_counted = np.asarray(pc.equal(chains.role, Role.CURRENT.value))
        is_counted = is_counted & self._are_active(decided.accepted)
        is_left_out = ~chains.last if self.leave_out else np.zeros(len(chains.last), dtype=np.bool_)
        decided = supersede(decided, is_left_out, is_counted)
        accepted_rows = {
            name: frame.accepted(decided.rejected[name])[readable[name]]
            for name, frame in frames.items()
        }
        return FinalizedClaims(decided, chains.filter(~is_left_out), masks.select(accepted_rows))

    def _chain_and_code_findings(
        self, tables: Mapping[str, pa.Table], chains: Chains, masks: Masks
    ) -> Iterator[Findings]:
        """Yield findings about irregular chains and sensitive codes."""
        for rule, is_found in chains.findings.items():
            yield Findings(rule, "claim", None, is_found)
        is_last = np.asarray(pc.equal(chains.role, Role.CURRENT.value)) & chains.replaces
        is_void = is_last & ~self._are_active(tables)
        yield Findings("replacement-not-in-force", "claim", None, is_void)
        for cells in chains.cell_findings:
            yield Findings(*cells)
        for cell in masks.cells:
            yield Findings("sensitive-code", cell.table, cell.column, cell.is_sensitive)
            if cell.withholds.any():
                yield Findings("sensitive-code-required", cell.table, cell.column, cell.withholds)

    def _are_active(self, tables: Mapping[str, pa.Table]) -> Bools:
        """Return which claims the source calls active, after its status crosswalk."""
        statuses = self.statuses
        is_active = over_distinct(
            tables["claim"].column("status").combine_chunks(),
            lambda words: [word if statuses is None else statuses.answer(word) for word in words],
        )
        return np.asarray(pc.equal(pc.coalesce(is_active, _ACTIVE), _ACTIVE))


Obligations: TypeAlias = Mapping[str, tuple[Obligation, ...]]
"""Mapping -> obligations of its profile that rows could break."""

WHILE_MAPPING: Final = (UNMAPPED, MISSHAPEN, WITHOUT_CODE, OMITTED)
"""Rules of the findings that the engine makes while it maps."""

_STUBBED: Final = frozenset({"Organization", "Practitioner"})
"""Types of which a resource is made for whatever refers to one that has no row."""


@dataclass(slots=True)
class ObligationChecks:
    """Checks of what some plans make of one partition.

    Attributes:
        obligations: what is checked.
    """

    obligations: Obligations
    _made: pa.StringArray = field(default_factory=partial(pa.nulls, 0, pa.string()))
    _types: frozenset[str] = frozenset()
    _found: list[pa.Table] = field(default_factory=list)

    def expect(self, values: Iterable[Values]) -> None:
        """Add the ids of all resources that will be made; references must lead to them."""
        references, types = [self._made], set()
        for value in values:
            plan = value.plan
            types.add(plan.resource)
            if value.levels[0].size:
                ids = value.text(plan.id, 0)
                references.append(join(f"{plan.resource}/", ids, absent_as_empty=False))
        self._types = frozenset(types) - _STUBBED
        self._made = pa.concat_arrays(references)

    def check(self, values: Values) -> None:
        """Check the rows of a plan that was rendered."""
        plan_obligations = self.obligations.get(values.plan.name, ())
        self._found.append(
            broken_rows(values, plan_obligations, references=self._made, types=self._types)
        )

    def broken(
        self, findings: Iterable[pa.Table] = (), rejecting: frozenset[str] = frozenset()
    ) -> pa.Table:
        """Return the rows that may not be published, once per rule.

        Args:
            findings: those of the engine about cells and rows.
            rejecting: those rules of theirs that reject.

        Returns:
            `etl.rows.FINDINGS_SCHEMA`: what breaks a profile, and what these rules reject.
        """
        if not rejecting:
            return once_each(self._found)
        rules = pa.array(sorted(rejecting), pa.string())
        rejected = (
            finding.filter(pc.is_in(finding.column("rule"), value_set=rules))
            for finding in findings
        )
        return once_each([*self._found, *rejected])


def rejecting_rules(book: RuleBook) -> frozenset[str]:
    """Return the mapping findings that a payer's policy rejects."""
    return frozenset(rule for rule in WHILE_MAPPING if book[rule].severity.rejects)


def with_broken(findings: pa.Table, broken: pa.Table) -> pa.Table:
    """Add findings about broken rows, which then reject the rows.

    Raises:
        AssertionError: the findings existed already, but did not reject the rows (a bug).
    """
    all_findings = once_each([findings, broken])
    if all_findings.num_rows == once_each([findings]).num_rows:
        raise AssertionError("a row that breaks its profile was accepted again")
    return pa.concat_tables([findings, broken])


REFERENCE: Final = re.compile(rb'"reference":"((?:Organization|Practitioner)/[a-z2-7]{32})"')
"""A reference to an Organization or Practitioner; its group is `Type/id`."""


class PlanResources(NamedTuple):
    """All resources that one plan made.

    Attributes:
        plan: the plan.
        runs: the resources, some thousand rows at a time.
        partition: the rows that they were made of.
    """

    plan: Plan
    runs: list[ResourceBatch]
    partition: Partition


class Observer(Protocol):
    """Records the values and the resources of each plan."""

    def begin(self) -> None:
        """Start over: all plans are about to run, for the first time or again."""

    def take(self, resources: PlanResources, values: Values) -> None:
        """Take what a plan made, and the values that it was made of."""


@dataclass(frozen=True, slots=True)
class Mapped:
    """The result of running some plans.

    Attributes:
        plan_resources: the resources; none if anything is broken.
        resources: FHIR type -> how many.
        elements: how many of them have each must-support element.
        unmapped: crosswalk -> cells for which it has no code.
        mentioned: directory resources that were named, used or not.
        broken: rows that would make a resource which breaks its profile, or that a payer's rules
            reject for what was noticed while mapping (`etl.rows.FINDINGS_SCHEMA`).
    """

    plan_resources: Sequence[PlanResources]
    resources: Mapping[str, int]
    elements: ElementCounts
    unmapped: Mapping[str, pa.Table]
    mentioned: frozenset[Mention]
    broken: pa.Table

    def referred(self, missing: frozenset[Mention], environment: Environment) -> frozenset[Mention]:
        """Return the directory resources that some resource refers to."""
        if not missing:
            return missing
        references: set[bytes] = set()
        for _, runs, _ in self.plan_resources:
            for run in runs:
                references.update(REFERENCE.findall(text_bytes(run.bodies).tobytes()))
        return frozenset(
            mention
            for mention in missing
            if reference_of(mention, environment).encode() in references
        )


def reference_of(mention: Mention, environment: Environment) -> str:
    """Return `Type/id` of a directory resource that was named."""
    return f"{mention.resource}/{environment.logical_id(mention.resource, mention.key)}"


def run_plans(
    plans: tuple[Plan, ...],
    partition: Partition,
    environment: Environment,
    definitions: Definitions,
    rejecting: frozenset[str] = frozenset(),
    observer: Observer | None = None,
) -> Mapped:
    """Run plans over accepted rows.

    Args:
        plans: what to make.
        partition: the rows, prepared.
        environment: the directory and the crosswalks.
        definitions: what the profiles of the plans require.
        rejecting: rules of what is noticed while mapping that keep a row from being published.
        observer: records what each plan makes; None for nothing.
    """
    counts: Counter[str] = Counter()
    unmapped: dict[str, list[pa.Table]] = {}
    mentioned: set[Mention] = set()
    plan_resources: list[PlanResources] = []
    checks = ObligationChecks(definitions.obligations)
    filled_counts: list[ElementCounts] = []
    renderings = [
        render(plan, partition, environment, elements=definitions.elements[plan.name])
        for plan in plans
    ]
    checks.expect(rendering.values for rendering in renderings)
    if observer is not None:
        observer.begin()
    for plan in plans:
        rendering = renderings.pop(0)  # its values are freed before the next plan runs
        values = rendering.values
        plan_resources.append(PlanResources(plan, list(_drop_repeated_ids(rendering)), partition))
        mentioned |= mentions(values)
        for name, finding in findings(values).items():
            unmapped.setdefault(name, []).append(finding)
        left_out = omitted_rows(values)
        if left_out.num_rows:
            unmapped.setdefault(OMITTED, []).append(left_out)
        counts[plan.resource] += sum(len(run.ids) for run in plan_resources[-1].runs)
        filled_counts += (
            count_elements(plan.profile, run.filled) for run in plan_resources[-1].runs
        )
        checks.check(values)
        if observer is not None:
            observer.take(plan_resources[-1], values)
    broken = checks.broken(chain.from_iterable(unmapped.values()), rejecting)
    return Mapped(
        () if broken.num_rows else plan_resources,
        counts,
        add_element_counts(filled_counts),
        {name: once_each(words) for name, words in unmapped.items()},
        frozenset(mentioned),
        broken,
    )


def _drop_repeated_ids(runs: Iterable[ResourceBatch]) -> Iterator[ResourceBatch]:
    """Drop resources with a repeated ID: several rows may describe one resource."""
    seen_ids: set[str] = set()
    for run in runs:
        is_first = []
        for logical_id in run.ids.to_pylist():
            is_first.append(logical_id not in seen_ids)
            seen_ids.add(logical_id)
        yield run if all(is_first) else run.filter(np.array(is_first))


@dataclass(frozen=True, slots=True)
class PartitionContext:
    """The context of a partition: the same for all of a run.

    Attributes:
        definitions: rules and mappings.
        providers: the directory.
        as_of: day of the extract, in days since 1970; None if it is not stated.
    """

    definitions: Definitions
    providers: Providers
    as_of: int | None


def check_and_map(
    context: PartitionContext,
    loaded: Loaded,
    keys: GlobalKeys,
    owners: RowOwners | None = None,
    observer: Observer | None = None,
) -> tuple[DecidedRows, Checked, Mapped]:
    """Check a partition and map accepted rows until all resources conform.

    Args:
        context: rules, mappings and the directory.
        loaded: the rows.
        keys: ids of all partitions.
        owners: the members of the rows, where each member's share of the totals is wanted.
        observer: records what each plan makes; None for nothing.

    Returns:
        All rows as they were decided on, the result of the rules, and the resources.
    """
    definitions, providers = context.definitions, context.providers
    rules = RuleContext(definitions.book, keys, providers.ids, context.as_of)
    claim_rules = ClaimRules.from_definitions(definitions)
    rejecting = rejecting_rules(definitions.book)
    findings = loaded.findings
    while True:
        claims = claim_rules.finalize(check_rows(loaded.tables, findings, rules, loaded.unread))
        checked = check_totals(claims.decided, owners)
        tables = {**checked.tables, **providers.tables}
        mapped_rows = run_plans(
            definitions.patient_plans,
            claims.partition(tables, providers.environment),
            providers.environment,
            definitions,
            rejecting,
            observer,
        )
        if not mapped_rows.broken.num_rows:
            return claims.decided, checked, mapped_rows
        # Dependents of a rejected row are rejected too: check again, as if a rule rejected it.
        findings = with_broken(findings, mapped_rows.broken)
