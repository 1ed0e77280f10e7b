"""Must-support coverage: which elements that a profile marks the mappings can produce, and why not.

Of a profile's must-support elements each is *produced*, *could be* (no mapping writes it; or, of
given rows, none fills it) or *cannot be*, and then a mapping says why under `skip`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

from etl.errors import MappingError
from etl.mapping import plan as pl
from etl.mapping.dictionary import column_read, sources_of
from etl.mapping.expressions import ColumnOf, Expr, written_parts
from etl.mapping.static_values import answers, static_value
from etl.model.crosswalks import Crosswalk
from etl.profiles.shapes import Discriminator, discriminators
from etl.profiles.structures import Element, Profile, choice_names, find_canonical
from etl.profiles.value_sets import ValueSet, value_set

Status = Literal["produced", "could be", "cannot be"]
STATUSES: Final[tuple[Status, ...]] = ("produced", "could be", "cannot be")

Made: TypeAlias = Mapping[str, frozenset[str]]
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
        reason: why it is not produced; empty where it is.
        resources: how many resources have it; None where no rows were read.
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
        resources: how many there are of it; None where no rows were read.
    """

    profile: str
    elements: tuple[ElementCoverage, ...]
    resources: int | None = None

    def with_status(self, status: Status) -> tuple[ElementCoverage, ...]:
        """Return the elements of one status."""
        return tuple(element for element in self.elements if element.status == status)


