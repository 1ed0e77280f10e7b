"""Compiler of profiles into checks: closures made once, then run on a whole population.

An element is checked as the snapshot has it: what it says itself, or, where it lists no children,
what its type says. Entries of a slice are checked by the slice's own elements, in which the
snapshot repeats what holds for all entries.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from etl.conform import members as mb
from etl.conform.codes import Verdict, binding_verdict, coding_verdict
from etl.conform.findings import Check, ConformanceRule, Holds, Issue, Member, Visit, error
from etl.conform.guide_rules import guide_check
from etl.conform.invariants import compiled, rule_of
from etl.conform.json_elements import described, is_local, matcher, resolved_type, stated_type
from etl.conform.primitives import TESTS, json_kind
from etl.conform.slices import classifier
from etl.profiles import structures as st
from etl.profiles.guides import DEFAULT, US_CORE, Guide
from etl.profiles.invariants import NOT_CHECKED, constraint_of, guide_rules
from etl.profiles.shapes import target_types
from etl.profiles.value_sets import ABSENT_REASONS, DATA_ABSENT_REASON

_BACKBONE: Final = frozenset({"BackboneElement", "Element"})
"""Types of objects with elements that the snapshot around them lists."""


class Compiler:
    """Compiles profiles by the terminology of one guide; what they share is compiled once.

    Args:
        guide: its value sets and code systems are meant.
        strict: dangling sequence numbers are errors, not warnings.
    """

    def __init__(self, guide: Guide = DEFAULT, *, strict: bool = False) -> None:
        self._strict = strict
        self._guide = guide
        self._made: dict[tuple[str, str, str], Check] = {}
        self._coding = coding_verdict(guide)
        self._extensions: dict[str, Check] = {}

    def resource(self, profile: st.Profile) -> Check:
        """Return the check of a whole resource against a profile or plain type."""
        check = self._object(profile, profile.root, st.TypeChoice(profile.type))
        rules = guide_rules(profile)
        checks = (check, *(guide_check(rule, self._guide, strict=self._strict) for rule in rules))

        def whole(value: Any, visit: Visit) -> None:
            for check in checks:
                check(value, visit)

        return whole

    # Values --------------------------------------------------------------------------------------

    def _value(self, profile: st.Profile, element: st.Element, choice: st.TypeChoice) -> Check:
        """Return the check of one value of an element, of one of its types."""
        extras = list(self._extras(element, choice))
        if choice.code in st.primitives():
            tests = list(self._invariants([(profile, element)]))
            return _kept(_primitive(element, choice.code, extras), tests)
        if choice.code == "Resource":
            return self._contained()
        check = _both(self._object(profile, element, choice), extras)
        _, declared, _ = self._definition(profile, element, choice)
        if declared is not element:
            own = [key for key in element.invariants if key not in declared.invariants]
            check = _kept(check, list(self._invariants([(profile, element)], own)))
        return _targets(check, element, choice) if choice.code == "Reference" else check

    def _extras(self, element: st.Element, choice: st.TypeChoice) -> Iterator[Verdict]:
        """Yield what a value must keep beside the structure of its type."""
        if element.fixed is not None:
            yield _fixed(element)
        if element.pattern is not None:
            yield _pattern(element)
        if element.binding is not None:
            verdict = binding_verdict(element.id, element.binding, choice.code, self._guide)
            # The guide asks for codes that the extensible binding of the type does not have.
            is_asked = element.binding.strength == "extensible" and element.pattern is not None
            if verdict is not None and not (is_asked and verdict(element.pattern)):
                yield verdict

    def _object(self, profile: st.Profile, element: st.Element, choice: st.TypeChoice) -> Check:
        """Return the check of an object that is an element of a type; made when first needed."""
        where, declared, kind = self._definition(profile, element, choice)
        key = (where.canonical, declared.id, kind)
        if key not in self._made:
            made: list[Check] = []

            def later(value: Any, visit: Visit) -> None:
                if not made:
                    made.append(self._unfold(where, declared, kind))
                    self._made[key] = made[0]
                made[0](value, visit)

            self._made[key] = later
        return self._made[key]

    def _definition(
        self, profile: st.Profile, element: st.Element, choice: st.TypeChoice
    ) -> tuple[st.Profile, st.Element, str]:
        """Return where the children of an element are defined, the type being the last resort."""
        for declared in _with_children(profile, element):
            return profile, declared, choice.code
        if choice.profiles and (target := st.find_canonical(choice.profiles[0])) is not None:
            return target, target.root, choice.code
        kind = st.load_type(choice.code)
        return kind, kind.root, choice.code

    def _unfold(self, profile: st.Profile, element: st.Element, kind: str) -> Check:
        """Return the check of an object, all its members compiled."""
        children = self._children(profile, element, kind)
        members: dict[str, Member] = {}
        required: list[RequiredElement] = []
        choices: list[Choice] = []
        for where, child in children:
            members.update(self._members(where, child))
            required.extend(_required(where, child))
            if child.name.endswith("[x]") and len(child.types) > 1:
                twice = error("choice", f"{child.id} is there with more than one type.")
                choices.append(Choice(child.name[:-3], frozenset(st.choice_names(child)), twice))
        if element is profile.root and is_resource(profile):
            members["resourceType"] = lambda value, obj, visit: None
        around = [(profile, element)]
        if st.is_type(kind) and kind not in _BACKBONE:
            around.append((st.load_type(kind), st.load_type(kind).root))
        invariants = list(self._invariants(around))
        check = object_check(
            element.id, members, required, choices, invariants, id_alone=kind == "Element"
        )
        if kind == "Coding":
            return _both(check, [self._coding])
        if kind == "Reference":
            return _reference(check)
        if kind == "Extension":
            return self._extension(check) if profile.name == "Extension" else check
        return check

    def _children(
        self, profile: st.Profile, element: st.Element, kind: str
    ) -> list[tuple[st.Profile, st.Element]]:
        """Return the children of an object: those of the type, the profile's own in their place."""
        children: dict[str, tuple[st.Profile, st.Element]] = {}
        if st.is_type(kind) and kind not in _BACKBONE:
            base = st.load_type(kind)
            if base.name != profile.name:
                children = {child.name: (base, child) for child in base.children(base.root.id)}
        for child in profile.children(element.id):
            children[child.name] = (profile, child)
        return list(children.values())

    def _invariants(
        self, around: Sequence[tuple[st.Profile, st.Element]], keys: Sequence[str] | None = None
    ) -> Iterator[tuple[Holds, ConformanceRule]]:
        """Yield the invariants that elements name (those of `keys` only, if given), each once."""
        seen = set(NOT_CHECKED)
        for where, declared in around:
            for key in declared.invariants if keys is None else keys:
                if key not in seen:
                    seen.add(key)
                    invariant = where.invariants[key]
                    constraint = constraint_of(key, invariant.expression)
                    if constraint is not None:
                        test = compiled(constraint, self._guide)
                        yield test, rule_of(invariant, where, declared)

    # Members -------------------------------------------------------------------------------------

    def _members(self, profile: st.Profile, element: st.Element) -> Iterator[tuple[str, Member]]:
        """Yield the JSON members that an element may be, and the check of each."""
        if not element.name.endswith("[x]"):
            if element.content is not None:
                yield element.name, self._content(profile, element)
                return
            yield from self._typed(profile, element, element.name, element.types[0])
            return
        slices = {part.types[0].code: part for part in profile.slices(element.id)}
        for name, choice in st.choice_names(element).items():
            child = slices.get(choice.code, element)
            kind = child.types[0] if child is not element else choice
            yield from self._typed(profile, child, name, kind)

    def _content(self, profile: st.Profile, element: st.Element) -> Member:
        """Return the member with entries like another element's (contentReference)."""
        other = profile.by_id[element.content or ""]
        bounds = mb.Bounds(element.id, element.min, element.max)
        return self._entries(profile, other, element.name, bounds, st.TypeChoice("BackboneElement"))

    def _typed(
        self, profile: st.Profile, element: st.Element, name: str, choice: st.TypeChoice
    ) -> Iterator[tuple[str, Member]]:
        """Yield the member of one name and type, and that of its `_name` if it is primitive."""
        bounds = mb.Bounds(element.id, element.min, element.max)
        primitive = choice.code in st.primitives()
        if element.max == 0:
            yield name, mb.forbidden(bounds, name)
        elif element.array:
            yield name, self._entries(profile, element, name, bounds, choice)
        else:
            yield name, mb.single(name, element.id, self._value(profile, element, choice))
        if primitive:
            beside = self._object(st.load_type("Element"), st.load_type("Element").root, _ELEMENT)
            if element.array:
                yield f"_{name}", mb.beside_array(name, element.id, beside)
            else:
                yield f"_{name}", mb.single(f"_{name}", element.id, beside)

    def _entries(
        self,
        profile: st.Profile,
        element: st.Element,
        name: str,
        bounds: mb.Bounds,
        choice: st.TypeChoice,
    ) -> Member:
        """Return the check of an array, with the element's slices if it has any."""
        check = self._value(profile, element, choice)
        slices = profile.slices(element.id)
        if element.slicing is None or not slices:
            return mb.array(name, bounds, check, primitive=choice.code in st.primitives())
        made = [
            mb.Slice(
                part.slice_name or "",
                mb.Bounds(element.id, part.min, part.max),
                self._value(profile, part, part.types[0]),
            )
            for part in slices
        ]
        classify = classifier(profile, element.slicing, slices, self._guide)
        is_closed = element.slicing.rules == "closed"
        return mb.sliced(name, bounds, check, classify, made, is_closed=is_closed)

    # Types with a twist --------------------------------------------------------------------------

    def _extension(self, check: Check) -> Check:
        """Return the check of extensions: those that US Core or FHIR define, by their url."""
        extensions = self._extensions
        absent = _absent_reason(check)

        def extension(value: Any, visit: Visit) -> None:
            url = value.get("url") if type(value) is dict else None
            if type(url) is not str or not url.startswith("http://hl7.org/fhir/"):
                check(value, visit)
            elif url == DATA_ABSENT_REASON:
                absent(value, visit)
            else:
                if url not in extensions and US_CORE.covers(url):
                    profile = st.find_canonical(url)
                    if profile is not None and profile.type == "Extension":
                        extensions[url] = self._unfold(profile, profile.root, "Extension")
                extensions.get(url, check)(value, visit)

        return extension

    def _contained(self) -> Check:
        """Return the check of a contained resource, as plain FHIR R4 of its type."""
        shape = error("shape", "A contained resource must be an object with a resourceType.")

        def contained(value: Any, visit: Visit) -> None:
            kind = value.get("resourceType") if type(value) is dict else None
            if type(kind) is not str:
                visit.issues.append(Issue(shape))
            elif st.is_type(kind) and is_resource(st.load_type(kind)):
                self.resource(st.load_type(kind))(value, visit)

        return contained


