"""Build the checks of JSON members: single values, arrays, slices, primitives.

The checks run on every member of every object of a population, so they keep what they need in
closures and build a path only for an issue.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from etl.conform.findings import Check, ConformanceRule, Issue, Member, Visit, error, prefix
from etl.conform.slices import Classify


@dataclass(frozen=True, slots=True)
class Bounds:
    """The cardinality of an element.

    Attributes:
        where: id of the element.
        min: minimum if the element is present; the check of the object finds absent ones.
        max: maximum, or None.
    """

    where: str
    min: int
    max: int | None

    def too_few(self, slice_name: str | None = None) -> ConformanceRule:
        """Return the rule against too few entries."""
        noun = f"entries of the slice {slice_name}" if slice_name else "entries"
        return error(
            "slice-min" if slice_name else "min",
            f"{self.where} has fewer {noun} than the {self.min} that the profile requires.",
        )

    def too_many(self, slice_name: str | None = None) -> ConformanceRule:
        """Return the rule against too many entries."""
        noun = f"entries of the slice {slice_name}" if slice_name else "entries"
        return error(
            "slice-max" if slice_name else "max",
            f"{self.where} has more {noun} than the {self.max} that the profile allows.",
        )


@dataclass(frozen=True, slots=True)
class Slice:
    """One slice of an array: its cardinality and the check of its entries."""

    name: str
    bounds: Bounds
    check: Check


def forbidden(bounds: Bounds, name: str) -> Member:
    """Build the check of a member that the profile forbids (max 0)."""
    rule = error("max", f"The profile does not allow {bounds.where}.")

    def member(value: Any, obj: dict[str, Any], visit: Visit) -> None:
        del value, obj
        visit.issues.append(Issue(rule, name))

    return member


def single(name: str, where: str, check: Check) -> Member:
    """Build the check of a member with one value."""
    array = error("shape", f"{where} must be one value, not an array.")
    null = error("null", f"{where} is null; leave the element out instead.")

    def member(value: Any, obj: dict[str, Any], visit: Visit) -> None:
        del obj
        issues = visit.issues
        if value is None:
            issues.append(Issue(null, name))
        elif type(value) is list:
            issues.append(Issue(array, name))
        else:
            start = len(issues)
            check(value, visit)
            if len(issues) > start:
                prefix(issues, start, name)

    return member


def array(name: str, bounds: Bounds, check: Check, *, primitive: bool) -> Member:
    """Build the check of a member with an unsliced array.

    Arrays of primitives may have a null if `_name` has an extension at the same index.
    """
    rules = _ArrayRules(bounds)
    extension_name = f"_{name}"

    def member(values: Any, obj: dict[str, Any], visit: Visit) -> None:
        issues = visit.issues
        if not rules.fits(values, name, issues):
            return
        for index, value in enumerate(values):
            start = len(issues)
            if value is None:
                if not (primitive and _entry_at(obj.get(extension_name), index)):
                    issues.append(Issue(rules.null))
            else:
                check(value, visit)
            if len(issues) > start:
                prefix(issues, start, f"{name}[{index}]")

    return member


def sliced(
    name: str,
    bounds: Bounds,
    default_check: Check,
    classify: Classify,
    slices: Sequence[Slice],
    *,
    is_closed: bool,
) -> Member:
    """Build the check of a member with a sliced array.

    Args:
        default_check: the check of entries in no slice.
        is_closed: whether such entries are forbidden.
    """
    no_slice_rule = error("slicing", f"{bounds.where} may have entries of its slices alone.")
    rules = _ArrayRules(bounds)
    checks = [part.check for part in slices] + [default_check]  # index -1: no slice
    limits = [
        (index, part.bounds, part.bounds.too_few(part.name), part.bounds.too_many(part.name))
        for index, part in enumerate(slices)
        if part.bounds.min > 0 or part.bounds.max is not None
    ]
    zeros = [0] * len(checks)

    def member(values: Any, obj: dict[str, Any], visit: Visit) -> None:
        del obj
        issues = visit.issues
        if not rules.fits(values, name, issues):
            return
        counts = zeros.copy()
        for index, value in enumerate(values):
            start = len(issues)
            if value is None:
                issues.append(Issue(rules.null))
            else:
                slice_index = classify(value)
                if is_closed and slice_index < 0:
                    issues.append(Issue(no_slice_rule))
                counts[slice_index] += 1
                checks[slice_index](value, visit)
            if len(issues) > start:
                prefix(issues, start, f"{name}[{index}]")
        for slice_index, limit, too_few, too_many in limits:
            if counts[slice_index] < limit.min:
                issues.append(Issue(too_few, name))
            elif limit.max is not None and counts[slice_index] > limit.max:
                issues.append(Issue(too_many, name))

    return member


class _ArrayRules:
    """Requirements of every array."""

    __slots__ = ("_empty", "_few", "_many", "_max", "_min", "_shape", "null")

    def __init__(self, bounds: Bounds) -> None:
        self._min, self._max = bounds.min, bounds.max
        self._shape = error("shape", f"{bounds.where} must be an array.")
        self._empty = error("empty", f"{bounds.where} is an empty array; leave it out instead.")
        self._few, self._many = bounds.too_few(), bounds.too_many()
        self.null = error("null", f"{bounds.where} has a null with no extension in its place.")

    def fits(self, values: Any, name: str, issues: list[Issue]) -> bool:
        """Return whether a value is a nonempty array; add issues about shape and length."""
        if type(values) is not list:
            issues.append(Issue(self._shape, name))
            return False
        if not values:
            issues.append(Issue(self._empty, name))
            return False
        if len(values) < self._min:
            issues.append(Issue(self._few, name))
        elif self._max is not None and len(values) > self._max:
            issues.append(Issue(self._many, name))
        return True


def _entry_at(entries: Any, index: int) -> Any:
    return entries[index] if type(entries) is list and index < len(entries) else None


def beside_array(name: str, where: str, check: Check) -> Member:
    """Build the check of `_name`, the extensions of an array of primitives."""
    shape = error("shape", f"The array _{name} must be as long as the one of {where}.")

    def member(values: Any, obj: dict[str, Any], visit: Visit) -> None:
        issues = visit.issues
        primitives = obj.get(name)
        is_misplaced = primitives is not None and type(primitives) is not list
        if type(values) is not list or not values or is_misplaced:
            issues.append(Issue(shape, f"_{name}"))
            return
        if type(primitives) is list and len(primitives) != len(values):
            issues.append(Issue(shape, f"_{name}"))
        for index, value in enumerate(values):
            start = len(issues)
            if value is not None:
                check(value, visit)
            if len(issues) > start:
                prefix(issues, start, f"_{name}[{index}]")

    return member
