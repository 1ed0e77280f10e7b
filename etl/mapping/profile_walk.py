"""Walk a plan together with its profile, for everything that compares the two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from etl.mapping import formulas as fm
from etl.mapping import plan as pl
from etl.mapping.row_tests import NodeContext
from etl.profiles.guides import Guide
from etl.profiles.shapes import Shape, discriminators
from etl.profiles.structures import Profile


class ListEntry(NamedTuple):
    """One entry of a list: the loops that make it, when it is made, and its node."""

    loops: tuple[pl.Loop, ...]
    given: fm.Formula
    node: pl.Entry


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
        codes: makes formulas of value sets and slices.
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
        self.visit_object(self.plan.body, Shape(self.profile, self.profile.root), "", NodeContext())

    def visit_object(self, node: pl.ObjectNode, shape: Shape, path: str, at: NodeContext) -> None:
        """Visit the members of an object, then the object itself."""
        for key, member in node.members:
            guard: fm.Formula = True
            if isinstance(member, pl.Guarded):
                guard, member = member.condition, member.node
            below = f"{path}.{key}" if path else key
            self.visit_member(key, member, shape, below, at.inside(member, guard))
        self.check_object(node, shape, path, at)

    def visit_member(
        self, key: str, node: pl.Entry, parent: Shape, path: str, at: NodeContext
    ) -> None:
        """Visit one member of an object: an element, or the extension of a primitive one."""
        shape = parent.member(key.removeprefix("_"))
        if key.startswith("_"):
            self.check_extension(key, node, parent, path)
            if isinstance(node, pl.ObjectNode):
                self.visit_object(node, Shape.of_type("Element"), path, at)
        elif not self.check_member(key, node, parent, path, at) or shape is None:
            return
        elif isinstance(node, pl.ListNode):
            self.visit_list(node, shape, path, at)
        else:
            self.visit_value(node, shape, path, at)

    def visit_list(self, node: pl.ListNode, shape: Shape, path: str, at: NodeContext) -> None:
        """Visit a list, then each entry as what it is: of a slice for sure, or of any that it may.

        An entry that is surely of a slice is visited as that alone.
        """
        entries = [
            ListEntry(*opened) for entry in node.entries for opened in fm.expand_loops(entry)
        ]
        slices = self.slices(entries, shape, path)
        self.check_list(node, shape, path, at, entries, slices)
        for number, (loops, given, inner) in enumerate(entries):
            here = at.inside(inner, given, loops)
            sure = next((part for part in slices if part.belongs[number] is True), None)
            if sure is not None:
                self.visit_value(inner, sure.shape, sure.path, here)
                continue
            self.visit_value(inner, shape, path, here)
            for part in slices if self.visits_uncertain_slices else ():
                if (belongs := part.belongs[number]) is not False:
                    self.visit_value(inner, part.shape, part.path, here.when(belongs))

    def slices(self, entries: list[ListEntry], shape: Shape, path: str) -> list[ListSlice]:
        """Return the slices of a list."""
        slicing = shape.element.slicing
        if slicing is None:
            return []
        result = []
        for child in shape.slices():
            traits = discriminators(shape.profile, slicing, child.element)
            belongs = [self.codes.in_slice(entry.node, traits, self.guide) for entry in entries]
            result.append(ListSlice(child, f"{path}:{child.element.slice_name}", belongs))
        return result

    def visit_value(self, node: pl.Entry, shape: Shape, path: str, at: NodeContext) -> None:
        """Visit one value, and what is inside it."""
        inside = self.check_value(node, shape, path, at)
        if inside is not None and isinstance(node, pl.ObjectNode):
            self.visit_object(node, inside, path, at)

    # -- what subclasses check ---------------------------------------------------------------

    def check_object(self, node: pl.ObjectNode, shape: Shape, path: str, at: NodeContext) -> None:
        """Check an object as a whole."""

    def check_extension(self, key: str, node: pl.Entry, parent: Shape, path: str) -> None:
        """Check the member with the extensions of a primitive element."""

    def check_member(
        self, key: str, node: pl.Entry, parent: Shape, path: str, at: NodeContext
    ) -> bool:
        """Check what stands under a name; return whether to visit it."""
        raise NotImplementedError

    def check_list(
        self,
        node: pl.ListNode,
        shape: Shape,
        path: str,
        at: NodeContext,
        entries: list[ListEntry],
        slices: list[ListSlice],
    ) -> None:
        """Check a list as a whole."""

    def check_value(self, node: pl.Entry, shape: Shape, path: str, at: NodeContext) -> Shape | None:
        """Check one value; return the shape of its members, None if they are not to be visited."""
        raise NotImplementedError
