"""Obligations of a profile towards the resources of a plan: proved, tested on rows, or listed.

Each obligation (a compulsory element, a slice, a pattern, a bound code, the form of a value, an
invariant, a rule that the guide states in words) is one of three:

* *proved*: no row can break it, for the reason that is given;
* *tested*: a row could break it; the run looks for such rows (`Test`);
* *listed*: not checked, for the reason that is given.

If none of these is possible, the mapping has a mistake: `map-unchecked`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from etl.errors import MappingError
from etl.mapping import formulas as fm
from etl.mapping.expressions import Kind, LogicalId, Translated
from etl.mapping.invariants import (
    Subject,
    UncheckableError,
    find_tests,
    guide_rule_tests,
    proved_reason,
)
from etl.mapping.plan import CitedMark, Entry, Fixed, Leaf, ListNode, Loop, ObjectNode, Plan
from etl.mapping.profile_checks import reference_types
from etl.mapping.profile_walk import ListEntry, ListSlice, ProfileWalk
from etl.mapping.proof import Names, is_never_true
from etl.mapping.row_tests import (
    BrokenRows,
    DanglingReference,
    NodeContext,
    Obligation,
    ObligationKind,
    RepeatedNumber,
    SharedNumber,
    Test,
    UnlistedNumber,
    begins_with,
)
from etl.mapping.static_values import possible_values, static_value
from etl.model import logic
from etl.model.crosswalks import DISPLAY, Crosswalk, is_of_displays
from etl.profiles import structures as st
from etl.profiles.guides import US_CORE
from etl.profiles.invariants import NOT_CHECKED, constraint_of, guide_rules, signature
from etl.profiles.shapes import ENGINE_MADE, TEXT_TYPES, Shape, target_types
from etl.profiles.value_sets import ABSENT_REASONS, DATA_ABSENT_REASON, code_systems, value_set

_BLANK_FREE_TYPES: Final = frozenset({"code", "uri", "url", "canonical", "oid", "uuid", "id"})
"""Types whose format forbids blanks, unlike texts."""

_COUNT_TYPES: Final = frozenset({"positiveInt", "unsignedInt"})


def check_format(
    node: Entry, code: str, possible_texts: frozenset[str] | None
) -> str | fm.Formula | None:
    """Return why a value's format is valid, or the formula that breaks it; None for objects.

    Args:
        node: the value.
        code: its FHIR type.
        possible_texts: all texts that it can be, if known.
    """
    pattern = st.primitives().get(code)
    if pattern is None:
        return None
    format_pattern = re.compile(pattern, re.ASCII)
    if isinstance(node, Fixed):
        value = static_value(node)
        text = value if isinstance(value, str) else node.json
        return "the constant has the form" if format_pattern.fullmatch(text) else True
    expr = fm.expr_of(node)
    if expr is None:
        return None
    if possible_texts is not None:
        if all(format_pattern.fullmatch(text) for text in possible_texts):
            return "every answer has the form"
    elif not (code in _COUNT_TYPES and expr.kind is Kind.INTEGER) and (
        code not in _BLANK_FREE_TYPES or isinstance(expr, LogicalId)
    ):
        return "the type of the column, which reading makes sure of"
    return fm.Misshapen(expr, code)


def data_obligations(all_obligations: tuple[Obligation, ...]) -> tuple[Obligation, ...]:
    """Deduplicate the obligations that rows can break by rule and test."""
    tested: list[Obligation] = []
    # A rule has few tests, and hashing a test visits all its parts.
    tests: dict[str, list[Test]] = defaultdict(list)
    for obligation in all_obligations:
        test, same_rule = obligation.test, tests[obligation.rule]
        if test is not None and test not in same_rule:
            same_rule.append(test)
            tested.append(obligation)
    return tuple(tested)


def profile_slug(profile: st.Profile) -> str:
    """Return a profile's name in rule IDs: `c4bb.oral`, `c4bb.patient`, `us-core-location`."""
    name = profile.name.removeprefix("C4BB-")
    if name == profile.name:
        return name.lower()
    return "c4bb." + (name.removeprefix("ExplanationOfBenefit-") or "eob").lower()


_UNRESOLVED: Final = "reference-unresolved"
_PROVED_BY_MAPPING: Final = "a constant, a default, or how the mapping is made"


def obligations(plan: Plan, crosswalks: Mapping[str, Crosswalk]) -> tuple[Obligation, ...]:
    """Return what the profile of a plan requires of its resources.

    Args:
        plan: a compiled mapping.
        crosswalks: the crosswalks that it uses.

    Raises:
        MappingError: `map-unchecked`: an invariant of something that the plan makes can neither be
            proved nor checked; `map-unknown-profile`.
    """
    profile = st.find_canonical(plan.profile)
    if profile is None:
        raise MappingError(
            str(plan.body.place), "map-unknown-profile", f"no profile {plan.profile}"
        )
    walker = _Obligations(plan, profile, fm.Codes(crosswalks))
    walker.run()
    for rule in guide_rules(profile):
        for path, test in guide_rule_tests(rule, walker.subject(plan.body, NodeContext())):
            walker.add("guide", path, plan.body.place, test, rule.rule)
    return tuple(walker.found)


