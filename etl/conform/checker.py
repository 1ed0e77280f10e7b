"""One resource against the profiles that it says it conforms to."""

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

NOT_FOR_THE_GUIDE = frozenset({"Parameters"})
"""Types that bulk files hold besides resources of members: the header of a resource block."""


@dataclass(frozen=True, slots=True)
class CheckedResource:
    """Findings about one resource.

    Attributes:
        kind: its FHIR type; empty if it has none.
        profiles: canonicals with versions of what it was checked against.
        issues: (canonical or empty, issue), each issue's path beginning with the type.
        references: literal references that it holds.
        skipped: why it was not checked, or empty.
    """

    kind: str
    profiles: tuple[str, ...] = ()
    issues: tuple[tuple[str, Issue], ...] = ()
    references: tuple[str, ...] = ()
    skipped: str = ""


class Checker:
    """Checks resources; profiles are compiled when first met.

    Args:
        profiles: names or canonicals of profiles to check all resources of their types against,
            whatever meta.profile says.
        strict: what the guide says in words only counts as an error everywhere.

    Raises:
        UsageError: a profile of that name is not known.
    """

    def __init__(self, profiles: Iterable[str] = (), *, strict: bool = False) -> None:
        self._compilers = {
            guide: Compiler(guide, strict=strict) for guide in GUIDES if guide.binding
        }
        self._checks: dict[str, Check] = {}
        self._chosen: dict[str, list[st.Profile]] = {}
        for name in profiles:
            profile = profile_named(name)
            self._chosen.setdefault(profile.type, []).append(profile)

    def check(self, resource: Any) -> CheckedResource:
        """Return the findings about one resource, as parsed from JSON."""
        kind = resource.get("resourceType") if type(resource) is dict else None
        if type(kind) is not str:
            return CheckedResource("", issues=(("", Issue(_no_resource(resource))),))
        if kind in NOT_FOR_THE_GUIDE:
            return CheckedResource(kind, skipped="header")
        if not st.is_type(kind) or not is_resource(st.load_type(kind)):
            return CheckedResource(
                "", issues=(("", Issue(fixed_rule("type-unknown"))),), skipped="type-unknown"
            )
        profiles, issues = self._profiles_of(resource, kind)
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

    def _profiles_of(
        self, resource: dict[str, Any], kind: str
    ) -> tuple[list[st.Profile], list[tuple[str, Issue]]]:
        """Return the profiles to check against, and the issues of meta.profile itself."""
        if kind in self._chosen:
            return self._chosen[kind], []
        meta = resource.get("meta")
        named = meta.get("profile") if type(meta) is dict else None
        profiles: list[st.Profile] = []
        issues: list[tuple[str, Issue]] = []
        versions: list[tuple[Guide, str, str]] = []
        for index, canonical in enumerate(named if type(named) is list else ()):
            if type(canonical) is not str:
                continue
            place = f"meta.profile[{index}]"
            profile = st.find_canonical(canonical)
            if profile is None:
                if (other := unknown_version(canonical)) is not None:
                    versions.append((*other, place))
                else:
                    issues.append(("", Issue(fixed_rule("profile-unknown"), place)))
            elif profile.type != kind:
                issues.append(("", Issue(fixed_rule("profile-type"), place)))
            else:
                profiles.append(profile)
                if "|" not in canonical and not _asks_for_version(profile):
                    issues.append(("", Issue(fixed_rule("profile-version"), place)))
        for guide, version, place in versions:
            rule = _guide_version(guide, version, checked=bool(profiles))
            issues.append(("", Issue(rule, place)))
        if not profiles and not versions:
            issues.append(("", Issue(fixed_rule("profile-missing"), "meta.profile")))
        return profiles, issues


_TOO_DEEP: Final = error("depth", "The resource is nested too deeply to be checked.")
_VERSION: Final = re.compile(r"\d{1,3}(\.\d{1,3}){0,2}(-[a-z]{1,12}\d{0,2})?")
"""Versions that a message repeats; a value that was put where a version belongs is none."""


@cache
def _version_rule(guide: Guide, name: str, severity: IssueSeverity, then: str) -> ConformanceRule:
    versions = known_versions(guide)
    return ConformanceRule(
        "guide-version", severity, f"{name} is not known here; known are {versions}.{then}"
    )


def _guide_version(guide: Guide, version: str, *, checked: bool) -> ConformanceRule:
    """Return the rule of a profile of another version of a guide.

    Args:
        guide: in its default version.
        version: as the canonical has it.
        checked: the resource names a profile that is known as well.
    """
    title = guide.title
    name = f"{title} {version}" if _VERSION.fullmatch(version) else f"That version of {title}"
    if checked:
        return _version_rule(guide, name, IssueSeverity.WARNING, "")
    return _version_rule(
        guide, name, IssueSeverity.ERROR, " The resource was checked as plain FHIR R4."
    )


def _no_resource(value: Any) -> ConformanceRule:
    """Return the rule that says what JSON is that is no resource."""
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


def _asks_for_version(profile: st.Profile) -> bool:
    """Whether the profile says itself how meta.profile names it: with its version, or without."""
    patterns = (element.pattern for element in profile.elements if element.name == "profile")
    return profile.url in patterns or any(
        key.endswith("-meta-profile-version") for key in profile.invariants
    )


def profile_named(name: str) -> st.Profile:
    """Return the profile of a name or canonical, `|` and a version after it or not.

    Raises:
        UsageError: there is none.
    """
    bare = name.partition("|")[0]
    canonical = name
    if "/" not in name:
        guides = (guide for guide in GUIDES if guide.binding and bare in st.profile_names(guide))
        if (guide := next(guides, None)) is not None:
            canonical = f"{guide.canonical}{name}"
    if (other := unknown_version(canonical)) is not None:
        guide, version = other
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
    """Yield the names of a guide's profiles of resources; its extensions are left out."""
    for name in st.profile_names(guide):
        if is_resource(st.load_profile(name, guide)):
            yield name
