"""Must-support coverage: which marked elements the mappings can produce, and why not the others.

Each must-support element is *produced*, *could be* (no mapping writes it; or, for given rows, none
fills it), or *cannot be*: then a mapping says why under `skip`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from etl.errors import MappingError
from etl.mapping import plan as pl
from etl.mapping.dictionary import level_tables, table_and_column
from etl.mapping.expressions import ColumnOf, Expr, written_parts
from etl.mapping.must_support import ALWAYS, written_elements
from etl.model.crosswalks import Crosswalk
from etl.profiles.structures import Profile, find_canonical

Status = Literal["produced", "could be", "cannot be"]
STATUSES: Final[tuple[Status, ...]] = ("produced", "could be", "cannot be")

WrittenColumns: TypeAlias = Mapping[str, frozenset[str]]
"""Element ID -> the columns that are written into it, as `table.column`."""


@dataclass(frozen=True, slots=True)
class PresentElements:
    """How many resources of one profile have each element.

    Attributes:
        resources: number of resources.
        elements: element ID -> number of resources that have it.
    """

    resources: int = 0
    elements: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ElementCoverage:
    """One must-support element.

    Attributes:
        element: its ID, including slice names.
        status: whether it is produced, could be or cannot be.
        columns: `table.column` of each column written into it, sorted; empty for constants.
        reason: why it is not produced; empty if it is.
        resources: number of resources that have it; None if no rows were read.
    """

    element: str
    status: Status
    columns: tuple[str, ...]
    reason: str
    resources: int | None = None


@dataclass(frozen=True, slots=True)
class ProfileCoverage:
    """The must-support elements of one profile.

    Attributes:
        profile: name of the profile.
        elements: in the order of the profile.
        resources: number of resources; None if no rows were read.
    """

    profile: str
    elements: tuple[ElementCoverage, ...]
    resources: int | None = None

    def with_status(self, status: Status) -> tuple[ElementCoverage, ...]:
        """Return the elements of one status."""
        return tuple(element for element in self.elements if element.status == status)


def must_support_coverage(
    plans: Iterable[pl.Plan],
    written: Mapping[str, WrittenColumns],
    present: Mapping[str, PresentElements] | None = None,
) -> tuple[ProfileCoverage, ...]:
    """Return the coverage of every must-support element, by profile in the order of the plans.

    Args:
        plans: compiled mappings.
        written: plan -> its `written_columns`.
        present: canonical of a profile -> the elements that its resources have; None for the
            elements that the mappings can produce from any rows.
    """
    plans_by_profile: dict[str, list[pl.Plan]] = defaultdict(list)
    for plan in plans:
        plans_by_profile[plan.profile].append(plan)
    coverage: list[ProfileCoverage] = []
    for canonical, profile_plans in plans_by_profile.items():
        profile = find_canonical(canonical)
        if profile is not None:
            counts = None if present is None else present.get(canonical, PresentElements())
            coverage.append(_profile_coverage(profile, profile_plans, written, counts))
    return tuple(coverage)


def _profile_coverage(
    profile: Profile,
    plans: Iterable[pl.Plan],
    written: Mapping[str, WrittenColumns],
    present: PresentElements | None,
) -> ProfileCoverage:
    columns: dict[str, frozenset[str]] = {}
    skipped: dict[str, str] = {}
    for plan in plans:
        for element, names in written[plan.name].items():
            columns[element] = columns.get(element, frozenset()) | names
        skipped |= {f"{plan.resource}.{path}": why for path, why in plan.skipped_elements.items()}
    elements = tuple(
        _element_coverage(element.id, columns, skipped, present)
        for element in profile.must_support()
    )
    return ProfileCoverage(profile.name, elements, None if present is None else present.resources)


def _element_coverage(
    element: str,
    written: WrittenColumns,
    skipped: Mapping[str, str],
    present: PresentElements | None,
) -> ElementCoverage:
    columns = tuple(sorted(written.get(element, ())))
    count = None if present is None else present.elements.get(element, 0)
    if count or (count is None and element in written):
        return ElementCoverage(element, "produced", columns, "", count)
    if element in written:
        why = f"no row fills {', '.join(columns)}" if columns else "no row calls for it"
        return ElementCoverage(element, "could be", columns, why, count)
    if element in skipped:
        return ElementCoverage(element, "cannot be", columns, skipped[element], count)
    return ElementCoverage(element, "could be", columns, "no mapping writes it", count)


def find_misplaced_skips(
    plan: pl.Plan, crosswalks: Mapping[str, Crosswalk]
) -> Iterator[MappingError]:
    """Yield skipped elements that are not must-support, or that the mapping writes."""
    profile = find_canonical(plan.profile)
    if profile is None or not plan.skipped_elements:
        return
    must_support = {element.id for element in profile.must_support()}
    written = written_columns(plan, crosswalks)
    for path in plan.skipped_elements:
        element = f"{plan.resource}.{path}"
        if element not in must_support:
            problem = f"skip: {element} is no must-support element of {profile.name}"
            yield MappingError(str(plan.body.mark), "map-skip", problem)
        elif element in written:
            problem = f"skip: the mapping writes {element} after all"
            yield MappingError(str(plan.body.mark), "map-skip", problem)


# -- what a plan writes ----------------------------------------------------------------------


def written_columns(plan: pl.Plan, crosswalks: Mapping[str, Crosswalk]) -> WrittenColumns:
    """Return the elements (slices, too) that a plan can write, with the columns written to each."""
    profile = find_canonical(plan.profile)
    if profile is None:
        return {}
    tables = level_tables(plan)
    columns = {f"{profile.root.id}.{name}": frozenset[str]() for name in ALWAYS}
    if plan.last_updated is not None:
        columns[f"{profile.root.id}.meta.lastUpdated"] = _columns_of(plan.last_updated, tables)
    for element, nodes in written_elements(plan, profile, crosswalks).items():
        columns[element] = frozenset().union(
            *(
                _columns_of(leaf.expr, tables)
                for _, node in nodes
                for _, leaf in pl.nodes_of(node)
                if isinstance(leaf, pl.Leaf)
            )
        )
    return columns


def _columns_of(expr: Expr, tables: Mapping[int, tuple[str, str]]) -> frozenset[str]:
    return frozenset(
        ".".join(table_and_column(part, tables))
        for part in written_parts(expr)
        if isinstance(part, ColumnOf)
    )


# -- for people --------------------------------------------------------------------------------


def coverage_markdown(profiles: Sequence[ProfileCoverage]) -> str:
    """Return the coverage as Markdown: a table of all profiles, then one table per profile."""
    lines = [
        "# Must-support coverage",
        "",
        f"| profile | must-support | {' | '.join(STATUSES)} |",
        f"|---|{'---:|' * (1 + len(STATUSES))}",
    ]
    for profile in profiles:
        counts = " | ".join(str(len(profile.with_status(status))) for status in STATUSES)
        lines.append(f"| {profile.profile} | {len(profile.elements)} | {counts} |")
    for profile in profiles:
        total = "" if profile.resources is None else f" ({profile.resources:,} resources)"
        lines += [
            "",
            f"## {profile.profile}{total}",
            "",
            "| element | | columns, or why not |",
            "|---|---|---|",
        ]
        for element in profile.elements:
            explanation = element.reason or ", ".join(f"`{name}`" for name in element.columns)
            lines.append(f"| `{element.element}` | {format_status(element)} | {explanation} |")
    return "\n".join(lines) + "\n"


def format_status(element: ElementCoverage) -> str:
    """Format an element's status, with the number of resources that have it, if any."""
    return element.status if not element.resources else f"{element.status}, {element.resources:,}"
