"""Plans against FHIR: paths, types, cardinalities, patterns and bindings, before any row is read.

What rows decide is left to the run's own checks; what a plan could get wrong whatever the rows hold
is found here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Final

from etl.errors import MappingError
from etl.mapping.expressions import (
    Constant,
    Expr,
    Joined,
    Kind,
    ProviderReference,
)
from etl.mapping.plan import (
    Entry,
    Fixed,
    Guarded,
    Leaf,
    ListNode,
    Loop,
    Node,
    ObjectNode,
    Place,
    Plan,
    Spliced,
)
from etl.mapping.static import UNKNOWN, Facts, answers, covers, fits, is_strong, static_value
from etl.model.crosswalks import Crosswalk
from etl.profiles.structures import (
    Element,
    Profile,
    TypeChoice,
    child,
    choice_names,
    find_canonical,
    is_type,
    load_type,
)
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
"""Which kinds of expression a FHIR primitive takes; all other primitives take any text."""

_NO_TEXT: Final = frozenset({Kind.MONEY, Kind.DECIMAL, Kind.INTEGER, Kind.BOOLEAN})
_ENGINE_MADE: Final = frozenset({"id", "meta", "resourceType"})


def problems(plan: Plan, crosswalks: Mapping[str, Crosswalk]) -> list[MappingError]:
    """Return what is wrong with a plan, in the order of the mapping.

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
    checker.structure(plan.body, profile, profile.root, "", facts)
    return checker.found