def _is_looked_up(display: Entry) -> bool:
    """Return whether a display is looked up in a crosswalk of displays."""
    match display:
        case Leaf(expr=Translated(crosswalk=name)):
            return is_of_displays(name)
        case _:
            return False


@dataclass(slots=True)
class _Obligations(ProfileWalk):
    names: Names = field(default_factory=Names)
    found: list[Obligation] = field(default_factory=list)

    def add(
        self, what: ObligationKind, path: str, place: CitedMark, test: Test | str, rule: str = ""
    ) -> None:
        """Add an obligation: with its test, or with the reason why it is proved."""
        name = f"{profile_slug(self.profile)}.{path}" if path else profile_slug(self.profile)
        obligation = Obligation(rule or name, what, path, self.profile.name, place)
        if isinstance(test, str):
            self.found.append(replace(obligation, proved=test))
        elif self.is_proved(test):
            self.found.append(replace(obligation, proved=_PROVED_BY_MAPPING))
        else:
            self.found.append(replace(obligation, test=test))

    def is_proved(self, test: Test) -> bool:
        match test:
            case BrokenRows(loops=loops, broken=broken):
                return is_never_true(broken, None if loops else self.plan.condition, self.names)
            case RepeatedNumber(numbers=numbers):
                resource_numbers = [number for loops, _, number in numbers.sources if not loops]
                constants = [number for number in resource_numbers if isinstance(number, int)]
                return len(constants) == len(numbers.sources) == len(set(constants))
            case UnlistedNumber(named=named):
                return not named.sources
            case SharedNumber(left=left, right=right):
                return not left.sources or not right.sources
            case _:
                return False

    # -- objects -----------------------------------------------------------------------------

    def check_object(self, node: ObjectNode, shape: Shape, path: str, at: NodeContext) -> None:
        for part in shape.children():
            if not (path == "" and part.element.name in ENGINE_MADE):
                self.required(node, part, path, at)
        self.invariants(node, shape, path, at)

    def check_member(
        self, key: str, node: Entry, parent: Shape, path: str, at: NodeContext
    ) -> bool:
        shape = parent.member(key)
        if shape is None or shape.element.max == 0:
            self.refute("limit", path, node.place, at)
            return False
        return True

    def refute(
        self,
        what: ObligationKind,
        path: str,
        place: CitedMark,
        at: NodeContext,
        *broken: fm.Formula,
    ) -> None:
        """Add an obligation that rows break if all formulas are true."""
        # `broken` comes first: it is nearly always false, and then nothing else is evaluated.
        self.add(what, path, place, BrokenRows(at.loops, logic.all_of(*broken, at.given)))

    def required(self, node: ObjectNode, shape: Shape, path: str, at: NodeContext) -> None:
        """Require an element wherever its object is present, with one type only."""
        element = shape.element
        names = tuple(st.choice_names(element)) or (element.name,)
        is_choice = element.name.endswith("[x]")
        child_path = f"{path}.{element.name}" if path else element.name
        required_slices = [part for part in shape.profile.slices(element.id) if part.min > 0]
        members = [member for key, member in node.members if key.lstrip("_") in names]
        line = members[0].place if members else node.place
        if is_choice and required_slices:
            for part in required_slices:
                (spelt,) = st.choice_names(replace(element, types=part.types))
                self.refute(
                    "required", child_path, line, at, logic.negate(fm.has_member(node, spelt))
                )
        elif element.min > 0:
            self.refute("required", child_path, line, at, logic.negate(fm.has_member(node, *names)))
        elif required_slices and not members:
            self.refute("required", child_path, line, at)
        if is_choice:
            has_several_types = fm.at_least(2, (((), fm.has_member(node, name)) for name in names))
            self.refute("limit", child_path, line, at, has_several_types)

    def invariants(self, node: ObjectNode, shape: Shape, path: str, at: NodeContext) -> None:
        around = {key: shape.profile.invariants[key] for key in shape.element.invariants}
        if shape.choice is not None and st.is_type(shape.choice.code):
            definition = st.load_type(shape.choice.code)
            around |= {key: definition.invariants[key] for key in definition.root.invariants}
        for key, invariant in around.items():
            wording = f"{key} {signature(invariant.expression)}"
            if reason := NOT_CHECKED.get(key, NOT_CHECKED.get(wording)):
                obligation = Obligation(key, "invariant", path, self.profile.name, node.place)
                self.found.append(replace(obligation, listed=reason))
                continue
            for test in self.tests(node, path, at, invariant):
                self.add("invariant", path, node.place, test, key)

    def subject(self, node: ObjectNode, at: NodeContext) -> Subject:
        return Subject(node, self.plan.body, at.loops, at.given, self.codes, self.guide)

    def tests(
        self, node: ObjectNode, path: str, at: NodeContext, invariant: st.Invariant
    ) -> list[Test | str]:
        """Return the tests of an invariant, or the reason why it needs none."""
        constraint = constraint_of(invariant.key, invariant.expression)
        if reason := proved_reason(invariant.key, constraint, node):
            return [reason]
        try:
            if constraint is not None:
                return list(find_tests(constraint, self.subject(node, at)))
        except UncheckableError:
            pass
        message = f"{self.plan.resource}.{path}: nothing here can check invariant {invariant.key}"
        raise MappingError(str(node.place), "map-unchecked", message)

    # -- lists -------------------------------------------------------------------------------

    def check_list(
        self,
        node: ListNode,
        shape: Shape,
        path: str,
        at: NodeContext,
        entries: list[ListEntry],
        slices: list[ListSlice],
    ) -> None:
        """Add the limits on the number of entries, in total and per slice."""
        all_entries = [
            (loops, logic.all_of(given, fm.presence_condition(inner)))
            for loops, given, inner in entries
        ]
        self.limits(path, node.place, at, all_entries, shape.element)
        if slices and shape.element.slicing is not None and shape.element.slicing.rules == "closed":
            for index, (loops, given, inner) in enumerate(entries):
                unsliced = logic.all_of(*(logic.negate(part.belongs[index]) for part in slices))
                context = at.inside(inner, given, loops)
                self.refute(
                    "limit", path, inner.place, context, fm.presence_condition(inner), unsliced
                )
        for part in slices:
            slice_entries = [
                (loops, logic.all_of(given, fm.presence_condition(inner), condition))
                for (loops, given, inner), condition in zip(entries, part.belongs, strict=True)
                if condition is not False
            ]
            self.limits(part.path, node.place, at, slice_entries, part.shape.element, is_slice=True)

    def limits(
        self,
        path: str,
        place: CitedMark,
        at: NodeContext,
        entries: list[tuple[tuple[Loop, ...], fm.Formula]],
        element: st.Element,
        *,
        is_slice: bool = False,
    ) -> None:
        """Add minimum and maximum numbers of entries; `required` checks for missing lists."""
        min_count = element.min
        if min_count == 1 and is_slice:
            has_entry = logic.any_of(*(fm.in_nested_rows(*entry) for entry in entries))
            self.refute("required", path, place, at, logic.negate(has_entry))
        elif min_count > 1:
            self.refute("required", path, place, at, logic.negate(fm.at_least(min_count, entries)))
        if element.max is not None:
            self.refute("limit", path, place, at, fm.at_least(element.max + 1, entries))

    # -- values ------------------------------------------------------------------------------

    def check_value(self, node: Entry, shape: Shape, path: str, at: NodeContext) -> Shape | None:
        pattern = shape.required_value
        if pattern is not None:
            self.refute(
                "pattern", path, node.place, at, logic.negate(fm.match_condition(node, pattern))
            )
        if not isinstance(node, ObjectNode):
            self.leaf(node, shape, path, at)
            return None
        choice = shape.choice
        if choice is not None and choice.code == "Extension":
            shape = self.extension(node, shape, path, at)
        elif choice is not None and choice.profiles:
            extension_profile = st.find_canonical(choice.profiles[0])
            if extension_profile is not None and not shape.profile.children(shape.element.id):
                shape = Shape(extension_profile, extension_profile.root, choice)
        self.bound(node, shape, path, at)
        if choice is not None and choice.code == "Coding":
            self.own_code(node, path, at)
        if choice is not None and choice.code == "Reference":
            self.reference(node, choice, path, at)
        return shape

    def extension(self, node: ObjectNode, shape: Shape, path: str, at: NodeContext) -> Shape:
        """Return an extension's shape; add the obligations of known URLs."""
        value = static_value(node)
        url = value.get("url") if isinstance(value, Mapping) else None
        if url == DATA_ABSENT_REASON:
            reason = fm.exists_at(
                node,
                ("valueCode",),
                lambda value_node: logic.any_of(
                    *(fm.match_condition(value_node, word) for word in sorted(ABSENT_REASONS))
                ),
            )
            self.refute("code", path, node.place, at, logic.negate(reason))
        elif isinstance(url, str) and US_CORE.covers(url):
            target = st.find_canonical(url)
            if target is not None and target.type == "Extension":
                return Shape(target, target.root, shape.choice)
        if shape.profile.children(shape.element.id):
            return shape
        return replace(Shape.of_type("Extension"), choice=shape.choice)

    def bound(self, node: ObjectNode, shape: Shape, path: str, at: NodeContext) -> None:
        """Require a concept's code to be in its bound value set."""
        if shape.required_values is None:
            return
        allowed = value_set(shape.required_values, self.guide)
        if allowed.status == "unavailable":
            self.listed("binding", path, node.place, "the codes of the value set are not to be had")
            return
        inside = self.codes.concept_in(node, allowed, certain=False)
        self.refute("binding", path, node.place, at, logic.negate(inside))

    def listed(self, what: ObligationKind, path: str, place: CitedMark, reason: str) -> None:
        rule = f"{profile_slug(self.profile)}.{path}"
        self.found.append(Obligation(rule, what, path, self.profile.name, place, listed=reason))

    def own_code(self, node: ObjectNode, path: str, at: NodeContext) -> None:
        """Require that codes of the guide's own code systems exist."""
        guide_systems = code_systems(self.guide)
        for (has_system, system), (has_code, code) in (
            (system, other)
            for system in fm.members_of(node, "system")
            for other in fm.members_of(node, "code")
        ):
            system_expr, code_expr = fm.expr_of(system), fm.expr_of(code)
            if system_expr is None or code_expr is None:
                continue
            systems = possible_values(system_expr, self.codes.crosswalks)
            if systems is not None and not systems & guide_systems.keys():
                continue
            pairs = frozenset((url, code) for url, codes in guide_systems.items() for code in codes)
            is_known = (
                fm.is_one_of(code_expr, *guide_systems[next(iter(systems))])
                if systems is not None and len(systems) == 1
                else fm.Coded(system_expr, code_expr, pairs, frozenset())
            )
            possible_codes = possible_values(code_expr, self.codes.crosswalks)
            if (
                systems is not None
                and possible_codes is not None
                and pairs.issuperset(
                    (url, word) for url in systems & guide_systems.keys() for word in possible_codes
                )
            ):
                self.add("code", path, node.place, "every answer is a code of its system")
                continue
            is_own = fm.is_one_of(system_expr, *sorted(guide_systems))
            broken = (
                has_system,
                has_code,
                is_own,
                fm.is_present(code_expr),
                logic.negate(is_known),
            )
            self.refute("code", path, node.place, at, *broken)
            displays = (member for _, member in fm.members_of(node, DISPLAY, f"_{DISPLAY}"))
            if not all(_is_looked_up(member) for member in displays):
                message = f"{self.plan.resource}.{path}: a display of the guide's own codes"
                raise MappingError(str(node.place), "map-unchecked", message, hint="use text")

    def reference(
        self, node: ObjectNode, choice: st.TypeChoice, path: str, at: NodeContext
    ) -> None:
        """Require a reference to point to an allowed type."""
        allowed = target_types(choice)
        for given, value in fm.members_of(node, "reference"):
            expr = fm.expr_of(value)
            if expr is None:
                continue
            condition = logic.all_of(at.given, given, fm.is_present(expr))
            self.add(
                "reference",
                path,
                node.place,
                DanglingReference(at.loops, condition, expr),
                _UNRESOLVED,
            )
            types = set(reference_types(expr))
            if not allowed or (types and types <= allowed):
                self.add("reference", path, node.place, "the types that the mapping can name")
                continue
            is_allowed = logic.any_of(*(begins_with(expr, f"{name}/") for name in sorted(allowed)))
            broken = (given, fm.is_present(expr), logic.negate(is_allowed))
            self.refute("reference", path, node.place, at, *broken)

    def leaf(self, node: Entry, shape: Shape, path: str, at: NodeContext) -> None:
        """Add the format and the binding of a primitive value."""
        expr = fm.expr_of(node)
        if shape.choice is None:
            return
        possible_texts = None if expr is None else possible_values(expr, self.codes.crosswalks)
        format_problem = check_format(node, shape.choice.code, possible_texts)
        if isinstance(format_problem, str):
            self.add("form", path, node.place, format_problem)
        elif format_problem is not None:
            self.refute("form", path, node.place, at, format_problem)
        if expr is None or shape.required_values is None or shape.choice.code not in TEXT_TYPES:
            return
        allowed = value_set(shape.required_values, self.guide)
        if allowed.status != "complete":
            self.listed("binding", path, node.place, "not all codes of the value set are known")
            return
        codes = frozenset(code.code for code in allowed.codes)
        if possible_texts is not None and possible_texts <= codes:
            self.add("binding", path, node.place, "every answer is of the value set")
            return
        is_known = fm.is_one_of(expr, *sorted(codes))
        self.refute("binding", path, node.place, at, fm.is_present(expr), logic.negate(is_known))
