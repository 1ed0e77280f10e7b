"""Compile profiles to checks: closures that are built once and run on a population.

An element is checked by its snapshot: by its own children or, if it lists none, by those of its
type. Entries of a slice are checked by the slice's own elements, in which the
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
from etl.conform.invariants import compile_constraint, rule_of
from etl.conform.json_elements import build_matcher, describe, is_local, resolved_type, stated_type
from etl.conform.primitives import TESTS, json_kind
from etl.conform.slices import build_classifier
from etl.profiles import structures as st
from etl.profiles.guides import DEFAULT, US_CORE, Guide
from etl.profiles.invariants import NOT_CHECKED, constraint_of, guide_rules
from etl.profiles.shapes import target_types
from etl.profiles.value_sets import ABSENT_REASONS, DATA_ABSENT_REASON

_BACKBONE: Final = frozenset({"BackboneElement", "Element"})
"""Types of objects with elements that the snapshot around them lists."""


class Compiler:
    """Compiles profiles with the terminology of one guide; shared parts are compiled once.

    Args:
        guide: defines the value sets and code systems.
        strict: dangling sequence numbers are errors, not warnings.
    """

    def __init__(self, guide: Guide = DEFAULT, *, strict: bool = False) -> None:
        self._strict = strict
        self._guide = guide
        self._made: dict[tuple[str, str, str], Check] = {}
        self._coding = coding_verdict(guide)
        self._extensions: dict[str, Check] = {}

    def resource(self, profile: st.Profile) -> Check:
        """Compile the check of a resource against a profile or plain type."""
        check = self._object(profile, profile.root, st.TypeChoice(profile.type))
        rules = guide_rules(profile)
        checks = (check, *(guide_check(rule, self._guide, strict=self._strict) for rule in rules))

        def check_resource(value: Any, visit: Visit) -> None:
            for check in checks:
                check(value, visit)

        return check_resource

    # Values --------------------------------------------------------------------------------------

    def _value(self, profile: st.Profile, element: st.Element, choice: st.TypeChoice) -> Check:
        """Compile the check of an element's value with one of its types."""
        extras = list(self._extras(element, choice))
        if choice.code in st.primitives():
            invariants = list(self._invariants([(profile, element)]))
            return _add_invariants(_compile_primitive(element, choice.code, extras), invariants)
        if choice.code == "Resource":
            return self._contained()
        check = _add_verdicts(self._object(profile, element, choice), extras)
        _, declared, _ = self._definition(profile, element, choice)
        if declared is not element:
            own_keys = [key for key in element.invariants if key not in declared.invariants]
            check = _add_invariants(check, list(self._invariants([(profile, element)], own_keys)))
        return _check_target_type(check, element, choice) if choice.code == "Reference" else check

    def _extras(self, element: st.Element, choice: st.TypeChoice) -> Iterator[Verdict]:
        """Yield an element's fixed value, pattern and binding as verdicts."""
        if element.fixed is not None:
            yield _fixed_verdict(element)
        if element.pattern is not None:
            yield _pattern_verdict(element)
        if element.binding is not None:
            verdict = binding_verdict(element.id, element.binding, choice.code, self._guide)
            # The guide's pattern requires codes that the type's extensible binding lacks.
            is_overridden = element.binding.strength == "extensible" and element.pattern is not None
            if verdict is not None and not (is_overridden and verdict(element.pattern)):
                yield verdict

    def _object(self, profile: st.Profile, element: st.Element, choice: st.TypeChoice) -> Check:
        """Return the check of an object; compiled at first use, since types are recursive."""
        owner, declared, type_code = self._definition(profile, element, choice)
        key = (owner.canonical, declared.id, type_code)
        if key not in self._made:
            compiled_checks: list[Check] = []

            def check_lazily(value: Any, visit: Visit) -> None:
                if not compiled_checks:
                    compiled_checks.append(self._unfold(owner, declared, type_code))
                    self._made[key] = compiled_checks[0]
                compiled_checks[0](value, visit)

            self._made[key] = check_lazily
        return self._made[key]

    def _definition(
        self, profile: st.Profile, element: st.Element, choice: st.TypeChoice
    ) -> tuple[st.Profile, st.Element, str]:
        """Find the profile that defines an element's children, or else its type."""
        for declared in _find_children_owner(profile, element):
            return profile, declared, choice.code
        if choice.profiles and (target := st.find_canonical(choice.profiles[0])) is not None:
            return target, target.root, choice.code
        type_definition = st.load_type(choice.code)
        return type_definition, type_definition.root, choice.code

    def _unfold(self, profile: st.Profile, element: st.Element, type_code: str) -> Check:
        """Compile the check of an object with all its members."""
        children = self._children(profile, element, type_code)
        members: dict[str, Member] = {}
        required: list[RequiredElement] = []
        choices: list[Choice] = []
        for owner, child in children:
            members.update(self._members(owner, child))
            required.extend(_required_elements(owner, child))
            if child.name.endswith("[x]") and len(child.types) > 1:
                repeated_rule = error("choice", f"{child.id} is there with more than one type.")
                choices.append(
                    Choice(child.name[:-3], frozenset(st.choice_names(child)), repeated_rule)
                )
        if element is profile.root and is_resource(profile):
            members["resourceType"] = lambda value, obj, visit: None
        invariant_sources = [(profile, element)]
        if st.is_type(type_code) and type_code not in _BACKBONE:
            invariant_sources.append((st.load_type(type_code), st.load_type(type_code).root))
        invariants = list(self._invariants(invariant_sources))
        check = object_check(
            element.id, members, required, choices, invariants, id_alone=type_code == "Element"
        )
        if type_code == "Coding":
            return _add_verdicts(check, [self._coding])
        if type_code == "Reference":
            return _record_reference(check)
        if type_code == "Extension":
            return self._extension(check) if profile.name == "Extension" else check
        return check

    def _children(
        self, profile: st.Profile, element: st.Element, type_code: str
    ) -> list[tuple[st.Profile, st.Element]]:
        """Return an object's children; the profile's replace those of the type."""
        children: dict[str, tuple[st.Profile, st.Element]] = {}
        if st.is_type(type_code) and type_code not in _BACKBONE:
            type_definition = st.load_type(type_code)
            if type_definition.name != profile.name:
                children = {
                    child.name: (type_definition, child)
                    for child in type_definition.children(type_definition.root.id)
                }
        for child in profile.children(element.id):
            children[child.name] = (profile, child)
        return list(children.values())

    def _invariants(
        self, sources: Sequence[tuple[st.Profile, st.Element]], keys: Sequence[str] | None = None
    ) -> Iterator[tuple[Holds, ConformanceRule]]:
        """Yield the elements' invariants (only `keys`, if not None), deduplicated."""
        seen_keys = set(NOT_CHECKED)
        for owner, declared in sources:
            for key in declared.invariants if keys is None else keys:
                if key not in seen_keys:
                    seen_keys.add(key)
                    invariant = owner.invariants[key]
                    constraint = constraint_of(key, invariant.expression)
                    if constraint is not None:
                        test = compile_constraint(constraint, self._guide)
                        yield test, rule_of(invariant, owner, declared)

    # Members -------------------------------------------------------------------------------------

    def _members(self, profile: st.Profile, element: st.Element) -> Iterator[tuple[str, Member]]:
        """Yield the JSON members that an element can have, each with its check."""
        if not element.name.endswith("[x]"):
            if element.content is not None:
                yield element.name, self._content_member(profile, element)
                return
            yield from self._choice_members(profile, element, element.name, element.types[0])
            return
        slices = {type_slice.types[0].code: type_slice for type_slice in profile.slices(element.id)}
        for name, choice in st.choice_names(element).items():
            child = slices.get(choice.code, element)
            child_type = child.types[0] if child is not element else choice
            yield from self._choice_members(profile, child, name, child_type)

    def _content_member(self, profile: st.Profile, element: st.Element) -> Member:
        """Compile the member whose entries are like another element's (contentReference)."""
        referenced = profile.by_id[element.content or ""]
        cardinality = mb.Bounds(element.id, element.min, element.max)
        return self._array_member(
            profile, referenced, element.name, cardinality, st.TypeChoice("BackboneElement")
        )

    def _choice_members(
        self, profile: st.Profile, element: st.Element, name: str, choice: st.TypeChoice
    ) -> Iterator[tuple[str, Member]]:
        """Yield the member for one type of a choice, and `_name` if it is primitive."""
        cardinality = mb.Bounds(element.id, element.min, element.max)
        is_primitive = choice.code in st.primitives()
        if element.max == 0:
            yield name, mb.forbidden(cardinality, name)
        elif element.array:
            yield name, self._array_member(profile, element, name, cardinality, choice)
        else:
            yield name, mb.single(name, element.id, self._value(profile, element, choice))
        if is_primitive:
            primitive_extension = self._object(
                st.load_type("Element"), st.load_type("Element").root, _ELEMENT
            )
            if element.array:
                yield f"_{name}", mb.beside_array(name, element.id, primitive_extension)
            else:
                yield f"_{name}", mb.single(f"_{name}", element.id, primitive_extension)

    def _array_member(
        self,
        profile: st.Profile,
        element: st.Element,
        name: str,
        cardinality: mb.Bounds,
        choice: st.TypeChoice,
    ) -> Member:
        """Compile the check of an array, with the element's slices."""
        check = self._value(profile, element, choice)
        slices = profile.slices(element.id)
        if element.slicing is None or not slices:
            return mb.array(name, cardinality, check, primitive=choice.code in st.primitives())
        compiled_slices = [
            mb.Slice(
                element_slice.slice_name or "",
                mb.Bounds(element.id, element_slice.min, element_slice.max),
                self._value(profile, element_slice, element_slice.types[0]),
            )
            for element_slice in slices
        ]
        classify = build_classifier(profile, element.slicing, slices, self._guide)
        is_closed = element.slicing.rules == "closed"
        return mb.sliced(name, cardinality, check, classify, compiled_slices, is_closed=is_closed)

    # Types with a twist --------------------------------------------------------------------------

    def _extension(self, check: Check) -> Check:
        """Compile the check of extensions, by URL if US Core or FHIR defines them."""
        extensions = self._extensions
        check_absent_reason = _check_absent_reason(check)

        def check_extension(value: Any, visit: Visit) -> None:
            url = value.get("url") if type(value) is dict else None
            if type(url) is not str or not url.startswith("http://hl7.org/fhir/"):
                check(value, visit)
            elif url == DATA_ABSENT_REASON:
                check_absent_reason(value, visit)
            else:
                if url not in extensions and US_CORE.covers(url):
                    profile = st.find_canonical(url)
                    if profile is not None and profile.type == "Extension":
                        extensions[url] = self._unfold(profile, profile.root, "Extension")
                extensions.get(url, check)(value, visit)

        return check_extension

    def _contained(self) -> Check:
        """Compile the check of a contained resource against its plain FHIR R4 type."""
        shape = error("shape", "A contained resource must be an object with a resourceType.")

        def check_contained(value: Any, visit: Visit) -> None:
            resource_type = value.get("resourceType") if type(value) is dict else None
            if type(resource_type) is not str:
                visit.issues.append(Issue(shape))
            elif st.is_type(resource_type) and is_resource(st.load_type(resource_type)):
                self.resource(st.load_type(resource_type))(value, visit)

        return check_contained