@dataclass(frozen=True, slots=True)
class _Checker:
    plan: Plan
    crosswalks: Mapping[str, Crosswalk]
    found: list[MappingError] = field(default_factory=list)

    def problem(self, place: Place, error_id: str, path: str, what: str, hint: str = "") -> None:
        name = f"{self.plan.resource}.{path}" if path else self.plan.resource
        self.found.append(MappingError(str(place), error_id, f"{name}: {what}", hint=hint))

    # -- shape -------------------------------------------------------------------------------

    def member(
        self, node: Node, profile: Profile, element: Element, key: str, path: str, facts: Facts
    ) -> None:
        """Check what stands under one name of an object."""
        choice = choice_names(element).get(key) or (element.types[0] if element.types else None)
        if isinstance(node, Guarded):
            self.member(node.node, profile, element, key, path, facts.given(node.condition))
            return
        if element.max == 0:
            self.problem(node.place, "map-cardinality", path, "the profile forbids it")
        elif element.array != isinstance(node, ListNode):
            what = "FHIR has a list here" if element.array else "FHIR has no list here"
            self.problem(node.place, "map-cardinality", path, what)
        elif isinstance(node, ListNode):
            self.entries(node, profile, element, choice, path, facts)
        else:
            self.value(node, profile, element, choice, path, facts)

    def entries(
        self,
        node: ListNode,
        profile: Profile,
        element: Element,
        choice: TypeChoice | None,
        path: str,
        facts: Facts,
    ) -> None:
        flat = list(_flat(node.entries, facts))
        unguarded = [entry for entry, _, guarded in flat if not guarded]
        loops = [entry for entry in node.entries if isinstance(entry, Loop)]
        if element.max == 1 and (len(unguarded) > 1 or loops):
            self.problem(node.place, "map-cardinality", path, "the profile allows one entry")
        slices = profile.slices(element.id)
        used: dict[str, list[Entry]] = {one.id: [] for one in slices}
        for entry, known, _ in flat:
            at = self.slice_of(entry, profile, element, slices)
            if at is not element:
                used[at.id].append(entry)
            self.value(entry, profile, at, choice, path, known)
        for one in slices:
            sure = covers(tuple(used[one.id]), facts)
            if one.min > 0 and not sure and not self.is_assured(path, one):
                what = f"the profile requires slice {one.slice_name}, and it can be absent"
                self.problem(node.place, "map-required", path, what)

    def slice_of(
        self, entry: Entry, profile: Profile, element: Element, slices: tuple[Element, ...]
    ) -> Element:
        """Return the slice that an entry is in; the element itself where it is in none."""
        if element.slicing is None:
            return element
        value = static_value(entry)
        for one in slices:
            if all(_discriminates(profile, one, path, value) for _, path in element.slicing.by):
                return one
        return element

    def value(
        self,
        node: Entry,
        profile: Profile,
        element: Element,
        choice: TypeChoice | None,
        path: str,
        facts: Facts,
    ) -> None:
        """Check one value: a leaf against a primitive type, an object against its children."""
        match node:
            case Guarded(condition=condition, node=inner):
                self.value(inner, profile, element, choice, path, facts.given(condition))
            case Fixed() | Leaf():
                self.leaf(node, element, choice, path)
            case ObjectNode():
                if choice is not None and not is_type(choice.code):
                    self.problem(node.place, "map-type", path, f"a {choice.code} is no object")
                    return
                self.patterns(node, element, path)
                self.bindings(node, element, choice, path)
                self.references(node, choice, path)
                at = _narrowed(element, choice)
                self.structure(node, profile, at, path, facts)
            case _:
                self.problem(node.place, "map-type", path, "FHIR has no list in a list")

    def structure(
        self, node: ObjectNode, profile: Profile, element: Element, path: str, facts: Facts
    ) -> None:
        names = {key for key, _ in node.members}
        for key, member in node.members:
            below = f"{path}.{key}" if path else key
            found = child(profile, element, key.removeprefix("_"))
            if found is None:
                known = [
                    name for one in children_of(profile, element) for name in choice_names(one[1])
                ]
                close = get_close_matches(key, known, n=1)
                hint = f"did you mean {close[0]!r}?" if close else ""
                self.problem(member.place, "map-unknown-path", below, "no such element", hint)
            elif not key.startswith("_"):
                self.member(member, *found, key, below, facts)
        for owner, required in children_of(profile, element):
            if required.min > 0 and not (path == "" and required.name in _ENGINE_MADE):
                self.required(node, owner, required, names, path, facts)

    def required(
        self,
        node: ObjectNode,
        profile: Profile,
        element: Element,
        names: set[str],
        path: str,
        facts: Facts,
    ) -> None:
        """Check that an element is there whenever the object that it is required in is there."""
        del profile
        spelt = set(choice_names(element)) or {element.name}
        spelt |= {f"_{name}" for name in spelt}
        mine = [(key, member) for key, member in node.members if key in spelt]
        below = f"{path}.{element.name}" if path else element.name
        if self.is_assured(below, element):
            return
        if not mine:
            self.problem(node.place, "map-required", below, "the profile requires it")
            return
        if covers(tuple(member for _, member in mine), facts):
            return
        strong = [key for key, member in node.members if is_strong(member)]
        if path and strong and set(strong) <= spelt:
            return  # the object is there only if this is
        self.problem(
            mine[0][1].place,
            "map-required",
            below,
            "the profile requires it, and it can be absent",
            "give it a default, or say under `assured` why it never is",
        )

    def is_assured(self, path: str, element: Element) -> bool:
        assured = self.plan.assured
        slice_name = element.slice_name
        return path in assured or (slice_name is not None and f"{path}:{slice_name}" in assured)

    # -- values ------------------------------------------------------------------------------

    def leaf(
        self, node: Fixed | Leaf, element: Element, choice: TypeChoice | None, path: str
    ) -> None:
        if choice is None or is_type(choice.code):
            name = choice.code if choice else "an object"
            self.problem(node.place, "map-type", path, f"FHIR has {name} here, not a single value")
            return
        wanted = _KINDS.get(choice.code)
        if isinstance(node, Leaf):
            kind = node.expr.kind
            if wanted is not None and kind not in wanted:
                names = ", ".join(sorted(one.value for one in wanted))
                what = f"a {choice.code} is made of {names}, not of {kind.value}"
                self.problem(node.place, "map-type", path, what, "use a filter")
            elif wanted is None and kind in _NO_TEXT:
                what = f"a {choice.code} is text"
                self.problem(node.place, "map-type", path, what, "add the filter text")
        else:
            self.fixed(node, choice, wanted, path)
        self.constant(node, element, path)
        self.code(node, element, choice, path)

    def fixed(
        self, node: Fixed, choice: TypeChoice, wanted: frozenset[Kind] | None, path: str
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

    def constant(self, node: Fixed | Leaf, element: Element, path: str) -> None:
        wanted = element.fixed if element.fixed is not None else element.pattern
        if wanted is None:
            return
        if fits(static_value(node), wanted) is not True:
            self.problem(node.place, "map-pattern", path, f"the profile wants {wanted!r}")

    def patterns(self, node: ObjectNode, element: Element, path: str) -> None:
        if element.pattern is not None and fits(static_value(node), element.pattern) is not True:
            what = f"the profile wants {element.pattern!r} in it"
            self.problem(node.place, "map-pattern", path, what)

    def code(self, node: Fixed | Leaf, element: Element, choice: TypeChoice, path: str) -> None:
        if choice.code != "code" or element.binding is None:
            return
        if element.binding.strength != "required":
            return
        allowed = value_set(element.binding.value_set)
        if allowed.status != "complete":
            return
        known = {one.code for one in allowed.codes}
        for answer in sorted((self.answers(node) or frozenset()) - known):
            what = f"{answer!r} is not in the required value set"
            self.problem(node.place, "map-binding", path, what, _near(answer, known))

    def answers(self, node: Entry | None) -> frozenset[str] | None:
        match node:
            case Fixed():
                value = static_value(node)
                return frozenset({value}) if isinstance(value, str) else None
            case Leaf(expr=expr):
                return answers(expr, self.crosswalks)
            case _:
                return None

    def bindings(
        self, node: ObjectNode, element: Element, choice: TypeChoice | None, path: str
    ) -> None:
        """Check the codings of a CodeableConcept, or a Coding, against a required binding."""
        if element.binding is None or element.binding.strength != "required":
            return
        allowed = value_set(element.binding.value_set)
        if allowed.status == "unavailable":
            return
        codings = [node] if choice is not None and choice.code == "Coding" else _codings(node)
        for coding in codings:
            members = dict(coding.members)
            systems = self.answers(members.get("system"))
            codes = self.answers(members.get("code"))
            for system in sorted(systems or ()):
                if system not in allowed.systems:
                    what = f"system {system} is not in the required value set"
                    hint = _near(system, allowed.systems)
                    self.problem(coding.place, "map-binding", f"{path}.coding", what, hint)
            if systems is not None and len(systems) == 1 and codes is not None:
                (system,) = systems
                for code in sorted(codes):
                    if system in allowed.systems and allowed.holds(system, code) is False:
                        what = f"{code!r} is not in the required value set"
                        self.problem(coding.place, "map-binding", f"{path}.coding", what)

    def references(self, node: ObjectNode, choice: TypeChoice | None, path: str) -> None:
        if choice is None or choice.code != "Reference" or not choice.targets:
            return
        member = dict(node.members).get("reference")
        if not isinstance(member, Leaf):
            return
        allowed = {target_type(target) for target in choice.targets} - {None}
        if "Resource" in allowed:
            return
        for name in reference_types(member.expr):
            if name not in allowed:
                names = " or ".join(sorted(str(one) for one in allowed))
                what = f"refers to {name}, the profile wants {names}"
                self.problem(member.place, "map-reference", path, what)


def _near(name: str, known: Any) -> str:
    close = get_close_matches(name, list(known), n=1)
    return f"did you mean {close[0]!r}?" if close else ""


def _flat(entries: tuple[Entry, ...], facts: Facts) -> Iterator[tuple[Node, Facts, bool]]:
    """Yield the entries of a list, loops and splices opened, and whether each is guarded."""
    for entry in entries:
        match entry:
            case Loop():
                known = facts if entry.condition is None else facts.given(entry.condition)
                inner = entry.node
                if isinstance(inner, Spliced):
                    yield from ((one, known, True) for one, known, _ in _flat(inner.entries, known))
                else:
                    yield inner, known, True
            case Guarded():
                yield entry, facts, True
            case Spliced():
                yield from _flat(entry.entries, facts)
            case _:
                yield entry, facts, False


def _discriminates(profile: Profile, one: Element, path: str, value: Any) -> bool:
    """Tell whether a static value is in a slice, by one discriminator."""
    if path == "$this":
        pattern = one.pattern if one.pattern is not None else one.fixed
        return pattern is not None and fits(value, pattern) is not False and value is not UNKNOWN
    element = profile.element(f"{one.id}.{path}")
    if element is None or not isinstance(value, Mapping):
        return False
    inner = value.get(path, UNKNOWN)
    if element.pattern is not None:
        return fits(inner, element.pattern) is True
    if element.binding is not None and element.binding.strength == "required":
        allowed = value_set(element.binding.value_set)
        codings = inner.get("coding", []) if isinstance(inner, Mapping) else []
        return any(
            allowed.holds(str(coding.get("system")), str(coding.get("code"))) is True
            for coding in codings
            if isinstance(coding, Mapping)
        )
    return False


def _narrowed(element: Element, choice: TypeChoice | None) -> Element:
    """Return an element of a choice as an element of the type that was chosen."""
    if choice is None or len(element.types) < 2:
        return element
    return Element(
        id=element.id,
        min=element.min,
        max=element.max,
        array=element.array,
        types=(choice,),
    )


def children_of(profile: Profile, element: Element) -> list[tuple[Profile, Element]]:
    """Return the elements below one, wherever they are defined, each as `child` finds it."""
    names: dict[str, None] = {}
    base = element
    if element.content is not None:
        base = profile.by_id[element.content]
    plain = base.id
    for at in {base.id, *_unsliced(plain)}:
        names |= dict.fromkeys(one.name for one in profile.children(at))
    for choice in element.types:
        if is_type(choice.code):
            kind = load_type(choice.code)
            names |= dict.fromkeys(one.name for one in kind.children(kind.root.id))
    found = (child(profile, element, name) for name in names)
    return [one for one in found if one is not None]


def _unsliced(element_id: str) -> Iterator[str]:
    while ":" in element_id:
        head, _, tail = element_id.rpartition(":")
        element_id = head + ("." + tail.partition(".")[2] if "." in tail else "")
        yield element_id


def _codings(node: ObjectNode) -> list[ObjectNode]:
    found: list[ObjectNode] = []
    for key, member in node.members:
        inner = member.node if isinstance(member, Guarded) else member
        if key == "coding" and isinstance(inner, ListNode):
            for entry, _, _ in _flat(inner.entries, Facts()):
                coding = entry.node if isinstance(entry, Guarded) else entry
                if isinstance(coding, ObjectNode):
                    found.append(coding)
    return found


def target_type(canonical: str) -> str | None:
    """Return the resource type that a canonical of a profile or type stands for."""
    found = find_canonical(canonical)
    return found.type if found else canonical.rpartition("/")[2].partition("|")[0]


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
