"""Views of a mapping set: the same mappings for other profiles, without some elements.

A view is derived from the mappings. The columns for which it gives constants are resolved when the
mappings are compiled; then the elements of the FHIR types that it leaves out are removed from the
plans. The resulting plans are checked like any others.
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
from etl.mapping.row_columns import AMOUNT_FLAGS
from etl.mapping.static_values import is_strong
from etl.profiles.structures import Element, Profile, child, choice_names, find_canonical


def read_view(document: Any, file: str) -> View:
    """Return the view that a file describes, overlays merged in.

    Raises:
        MappingError: `map-shape`, `map-missing-key`, `map-unknown-key`, `map-view`,
            `map-unknown-table`, `map-unknown-column`.
    """
    view_file = read_as(ViewFile, document, file, HEADER_IDS)
    map_ids, elements = skip_reasons(view_file.skip)
    constants = {
        (table, column): text
        for name, text in view_file.given.items()
        for table, _, column in [name.partition(".")]
    }
    return View(
        view_file.name,
        view_file.version,
        MappingProxyType(view_file.profiles),
        frozenset(path for path in view_file.without if "." not in path),
        frozenset(path for path in view_file.without if "." in path),
        MappingProxyType(constants),
        map_ids,
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
        remover = _ElementRemover(view)
        visible = remover.visible_object(plan.body, profile, profile.root, plan.resource)
        body = visible or pl.ObjectNode((), plan.body.mark)
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
    """Removes the elements that a view hides; its methods return None if nothing is left.

    A node without hidden elements is returned itself, not as a copy.
    """

    view: View

    def visible_node(
        self, node: pl.Entry, profile: Profile, element: Element, path: str
    ) -> pl.Entry | None:
        match node:
            case pl.JsonConstant() | pl.Leaf():
                return node
            case pl.ObjectNode():
                return self.visible_object(node, profile, element, path)
            case pl.ListNode() | pl.Splice():
                nodes = [self.visible_node(entry, profile, element, path) for entry in node.entries]
                if all(left is same for left, same in zip(nodes, node.entries, strict=True)):
                    return node
                entries = tuple(entry for entry in nodes if entry is not None)
                return replace(node, entries=entries) if entries else None
            case pl.Guard() | pl.Loop():
                inner = self.visible_node(node.node, profile, element, path)
                if inner is node.node:
                    return node
                if inner is None or isinstance(inner, pl.Loop):
                    return None
                return replace(node, node=inner)

    def visible_object(
        self, node: pl.ObjectNode, profile: Profile, element: Element, path: str
    ) -> pl.ObjectNode | None:
        members: list[tuple[str, Any]] = []
        is_changed = False
        for key, member in node.members:
            visible = self.visible_member(key, member, profile, element, path)
            is_changed = is_changed or visible is not member
            if visible is not None:
                members.append((key, visible))
        if not is_changed:
            return node
        if not any(is_strong(member) for _, member in members):
            return None  # a constant never keeps an element alive
        return replace(node, members=tuple(members))

    def visible_member(
        self, key: str, member: pl.Entry, profile: Profile, element: Element, path: str
    ) -> pl.Entry | None:
        name = key.removeprefix("_")
        member_path = f"{path}.{name}"
        if member_path in self.view.paths:
            return None
        declared = child(profile, element, name)
        if declared is None:
            return member
        owner, declaration = declared
        choice = choice_names(declaration).get(name)
        if choice is not None and choice.code in self.view.types:
            return None
        if choice is not None and len(declaration.types) > 1:
            declaration = Element(
                id=declaration.id,
                min=declaration.min,
                max=declaration.max,
                array=declaration.array,
                types=(choice,),
            )
        return self.visible_node(member, owner, declaration, member_path)


def _visible_search(plan: pl.Plan, body: pl.ObjectNode) -> Mapping[str, pl.ListNode]:
    """Return the search values, without those made only of columns that the view hides."""
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
    """Return each column: whether it is in the mapping's own row, its relations, and its name.

    Levels of loops are left out: each loop has its own, so they differ between two nodes.
    """
    return {
        (part.level == 0, part.via, part.column)
        for _, expr in pl.expressions_of(root)
        for part in walk(expr)
        if isinstance(part, ColumnOf)
    }


def _reads_amount(expr: Expr | Condition) -> bool:
    return any(
        isinstance(part, ColumnOf) and (part.kind is Kind.MONEY or part.column in AMOUNT_FLAGS)
        for part in walk(expr)
    )