_ELEMENT: Final = st.TypeChoice("Element")


_OTHER_TYPE: Final = error(
    "reference-type", "Reference.type names another type than the one that is pointed to."
)


def _reference(check: Check) -> Check:
    """Return the check of a Reference that also records what it points to."""

    def reference(value: Any, visit: Visit) -> None:
        check(value, visit)
        if type(value) is not dict:
            return
        text = value.get("reference")
        if type(text) is str and not is_local(text):
            visit.references.append(text)
        kind = resolved_type(value, visit.root) if "type" in value else None
        if kind is not None and stated_type(value) not in (None, kind):
            visit.issues.append(Issue(_OTHER_TYPE, "type"))

    return reference


def _targets(check: Check, element: st.Element, choice: st.TypeChoice) -> Check:
    """Return the check of a Reference followed by that of the type it points to."""
    types = target_types(choice)
    if not types:
        return check
    rule = error(
        "reference-type", f"{element.id} must point to {' or '.join(sorted(types))}, and does not."
    )

    def targeted(value: Any, visit: Visit) -> None:
        check(value, visit)
        kind = resolved_type(value, visit.root)
        if kind is not None and kind not in types:
            visit.issues.append(Issue(rule))

    return targeted


def _absent_reason(check: Check) -> Check:
    """Return the check of the extension that says why a value is absent."""
    rule = error("absent-reason", "A data-absent-reason must be one of FHIR's codes, as valueCode.")

    def absent(value: Any, visit: Visit) -> None:
        check(value, visit)
        reason = value.get("valueCode")
        if type(reason) is not str or reason not in ABSENT_REASONS:
            visit.issues.append(Issue(rule))

    return absent


