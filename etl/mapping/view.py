"""Views of a mapping set: the same mappings for other profiles, without some elements.

A view is derived and never written a second time. The columns that it names are constants while
the mappings are compiled, so that conditions on them are resolved; then every element of the FHIR
types that it leaves out is taken out of the plans. What is left is checked like any other plan.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from etl.documents.models import read_as
from etl.errors import MappingError
from etl.mapping import plan as pl
from etl.mapping.expressions import ColumnOf, Condition, Expr, Kind, walk
from etl.mapping.headers import HEADER_IDS, ViewFile, skipped
from etl.mapping.plan import FINANCIAL, View
from etl.mapping.rows import TELLS_OF_AMOUNTS
from etl.mapping.static_values import is_strong
from etl.profiles.structures import Element, Profile, child, choice_names, find_canonical


def read_view(document: Any, file: str) -> View:
    """Return the view that a file describes, overlays merged in.

    Raises:
        MappingError: `map-shape`, `map-missing-key`, `map-unknown-key`, `map-view`,
            `map-unknown-table`, `map-unknown-column`.
    """
    read = read_as(ViewFile, document, file, HEADER_IDS)
    numbers, elements = skipped(read.skip)
    given = {(name.split(".")[0], name.split(".")[1]): text for name, text in read.given.items()}
    return View(
        read.name,
        read.version,
        MappingProxyType(read.profiles),
        frozenset(path for path in read.without if "." not in path),
        frozenset(path for path in read.without if "." in path),
        MappingProxyType(given),
        numbers,
        elements,
    )


def viewed(plan: pl.Plan, view: View, canonical: str) -> pl.Plan:
    """Return a plan as a view has it.

    Args:
        plan: the plan as the mapping says it, compiled with what the view takes as given.
        view: the view.
        canonical: what a profile's bare name is put into, with `{}` for the name.

    Raises:
        MappingError: `map-view`: the plan would still read a column of money.
    """
    if view.name == FINANCIAL:
        return plan
    name = plan.profile.rpartition("/")[2].partition("|")[0]
    if name in view.profiles:
        other = view.profiles[name]
        plan = replace(
            plan,
            profile=other if "/" in other else canonical.replace("{}", other, 1),
            skipped=MappingProxyType({**plan.skipped, **view.skipped}),
        )
    profile = find_canonical(plan.profile)
    if name in view.profiles and profile is not None:
        marked = {element.id for element in profile.must_support()}
        unfed = {
            path: why for path, why in view.unfed.items() if f"{plan.resource}.{path}" in marked
        }
        plan = replace(plan, unfed=MappingProxyType({**plan.unfed, **unfed}))
    if profile is not None and profile.type == plan.resource:
        left = _Leaving(view).object(plan.body, profile, profile.root, plan.resource)
        body = left or pl.ObjectNode((), plan.body.place)
        if body is not plan.body:
            plan = replace(plan, body=body, search=_shown_search(plan, body))
    if not view.states_money:
        for place, expr in _read(plan):
            if _tells_of_amounts(expr):
                what = f"the view {view.name!r} leaves money out, and this reads an amount"
                hint = f"leave the element out of the view by its path, under `without` ({name})"
                raise MappingError(str(place), "map-view", what, hint=hint)
    return plan


@dataclass(frozen=True, slots=True)
class _Leaving:
    """Takes elements out of a plan; None stands for a node of which nothing is left."""

    view: View

    def node(
        self, node: pl.Entry, profile: Profile, element: Element, path: str
    ) -> pl.Entry | None:
        """Return a node without what is left out: itself where that is nothing."""
        match node:
            case pl.Fixed() | pl.Leaf():
                return node
            case pl.ObjectNode():
                return self.object(node, profile, element, path)
            case pl.ListNode() | pl.Spliced():
                nodes = [self.node(entry, profile, element, path) for entry in node.entries]
                if all(left is same for left, same in zip(nodes, node.entries, strict=True)):
                    return node
                kept = tuple(kept_node for kept_node in nodes if kept_node is not None)
                return replace(node, entries=kept) if kept else None
            case pl.Guarded() | pl.Loop():
                inner = self.node(node.node, profile, element, path)
                if inner is node.node:
                    return node
                return (
                    None
                    if inner is None or isinstance(inner, pl.Loop)
                    else replace(node, node=inner)
                )

    def object(
        self, node: pl.ObjectNode, profile: Profile, element: Element, path: str
    ) -> pl.ObjectNode | None:
        """Return an object without what is left out; None where only constants stand then."""
        kept: list[tuple[str, Any]] = []
        is_less = False
        for key, member in node.members:
            left = self.member(key, member, profile, element, path)
            is_less = is_less or left is not member
            if left is not None:
                kept.append((key, left))
        if not is_less:
            return node
        if not any(is_strong(member) for _, member in kept):
            return None  # a constant never keeps an element alive
        return replace(node, members=tuple(kept))

    def member(
        self, key: str, member: pl.Entry, profile: Profile, element: Element, path: str
    ) -> pl.Entry | None:
        name = key.removeprefix("_")
        below = f"{path}.{name}"
        if below in self.view.paths:
            return None
        declared = child(profile, element, name)
        if declared is None:
            return member
        owner, at = declared
        choice = choice_names(at).get(name)
        if choice is not None and choice.code in self.view.types:
            return None
        if choice is not None and len(at.types) > 1:
            at = Element(id=at.id, min=at.min, max=at.max, array=at.array, types=(choice,))
        return self.node(member, owner, at, below)


def _shown_search(plan: pl.Plan, body: pl.ObjectNode) -> Mapping[str, pl.ListNode]:
    """Return the search values that an element of the view can explain to a client.

    Left out are those of columns of which no element of the view has any.
    """
    shown = _columns_read(body)
    columns = {name: _columns_read(node) for name, node in plan.search.items()}
    return MappingProxyType(
        {
            name: node
            for name, node in plan.search.items()
            if not columns[name] or columns[name] & shown
        }
    )


def _columns_read(whole: pl.ObjectNode | pl.ListNode) -> set[tuple[bool, tuple[str, ...], str]]:
    """Return for each column whether it is of the mapping's own row, its relations and its name.

    Each loop has a level of its own, so that those of two nodes cannot be compared.
    """
    return {
        (part.level == 0, part.via, part.column)
        for _, expr in _expressions(whole)
        for part in walk(expr)
        if isinstance(part, ColumnOf)
    }


def _read(plan: pl.Plan) -> Iterator[tuple[pl.CitedMark, Expr | Condition]]:
    """Yield every expression and condition of a plan, with where it is written."""
    for part in (plan.id, plan.compartment, plan.last_updated, plan.condition):
        if part is not None:
            yield plan.body.place, part
    wholes: tuple[pl.ObjectNode | pl.ListNode, ...] = (plan.body, *plan.search.values())
    for whole in wholes:
        yield from _expressions(whole)


def _expressions(
    whole: pl.ObjectNode | pl.ListNode,
) -> Iterator[tuple[pl.CitedMark, Expr | Condition]]:
    """Yield every expression and condition below a node, with where it is written."""
    for _, node in pl.nodes_of(whole):
        match node:
            case pl.Leaf(expr=expr):
                yield node.place, expr
            case pl.Guarded(condition=condition):
                yield node.place, condition
            case pl.Loop(condition=condition) if condition is not True:
                yield node.place, condition
            case _:
                continue


def _tells_of_amounts(expr: Expr | Condition) -> bool:
    return any(
        isinstance(part, ColumnOf) and (part.kind is Kind.MONEY or part.column in TELLS_OF_AMOUNTS)
        for part in walk(expr)
    )
