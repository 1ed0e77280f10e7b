"""Findings of the checker: broken rules by file, line and FHIRPath path, never with a value.

The compiled checks of a resource collect `Issue`s; a `ConformFinding` is an issue with its place in
a file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final


class IssueSeverity(Enum):
    """Severity of a broken rule."""

    ERROR = "error"
    """The resource does not conform."""
    WARNING = "warning"
    """It may conform, but an extensible binding or the shape of a code suggests otherwise."""


@dataclass(frozen=True, slots=True)
class ConformanceRule:
    """One rule that can be broken, and its message. Built once, when compiling.

    Attributes:
        id: id of the kind of rule, or the key of an invariant.
        severity: what breaking it means.
        text: one sentence about the profile, never about the data.
    """

    id: str
    severity: IssueSeverity
    text: str


def error(rule_id: str, text: str) -> ConformanceRule:
    """Build a rule of severity error."""
    return ConformanceRule(rule_id, IssueSeverity.ERROR, text)


class Issue:
    """A rule broken at a path of the current resource.

    Attributes:
        path: FHIRPath below the resource, built from the inside out.
        rule: the broken rule.
    """

    __slots__ = ("path", "rule")

    def __init__(self, rule: ConformanceRule, path: str = "") -> None:
        self.rule = rule
        self.path = path


def prefix(issues: list[Issue], start: int, name: str) -> None:
    """Prepend `name` to the paths of all issues from `start` on."""
    for issue in issues[start:]:
        issue.path = f"{name}.{issue.path}" if issue.path else name


@dataclass(frozen=True, slots=True)
class ConformFinding:
    """One rule that one resource breaks; contains no values of the data.

    Attributes:
        file: as the caller named it.
        line: of the file, from 1; None for a document that is one resource or Bundle.
        path: FHIRPath from the resource's type on, such as `Patient.name[0].family`.
        profile: canonical, with version, of the profile; empty if there is none.
        rule: id, such as `min`, or the key of an invariant, such as `us-core-16`.
        severity: error or warning.
        message: one sentence.
    """

    file: str
    line: int | None
    path: str
    profile: str
    rule: str
    severity: IssueSeverity
    message: str


@dataclass(slots=True)
class ConformanceReport:
    """The result of a whole check.

    Attributes:
        resources: resources checked, by FHIR type.
        profiles: resources checked, by canonical of the profile.
        skipped: lines without a resource of a checked type, by reason.
        counts: findings by (severity, rule, profile, element path without indexes).
        findings: the first `keep` findings of each count, in the order found.
        keep: number of findings of a kind to keep; all are counted.
    """

    keep: int = 20
    resources: Counter[str] = field(default_factory=Counter)
    profiles: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    counts: Counter[tuple[IssueSeverity, str, str, str]] = field(default_factory=Counter)
    findings: list[ConformFinding] = field(default_factory=list)

    def add(self, finding: ConformFinding) -> None:
        """Count a finding, and keep it if it is among the first of its kind."""
        kind = (finding.severity, finding.rule, finding.profile, element_path(finding.path))
        self.counts[kind] += 1
        if self.counts[kind] <= self.keep:
            self.findings.append(finding)

    @property
    def errors(self) -> int:
        """Count of errors, kept or not."""
        return self._total(IssueSeverity.ERROR)

    @property
    def warnings(self) -> int:
        """Count of warnings, kept or not."""
        return self._total(IssueSeverity.WARNING)

    def _total(self, severity: IssueSeverity) -> int:
        return sum(count for kind, count in self.counts.items() if kind[0] is severity)


def element_path(path: str) -> str:
    """Return a path without its indexes: the path of the profile's element."""
    if "[" not in path:
        return path
    parts = path.split("[")
    return parts[0] + "".join(part.partition("]")[2] for part in parts[1:])


FIXED_RULES: Final = {
    "resource": (IssueSeverity.ERROR, "The JSON is no FHIR resource: it has no resourceType."),
    "type-unknown": (
        IssueSeverity.WARNING,
        "No profile of the guide is about this type of resource; it was not checked.",
    ),
    "profile-missing": (
        IssueSeverity.ERROR,
        "meta.profile names no profile of the guide; the resource was checked as plain FHIR R4.",
    ),
    "profile-unknown": (
        IssueSeverity.WARNING,
        "meta.profile names a profile that is not known here; it was not checked.",
    ),
    "profile-version": (
        IssueSeverity.WARNING,
        "meta.profile names a profile without its version; add the version after a bar.",
    ),
    "profile-type": (
        IssueSeverity.ERROR,
        "meta.profile names a profile of another type of resource.",
    ),
    "id-duplicate": (IssueSeverity.ERROR, "Another resource of this type has the same id."),
    "reference-unresolved": (
        IssueSeverity.ERROR,
        "The reference points to a resource that is not among those checked.",
    ),
    "patient-not-beneficiary": (
        IssueSeverity.ERROR,
        "The patient is not the beneficiary of the coverage; the two ways to the member must"
        " agree.",
    ),
    "focal-payor": (
        IssueSeverity.WARNING,
        "The insurer is not the payor of the focal coverage.",
    ),
}
"""Rules about files and the whole population: id -> severity and sentence."""


def fixed_rule(rule_id: str) -> ConformanceRule:
    """Return one of `FIXED_RULES`."""
    severity, text = FIXED_RULES[rule_id]
    return ConformanceRule(rule_id, severity, text)


class Visit:
    """The state of checking one resource.

    Attributes:
        root: the resource.
        issues: rules broken so far; their paths are built from the inside out.
        references: literal references found so far.
    """

    __slots__ = ("issues", "references", "root")

    def __init__(self, root: dict[str, Any]) -> None:
        self.root = root
        self.issues: list[Issue] = []
        self.references: list[str] = []


Check = Callable[[Any, Visit], None]
"""Checks one value and adds its issues to the visit."""

Member = Callable[[Any, dict[str, Any], Visit], None]
"""Checks one member of a JSON object: its value, the object, the visit."""

Holds = Callable[[Any, dict[str, Any]], bool]
"""Tests an invariant on an element and its resource."""