def is_resource(profile: st.Profile) -> bool:
    """Whether it constrains a resource, not a data type or extension."""
    return st.is_type(profile.type) and f"{profile.type}.meta" in st.load_type(profile.type).by_id


def _with_children(profile: st.Profile, element: st.Element) -> Iterator[st.Element]:
    """Yield the element that lists the children of one: itself, or what it is a slice of."""
    if element.id == profile.root.id:
        yield element
        return
    if profile.children(element.id):
        yield element
    elif element.slice_name:
        plain = element.id.rpartition(":")[0]
        if profile.children(plain):
            yield profile.by_id[plain]


def _required(profile: st.Profile, element: st.Element) -> Iterator[RequiredElement]:
    """Yield what must be there of an element: any of it, and each slice that is required."""
    slices = profile.slices(element.id)
    bounds = mb.Bounds(element.id, element.min, element.max)
    choice = element.name.endswith("[x]")
    names = tuple(st.choice_names(element)) or (element.name,)
    if element.min > 0 and not (choice and any(slice_element.min for slice_element in slices)):
        rule = error("min", f"{element.id} is missing, and the profile requires it.")
        yield RequiredElement(names, rule)
    for slice_element in slices:
        if slice_element.min > 0 and choice:
            (named,) = st.choice_names(replace(element, types=slice_element.types))
            rule = error("min", f"{element.id} must be there as {named}; the profile requires it.")
            yield RequiredElement((named,), rule)
        elif slice_element.min > 0 and element.min == 0:
            yield RequiredElement(names, bounds.too_few(slice_element.slice_name))


