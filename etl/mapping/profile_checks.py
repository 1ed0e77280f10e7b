"""Checks of plans against FHIR profiles: paths, types, cardinalities, patterns and bindings.

What depends on rows is left to the run's own checks; what is invalid in a plan whatever the rows
hold is detected here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from etl.documents.nearest import nearest
from etl.errors import MappingError
from etl.mapping import plan as pl
from etl.mapping.expressions import (
    Constant,
    Expr,
    Joined,
    Kind,
    ProviderReference,
)
from etl.mapping.static_values import UNKNOWN, Facts, answers, covers, fits, is_strong, static_value
from etl.model.crosswalks import Crosswalk
from etl.profiles.shapes import ENGINE_MADE, Shape, discriminators, target_types
from etl.profiles.structures import TypeChoice, choice_names, find_canonical, is_type
from etl.profiles.value_sets import value_set

_KINDS: Final[Mapping[str, frozenset[Kind]]] = {
    "boolean": frozenset({Kind.BOOLEAN}),
    "integer": frozenset({Kind.INTEGER}),
    "positiveInt": frozenset({Kind.INTEGER}),
    "unsignedInt": frozenset({Kind.INTEGER}),
    "decimal": frozenset({Kind.DECIMAL, Kind.MONEY, Kind.INTEGER}),
    "date": frozenset({Kind.DATE}),
    "dateTime": frozenset({Kind.DATE, Kind.DATETIME, Kind.INSTANT}),
    "instant": frozenset({Kind.INSTANT}),
}
"""FHIR primitive -> the kinds of expression that it takes; all other primitives take any text."""

_NO_TEXT: Final = frozenset({Kind.MONEY, Kind.DECIMAL, Kind.INTEGER, Kind.BOOLEAN})


def problems(plan: pl.Plan, crosswalks: Mapping[str, Crosswalk]) -> list[MappingError]:
    """Return the mistakes of a plan, in the order of the mapping.

    Args:
        plan: a compiled mapping.
        crosswalks: those it translates with.
    """
    profile = find_canonical(plan.profile)
    if profile is None:
        where = str(plan.body.place)
        return [MappingError(where, "map-unknown-profile", f"no profile {plan.profile}")]
    if profile.type != plan.resource:
        what = f"{profile.name} is a profile of {profile.type}, not of {plan.resource}"
        return [MappingError(str(plan.body.place), "map-unknown-profile", what)]
    checker = _Checker(plan, crosswalks)
    facts = Facts() if plan.condition is None else Facts().given(plan.condition)
    checker.structure(plan.body, Shape(profile, profile.root), "", facts)
    return checker.found


@dataclass(frozen=True, slots=True)
class _Checker:
    plan: pl.Plan
    crosswalks: Mapping[str, Crosswalk]
    found: list[MappingError] = field(default_factory=list)

    def problem(
        self, place: pl.CitedMark, error_id: str, path: str, what: str, hint: str = ""
    ) -> None:
        name = f"{self.plan.resource}.{path}" if path else self.plan.resource
        self.found.append(MappingError(str(place), error_id, f"{name}: {what}", hint=hint))

    # -- shape -------------------------------------------------------------------------------

    def member(self, node: pl.Node, shape: Shape, path: str, facts: Facts) -> None:
        """Check what stands under one name of an object."""
        element = shape.element
        if isinstance(node, pl.Guarded):
            self.member(node.node, shape, path, facts.given(node.condition))
        elif element.max == 0:
            self.problem(node.place, "map-cardinality", path, "the profile forbids it")
        elif element.array != isinstance(node, pl.ListNode):
            what = "FHIR has a list here" if element.array else "FHIR has no list here"
            self.problem(node.place, "map-cardinality", path, what)
        elif isinstance(node, pl.ListNode):
            self.entries(node, shape, path, facts)
        else:
            self.value(node, shape, path, facts)

    def entries(self, node: pl.ListNode, shape: Shape, path: str, facts: Facts) -> None:
        flat = list(_flat(node.entries, facts))
        unguarded = [entry for entry, _, guarded in flat if not guarded]
        loops = [entry for entry in node.entries if isinstance(entry, pl.Loop)]
        if shape.element.max == 1 and (len(unguarded) > 1 or loops):
            self.problem(node.place, "map-cardinality", path, "the profile allows one entry")
        slices = shape.slices()
        used: dict[str, list[pl.Entry]] = {part.element.id: [] for part in slices}
        for entry, known, _ in flat:
            value = static_value(entry)
            part = next((part for part in slices if _is_of_slice(value, shape, part)), None)
            if part is not None:
                used[part.element.id].append(entry)
            self.value(entry, part or shape, path, known)
        for part in slices:
            sure = covers(tuple(used[part.element.id]), facts)
            if part.element.min > 0 and not sure and not self.is_assured(path, part):
                name = part.element.slice_name
                what = f"the profile requires slice {name}, and it can be absent"
                self.problem(node.place, "map-required", path, what)

    def value(self, node: pl.Entry, shape: Shape, path: str, facts: Facts) -> None:
        """Check one value: a leaf against a primitive type, an object against its children."""
        match node:
            case pl.Guarded(condition=condition, node=inner):
                self.value(inner, shape, path, facts.given(condition))
            case pl.Fixed() | pl.Leaf():
                self.leaf(node, shape, path)
            case pl.ObjectNode():
                choice = shape.choice
                if choice is not None and not is_type(choice.code):
                    self.problem(node.place, "map-type", path, f"a {choice.code} is no object")
                    return
                self.pattern(node, shape, path, " in it")
                self.bindings(node, shape, path)
                self.references(node, shape, path)
                self.structure(node, shape, path, facts)
            case _:
                self.problem(node.place, "map-type", path, "FHIR has no list in a list")

    def structure(self, node: pl.ObjectNode, shape: Shape, path: str, facts: Facts) -> None:
        children = shape.children()
        for key, member in node.members:
            below = f"{path}.{key}" if path else key
            found = shape.member(key.removeprefix("_"))
            if found is None:
                names = [
                    name for child_shape in children for name in choice_names(child_shape.element)
                ]
                self.problem(
                    member.place, "map-unknown-path", below, "no such element", nearest(key, names)
                )
            elif not key.startswith("_"):
                self.member(member, found, below, facts)
        for required in children:
            name = required.element.name
            if required.element.min > 0 and not (path == "" and name in ENGINE_MADE):
                self.required(node, required, f"{path}.{name}" if path else name, facts)

    def required(self, node: pl.ObjectNode, shape: Shape, path: str, facts: Facts) -> None:
        """Check that an element is there whenever the object that it is required in is there."""
        spelt = set(choice_names(shape.element)) or {shape.element.name}
        spelt |= {f"_{name}" for name in spelt}
        mine = [member for key, member in node.members if key in spelt]
        if self.is_assured(path, shape):
            return
        if not mine:
            self.problem(node.place, "map-required", path, "the profile requires it")
            return
        if covers(tuple(mine), facts):
            return
        strong = [key for key, member in node.members if is_strong(member)]
        if "." in path and strong and set(strong) <= spelt:
            return  # the object is there only if this is
        self.problem(
            mine[0].place,
            "map-required",
            path,
            "the profile requires it, and it can be absent",
            "give it a default, or say under `assured` why it never is",
        )

    def is_assured(self, path: str, shape: Shape) -> bool:
        assured = self.plan.assured
        slice_name = shape.element.slice_name
        return path in assured or (slice_name is not None and f"{path}:{slice_name}" in assured)

    # -- values ------------------------------------------------------------------------------

    def leaf(self, node: pl.Fixed | pl.Leaf, shape: Shape, path: str) -> None:
        choice = shape.choice
        if choice is None or is_type(choice.code):
            name = choice.code if choice else "an object"
            self.problem(node.place, "map-type", path, f"FHIR has {name} here, not a single value")
            return
        wanted = _KINDS.get(choice.code)
        if isinstance(node, pl.Leaf):
            kind = node.expr.kind
            if wanted is not None and kind not in wanted:
                names = ", ".join(sorted(kind.value for kind in wanted))
                what = f"a {choice.code} is made of {names}, not of {kind.value}"
                self.problem(node.place, "map-type", path, what, "use a filter")
            elif wanted is None and kind in _NO_TEXT:
                what = f"a {choice.code} is text"
                self.problem(node.place, "map-type", path, what, "add the filter text")
        else:
            self.fixed(node, choice, wanted, path)
        self.pattern(node, shape, path)
        self.code(node, shape, path)

    def fixed(
        self, node: pl.Fixed, choice: TypeChoice, wanted: frozenset[Kind] | None, path: str
    ) -> None:
        is_text = node.json.startswith('"')
        if wanted is None or not wanted & _NO_TEXT:
            good = is_text
        elif choice.code == "boolean":
            good = node.json in {"true", "false"}
        else:
            good = not is_text and node.json not in {"true", "false"}
        if not good:
            self.problem(node.place, "map-type", path, f"{node.json} is no {choice.code}")

    def pattern(
        self, node: pl.Fixed | pl.Leaf | pl.ObjectNode, shape: Shape, path: str, where: str = ""
    ) -> None:
        wanted = shape.wanted
        if wanted is not None and fits(static_value(node), wanted) is not True:
            what = f"the profile wants {wanted!r}{where}"
            self.problem(node.place, "map-pattern", path, what)

    def code(self, node: pl.Fixed | pl.Leaf, shape: Shape, path: str) -> None:
        if shape.choice is None or shape.choice.code != "code" or shape.required_values is None:
            return
        allowed = value_set(shape.required_values)
        if allowed.status != "complete":
            return
        codes = {code.code for code in allowed.codes}
        for answer in sorted((self.answers(node) or frozenset()) - codes):
            what = f"{answer!r} is not in the required value set"
            self.problem(node.place, "map-binding", path, what, nearest(answer, codes))

    def answers(self, node: pl.Entry | None) -> frozenset[str] | None:
        match node:
            case pl.Fixed():
                value = static_value(node)
                return frozenset({value}) if isinstance(value, str) else None
            case pl.Leaf(expr=expr):
                return answers(expr, self.crosswalks)
            case _:
                return None

    def bindings(self, node: pl.ObjectNode, shape: Shape, path: str) -> None:
        """Check the codings of a CodeableConcept, or a Coding, against a required binding."""
        if shape.required_values is None:
            return
        allowed = value_set(shape.required_values)
        if allowed.status == "unavailable":
            return
        choice = shape.choice
        codings = [node] if choice is not None and choice.code == "Coding" else _codings(node)
        for coding in codings:
            members = dict(coding.members)
            systems = self.answers(members.get("system"))
            codes = self.answers(members.get("code"))
            for system in sorted(systems or ()):
                if system not in allowed.systems:
                    what = f"system {system} is not in the required value set"
                    hint = nearest(system, allowed.systems)
                    self.problem(coding.place, "map-binding", f"{path}.coding", what, hint)
            if systems is not None and len(systems) == 1 and codes is not None:
                (system,) = systems
                for code in sorted(codes):
                    if system in allowed.systems and allowed.holds(system, code) is False:
                        what = f"{code!r} is not in the required value set"
                        self.problem(coding.place, "map-binding", f"{path}.coding", what)

    def references(self, node: pl.ObjectNode, shape: Shape, path: str) -> None:
        if shape.choice is None or shape.choice.code != "Reference":
            return
        member = dict(node.members).get("reference")
        allowed = target_types(shape.choice)
        if not isinstance(member, pl.Leaf) or not allowed:
            return
        for name in reference_types(member.expr):
            if name not in allowed:
                names = " or ".join(sorted(allowed))
                what = f"refers to {name}, the profile wants {names}"
                self.problem(member.place, "map-reference", path, what)


def _flat(entries: tuple[pl.Entry, ...], facts: Facts) -> Iterator[tuple[pl.Node, Facts, bool]]:
    """Yield the entries of a list, loops and splices opened, and whether each is guarded."""
    for entry in entries:
        match entry:
            case pl.Loop():
                facts_here = facts if entry.condition is None else facts.given(entry.condition)
                inner = entry.node
                if isinstance(inner, pl.Spliced):
                    yield from (
                        (inner, facts_inner, True)
                        for inner, facts_inner, _ in _flat(inner.entries, facts_here)
                    )
                else:
                    yield inner, facts_here, True
            case pl.Guarded():
                yield entry, facts, True
            case pl.Spliced():
                yield from _flat(entry.entries, facts)
            case _:
                yield entry, facts, False


def _is_of_slice(value: Any, shape: Shape, part: Shape) -> bool:
    """Return whether a static value is in a slice."""
    slicing = shape.element.slicing
    if slicing is None:
        return False
    for discriminator in discriminators(shape.profile, slicing, part.element):
        inner = value
        for name in discriminator.path:
            inner = inner.get(name, UNKNOWN) if isinstance(inner, Mapping) else UNKNOWN
        if discriminator.value_set is not None:
            codings = inner.get("coding", []) if isinstance(inner, Mapping) else []
            allowed = value_set(discriminator.value_set)
            if not any(
                allowed.holds(str(coding.get("system")), str(coding.get("code"))) is True
                for coding in codings
                if isinstance(coding, Mapping)
            ):
                return False
            continue
        said = fits(inner, discriminator.pattern)
        if said is False or (said is None and (discriminator.path or inner is UNKNOWN)):
            return False
    return True


def _codings(node: pl.ObjectNode) -> list[pl.ObjectNode]:
    codings: list[pl.ObjectNode] = []
    for key, member in node.members:
        inner = member.node if isinstance(member, pl.Guarded) else member
        if key == "coding" and isinstance(inner, pl.ListNode):
            for entry, _, _ in _flat(inner.entries, Facts()):
                coding = entry.node if isinstance(entry, pl.Guarded) else entry
                if isinstance(coding, pl.ObjectNode):
                    codings.append(coding)
    return codings


def reference_types(expr: Expr) -> Iterator[str]:
    """Yield the resource types to which a reference that an expression makes can point."""
    match expr:
        case ProviderReference(resource=resource, only=True):
            yield resource
        case ProviderReference():
            yield from ("Organization", "Practitioner")
        case Joined(parts=(Constant(value=text), *_)) if "/" in text:
            yield text.partition("/")[0]
        case _:
            parts = getattr(expr, "parts", ())
            for part in (*parts, *(getattr(expr, name, None) for name in ("then", "otherwise"))):
                if part is not None and not isinstance(part, Constant):
                    yield from reference_types(part)
