"""Checks of plans against FHIR profiles, and of their search values.

Paths, types, cardinalities, patterns and bindings are checked, as far as they don't depend on rows;
the rest is checked during a run. Search values must have the format of their search parameter.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import ClassVar, Final

from etl.errors import MappingError, nearest
from etl.mapping import expressions as ex
from etl.mapping import formulas as fm
from etl.mapping import plan as pl
from etl.mapping.expressions import (
    Concat,
    Condition,
    Constant,
    Expr,
    Kind,
    ProviderReference,
)
from etl.mapping.plan import JsonConstant, Leaf, Plan, nodes_of
from etl.mapping.profile_walk import ListSlice, ProfileWalk
from etl.mapping.row_tests import NodeContext
from etl.mapping.static_values import (
    Facts,
    is_one_present,
    is_strong,
    matches_pattern,
    possible_values,
    static_value,
)
from etl.model import logic
from etl.model.crosswalks import Crosswalk
from etl.profiles.shapes import ENGINE_MADE, Shape, target_types
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
"""FHIR primitive -> the kinds of expression that it accepts; other primitives accept any text."""

_NON_TEXT_KINDS: Final = frozenset({Kind.MONEY, Kind.DECIMAL, Kind.INTEGER, Kind.BOOLEAN})


def find_problems(plan: pl.Plan, crosswalks: Mapping[str, Crosswalk]) -> list[MappingError]:
    """Return the problems of a plan, in the order of the mapping.

    Args:
        plan: a compiled mapping.
        crosswalks: the crosswalks that it uses.
    """
    profile = find_canonical(plan.profile)
    if profile is None:
        where = str(plan.body.mark)
        return [MappingError(where, "map-unknown-profile", f"no profile {plan.profile}")]
    if profile.type != plan.resource:
        message = f"{profile.name} is a profile of {profile.type}, not of {plan.resource}"
        return [MappingError(str(plan.body.mark), "map-unknown-profile", message)]
    checker = _Checker(plan, profile, fm.Codes(crosswalks))
    checker.run()
    return checker.problems


@dataclass(slots=True)
class _Checker(ProfileWalk):
    problems: list[MappingError] = field(default_factory=list)
    visits_uncertain_slices: ClassVar[bool] = False

    def report(
        self, mark: pl.CitedMark, error_id: str, path: str, message: str, hint: str = ""
    ) -> None:
        name = f"{self.plan.resource}.{_without_slices(path)}" if path else self.plan.resource
        self.problems.append(MappingError(str(mark), error_id, f"{name}: {message}", hint=hint))

    def facts(self, context: NodeContext) -> Facts:
        """Return what the conditions around a node imply about its row."""
        facts = Facts()
        for condition in (self.plan.condition, *_required_conditions(context.guards)):
            facts = facts.assume(condition)
        return facts

    # -- shape -------------------------------------------------------------------------------

    def check_object(self, node: pl.ObjectNode, shape: Shape, context: NodeContext) -> None:
        """Check that an object has the elements that its profile requires."""
        for required in shape.children():
            name = required.element.name
            if required.element.min > 0 and not (context.path == "" and name in ENGINE_MADE):
                self.check_required(node, required, context.member(name))

    def check_extension(
        self, key: str, node: pl.Entry, parent: Shape, context: NodeContext
    ) -> None:
        self.find_member(key.removeprefix("_"), node, parent, context.path)

    def find_member(self, key: str, node: pl.Entry, parent: Shape, path: str) -> Shape | None:
        """Return the shape of an element; reports one that FHIR does not have."""
        shape = parent.member(key)
        if shape is None:
            names = [name for child in parent.children() for name in choice_names(child.element)]
            hint = nearest(key, names)
            self.report(node.mark, "map-unknown-path", path, "no such element", hint)
        return shape

    def check_member(self, key: str, node: pl.Entry, parent: Shape, context: NodeContext) -> bool:
        shape = self.find_member(key, node, parent, context.path)
        if shape is None:
            return False
        element = shape.element
        if element.max == 0:
            message = "the profile forbids it"
        elif element.array and not isinstance(node, pl.ListNode):
            message = "FHIR has a list here"
        elif isinstance(node, pl.ListNode) and not element.array:
            message = "FHIR has no list here"
        else:
            return True
        self.report(node.mark, "map-cardinality", context.path, message)
        return False

    def check_list(
        self,
        node: pl.ListNode,
        shape: Shape,
        context: NodeContext,
        entries: list[fm.ListEntry],
        slices: list[ListSlice],
    ) -> None:
        has_loop = any(entry.loops for entry in entries)
        certain_count = sum(entry.condition is True for entry in entries)
        if shape.element.max == 1 and (certain_count > 1 or has_loop):
            message = "the profile allows one entry"
            self.report(node.mark, "map-cardinality", context.path, message)
        for list_slice in slices:
            slice_entries = (
                _under_own_guards(entry)
                for entry, belongs in zip(entries, list_slice.belongs, strict=True)
                if belongs is True
            )
            element = list_slice.shape.element
            is_required = element.min > 0 and not self.is_assured(context.path, list_slice.shape)
            if is_required and not is_one_present(tuple(slice_entries), self.facts(context)):
                slice_name = element.slice_name
                message = f"the profile requires slice {slice_name}, and it can be absent"
                self.report(node.mark, "map-required", context.path, message)

    def check_value(self, node: pl.Entry, shape: Shape, context: NodeContext) -> Shape | None:
        choice, path = shape.choice, context.path
        if isinstance(node, pl.JsonConstant | pl.Leaf):
            self.check_leaf(node, shape, path)
        elif not isinstance(node, pl.ObjectNode):
            self.report(node.mark, "map-type", path, "FHIR has no list in a list")
        elif choice is not None and not is_type(choice.code):
            self.report(node.mark, "map-type", path, f"a {choice.code} is no object")
        else:
            self.check_pattern(node, shape, path, " in it")
            self.check_bindings(node, shape, path)
            self.check_references(node, shape, path)
            return shape
        return None

    def check_required(self, node: pl.ObjectNode, shape: Shape, context: NodeContext) -> None:
        """Check that a required element is present whenever its object is."""
        path = context.path
        accepted_names = set(choice_names(shape.element)) or {shape.element.name}
        accepted_names |= {f"_{name}" for name in accepted_names}
        members = [member for key, member in node.members if key in accepted_names]
        if self.is_assured(path, shape):
            return
        if not members:
            self.report(node.mark, "map-required", path, "the profile requires it")
            return
        if is_one_present(tuple(members), self.facts(context)):
            return
        deciding_members = [key for key, member in node.members if is_strong(member)]
        if "." in path and deciding_members and set(deciding_members) <= accepted_names:
            return  # the object is present only if the element is
        self.report(
            members[0].mark,
            "map-required",
            path,
            "the profile requires it, and it can be absent",
            "give it a default, or say under `assured` why it never is",
        )

    def is_assured(self, path: str, shape: Shape) -> bool:
        """Return whether the mapping's `assured` lists an element, or its slice."""
        path, assured = _without_slices(path), self.plan.assured
        slice_name = shape.element.slice_name
        return path in assured or (slice_name is not None and f"{path}:{slice_name}" in assured)

    # -- values ------------------------------------------------------------------------------

    def check_leaf(self, node: pl.JsonConstant | pl.Leaf, shape: Shape, path: str) -> None:
        """Check type, pattern and code of a single value."""
        choice = shape.choice
        if choice is None or is_type(choice.code):
            name = choice.code if choice else "an object"
            self.report(node.mark, "map-type", path, f"FHIR has {name} here, not a single value")
            return
        accepted_kinds = _KINDS.get(choice.code)
        if isinstance(node, pl.Leaf):
            kind = node.expr.kind
            if accepted_kinds is not None and kind not in accepted_kinds:
                names = ", ".join(sorted(kind.value for kind in accepted_kinds))
                message = f"a {choice.code} is made of {names}, not of {kind.value}"
                self.report(node.mark, "map-type", path, message, "use a filter")
            elif accepted_kinds is None and kind in _NON_TEXT_KINDS:
                message = f"a {choice.code} is text"
                self.report(node.mark, "map-type", path, message, "add the filter text")
        else:
            self.check_constant(node, choice, accepted_kinds, path)
        self.check_pattern(node, shape, path)
        self.check_code(node, shape, path)

    def check_constant(
        self,
        node: pl.JsonConstant,
        choice: TypeChoice,
        accepted_kinds: frozenset[Kind] | None,
        path: str,
    ) -> None:
        is_text = node.json.startswith('"')
        if accepted_kinds is None or not accepted_kinds & _NON_TEXT_KINDS:
            is_valid = is_text
        elif choice.code == "boolean":
            is_valid = node.json in {"true", "false"}
        else:
            is_valid = not is_text and node.json not in {"true", "false"}
        if not is_valid:
            self.report(node.mark, "map-type", path, f"{node.json} is no {choice.code}")

    def check_pattern(
        self,
        node: pl.JsonConstant | pl.Leaf | pl.ObjectNode,
        shape: Shape,
        path: str,
        where: str = "",
    ) -> None:
        pattern = shape.required_value
        if pattern is not None and matches_pattern(static_value(node), pattern) is not True:
            message = f"the profile wants {pattern!r}{where}"
            self.report(node.mark, "map-pattern", path, message)

    def check_code(self, node: pl.JsonConstant | pl.Leaf, shape: Shape, path: str) -> None:
        if shape.choice is None or shape.choice.code != "code" or shape.required_values is None:
            return
        allowed = value_set(shape.required_values)
        if allowed.status != "complete":
            return
        allowed_codes = {code.code for code in allowed.codes}
        for code in sorted((self.node_values(node) or frozenset()) - allowed_codes):
            message = f"{code!r} is not in the required value set"
            self.report(node.mark, "map-binding", path, message, nearest(code, allowed_codes))

    def node_values(self, node: pl.Entry | None) -> frozenset[str] | None:
        """Return all texts that a node can yield; None if they are not known."""
        match node:
            case pl.JsonConstant():
                value = static_value(node)
                return frozenset({value}) if isinstance(value, str) else None
            case pl.Leaf(expr=expr):
                return possible_values(expr, self.codes.crosswalks)
            case _:
                return None

    def check_bindings(self, node: pl.ObjectNode, shape: Shape, path: str) -> None:
        """Check the codings of a CodeableConcept, or a Coding, against a required binding."""
        if shape.required_values is None:
            return
        allowed = value_set(shape.required_values)
        if allowed.status == "unavailable":
            return
        choice = shape.choice
        codings = [node] if choice is not None and choice.code == "Coding" else _find_codings(node)
        for coding in codings:
            members = dict(coding.members)
            systems = self.node_values(members.get("system"))
            codes = self.node_values(members.get("code"))
            for system in sorted(systems or ()):
                if system not in allowed.systems:
                    message = f"system {system} is not in the required value set"
                    hint = nearest(system, allowed.systems)
                    self.report(coding.mark, "map-binding", f"{path}.coding", message, hint)
            if systems is not None and len(systems) == 1 and codes is not None:
                (system,) = systems
                for code in sorted(codes):
                    if system in allowed.systems and allowed.includes(system, code) is False:
                        message = f"{code!r} is not in the required value set"
                        self.report(coding.mark, "map-binding", f"{path}.coding", message)

    def check_references(self, node: pl.ObjectNode, shape: Shape, path: str) -> None:
        if shape.choice is None or shape.choice.code != "Reference":
            return
        member = dict(node.members).get("reference")
        allowed = target_types(shape.choice)
        if not isinstance(member, pl.Leaf) or not allowed:
            return
        for type_name in reference_types(member.expr):
            if type_name not in allowed:
                names = " or ".join(sorted(allowed))
                message = f"refers to {type_name}, the profile wants {names}"
                self.report(member.mark, "map-reference", path, message)