_ELEMENT: Final = st.TypeChoice("Element")


_OTHER_TYPE: Final = error(
    "reference-type", "Reference.type names another type than the one that is pointed to."
)


def _record_reference(check: Check) -> Check:
    """Extend the check of a Reference: record its target."""

    def check_reference(value: Any, visit: Visit) -> None:
        check(value, visit)
        if type(value) is not dict:
            return
        text = value.get("reference")
        if type(text) is str and not is_local(text):
            visit.references.append(text)
        target_type = resolved_type(value, visit.root) if "type" in value else None
        if target_type is not None and stated_type(value) not in (None, target_type):
            visit.issues.append(Issue(_OTHER_TYPE, "type"))

    return check_reference


def _check_target_type(check: Check, element: st.Element, choice: st.TypeChoice) -> Check:
    """Extend the check of a Reference: check the target's type."""
    allowed_types = target_types(choice)
    if not allowed_types:
        return check
    rule = error(
        "reference-type",
        f"{element.id} must point to {' or '.join(sorted(allowed_types))}, and does not.",
    )

    def check_target(value: Any, visit: Visit) -> None:
        check(value, visit)
        target_type = resolved_type(value, visit.root)
        if target_type is not None and target_type not in allowed_types:
            visit.issues.append(Issue(rule))

    return check_target


