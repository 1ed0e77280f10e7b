"""Elements of a profile that a plan writes, as formulas about the row of a resource.

An element is filled where its node is there, and an entry belongs to a slice where it has what
identifies it. Said of a plan and not of JSON, so that the engine counts a whole column of resources
at a time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from etl.mapping.formulas import Codes, Formula, expand_loops, in_nested_rows
from etl.mapping.plan import Entry, ListNode, ObjectNode, Plan
from etl.mapping.row_tests import NodeContext
from etl.model.crosswalks import Crosswalk
from etl.model.logic import any_of
from etl.profiles.structures import Element, Profile, choice_names, find_canonical

MustSupport: TypeAlias = tuple[tuple[str, Formula], ...]
"""Ids of a profile's must-support elements, in its order, and where a row's resource has each."""

ALWAYS: Final = ("id", "meta", "meta.lastUpdated", "meta.profile", "meta.versionId")
"""Elements of every resource: the engine writes them."""


def must_support(plan: Plan, crosswalks: Mapping[str, Crosswalk]) -> MustSupport:
    """Return the must-support elements of a plan's profile; none if the profile is not known.

    Args:
        plan: a compiled mapping.
        crosswalks: those that it translates with.
    """
    profile = find_canonical(plan.profile)
    if profile is None:
        return ()
    written = written_elements(plan, profile, crosswalks)
    always = {f"{profile.root.id}.{name}" for name in ALWAYS}
    return tuple(
        (element.id, element.id in always or any_of(*(given for given, _ in written[element.id])))
        for element in profile.must_support()
    )


def written_elements(
    plan: Plan, profile: Profile, crosswalks: Mapping[str, Crosswalk]
) -> Mapping[str, list[tuple[Formula, Entry]]]:
    """Return each element's nodes in a plan, with their presence conditions.

    Args:
        plan: a compiled mapping.
        profile: the profile of its resources.
        crosswalks: those that it translates with.

    Returns:
        Element id -> its places; ids of slices as well, for each entry that may belong to one.
    """
    walker = _Walker(profile, Codes(crosswalks))
    walker.object(plan.body, profile.root, NodeContext())
    return walker.found


@dataclass(frozen=True, slots=True)
class _Walker:
    """Walks a plan and its profile, and records where each element is filled."""

    profile: Profile
    codes: Codes
    found: dict[str, list[tuple[Formula, Entry]]] = field(default_factory=lambda: defaultdict(list))

    def object(self, node: ObjectNode, element: Element, at: NodeContext) -> None:
        members = dict(node.members)
        for child in self.profile.children(element.id):
            for name in tuple(choice_names(child)) or (child.name,):
                if name in members:
                    self.member(name, members[name], child, at)

    def member(self, name: str, node: Entry, element: Element, at: NodeContext) -> None:
        for loops, given, inner in expand_loops(node):
            entries = (
                [entry for list_entry in inner.entries for entry in expand_loops(list_entry)]
                if isinstance(inner, ListNode)
                else [((), True, inner)]
            )
            outer = at.inside(inner, given, loops)
            for inner_loops, guard, entry in entries:
                context = outer if entry is inner else outer.inside(entry, guard, inner_loops)
                self.value(name, entry, element, context)

    def value(self, name: str, entry: Entry, element: Element, at: NodeContext) -> None:
        slices = self.codes.slices_of(name, entry, element, self.profile)
        for slice_element, belongs in ((element, True), *slices):
            context = at if belongs is True else at.when(belongs)
            self.found[slice_element.id].append(
                (in_nested_rows(context.loops, context.given), entry)
            )
            if isinstance(entry, ObjectNode):
                self.object(entry, slice_element, context)