def _fixed(element: st.Element) -> Verdict:
    rule = error("fixed", f"{element.id} must be {described(element.fixed)}.")
    fixed = element.fixed
    return lambda value: None if value == fixed else rule


def _pattern(element: st.Element) -> Verdict:
    rule = error("pattern", f"{element.id} must have {described(element.pattern)}.")
    matches = matcher(element.pattern)
    return lambda value: None if matches(value) else rule


def _primitive(element: st.Element, code: str, extras: list[Verdict]) -> Check:
    """Return the check of a primitive value: its form, and then what else is required of it."""
    # A resource's id is a string in the definitions of R4, and an id by its own.
    if element.name == "id" and element.id.count(".") == 1 and st.is_type(element.id[:-3]):
        code = "id" if f"{element.id[:-3]}.meta" in st.load_type(element.id[:-3]).by_id else code
    fits = TESTS[code]
    rule = error("form", f"{element.id} is no FHIR {code}: {json_kind(code)} of its form is due.")

    def check(value: Any, visit: Visit) -> None:
        if not fits(value):
            visit.issues.append(Issue(rule))
            return
        for extra in extras:
            broken = extra(value)
            if broken is not None:
                visit.issues.append(Issue(broken))

    return check


def _kept(check: Check, tests: Sequence[tuple[Holds, ConformanceRule]]) -> Check:
    """Return a check followed by invariants of the same value."""
    if not tests:
        return check

    def keeping(value: Any, visit: Visit) -> None:
        check(value, visit)
        for holds, rule in tests:
            if not holds(value, visit.root):
                visit.issues.append(Issue(rule))

    return keeping


