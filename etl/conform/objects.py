"""JSON objects: members known and valid, required ones present, choices made once."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from etl.conform.findings import Check, ConformanceRule, Holds, Issue, Member, Visit
from etl.conform.members import error

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
        (requirement.names[0], f"_{requirement.names[0]}", requirement.rule)
        for requirement in required
        if _one(requirement)
    ]
    many_names = [requirement for requirement in required if not _one(requirement)]
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
            _check_choice(choice, value, issues)
        for holds, rule in invariants:
            if not holds(value, visit.root):
                issues.append(Issue(rule))

    return check


def _one(required: RequiredElement) -> bool:
    return len(required.names) == 1


def _check_choice(choice: Choice, value: dict[str, Any], issues: list[Issue]) -> None:
    names = choice.names.intersection(value)
    if len(names) > 1:
        issues.append(Issue(choice.twice, choice.stem))


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
