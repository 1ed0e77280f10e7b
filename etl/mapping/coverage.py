"""Must-support coverage: which elements that a profile marks the mappings can produce, and why not.

Of a profile's must-support elements each is *produced*, *could be* (no mapping writes it; or, of
given rows, none fills it) or *cannot be*, and then a mapping says why under `skip`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from etl.errors import MappingError
from etl.mapping import plan as pl
from etl.mapping.dictionary import column_read, sources_of
from etl.mapping.expressions import ColumnOf, Expr, written_parts
from etl.mapping.must_support import ALWAYS, written_elements
from etl.model.crosswalks import Crosswalk
from etl.profiles.structures import Profile, find_canonical

Status = Literal["produced", "could be", "cannot be"]
STATUSES: Final[tuple[Status, ...]] = ("produced", "could be", "cannot be")

WrittenColumns: TypeAlias = Mapping[str, frozenset[str]]
"""Id of an element -> the columns, as `table.column`, that are written into it."""


@dataclass(frozen=True, slots=True)
class Filled:
    """Elements that the resources of one profile hold.

    Attributes:
        resources: how many there are.
        elements: id of an element -> how many of them have it.
    """

    resources: int = 0
    elements: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ElementCoverage:
    """One must-support element.

    Attributes:
        element: its id, slices included.
        status: whether it is produced, could be or cannot be.
        columns: `table.column` of all that is written into it, in order; empty for constants.
        reason: why it is not produced; empty if it is.
        resources: how many resources have it; None if no rows were read.
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
        profile: its name.
        elements: in the order of the profile.
        resources: how many there are of it; None if no rows were read.
    """

    profile: str
    elements: tuple[ElementCoverage, ...]
    resources: int | None = None

    def with_status(self, status: Status) -> tuple[ElementCoverage, ...]:
        """Return the elements of one status."""
        return tuple(element for element in self.elements if element.status == status)


def coverage(
    plans: Iterable[pl.Plan],
    columns: Mapping[str, WrittenColumns],
    filled: Mapping[str, Filled] | None = None,
) -> tuple[ProfileCoverage, ...]:
    """Return the coverage of every must-support element, by profile in the order of the plans.

    Args:
        plans: compiled mappings.
        columns: plan -> what it writes, of `written_columns`.
        filled: by a profile's canonical, what resources made of rows have in them; None for
            what the mappings can produce of any rows.
    """
    by_profile: dict[str, list[pl.Plan]] = defaultdict(list)
    for plan in plans:
        by_profile[plan.profile].append(plan)
    profiles: list[ProfileCoverage] = []
    for canonical, mine in by_profile.items():
        profile = find_canonical(canonical)
        if profile is not None:
            rows = None if filled is None else filled.get(canonical, Filled())
            profiles.append(_of_profile(profile, mine, columns, rows))
    return tuple(profiles)


def _of_profile(
    profile: Profile,
    plans: Iterable[pl.Plan],
    columns_of_plans: Mapping[str, WrittenColumns],
    filled: Filled | None,
) -> ProfileCoverage:
    columns: dict[str, frozenset[str]] = {}
    unfed: dict[str, str] = {}
    for plan in plans:
        for name, read in columns_of_plans[plan.name].items():
            columns[name] = columns.get(name, frozenset()) | read
        unfed |= {f"{plan.resource}.{path}": why for path, why in plan.unfed.items()}
    elements = tuple(
        _of_element(element.id, columns, unfed, filled) for element in profile.must_support()
    )
    return ProfileCoverage(profile.name, elements, None if filled is None else filled.resources)


def _of_element(
    name: str, columns: WrittenColumns, unfed: Mapping[str, str], filled: Filled | None
) -> ElementCoverage:
    read = tuple(sorted(columns.get(name, ())))
    count = None if filled is None else filled.elements.get(name, 0)
    if count or (count is None and name in columns):
        return ElementCoverage(name, "produced", read, "", count)
    if name in columns:
        why = f"no row fills {', '.join(read)}" if read else "no row calls for it"
        return ElementCoverage(name, "could be", read, why, count)
    if name in unfed:
        return ElementCoverage(name, "cannot be", read, unfed[name], count)
    return ElementCoverage(name, "could be", read, "no mapping writes it", count)


def misplaced_skips(plan: pl.Plan, crosswalks: Mapping[str, Crosswalk]) -> Iterator[MappingError]:
    """Yield mistakes of the elements that a plan skips: not marked, or written nevertheless."""
    profile = find_canonical(plan.profile)
    if profile is None or not plan.unfed:
        return
    wanted = {element.id for element in profile.must_support()}
    written = written_columns(plan, crosswalks)
    for path in plan.unfed:
        name = f"{plan.resource}.{path}"
        if name not in wanted:
            what = f"skip: {name} is no must-support element of {profile.name}"
            yield MappingError(str(plan.body.place), "map-skip", what)
        elif name in written:
            what = f"skip: the mapping writes {name} after all"
            yield MappingError(str(plan.body.place), "map-skip", what)


# -- what a plan writes ----------------------------------------------------------------------


def written_columns(plan: pl.Plan, crosswalks: Mapping[str, Crosswalk]) -> WrittenColumns:
    """Return the elements, slices among them, that a plan can write, and the columns in them."""
    profile = find_canonical(plan.profile)
    if profile is None:
        return {}
    sources = sources_of(plan)
    found: dict[str, set[str]] = {f"{profile.root.id}.{name}": set() for name in ALWAYS}
    if plan.last_updated is not None:
        found[f"{profile.root.id}.{_STAMP}"] |= _columns(plan.last_updated, sources)
    for name, places in written_elements(plan, profile, crosswalks).items():
        found[name] = set().union(*(_columns_in(node, sources) for _, node in places))
    return {name: frozenset(read) for name, read in found.items()}


_STAMP: Final = "meta.lastUpdated"


def _columns_in(node: pl.Entry, sources: Mapping[int, tuple[str, str]]) -> set[str]:
    leaves = (inner for _, inner in pl.nodes_of(node) if isinstance(inner, pl.Leaf))
    return set().union(*(_columns(leaf.expr, sources) for leaf in leaves))


def _columns(expr: Expr, sources: Mapping[int, tuple[str, str]]) -> set[str]:
    return {
        ".".join(column_read(part, sources))
        for part in written_parts(expr)
        if isinstance(part, ColumnOf)
    }


# -- for people --------------------------------------------------------------------------------


def as_markdown(found: Iterable[ProfileCoverage]) -> str:
    """Return the coverage as Markdown: a table of all profiles, then one table a profile."""
    profiles = tuple(found)
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
        counted = "" if profile.resources is None else f" ({profile.resources:,} resources)"
        lines += [
            "",
            f"## {profile.profile}{counted}",
            "",
            "| element | | columns, or why not |",
            "|---|---|---|",
        ]
        for element in profile.elements:
            what = element.reason or ", ".join(f"`{name}`" for name in element.columns)
            lines.append(f"| `{element.element}` | {labelled(element)} | {what} |")
    return "\n".join(lines) + "\n"


def labelled(element: ElementCoverage) -> str:
    """Return an element's status, with the number of resources that have it where it is known."""
    return element.status if not element.resources else f"{element.status}, {element.resources:,}"