def coverage(
    plans: Iterable[pl.Plan],
    crosswalks: Mapping[str, Crosswalk],
    filled: Mapping[str, Filled] | None = None,
) -> tuple[ProfileCoverage, ...]:
    """Return the coverage of every must-support element, by profile in the order of the plans.

    Args:
        plans: compiled mappings.
        crosswalks: those they translate with.
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
            profiles.append(_of_profile(profile, mine, crosswalks, rows))
    return tuple(profiles)


def _of_profile(
    profile: Profile,
    plans: Iterable[pl.Plan],
    crosswalks: Mapping[str, Crosswalk],
    filled: Filled | None,
) -> ProfileCoverage:
    columns: dict[str, frozenset[str]] = {}
    unfed: dict[str, str] = {}
    for plan in plans:
        for name, read in made(plan, crosswalks).items():
            columns[name] = columns.get(name, frozenset()) | read
        unfed |= {f"{plan.resource}.{path}": why for path, why in plan.unfed.items()}
    elements = tuple(
        _of_element(element.id, columns, unfed, filled) for element in profile.must_support()
    )
    return ProfileCoverage(profile.name, elements, None if filled is None else filled.resources)


def _of_element(
    name: str, columns: Made, unfed: Mapping[str, str], filled: Filled | None
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
    written = made(plan, crosswalks)
    for path in plan.unfed:
        name = f"{plan.resource}.{path}"
        if name not in wanted:
            what = f"skip: {name} is no must-support element of {profile.name}"
            yield MappingError(str(plan.body.place), "map-skip", what)
        elif name in written:
            what = f"skip: the mapping writes {name} after all"
            yield MappingError(str(plan.body.place), "map-skip", what)


# -- what a plan writes ----------------------------------------------------------------------


def made(plan: pl.Plan, crosswalks: Mapping[str, Crosswalk]) -> Made:
    """Return the elements, slices among them, that a plan can write, and the columns in them."""
    profile = find_canonical(plan.profile)
    if profile is None:
        return {}
    writer = _Writer(profile, SliceMatcher(profile, crosswalks), sources_of(plan))
    root = profile.root.id
    for name in (*_ENGINE_MADE, f"meta.{_STAMP}"):
        writer.found[f"{root}.{name}"] = set()
    if plan.last_updated is not None:
        writer.found[f"{root}.meta.{_STAMP}"] |= writer.columns(plan.last_updated)
    writer.object(plan.body, profile.root)
    return {name: frozenset(read) for name, read in writer.found.items()}


_ENGINE_MADE: Final = ("id", "meta", "meta.profile", "meta.versionId")
_STAMP: Final = "lastUpdated"


@dataclass(frozen=True, slots=True)
class _Writer:
    """Walks a plan beside its profile and notes which elements it writes."""

    profile: Profile
    slices: SliceMatcher
    sources: Mapping[int, tuple[str, str]]
    found: dict[str, set[str]] = field(default_factory=dict)

    def object(self, node: pl.ObjectNode, element: Element) -> None:
        members = dict(node.members)
        for child_element in self.profile.children(element.id):
            for name in tuple(choice_names(child_element)) or (child_element.name,):
                if name in members:
                    self.member(name, members[name], child_element)

    def member(self, name: str, node: pl.Entry, element: Element) -> None:
        slices = self.profile.slices(element.id)
        for entry in values_of(node):
            for declared in (
                element,
                *(
                    slice_element
                    for slice_element in slices
                    if self.slices.may_be(entry, name, element, slice_element)
                ),
            ):
                self.found.setdefault(declared.id, set()).update(self.columns_in(entry))
                if isinstance(entry, pl.ObjectNode):
                    self.object(entry, declared)

    def columns_in(self, node: pl.Entry) -> set[str]:
        columns: set[str] = set()
        for _, inner in pl.nodes_of(node):
            if isinstance(inner, pl.Leaf):
                columns |= self.columns(inner.expr)
        return columns

    def columns(self, expr: Expr) -> set[str]:
        return {
            ".".join(column_read(part, self.sources))
            for part in written_parts(expr)
            if isinstance(part, ColumnOf)
        }


@dataclass(frozen=True, slots=True)
class SliceMatcher:
    """Matcher of a mapping's entries and the slices of an element that they may belong to.

    Attributes:
        profile: the one that defines the slices.
        crosswalks: those that the mapping translates with.
    """

    profile: Profile
    crosswalks: Mapping[str, Crosswalk]

    def may_be(self, entry: pl.Entry, name: str, whole: Element, part: Element) -> bool:
        """Return whether an entry can belong to a slice, whatever its row holds."""
        if whole.name.endswith("[x]"):
            return part.slice_name == name
        if whole.slicing is None:
            return False
        return all(
            self.may_fit(entry, discriminator)
            for discriminator in discriminators(self.profile, whole.slicing, part)
        )

    def may_fit(self, entry: pl.Entry, discriminator: Discriminator) -> bool:
        """Return whether an entry can have the value that identifies the entries of a slice."""
        nodes = list(_at(entry, discriminator.path)) if discriminator.path else [entry]
        if discriminator.value_set is not None:
            allowed = value_set(discriminator.value_set)
            return any(self.may_hold(node, allowed) for node in nodes)
        return any(self.may_equal(node, discriminator.pattern) for node in nodes)

    def may_equal(self, node: pl.Entry, wanted: Any) -> bool:
        """Return whether a node can contain a pattern (FHIR's pattern[x])."""
        if isinstance(wanted, Mapping):
            members = dict(node.members) if isinstance(node, pl.ObjectNode) else {}
            return all(
                key in members and self.may_equal(_opened(members[key]), part)
                for key, part in wanted.items()
            )
        if isinstance(wanted, list):
            entries = list(values_of(node))
            return all(any(self.may_equal(choice, part) for choice in entries) for part in wanted)
        said = self.answers(node)
        return said is None or str(wanted) in said

    def may_hold(self, node: pl.Entry, allowed: ValueSet) -> bool:
        """Return whether a CodeableConcept can have a coding of a value set."""
        for coding in _at(node, ["coding"]):
            members = dict(coding.members) if isinstance(coding, pl.ObjectNode) else {}
            systems, codes = (
                self.answers(members[key]) if key in members else frozenset()
                for key in ("system", "code")
            )
            if systems is None or codes is None:
                return True
            if any(allowed.holds(system, code) for system in systems for code in codes):
                return True
        return False

    def answers(self, node: pl.Entry) -> frozenset[str] | None:
        """Return every text that a node can be; None where that depends on the rows."""
        match node:
            case pl.Fixed():
                return frozenset({str(static_value(node))})
            case pl.Leaf(expr=expr):
                return answers(expr, self.crosswalks)
            case pl.Guarded():
                return self.answers(node.node)
            case _:
                return frozenset()


def values_of(node: pl.Entry) -> Iterator[pl.Fixed | pl.Leaf | pl.ObjectNode]:
    """Yield the values that stand under one name; lists, guards and loops are opened."""
    match node:
        case pl.ListNode(entries=entries) | pl.Spliced(entries=entries):
            for entry in entries:
                yield from values_of(entry)
        case pl.Guarded(node=inner) | pl.Loop(node=inner):
            yield from values_of(inner)
        case _:
            yield node


def _opened(node: pl.Entry) -> pl.Entry:
    """Return what a guard guards."""
    return node.node if isinstance(node, pl.Guarded) else node


def _at(node: pl.Entry, path: Sequence[str]) -> Iterator[pl.Fixed | pl.Leaf | pl.ObjectNode]:
    """Yield the values at a path below a node."""
    for value in values_of(node):
        if not path:
            yield value
        elif isinstance(value, pl.ObjectNode):
            for key, member in value.members:
                if key == path[0]:
                    yield from _at(member, path[1:])


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
