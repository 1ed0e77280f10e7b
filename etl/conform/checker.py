"""Check one resource against the profiles in its meta.profile."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from etl.conform.compiler import Compiler, is_resource
from etl.conform.findings import (
    Check,
    ConformanceRule,
    Issue,
    IssueSeverity,
    Visit,
    error,
    fixed_rule,
)
from etl.errors import UsageError
from etl.profiles import structures as st
from etl.profiles.guides import GUIDES, Guide, known_versions, unknown_version, versions_of

UNCHECKED_TYPES = frozenset({"Parameters"})
"""Types in bulk files that aren't members' resources: the header of a resource block."""


@dataclass(frozen=True, slots=True)
class CheckedResource:
    """Findings about one resource.

    Attributes:
        kind: its FHIR type; empty if it has none.
        profiles: canonicals, with versions, that it was checked against.
        issues: (canonical or empty, issue); each path begins with the type.
        references: its literal references.
        skipped: why it wasn't checked, or empty.
    """

    kind: str
    profiles: tuple[str, ...] = ()
    issues: tuple[tuple[str, Issue], ...] = ()
    references: tuple[str, ...] = ()
    skipped: str = ""


class Checker:
    """Checks resources; compiles profiles at first use.

    Args:
        profiles: names or canonicals of profiles to check all resources of their types against,
            whatever meta.profile says.
        strict: rules that the guide states only in words are always errors.

    Raises:
        UsageError: a profile is unknown.
    """

    def __init__(self, profiles: Iterable[str] = (), *, strict: bool = False) -> None:
        self._compilers = {
            guide: Compiler(guide, strict=strict) for guide in GUIDES if guide.binding
        }
        self._checks: dict[str, Check] = {}
        self._chosen: dict[str, list[st.Profile]] = {}
        for name in profiles:
            profile = find_profile(name)
            self._chosen.setdefault(profile.type, []).append(profile)

    def check(self, resource: Any) -> CheckedResource:
        """Return the findings about one resource, as parsed from JSON."""
        kind = resource.get("resourceType") if type(resource) is dict else None
        if type(kind) is not str:
            return CheckedResource("", issues=(("", Issue(_explain_non_resource(resource))),))
        if kind in UNCHECKED_TYPES:
            return CheckedResource(kind, skipped="header")
        if not st.is_type(kind) or not is_resource(st.load_type(kind)):
            return CheckedResource(
                "", issues=(("", Issue(fixed_rule("type-unknown"))),), skipped="type-unknown"
            )
        profiles, issues = self._find_profiles(resource, kind)
        references: list[str] = []
        for profile in profiles or [st.load_type(kind)]:
            visit = self._visit(profile, resource)
            issues += [(profile.canonical if profiles else "", issue) for issue in visit.issues]
            references = references or visit.references
        for _, issue in issues:
            issue.path = f"{kind}.{issue.path}" if issue.path else kind
        return CheckedResource(
            kind, tuple(p.canonical for p in profiles), tuple(issues), tuple(references)
        )

    def _visit(self, profile: st.Profile, resource: dict[str, Any]) -> Visit:
        if profile.canonical not in self._checks:
            check = self._compilers[profile.terminology].resource(profile)
            self._checks[profile.canonical] = check
        visit = Visit(resource)
        try:
            self._checks[profile.canonical](resource, visit)
        except RecursionError:
            visit.issues.append(Issue(_TOO_DEEP))
        return visit

    def _find_profiles(
        self, resource: dict[str, Any], kind: str
    ) -> tuple[list[st.Profile], list[tuple[str, Issue]]]:
        """Find the profiles to check against; also return issues of meta.profile."""
        if kind in self._chosen:
            return self._chosen[kind], []
        meta = resource.get("meta")
        canonicals = meta.get("profile") if type(meta) is dict else None
        profiles: list[st.Profile] = []
        issues: list[tuple[str, Issue]] = []
        unknown_versions: list[tuple[Guide, str, str]] = []
        for index, canonical in enumerate(canonicals if type(canonicals) is list else ()):
            if type(canonical) is not str:
                continue
            path = f"meta.profile[{index}]"
            profile = st.find_canonical(canonical)
            if profile is None:
                if (other_guide := unknown_version(canonical)) is not None:
                    unknown_versions.append((*other_guide, path))
                else:
                    issues.append(("", Issue(fixed_rule("profile-unknown"), path)))
            elif profile.type != kind:
                issues.append(("", Issue(fixed_rule("profile-type"), path)))
            else:
                profiles.append(profile)
                if "|" not in canonical and not _states_version(profile):
                    issues.append(("", Issue(fixed_rule("profile-version"), path)))
        for guide, version, path in unknown_versions:
            rule = _other_version_rule(guide, version, is_checked=bool(profiles))
            issues.append(("", Issue(rule, path)))
        if not profiles and not unknown_versions:
            issues.append(("", Issue(fixed_rule("profile-missing"), "meta.profile")))
        return profiles, issues


_TOO_DEEP: Final = error("depth", "The resource is nested too deeply to be checked.")
_VERSION: Final = re.compile(r"\d{1,3}(\.\d{1,3}){0,2}(-[a-z]{1,12}\d{0,2})?")
"""Versions that a message may repeat: other text might be a misplaced value."""


@cache
def _version_rule(guide: Guide, name: str, severity: IssueSeverity, suffix: str) -> ConformanceRule:
    versions = known_versions(guide)
    return ConformanceRule(
        "guide-version", severity, f"{name} is not known here; known are {versions}.{suffix}"
    )


def _other_version_rule(guide: Guide, version: str, *, is_checked: bool) -> ConformanceRule:
    """Return the rule that a profile of an unknown guide version breaks.

    Args:
        guide: in its default version.
        version: the version in the canonical.
        is_checked: the resource also names a known profile.
    """
    title = guide.title
    name = f"{title} {version}" if _VERSION.fullmatch(version) else f"That version of {title}"
    if is_checked:
        return _version_rule(guide, name, IssueSeverity.WARNING, "")
    return _version_rule(
        guide, name, IssueSeverity.ERROR, " The resource was checked as plain FHIR R4."
    )


def _explain_non_resource(value: Any) -> ConformanceRule:
    """Return the rule that explains why a JSON value is no resource."""
    match value:
        case list():
            return _ARRAY
        case {"transactionTime": _, "output": list()}:
            return _MANIFEST
        case dict():
            return fixed_rule("resource")
        case _:
            return _VALUE


_ARRAY: Final = error(
    "resource", "The JSON is an array; write one resource a line, or make it a Bundle."
)
_MANIFEST: Final = error(
    "resource",
    "The JSON is a manifest of Bulk Data and no resource; check the files that it names.",
)
_VALUE: Final = error("resource", "The JSON is a single value and no FHIR resource.")


def _states_version(profile: st.Profile) -> bool:
    """Return whether the profile itself specifies how meta.profile states its version."""
    patterns = (element.pattern for element in profile.elements if element.name == "profile")
    return profile.url in patterns or any(
        key.endswith("-meta-profile-version") for key in profile.invariants
    )


def find_profile(name: str) -> st.Profile:
    """Find a profile by name or canonical, with or without `|` and version.

    Raises:
        UsageError: the profile is unknown.
    """
    bare = name.partition("|")[0]
    canonical = name
    if "/" not in name:
        guides = (guide for guide in GUIDES if guide.binding and bare in st.profile_names(guide))
        if (guide := next(guides, None)) is not None:
            canonical = f"{guide.canonical}{name}"
    if (unknown := unknown_version(canonical)) is not None:
        guide, version = unknown
        versions = known_versions(guide)
        raise UsageError(f"{guide.title} {version} is not known here; known are {versions}")
    profile = st.find_canonical(canonical)
    if profile is None or not is_resource(profile):
        versions = "; ".join(
            f"the {guide.title} profiles are {', '.join(_resource_profiles(guide))}"
            for guide in GUIDES
            if guide.binding and guide == versions_of(guide)[0]
        )
        raise UsageError(f"no profile {canonical!r} is known; {versions}")
    return profile


def _resource_profiles(guide: Guide) -> Iterator[str]:
    """Yield the names of a guide's resource profiles, without its extensions."""
    for name in st.profile_names(guide):
        if is_resource(st.load_profile(name, guide)):
            yield name