def _without_slices(path: str) -> str:
    """Remove slice names from a path."""
    return re.sub(r":[^.]*", "", path)


def _required_conditions(formula: fm.Formula) -> list[Condition]:
    """Return the conditions of the mapping that must be true for a formula to be."""
    parts = formula.parts if isinstance(formula, logic.AllOf) else (formula,)
    return [part for part in parts if isinstance(part, Condition)]


def _under_own_guards(entry: fm.ListEntry) -> pl.Entry:
    """Return an entry's node under its own guards, assuming that its loops have rows."""
    loop_guards = {part for loop in entry.loops for part in _required_conditions(loop.condition)}
    conditions = _required_conditions(entry.condition)
    guards = tuple(condition for condition in conditions if condition not in loop_guards)
    node = entry.node
    if not guards or isinstance(node, pl.Loop):
        return node
    return pl.Guard(guards[0] if len(guards) == 1 else logic.AllOf(guards), node, node.mark)


def _find_codings(node: pl.ObjectNode) -> list[pl.ObjectNode]:
    return [
        coding
        for _, coding_list in fm.members_of(node, "coding")
        for entry in (coding_list.entries if isinstance(coding_list, pl.ListNode) else ())
        for _, _, coding in fm.expand_loops(entry)
        if isinstance(coding, pl.ObjectNode)
    ]


