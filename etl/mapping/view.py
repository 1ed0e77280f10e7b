"""Views of a mapping set: the same mappings for other profiles, without some elements.

A view is derived and never written a second time. The columns that it names are constants while
the mappings are compiled, so that conditions on them are resolved; then every element of the FHIR
types that it leaves out is taken out of the plans. What is left is checked like any other plan.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from etl.documents.models import read_as
from etl.errors import MappingError
from etl.mapping import plan as pl
from etl.mapping.expressions import ColumnOf, Condition, Expr, Kind, walk
from etl.mapping.headers import HEADER_IDS, ViewFile, profile_canonical, skip_reasons
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
    numbers, elements = skip_reasons(read.skip)
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


def apply_view(plan: pl.Plan, view: View, canonical: str) -> pl.Plan:
    """Return the plan with the view's profile and without the elements that the view hides.

    Args:
        plan: compiled with the constants that the view gives columns.
        view: the view.
        canonical: pattern of `profile_canonical`.

    Raises:
        MappingError: `map-view`: the plan would still read a column of money.
    """
    if view.name == FINANCIAL:
        return plan
    name = plan.profile_name
    if name in view.profiles:
        plan = replace(
            plan,
            profile=profile_canonical(view.profiles[name], canonical),
            skipped_map_ids=MappingProxyType({**plan.skipped_map_ids, **view.skipped_map_ids}),
        )
    profile = find_canonical(plan.profile)
    if name in view.profiles and profile is not None:
        must_support = {element.id for element in profile.must_support()}
        skipped = {
            path: reason
            for path, reason in view.skipped_elements.items()
            if f"{plan.resource}.{path}" in must_support
        }
        skipped_elements = MappingProxyType({**plan.skipped_elements, **skipped})
        plan = replace(plan, skipped_elements=skipped_elements)
    if profile is not None and profile.type == plan.resource:
        visible = _ElementRemover(view).object(plan.body, profile, profile.root, plan.resource)
        body = visible or pl.ObjectNode((), plan.body.place)
        if body is not plan.body:
            plan = replace(plan, body=body, search=_visible_search(plan, body))
    if not view.states_money:
        for mark, expr in plan.expressions():
            if _reads_amount(expr):
                message = f"the view {view.name!r} leaves money out, and this reads an amount"
                hint = f"leave the element out of the view by its path, under `without` ({name})"
                raise MappingError(str(mark), "map-view", message, hint=hint)
    return plan


@dataclass(frozen=True, slots=True)
class _ElementRemover:
    """Removes elements from a plan; None if nothing is left of a node."""

    view: View

    def node(
        self, node: pl.Entry, profile: Profile, element: Element, path: str
    ) -> pl.Entry | None:
        """Remove a node's hidden elements; return the node itself if it has none."""
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
        """Remove an object's hidden members; None if only constants are left."""
        remaining_members: list[tuple[str, Any]] = []
        is_changed = False
        for key, member in node.members:
            remaining = self.member(key, member, profile, element, path)
            is_changed = is_changed or remaining is not member
            if remaining is not None:
                remaining_members.append((key, remaining))
        if not is_changed:
            return node
        if not any(is_strong(member) for _, member in remaining_members):
            return None  # a constant never keeps an element alive
        return replace(node, members=tuple(remaining_members))

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


def _visible_search(plan: pl.Plan, body: pl.ObjectNode) -> Mapping[str, pl.ListNode]:
    """Return the search values that an element of the view can explain to a client.

    Left out are those of columns of which no element of the view has any.
    """
    visible_columns = _columns_read(body)
    columns = {name: _columns_read(node) for name, node in plan.search.items()}
    return MappingProxyType(
        {
            name: node
            for name, node in plan.search.items()
            if not columns[name] or columns[name] & visible_columns
        }
    )


def _columns_read(root: pl.Entry) -> set[tuple[bool, tuple[str, ...], str]]:
    """Return each column: whether it is in the mapping's own row, its relations, its name.

    Each loop has a level of its own, so that those of two nodes cannot be compared.
    """
    return {
        (part.level == 0, part.via, part.column)
        for _, expr in pl.expressions_of(root)
        for part in walk(expr)
        if isinstance(part, ColumnOf)
    }


def _reads_amount(expr: Expr | Condition) -> bool:
    return any(
        isinstance(part, ColumnOf) and (part.kind is Kind.MONEY or part.column in TELLS_OF_AMOUNTS)
        for part in walk(expr)
    )
