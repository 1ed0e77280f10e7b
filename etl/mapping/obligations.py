"""Obligations of a profile towards the resources of a plan: proved, tested on rows, or listed.

Each obligation (a compulsory element, a slice, a pattern, a bound code, the form of a value, an
invariant, a rule that the guide states in words) is one of three:

* *proved*: no row can break it, for the reason that is given;
* *of data*: a row could break it; the run looks for such rows (`Test`);
* *listed*: not checked, for the reason that is given.

What can be none of them is a mistake of the mapping: `map-unchecked`.
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
from etl.mapping.invariants import Subject, UncheckableError, guide_rule_tests, reason_of, tests_of
from etl.mapping.plan import CitedMark, Entry, Fixed, Leaf, ListNode, Loop, ObjectNode, Plan
from etl.mapping.profile_checks import reference_types
from etl.mapping.profile_walk import ListEntry, ListSlice, ProfileWalk
from etl.mapping.proof import Names, never
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
    begins,
)
from etl.mapping.static_values import answers, static_value
from etl.model import logic
from etl.model.crosswalks import DISPLAY, Crosswalk, is_of_displays
from etl.profiles import structures as st
from etl.profiles.guides import US_CORE
from etl.profiles.invariants import NOT_CHECKED, constraint_of, guide_rules, signature
from etl.profiles.shapes import ENGINE_MADE, TEXT_TYPES, Shape, target_types
from etl.profiles.value_sets import ABSENT_REASONS, DATA_ABSENT_REASON, code_systems, value_set

_MARK_FREE: Final = frozenset({"code", "uri", "url", "canonical", "oid", "uuid", "id"})
"""Types with a form that forbids blanks which a text may have."""

_COUNTED: Final = frozenset({"positiveInt", "unsignedInt"})


def form_of(node: Entry, code: str, said: frozenset[str] | None) -> str | fm.Formula | None:
    """Return why a value has the form of its type, or what breaks that; None for no leaf.

    Args:
        node: the value.
        code: its FHIR type.
        said: every text that it can be, where that is known.
    """
    pattern = st.primitives().get(code)
    if pattern is None:
        return None
    form = re.compile(pattern, re.ASCII)
    if isinstance(node, Fixed):
        value = static_value(node)
        text = value if isinstance(value, str) else node.json
        return "the constant has the form" if form.fullmatch(text) else True
    expr = fm.expr_of(node)
    if expr is None:
        return None
    if said is not None:
        if all(form.fullmatch(text) for text in said):
            return "every answer has the form"
    elif not (code in _COUNTED and expr.kind is Kind.INTEGER) and (
        code not in _MARK_FREE or isinstance(expr, LogicalId)
    ):
        return "the type of the column, which reading makes sure of"
    return fm.Misshapen(expr, code)


def of_data(every: tuple[Obligation, ...]) -> tuple[Obligation, ...]:
    """Return the obligations that rows can break, one for each different test."""
    kept: list[Obligation] = []
    # A rule has few, and to hash a test goes all through it.
    tests: dict[str, list[Test]] = defaultdict(list)
    for obligation in every:
        test, same_rule = obligation.test, tests[obligation.rule]
        if test is not None and test not in same_rule:
            same_rule.append(test)
            kept.append(obligation)
    return tuple(kept)


def profile_slug(profile: st.Profile) -> str:
    """Return how rule ids name a profile: `c4bb.oral`, `c4bb.patient`, `us-core-location`."""
    name = profile.name.removeprefix("C4BB-")
    if name == profile.name:
        return name.lower()
    return "c4bb." + (name.removeprefix("ExplanationOfBenefit-") or "eob").lower()


_UNRESOLVED: Final = "reference-unresolved"
_MADE_SO: Final = "a constant, a default, or how the mapping is made"


def obligations(plan: Plan, crosswalks: Mapping[str, Crosswalk]) -> tuple[Obligation, ...]:
    """Return what the profile of a plan requires of its resources.

    Args:
        plan: a compiled mapping.
        crosswalks: those it translates with.

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
    """Return whether a display is the one that displays have for the code beside it."""
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
        """Add an obligation: a test, what would break it, or a text that says why it is proved."""
        name = f"{profile_slug(self.profile)}.{path}" if path else profile_slug(self.profile)
        obligation = Obligation(rule or name, what, path, self.profile.name, place)
        if isinstance(test, str):
            self.found.append(replace(obligation, proved=test))
        elif self.proved(test):
            self.found.append(replace(obligation, proved=_MADE_SO))
        else:
            self.found.append(replace(obligation, test=test))

    def proved(self, test: Test) -> bool:
        match test:
            case BrokenRows(loops=loops, broken=broken):
                return never(broken, None if loops else self.plan.condition, self.names)
            case RepeatedNumber(numbers=numbers):
                numbers_known = [number for loops, _, number in numbers.sources if not loops]
                fixed = [number for number in numbers_known if isinstance(number, int)]
                return len(fixed) == len(numbers.sources) == len(set(fixed))
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
        """Add an obligation that is broken in the rows where all of some formulas are true."""
        # What is broken comes first: it is nearly always false, and then nothing else is evaluated.
        self.add(what, path, place, BrokenRows(at.loops, logic.all_of(*broken, at.given)))

    def required(self, node: ObjectNode, shape: Shape, path: str, at: NodeContext) -> None:
        """Add that an element is there wherever the object is, and of one type only."""
        element = shape.element
        names = tuple(st.choice_names(element)) or (element.name,)
        is_choice = element.name.endswith("[x]")
        below = f"{path}.{element.name}" if path else element.name
        needed = [part for part in shape.profile.slices(element.id) if part.min > 0]
        mine = [member for key, member in node.members if key.lstrip("_") in names]
        place = mine[0].place if mine else node.place
        if is_choice and needed:
            for part in needed:
                (spelt,) = st.choice_names(replace(element, types=part.types))
                self.refute("required", below, place, at, logic.negate(fm.has(node, spelt)))
        elif element.min > 0:
            self.refute("required", below, place, at, logic.negate(fm.has(node, *names)))
        elif needed and not mine:
            self.refute("required", below, place, at)
        if is_choice:
            several = fm.at_least(2, (((), fm.has(node, name)) for name in names))
            self.refute("limit", below, place, at, several)

    def invariants(self, node: ObjectNode, shape: Shape, path: str, at: NodeContext) -> None:
        around = {key: shape.profile.invariants[key] for key in shape.element.invariants}
        if shape.choice is not None and st.is_type(shape.choice.code):
            kind = st.load_type(shape.choice.code)
            around |= {key: kind.invariants[key] for key in kind.root.invariants}
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
        """Return the tests of an invariant, or a text that says why none is needed."""
        constraint = constraint_of(invariant.key, invariant.expression)
        if reason := reason_of(invariant.key, constraint, node):
            return [reason]
        try:
            if constraint is not None:
                return list(tests_of(constraint, self.subject(node, at)))
        except UncheckableError:
            pass
        what = f"{self.plan.resource}.{path}: nothing here can check invariant {invariant.key}"
        raise MappingError(str(node.place), "map-unchecked", what)

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
        """Add how many entries there have to be, of all and of each slice."""
        whole = [
            (loops, logic.all_of(given, fm.presence(inner))) for loops, given, inner in entries
        ]
        self.limits(path, node.place, at, whole, shape.element)
        if slices and shape.element.slicing is not None and shape.element.slicing.rules == "closed":
            for number, (loops, given, inner) in enumerate(entries):
                of_none = logic.all_of(*(logic.negate(part.belongs[number]) for part in slices))
                here = at.inside(inner, given, loops)
                self.refute("limit", path, inner.place, here, fm.presence(inner), of_none)
        for part in slices:
            of_slice = [
                (loops, logic.all_of(given, fm.presence(inner), is_in))
                for (loops, given, inner), is_in in zip(entries, part.belongs, strict=True)
                if is_in is not False
            ]
            self.limits(part.path, node.place, at, of_slice, part.shape.element, is_slice=True)

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
        """Add the least and the greatest number of entries; no list at all is `required`'s."""
        least = element.min
        if least == 1 and is_slice:
            some = logic.any_of(*(fm.through(*entry) for entry in entries))
            self.refute("required", path, place, at, logic.negate(some))
        elif least > 1:
            self.refute("required", path, place, at, logic.negate(fm.at_least(least, entries)))
        if element.max is not None:
            self.refute("limit", path, place, at, fm.at_least(element.max + 1, entries))

    # -- values ------------------------------------------------------------------------------

    def check_value(self, node: Entry, shape: Shape, path: str, at: NodeContext) -> Shape | None:
        wanted = shape.wanted
        if wanted is not None:
            self.refute("pattern", path, node.place, at, logic.negate(fm.matches(node, wanted)))
        if not isinstance(node, ObjectNode):
            self.leaf(node, shape, path, at)
            return None
        choice = shape.choice
        if choice is not None and choice.code == "Extension":
            shape = self.extension(node, shape, path, at)
        elif choice is not None and choice.profiles:
            other = st.find_canonical(choice.profiles[0])
            if other is not None and not shape.profile.children(shape.element.id):
                shape = Shape(other, other.root, choice)
        self.bound(node, shape, path, at)
        if choice is not None and choice.code == "Coding":
            self.own_code(node, path, at)
        if choice is not None and choice.code == "Reference":
            self.reference(node, choice, path, at)
        return shape

    def extension(self, node: ObjectNode, shape: Shape, path: str, at: NodeContext) -> Shape:
        """Return where an extension is defined; add what its url alone requires."""
        value = static_value(node)
        url = value.get("url") if isinstance(value, Mapping) else None
        if url == DATA_ABSENT_REASON:
            reason = fm.exists(
                node,
                ("valueCode",),
                lambda inner: logic.any_of(
                    *(fm.matches(inner, word) for word in sorted(ABSENT_REASONS))
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
        """Add that a concept has a code of the value set that it is bound to."""
        if shape.required_values is None:
            return
        allowed = value_set(shape.required_values, self.guide)
        if allowed.status == "unavailable":
            self.listed("binding", path, node.place, "the codes of the value set are not to be had")
            return
        inside = self.codes.concept_in(node, allowed, surely=False)
        self.refute("binding", path, node.place, at, logic.negate(inside))

    def listed(self, what: ObligationKind, path: str, place: CitedMark, reason: str) -> None:
        rule = f"{profile_slug(self.profile)}.{path}"
        self.found.append(Obligation(rule, what, path, self.profile.name, place, listed=reason))

    def own_code(self, node: ObjectNode, path: str, at: NodeContext) -> None:
        """Add that a code, and a display, of the guide's own code systems exists."""
        own = code_systems(self.guide)
        for (of_system, system), (of_code, code) in (
            (system, other)
            for system in fm.members_of(node, "system")
            for other in fm.members_of(node, "code")
        ):
            left, right = fm.expr_of(system), fm.expr_of(code)
            if left is None or right is None:
                continue
            systems = answers(left, self.codes.crosswalks)
            if systems is not None and not systems & own.keys():
                continue
            pairs = frozenset((url, code) for url, codes in own.items() for code in codes)
            is_known = (
                fm.is_one_of(right, *own[next(iter(systems))])
                if systems is not None and len(systems) == 1
                else fm.Coded(left, right, pairs, frozenset())
            )
            said = answers(right, self.codes.crosswalks)
            if (
                systems is not None
                and said is not None
                and pairs.issuperset((url, word) for url in systems & own.keys() for word in said)
            ):
                self.add("code", path, node.place, "every answer is a code of its system")
                continue
            is_own = fm.is_one_of(left, *sorted(own))
            broken = (of_system, of_code, is_own, fm.is_present(right), logic.negate(is_known))
            self.refute("code", path, node.place, at, *broken)
            given = (member for _, member in fm.members_of(node, DISPLAY, f"_{DISPLAY}"))
            if not all(_is_looked_up(member) for member in given):
                what = f"{self.plan.resource}.{path}: a display of the guide's own codes"
                raise MappingError(str(node.place), "map-unchecked", what, hint="use text")

    def reference(
        self, node: ObjectNode, choice: st.TypeChoice, path: str, at: NodeContext
    ) -> None:
        """Add that a reference points to a type that the profile allows."""
        allowed = target_types(choice)
        for given, value in fm.members_of(node, "reference"):
            expr = fm.expr_of(value)
            if expr is None:
                continue
            here = logic.all_of(at.given, given, fm.is_present(expr))
            self.add(
                "reference", path, node.place, DanglingReference(at.loops, here, expr), _UNRESOLVED
            )
            types = set(reference_types(expr))
            if not allowed or (types and types <= allowed):
                self.add("reference", path, node.place, "the types that the mapping can name")
                continue
            right = logic.any_of(*(begins(expr, f"{name}/") for name in sorted(allowed)))
            broken = (given, fm.is_present(expr), logic.negate(right))
            self.refute("reference", path, node.place, at, *broken)

    def leaf(self, node: Entry, shape: Shape, path: str, at: NodeContext) -> None:
        """Add the form of a primitive value, and what its code is bound to."""
        expr = fm.expr_of(node)
        if shape.choice is None:
            return
        said = None if expr is None else answers(expr, self.codes.crosswalks)
        form = form_of(node, shape.choice.code, said)
        if isinstance(form, str):
            self.add("form", path, node.place, form)
        elif form is not None:
            self.refute("form", path, node.place, at, form)
        if expr is None or shape.required_values is None or shape.choice.code not in TEXT_TYPES:
            return
        allowed = value_set(shape.required_values, self.guide)
        if allowed.status != "complete":
            self.listed("binding", path, node.place, "not all codes of the value set are known")
            return
        codes = frozenset(code.code for code in allowed.codes)
        if said is not None and said <= codes:
            self.add("binding", path, node.place, "every answer is of the value set")
            return
        is_known = fm.is_one_of(expr, *sorted(codes))
        self.refute("binding", path, node.place, at, fm.is_present(expr), logic.negate(is_known))