def _check_absent_reason(check: Check) -> Check:
    """Extend the check of an extension: check the code of a data-absent-reason."""
    rule = error("absent-reason", "A data-absent-reason must be one of FHIR's codes, as valueCode.")

    def check_reason(value: Any, visit: Visit) -> None:
        check(value, visit)
        reason = value.get("valueCode")
        if type(reason) is not str or reason not in ABSENT_REASONS:
            visit.issues.append(Issue(rule))

    return check_reason


def is_resource(profile: st.Profile) -> bool:
    """Return whether a profile constrains a resource, not a data type or extension."""
    return st.is_type(profile.type) and f"{profile.type}.meta" in st.load_type(profile.type).by_id


def _find_children_owner(profile: st.Profile, element: st.Element) -> Iterator[st.Element]:
    """Yield the element that lists an element's children: itself, or its sliced element."""
    if element.id == profile.root.id:
        yield element
        return
    if profile.children(element.id):
        yield element
    elif element.slice_name:
        sliced_id = element.id.rpartition(":")[0]
        if profile.children(sliced_id):
            yield profile.by_id[sliced_id]


def _required_elements(profile: st.Profile, element: st.Element) -> Iterator[RequiredElement]:
    """Yield the requirement of an element, and those of its required slices."""
    slices = profile.slices(element.id)
    cardinality = mb.Bounds(element.id, element.min, element.max)
    is_choice = element.name.endswith("[x]")
    names = tuple(st.choice_names(element)) or (element.name,)
    if element.min > 0 and not (is_choice and any(slice_element.min for slice_element in slices)):
        rule = error("min", f"{element.id} is missing, and the profile requires it.")
        yield RequiredElement(names, rule)
    for slice_element in slices:
        if slice_element.min > 0 and is_choice:
            (slice_name,) = st.choice_names(replace(element, types=slice_element.types))
            rule = error(
                "min", f"{element.id} must be there as {slice_name}; the profile requires it."
            )
            yield RequiredElement((slice_name,), rule)
        elif slice_element.min > 0 and element.min == 0:
            yield RequiredElement(names, cardinality.too_few(slice_element.slice_name))


