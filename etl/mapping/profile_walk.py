"""Walk a plan together with its profile, for everything that compares the two."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

from etl.mapping import formulas as fm
from etl.mapping import plan as pl
from etl.mapping.row_tests import NodeContext
from etl.profiles.guides import Guide
from etl.profiles.shapes import Shape, discriminators
from etl.profiles.structures import Profile


class ListSlice(NamedTuple):
    """One slice of a list: shape, path, and for each entry of the list when it belongs to it."""

    shape: Shape
    path: str
    belongs: list[fm.Formula]


@dataclass(slots=True)
class ProfileWalk:
    """Visits every node of a plan with its shape in the profile; subclasses check what they meet.

    Attributes:
        plan: a compiled mapping.
        profile: the profile of its resources.
        codes: builds the conditions of value sets and slices.
    """

    plan: pl.Plan
    profile: Profile
    codes: fm.Codes
    visits_uncertain_slices: ClassVar[bool] = True

    @property
    def guide(self) -> Guide:
        """The guide with the value sets that the profile is bound to."""
        return self.profile.terminology

    def run(self) -> None:
        """Walk the whole plan."""
        self.visit_object(self.plan.body, Shape(self.profile, self.profile.root), NodeContext())

    def visit_object(self, node: pl.ObjectNode, shape: Shape, context: NodeContext) -> None:
        """Visit the members of an object, then the object itself."""
        for key, member in node.members:
            guard: fm.Formula = True
            if isinstance(member, pl.Guard):
                guard, member = member.condition, member.node
            self.visit_member(key, member, shape, context.member(key).inside(member, guard))
        self.check_object(node, shape, context)

    def visit_member(self, key: str, node: pl.Entry, parent: Shape, context: NodeContext) -> None:
        """Visit one member of an object: an element, or the extension of a primitive one."""
        shape = parent.member(key.removeprefix("_"))
        if key.startswith("_"):
            self.check_extension(key, node, parent, context)
            if isinstance(node, pl.ObjectNode):
                self.visit_object(node, Shape.of_type("Element"), context)
        elif not self.check_member(key, node, parent, context) or shape is None:
            return
        elif isinstance(node, pl.ListNode):
            self.visit_list(node, shape, context)
        else:
            self.visit_value(node, shape, context)

    def visit_list(self, node: pl.ListNode, shape: Shape, context: NodeContext) -> None:
        """Visit a list, then each entry: as the slice that it certainly is, or as all it may be."""
        entries = list(fm.list_entries(node))
        slices = self.slices(entries, shape, context.path)
        self.check_list(node, shape, context, entries, slices)
        for number, entry in enumerate(entries):
            inner = context.inside(entry.node, entry.condition, entry.loops)
            certain = next((part for part in slices if part.belongs[number] is True), None)
            if certain is not None:
                self.visit_value(entry.node, certain.shape, replace(inner, path=certain.path))
                continue
            self.visit_value(entry.node, shape, inner)
            for part in slices if self.visits_uncertain_slices else ():
                if (belongs := part.belongs[number]) is not False:
                    slice_context = replace(inner.when(belongs), path=part.path)
                    self.visit_value(entry.node, part.shape, slice_context)

    def slices(self, entries: list[fm.ListEntry], shape: Shape, path: str) -> list[ListSlice]:
        """Return the slices of a list."""
        slicing = shape.element.slicing
        if slicing is None:
            return []
        result = []
        for child in shape.slices():
            identified_by = discriminators(shape.profile, slicing, child.element)
            belongs = [
                self.codes.in_slice(entry.node, identified_by, self.guide) for entry in entries
            ]
            result.append(ListSlice(child, f"{path}:{child.element.slice_name}", belongs))
        return result

    def visit_value(self, node: pl.Entry, shape: Shape, context: NodeContext) -> None:
        """Visit one value, and what is inside it."""
        inner_shape = self.check_value(node, shape, context)
        if inner_shape is not None and isinstance(node, pl.ObjectNode):
            self.visit_object(node, inner_shape, context)

    # -- what subclasses check ---------------------------------------------------------------

    def check_object(self, node: pl.ObjectNode, shape: Shape, context: NodeContext) -> None:
        """Check an object as a whole."""

    def check_extension(
        self, key: str, node: pl.Entry, parent: Shape, context: NodeContext
    ) -> None:
        """Check the member with the extensions of a primitive element."""

    def check_member(self, key: str, node: pl.Entry, parent: Shape, context: NodeContext) -> bool:
        """Check that the parent may have the member in this form; return whether to visit it."""
        raise NotImplementedError

    def check_list(
        self,
        node: pl.ListNode,
        shape: Shape,
        context: NodeContext,
        entries: list[fm.ListEntry],
        slices: list[ListSlice],
    ) -> None:
        """Check a list as a whole."""

    def check_value(self, node: pl.Entry, shape: Shape, context: NodeContext) -> Shape | None:
        """Check one value; return the shape of its members, None if they are not to be visited."""
        raise NotImplementedError