def _both(check: Check, extras: list[Verdict]) -> Check:
    """Return a check followed by verdicts on the same value, if that is an object at all."""
    if not extras:
        return check

    def more(value: Any, visit: Visit) -> None:
        check(value, visit)
        if type(value) is dict:
            for extra in extras:
                broken = extra(value)
                if broken is not None:
                    visit.issues.append(Issue(broken))

    return more


_TELLABLE: Final = re.compile(r"_?[a-z][A-Za-z]{0,63}")
"""Names that a message repeats: letters only; a value that was put where a name belongs is not."""


@dataclass(frozen=True, slots=True)
class RequiredElement:
    """An element that must be there.

    Attributes:
        names: JSON names that it may have: one, or one a type of a choice.
        rule: what its absence breaks.
    """

    names: tuple[str, ...]
    rule: ConformanceRule


@dataclass(frozen=True, slots=True)
class Choice:
    """An element with one of several types, such as `value[x]`.

    Attributes:
        stem: its name without `[x]`.
        names: JSON names, one a type.
        twice: broken where two types are there.
    """

    stem: str
    names: frozenset[str]
    twice: ConformanceRule


def object_check(
    where: str,
    members: Mapping[str, Member],
    required: Sequence[RequiredElement],
    choices: Sequence[Choice],
    invariants: Sequence[tuple[Holds, ConformanceRule]],
    *,
    id_alone: bool = False,
) -> Check:
    """Return the check of a JSON object that is one element.

    Args:
        where: id of the element, for messages.
        members: JSON name -> check of that member, the `_names` of primitives among them.
        required: what must be there.
        choices: what may be there once.
        invariants: tests of the object as a whole, with what a failed one breaks.
        id_alone: an id is enough, because the value stands beside the object (`_name`).
    """
    rules = _ObjectRules(where)
    single_names = [
        (names[0], f"_{names[0]}", rule)
        for names, rule in ((part.names, part.rule) for part in required)
        if len(names) == 1
    ]
    many_names = [requirement for requirement in required if len(requirement.names) > 1]
    look = members.get

    def check(value: Any, visit: Visit) -> None:
        issues = visit.issues
        if type(value) is not dict:
            issues.append(Issue(rules.shape))
            return
        if not value or (len(value) == 1 and "id" in value and not id_alone):
            issues.append(Issue(rules.empty))
        for name, inner in value.items():
            member = look(name)
            if member is None:
                issues.append(rules.unknown(name))
            else:
                member(inner, value, visit)
        for name, beside, rule in single_names:
            if name not in value and beside not in value:
                issues.append(Issue(rule, name))
        for requirement in many_names:
            if not any(name in value or f"_{name}" in value for name in requirement.names):
                issues.append(Issue(requirement.rule))
        for choice in choices:
            if len(choice.names.intersection(value)) > 1:
                issues.append(Issue(choice.twice, choice.stem))
        for holds, rule in invariants:
            if not holds(value, visit.root):
                issues.append(Issue(rule))

    return check


class _ObjectRules:
    """Requirements of every object."""

    __slots__ = ("_unknown", "_where", "empty", "shape")

    def __init__(self, where: str) -> None:
        self._where = where
        self.shape = error("shape", f"{where} must be an object.")
        self.empty = error("ele-1", f"{where} is empty; leave the element out instead.")
        self._unknown = error("unknown-element", f"{where} has no element of that name.")

    def unknown(self, name: str) -> Issue:
        """Return the issue of a member unknown to FHIR, with its name if that is letters only."""
        if _TELLABLE.fullmatch(name):
            return Issue(self._unknown, name)
        return Issue(self._unknown)
