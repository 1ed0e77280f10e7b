"""Elements of a profile that a plan writes, as formulas about the row of a resource.

An element is written if its node is present; an entry belongs to a slice if it has what identifies
the slice. Because these are formulas, the engine counts all resources of a plan at a time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from etl.mapping.formulas import Codes, Formula, expand_loops, in_nested_rows, list_entries
from etl.mapping.plan import Entry, ListNode, ObjectNode, Plan
from etl.mapping.row_tests import NodeContext
from etl.model.crosswalks import Crosswalk
from etl.model.logic import any_of
from etl.profiles.structures import Element, Profile, choice_names, find_canonical

MustSupport: TypeAlias = tuple[tuple[str, Formula], ...]
"""IDs of a profile's must-support elements, in its order, each with its presence condition."""

ALWAYS: Final = ("id", "meta", "meta.lastUpdated", "meta.profile", "meta.versionId")
"""Elements of every resource: the engine writes them."""


def must_support(plan: Plan, crosswalks: Mapping[str, Crosswalk]) -> MustSupport:
    """Return the must-support elements of a plan's profile; none if the profile is not known.

    Args:
        plan: a compiled mapping.
        crosswalks: the crosswalks that it uses.
    """
    profile = find_canonical(plan.profile)
    if profile is None:
        return ()
    written = written_elements(plan, profile, crosswalks)
    always = {f"{profile.root.id}.{name}" for name in ALWAYS}
    return tuple(
        (
            element.id,
            element.id in always or any_of(*(presence for presence, _ in written[element.id])),
        )
        for element in profile.must_support()
    )


def written_elements(
    plan: Plan, profile: Profile, crosswalks: Mapping[str, Crosswalk]
) -> Mapping[str, list[tuple[Formula, Entry]]]:
    """Return each element's nodes in a plan, with their presence conditions.

    Args:
        plan: a compiled mapping.
        profile: the profile of its resources.
        crosswalks: the crosswalks that it uses.

    Returns:
        Element ID -> its nodes; also the IDs of slices, with the entries that may belong to them.
    """
    walker = _Walker(profile, Codes(crosswalks))
    walker.visit_object(plan.body, profile.root, NodeContext())
    return walker.filled


@dataclass(frozen=True, slots=True)
class _Walker:
    """Walks a plan and its profile, and records where each element is filled."""

    profile: Profile
    codes: Codes
    filled: dict[str, list[tuple[Formula, Entry]]] = field(
        default_factory=lambda: defaultdict(list)
    )

    def visit_object(self, node: ObjectNode, element: Element, context: NodeContext) -> None:
        members = dict(node.members)
        for child in self.profile.children(element.id):
            for name in tuple(choice_names(child)) or (child.name,):
                if name in members:
                    self.visit_member(name, members[name], child, context)

    def visit_member(self, name: str, node: Entry, element: Element, outer: NodeContext) -> None:
        for loops, condition, inner in expand_loops(node):
            context = outer.inside(inner, condition, loops)
            if not isinstance(inner, ListNode):
                self.visit_value(name, inner, element, context)
            for entry in list_entries(inner):
                entry_context = context.inside(entry.node, entry.condition, entry.loops)
                self.visit_value(name, entry.node, element, entry_context)

    def visit_value(self, name: str, node: Entry, element: Element, context: NodeContext) -> None:
        slices = self.codes.slices_of(name, node, element, self.profile)
        for slice_element, belongs in ((element, True), *slices):
            inner = context if belongs is True else context.when(belongs)
            presence = in_nested_rows(inner.loops, inner.presence)
            self.filled[slice_element.id].append((presence, node))
            if isinstance(node, ObjectNode):
                self.visit_object(node, slice_element, inner)