def _fixed_verdict(element: st.Element) -> Verdict:
    rule = error("fixed", f"{element.id} must be {describe(element.fixed)}.")
    fixed = element.fixed
    return lambda value: None if value == fixed else rule


def _pattern_verdict(element: st.Element) -> Verdict:
    rule = error("pattern", f"{element.id} must have {describe(element.pattern)}.")
    matches = build_matcher(element.pattern)
    return lambda value: None if matches(value) else rule


def _compile_primitive(element: st.Element, code: str, extras: list[Verdict]) -> Check:
    """Compile the check of a primitive value: its format, then its other requirements."""
    # A resource's id is a string in the definitions of R4, and an id by its own.
    if element.name == "id" and element.id.count(".") == 1 and st.is_type(element.id[:-3]):
        code = "id" if f"{element.id[:-3]}.meta" in st.load_type(element.id[:-3]).by_id else code
    has_format = TESTS[code]
    rule = error("form", f"{element.id} is no FHIR {code}: {json_kind(code)} of its form is due.")

    def check(value: Any, visit: Visit) -> None:
        if not has_format(value):
            visit.issues.append(Issue(rule))
            return
        for verdict in extras:
            broken_rule = verdict(value)
            if broken_rule is not None:
                visit.issues.append(Issue(broken_rule))

    return check


def _add_invariants(check: Check, tests: Sequence[tuple[Holds, ConformanceRule]]) -> Check:
    """Extend a check: also test invariants."""
    if not tests:
        return check

    def check_invariants(value: Any, visit: Visit) -> None:
        check(value, visit)
        for holds, rule in tests:
            if not holds(value, visit.root):
                visit.issues.append(Issue(rule))

    return check_invariants


def _add_verdicts(check: Check, extras: list[Verdict]) -> Check:
    """Extend a check: also apply verdicts if the value is an object."""
    if not extras:
        return check

    def check_verdicts(value: Any, visit: Visit) -> None:
        check(value, visit)
        if type(value) is dict:
            for verdict in extras:
                broken_rule = verdict(value)
                if broken_rule is not None:
                    visit.issues.append(Issue(broken_rule))

    return check_verdicts


_PRINTABLE_NAME: Final = re.compile(r"_?[a-z][A-Za-z]{0,63}")
"""Names that messages may repeat: only letters, since other text might be a misplaced value."""


@dataclass(frozen=True, slots=True)
class RequiredElement:
    """A required element.

    Attributes:
        names: its JSON names: one, or one per type of a choice.
        rule: the rule that its absence breaks.
    """

    names: tuple[str, ...]
    rule: ConformanceRule


@dataclass(frozen=True, slots=True)
class Choice:
    """An element with one of several types, such as `value[x]`.

    Attributes:
        stem: its name without `[x]`.
        names: JSON names, one per type.
        twice: the rule that two types at once break.
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
    """Build the check of a JSON object.

    Args:
        where: id of the element, for messages.
        members: JSON name -> check of that member, the `_names` of primitives among them.
        required: the required elements.
        choices: the elements that may have one type at a time.
        invariants: tests of the object, each with the rule that a failed one breaks.
        id_alone: an id is enough, because the value is in another member (`_name`).
    """
    rules = _ObjectRules(where)
    single_names = [
        (names[0], f"_{names[0]}", rule)
        for names, rule in ((part.names, part.rule) for part in required)
        if len(names) == 1
    ]
    many_names = [requirement for requirement in required if len(requirement.names) > 1]
    find_member = members.get

    def check(value: Any, visit: Visit) -> None:
        issues = visit.issues
        if type(value) is not dict:
            issues.append(Issue(rules.shape))
            return
        if not value or (len(value) == 1 and "id" in value and not id_alone):
            issues.append(Issue(rules.empty))
        for name, inner in value.items():
            member = find_member(name)
            if member is None:
                issues.append(rules.unknown(name))
            else:
                member(inner, value, visit)
        for name, extension_name, rule in single_names:
            if name not in value and extension_name not in value:
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
        if _PRINTABLE_NAME.fullmatch(name):
            return Issue(self._unknown, name)
        return Issue(self._unknown)