def reference_types(expr: Expr) -> Iterator[str]:
    """Yield the resource types that a reference expression can point to."""
    match expr:
        case ProviderReference(resource=resource, only=True):
            yield resource
        case ProviderReference():
            yield from ("Organization", "Practitioner")
        case Concat(parts=(Constant(value=text), *_)) if "/" in text:
            yield text.partition("/")[0]
        case _:
            parts = getattr(expr, "parts", ())
            for part in (*parts, *(getattr(expr, name, None) for name in ("then", "otherwise"))):
                if part is not None and not isinstance(part, Constant):
                    yield from reference_types(part)


_SEPARATORS: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {"token": ("|", "system|code"), "reference": ("/", "Type/id")}
)
"""Type of a search parameter -> the separator in its stored values, and their format."""


def find_search_problems(plan: Plan, types: Mapping[str, str]) -> Iterator[MappingError]:
    """Find search values that no search can match.

    Args:
        plan: a compiled mapping.
        types: search parameter of the plan's resource -> its FHIR type.
    """
    for parameter, values in plan.search.items():
        name, _, modifier = parameter.partition(":")
        if types and name not in types:
            mark = next(str(node.mark) for _, node in nodes_of(values))
            text = f"search.{parameter}: the API has no search parameter {name} of {plan.resource}"
            yield MappingError(mark, "map-search", text, hint=nearest(name, types))
            continue
        if types.get(name) not in _SEPARATORS or modifier == "text":
            continue
        separator, form = _SEPARATORS[types[name]]
        for _, node in nodes_of(values):
            if isinstance(node, JsonConstant | Leaf) and not _has_separator(node, separator):
                message = f"search.{parameter}: no search finds a value without the form {form}"
                yield MappingError(str(node.mark), "map-search", message)


def _has_separator(node: JsonConstant | Leaf, separator: str) -> bool:
    if isinstance(node, JsonConstant):
        return separator in node.json
    return _always_contains(node.expr, separator)


def _always_contains(expr: ex.Expr, separator: str) -> bool:
    """Return whether all values of an expression contain a separator."""
    match expr:
        case ex.Constant(value=value):
            return separator in value
        case ex.Concat(parts=parts):
            return any(_always_contains(part, separator) for part in parts)
        case ex.FirstOf(parts=parts):
            return all(_always_contains(part, separator) for part in parts)
        case ex.Choice(then=then, otherwise=otherwise):
            return _always_contains(then, separator) and _always_contains(otherwise, separator)
        case ex.CaseChange(operand=operand):
            return _always_contains(operand, separator)
        case ex.ProviderReference():
            return separator == "/"
        case ex.Absent():
            return True
        case _:
            return False
