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
from etl.mapping.expressions import Kind, LogicalId, Translation
from etl.mapping.invariants import (
    Subject,
    UncheckableError,
    find_tests,
    guide_rule_tests,
    proved_reason,
)
from etl.mapping.plan import CitedMark, Entry, JsonConstant, Leaf, ListNode, ObjectNode, Plan
from etl.mapping.profile_checks import reference_types
from etl.mapping.profile_walk import ListSlice, ProfileWalk
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
    starts_with,
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
    if isinstance(node, JsonConstant):
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
    return fm.WrongFormat(expr, code)


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
        raise MappingError(str(plan.body.mark), "map-unknown-profile", f"no profile {plan.profile}")
    collector = _ObligationCollector(plan, profile, fm.Codes(crosswalks))
    collector.run()
    for rule in guide_rules(profile):
        for path, test in guide_rule_tests(rule, collector.subject(plan.body, NodeContext())):
            collector.add("guide", path, plan.body.mark, test, rule.rule)
    return tuple(collector.obligations)


def _is_looked_up(display: Entry) -> bool:
    """Return whether a display is looked up in a crosswalk of displays."""
    match display:
        case Leaf(expr=Translation(crosswalk=name)):
            return is_of_displays(name)
        case _:
            return False


@dataclass(slots=True)
class _ObligationCollector(ProfileWalk):
    names: Names = field(default_factory=Names)
    obligations: list[Obligation] = field(default_factory=list)

    def add(
        self, kind: ObligationKind, path: str, mark: CitedMark, test: Test | str, rule: str = ""
    ) -> None:
        """Add an obligation: with its test, or with the reason why it is proved."""
        if not isinstance(test, str) and self.is_proved(test):
            test = _PROVED_BY_MAPPING
        name = f"{profile_slug(self.profile)}.{path}" if path else profile_slug(self.profile)
        obligation = Obligation(rule or name, kind, path, self.profile.name, mark)
        if isinstance(test, str):
            self.obligations.append(replace(obligation, proved=test))
        else:
            self.obligations.append(replace(obligation, test=test))

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

    def check_object(self, node: ObjectNode, shape: Shape, context: NodeContext) -> None:
        for child in shape.children():
            if not (context.path == "" and child.element.name in ENGINE_MADE):
                self.add_required(node, child, context)
        self.add_invariants(node, shape, context)

    def check_member(self, key: str, node: Entry, parent: Shape, context: NodeContext) -> bool:
        shape = parent.member(key)
        if shape is None or shape.element.max == 0:
            self.forbid("limit", node.mark, context)
            return False
        return True

    def forbid(
        self, kind: ObligationKind, mark: CitedMark, context: NodeContext, *broken: fm.Formula
    ) -> None:
        """Add an obligation that rows break if all formulas are true."""
        # `broken` comes first: it is nearly always false, and then nothing else is evaluated.
        test = BrokenRows(context.loops, logic.all_of(*broken, context.presence))
        self.add(kind, context.path, mark, test)

    def require(
        self, kind: ObligationKind, mark: CitedMark, context: NodeContext, valid: fm.Formula
    ) -> None:
        """Add an obligation that rows break if a formula is false."""
        self.forbid(kind, mark, context, logic.negate(valid))

    def add_required(self, node: ObjectNode, shape: Shape, context: NodeContext) -> None:
        """Require an element wherever its object is present, with one type only."""
        element = shape.element
        names = tuple(st.choice_names(element)) or (element.name,)
        is_choice = element.name.endswith("[x]")
        child = context.member(element.name)
        required_slices = [part for part in shape.profile.slices(element.id) if part.min > 0]
        members = [member for key, member in node.members if key.lstrip("_") in names]
        mark = members[0].mark if members else node.mark
        if is_choice and required_slices:
            for part in required_slices:
                (spelt,) = st.choice_names(replace(element, types=part.types))
                self.require("required", mark, child, fm.has_member(node, spelt))
        elif element.min > 0:
            self.require("required", mark, child, fm.has_member(node, *names))
        elif required_slices and not members:
            self.forbid("required", mark, child)
        if is_choice:
            has_several_types = fm.at_least(2, (((), fm.has_member(node, name)) for name in names))
            self.forbid("limit", mark, child, has_several_types)

    def add_invariants(self, node: ObjectNode, shape: Shape, context: NodeContext) -> None:
        invariants = {key: shape.profile.invariants[key] for key in shape.element.invariants}
        if shape.choice is not None and st.is_type(shape.choice.code):
            definition = st.load_type(shape.choice.code)
            invariants |= {key: definition.invariants[key] for key in definition.root.invariants}
        for key, invariant in invariants.items():
            wording = f"{key} {signature(invariant.expression)}"
            if reason := NOT_CHECKED.get(key, NOT_CHECKED.get(wording)):
                self.add_unchecked("invariant", node.mark, context, reason, key)
                continue
            for test in self.invariant_tests(node, context, invariant):
                self.add("invariant", context.path, node.mark, test, key)

    def subject(self, node: ObjectNode, context: NodeContext) -> Subject:
        loops, presence = context.loops, context.presence
        return Subject(node, self.plan.body, loops, presence, self.codes, self.guide)

    def invariant_tests(
        self, node: ObjectNode, context: NodeContext, invariant: st.Invariant
    ) -> list[Test | str]:
        """Return the tests of an invariant, or the reason why it needs none."""
        constraint = constraint_of(invariant.key, invariant.expression)
        if reason := proved_reason(invariant.key, constraint, node):
            return [reason]
        try:
            if constraint is not None:
                return list(find_tests(constraint, self.subject(node, context)))
        except UncheckableError:
            pass
        name = f"{self.plan.resource}.{context.path}"
        message = f"{name}: nothing here can check invariant {invariant.key}"
        raise MappingError(str(node.mark), "map-unchecked", message)

    # -- lists -------------------------------------------------------------------------------

    def check_list(
        self,
        node: ListNode,
        shape: Shape,
        context: NodeContext,
        entries: list[fm.ListEntry],
        slices: list[ListSlice],
    ) -> None:
        """Add the limits on the number of entries, in total and per slice."""
        presences = [(entry.loops, entry.presence) for entry in entries]
        slicing = shape.element.slicing
        if shape.element.min > 1:
            self.require("required", node.mark, context, fm.at_least(shape.element.min, presences))
        self.add_maximum(node.mark, context, presences, shape.element)
        if slices and slicing is not None and slicing.rules == "closed":
            for index, entry in enumerate(entries):
                unsliced = logic.all_of(*(logic.negate(part.belongs[index]) for part in slices))
                inner = context.inside(entry.node, entry.condition, entry.loops)
                presence = fm.presence_condition(entry.node)
                self.forbid("limit", entry.node.mark, inner, presence, unsliced)
        for part in slices:
            presences = [
                (entry.loops, logic.all_of(entry.presence, belongs))
                for entry, belongs in zip(entries, part.belongs, strict=True)
                if belongs is not False
            ]
            slice_context, min_count = replace(context, path=part.path), part.shape.element.min
            if min_count == 1:
                has_entry = logic.any_of(*(fm.in_nested_rows(*entry) for entry in presences))
                self.require("required", node.mark, slice_context, has_entry)
            elif min_count > 1:
                has_enough = fm.at_least(min_count, presences)
                self.require("required", node.mark, slice_context, has_enough)
            self.add_maximum(node.mark, slice_context, presences, part.shape.element)

    def add_maximum(
        self,
        mark: CitedMark,
        context: NodeContext,
        presences: list[tuple[fm.Loops, fm.Formula]],
        element: st.Element,
    ) -> None:
        if element.max is not None:
            self.forbid("limit", mark, context, fm.at_least(element.max + 1, presences))

    # -- values ------------------------------------------------------------------------------

    def check_value(self, node: Entry, shape: Shape, context: NodeContext) -> Shape | None:
        pattern = shape.required_value
        if pattern is not None:
            self.require("pattern", node.mark, context, fm.match_condition(node, pattern))
        if not isinstance(node, ObjectNode):
            self.add_leaf(node, shape, context)
            return None
        choice = shape.choice
        if choice is not None and choice.code == "Extension":
            shape = self.extension_shape(node, shape, context)
        elif choice is not None and choice.profiles:
            extension_profile = st.find_canonical(choice.profiles[0])
            if extension_profile is not None and not shape.profile.children(shape.element.id):
                shape = Shape(extension_profile, extension_profile.root, choice)
        self.add_binding(node, shape, context)
        if choice is not None and choice.code == "Coding":
            self.add_guide_codes(node, context)
        if choice is not None and choice.code == "Reference":
            self.add_reference(node, choice, context)
        return shape

    def extension_shape(self, node: ObjectNode, shape: Shape, context: NodeContext) -> Shape:
        """Return an extension's shape; add the obligations of known URLs."""
        value = static_value(node)
        url = value.get("url") if isinstance(value, Mapping) else None
        if url == DATA_ABSENT_REASON:
            has_reason = fm.exists_at(
                node,
                ("valueCode",),
                lambda value_node: logic.any_of(
                    *(fm.match_condition(value_node, word) for word in sorted(ABSENT_REASONS))
                ),
            )
            self.require("code", node.mark, context, has_reason)
        elif isinstance(url, str) and US_CORE.covers(url):
            target = st.find_canonical(url)
            if target is not None and target.type == "Extension":
                return Shape(target, target.root, shape.choice)
        if shape.profile.children(shape.element.id):
            return shape
        return replace(Shape.of_type("Extension"), choice=shape.choice)

    def add_binding(self, node: ObjectNode, shape: Shape, context: NodeContext) -> None:
        """Require a concept's code to be in its bound value set."""
        if shape.required_values is None:
            return
        allowed = value_set(shape.required_values, self.guide)
        if allowed.status == "unavailable":
            reason = "the codes of the value set are not to be had"
            self.add_unchecked("binding", node.mark, context, reason)
            return
        is_allowed = self.codes.concept_in(node, allowed, certain=False)
        self.require("binding", node.mark, context, is_allowed)

    def add_unchecked(
        self,
        kind: ObligationKind,
        mark: CitedMark,
        context: NodeContext,
        reason: str,
        rule: str = "",
    ) -> None:
        """Add an obligation that isn't checked, with the reason."""
        path, profile = context.path, self.profile
        rule = rule or f"{profile_slug(profile)}.{path}"
        self.obligations.append(Obligation(rule, kind, path, profile.name, mark, listed=reason))

    def add_guide_codes(self, node: ObjectNode, context: NodeContext) -> None:
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
                else fm.AllowedCoding(system_expr, code_expr, pairs, frozenset())
            )
            possible_codes = possible_values(code_expr, self.codes.crosswalks)
            if (
                systems is not None
                and possible_codes is not None
                and pairs.issuperset(
                    (url, word) for url in systems & guide_systems.keys() for word in possible_codes
                )
            ):
                reason = "every answer is a code of its system"
                self.add("code", context.path, node.mark, reason)
                continue
            is_own = fm.is_one_of(system_expr, *sorted(guide_systems))
            has_codes = (has_system, has_code, is_own, fm.is_present(code_expr))
            self.forbid("code", node.mark, context, *has_codes, logic.negate(is_known))
            displays = (member for _, member in fm.members_of(node, DISPLAY, f"_{DISPLAY}"))
            if not all(_is_looked_up(member) for member in displays):
                name = f"{self.plan.resource}.{context.path}"
                message = f"{name}: a display of the guide's own codes"
                raise MappingError(str(node.mark), "map-unchecked", message, hint="use text")

    def add_reference(self, node: ObjectNode, choice: st.TypeChoice, context: NodeContext) -> None:
        """Require a reference to point to an allowed type, and to a resource that is made."""
        allowed, path = target_types(choice), context.path
        for presence, value in fm.members_of(node, "reference"):
            expr = fm.expr_of(value)
            if expr is None:
                continue
            condition = logic.all_of(context.presence, presence, fm.is_present(expr))
            test = DanglingReference(context.loops, condition, expr)
            self.add("reference", path, node.mark, test, _UNRESOLVED)
            types = set(reference_types(expr))
            if not allowed or (types and types <= allowed):
                self.add("reference", path, node.mark, "the types that the mapping can name")
                continue
            is_allowed = logic.any_of(*(starts_with(expr, f"{name}/") for name in sorted(allowed)))
            broken = (presence, fm.is_present(expr), logic.negate(is_allowed))
            self.forbid("reference", node.mark, context, *broken)

    def add_leaf(self, node: Entry, shape: Shape, context: NodeContext) -> None:
        """Add the format and the binding of a primitive value."""
        expr, path = fm.expr_of(node), context.path
        if shape.choice is None:
            return
        possible_texts = None if expr is None else possible_values(expr, self.codes.crosswalks)
        format_problem = check_format(node, shape.choice.code, possible_texts)
        if isinstance(format_problem, str):
            self.add("form", path, node.mark, format_problem)
        elif format_problem is not None:
            self.forbid("form", node.mark, context, format_problem)
        if expr is None or shape.required_values is None or shape.choice.code not in TEXT_TYPES:
            return
        allowed = value_set(shape.required_values, self.guide)
        if allowed.status != "complete":
            reason = "not all codes of the value set are known"
            self.add_unchecked("binding", node.mark, context, reason)
            return
        codes = frozenset(code.code for code in allowed.codes)
        if possible_texts is not None and possible_texts <= codes:
            self.add("binding", path, node.mark, "every answer is of the value set")
            return
        is_known = fm.is_one_of(expr, *sorted(codes))
        broken = (fm.is_present(expr), logic.negate(is_known))
        self.forbid("binding", node.mark, context, *broken)
