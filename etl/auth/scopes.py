"""Granted scopes of an app: those requested, within those registered.

SMART App Launch 2.2.0, "Scopes and Launch Context"; RFC 6749 section 3.3: what cannot be granted is
left out, and the answer's `scope` says what was granted. Where nothing is left that opens data,
the error names each scope and why it was left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from etl.auth.records import DATA_KINDS, RESOURCE_TYPES
from etl.smart import scopes as smart_scopes
from etl.smart.scopes import EVERY, ResourceScope

_UNSUPPORTED: Final = ("profile", "email", "phone", "address")
"""OpenID Connect Core 5.4; claims that the ID token does not hold here."""

_LONG_LIVED: Final = ("offline_access", "online_access")
_MOST_NAMED: Final = 5
_PRINTABLE: Final = re.compile(r"[A-Za-z0-9_.:/*?=&|-]{1,80}")
_V1: Final = re.compile(r"(patient|user)/([A-Za-z]+|\*)\.(write|\*)")
_V2: Final = re.compile(r"(patient|user)/([A-Za-z]+|\*)\.(?=.)c?r?u?d?s?")


class ScopeRefused(Exception):
    """The scopes asked for cannot be granted; the message is for the app's developer."""


def problem(text: str) -> str:
    """Return why a scope is never granted, beginning with its name; empty if it can be."""
    scope = smart_scopes.parse(text)
    if text in smart_scopes.PLAIN or (scope and scope.type in (EVERY, *RESOURCE_TYPES)):
        return ""
    name = text if _PRINTABLE.fullmatch(text) else "a scope"
    reasons = (
        (scope, f"is for a type that is not served ({', '.join(RESOURCE_TYPES)})"),
        (text == "launch", "is for a launch from within a health record (ask for launch/patient)"),
        (text in _UNSUPPORTED, "stands for data that this server does not have"),
        ("?" in text, "contains a filter, and filters are not supported"),
        (text.startswith("system/"), "reaches beyond one member"),
        (_V1.fullmatch(text) or _V2.fullmatch(text), "would write (.read and .rs do not)"),
        (True, "is unknown"),
    )
    return f"{name} {next(reason for applies, reason in reasons if applies)}"


def grant_scopes(requested: Iterable[str], registered: Iterable[str]) -> tuple[str, ...]:
    """Return the requested scopes that can be granted, in their order.

    Raises:
        ScopeRefused: none of the scopes opens a resource type.
    """
    requested, registered = tuple(dict.fromkeys(requested)), tuple(registered)
    scopes: list[str] = []
    for text in requested:
        scope = smart_scopes.parse(text)
        if scope is not None:
            scopes.extend(_grantable(scope, registered))
        elif text in smart_scopes.PLAIN and text in registered:
            scopes.append(text)
    if not any(smart_scopes.parse(text) for text in scopes):
        raise ScopeRefused(_refusal(requested))
    return tuple(dict.fromkeys(scopes))


def excess_scopes(granted: Iterable[str], requested: Iterable[str]) -> str:
    """Return which scopes of a refresh exceed the granted ones; empty if none.

    A refresh keeps the level: `patient/` never becomes `user/` (RFC 6749 section 6).
    """
    granted = tuple(granted)

    def is_within(text: str) -> bool:
        scope = smart_scopes.parse(text)
        if scope is None:
            return text in granted
        level = f"{scope.level}/"
        return _is_covered(scope, tuple(text for text in granted if text.startswith(level)))

    problems = [
        problem(text) or f"{text} was not granted" for text in requested if not is_within(text)
    ]
    return "; ".join(problems[:_MOST_NAMED])


def types_of(scopes: Iterable[str]) -> tuple[str, ...]:
    """Return the types of resources that scopes open, in the order they are shown."""
    parsed = [scope for scope in map(smart_scopes.parse, scopes) if scope is not None]
    return tuple(
        name for name in RESOURCE_TYPES if any(scope.type in (EVERY, name) for scope in parsed)
    )


def data_kinds(types: Iterable[str]) -> tuple[str, ...]:
    """Return the kinds of data of some types of resources, in the order they are shown."""
    types = frozenset(types)
    return tuple(kind for kind, members in DATA_KINDS.items() if not types.isdisjoint(members))


def narrow_scopes(
    scopes: Iterable[str], types: Iterable[str], *, identity: bool, long_lived: bool
) -> tuple[str, ...]:
    """Narrow the requested scopes to a member's choices.

    Args:
        scopes: the requested scopes.
        types: types of resources that may be read.
        identity: whether the app may identify the member (`openid`, `fhirUser`).
        long_lived: whether access continues when the member is away (`offline_access`).
    """
    scopes, types = tuple(scopes), tuple(types)
    has_all_types = set(types) >= set(types_of(scopes))
    narrowed: list[str] = []
    for text in scopes:
        scope = smart_scopes.parse(text)
        if scope is None:
            is_refused = (text in _LONG_LIVED and not long_lived) or (
                text in ("openid", "fhirUser") and not identity
            )
            narrowed += [] if is_refused else [text]
        elif scope.type == EVERY and not has_all_types:
            narrowed.extend(_for_type(scope, name) for name in RESOURCE_TYPES if name in types)
        elif scope.type == EVERY or scope.type in types:
            narrowed.append(text)
    return tuple(dict.fromkeys(narrowed))


def is_long_lived(scopes: Iterable[str]) -> bool:
    """Return whether scopes ask for a refresh token."""
    return any(text in _LONG_LIVED for text in scopes)


def names_patient(scopes: Iterable[str]) -> bool:
    """Return whether the token response names the patient: for `launch/patient`, `patient/`."""
    return any(text == "launch/patient" or text.startswith("patient/") for text in scopes)


def _refusal(requested: tuple[str, ...]) -> str:
    """Return why none of the requested scopes opens data, scope by scope."""
    data_scopes = [scope for scope in requested if scope not in smart_scopes.PLAIN]
    if not data_scopes:
        return "No scope gives access to data: ask for patient/*.rs, or for some of its types."
    reasons = [
        problem(scope) or f"{scope} is not among those that the app registered"
        for scope in data_scopes
    ]
    return f"No remaining scope gives access to data: {'; '.join(reasons[:_MOST_NAMED])}."


def _grantable(scope: ResourceScope, registered: tuple[str, ...]) -> list[str]:
    if scope.type != EVERY:
        is_grantable = scope.type in RESOURCE_TYPES and _is_covered(scope, registered)
        return [scope.text] if is_grantable else []
    if _is_covered(scope, registered):
        return [scope.text]
    scopes_by_type = [(name, _for_type(scope, name)) for name in RESOURCE_TYPES]
    return [
        text
        for name, text in scopes_by_type
        if _is_covered(ResourceScope(text, scope.level, name, scope.interactions), registered)
    ]


def _is_covered(scope: ResourceScope, registered: tuple[str, ...]) -> bool:
    return all(
        any(
            other.type in (EVERY, scope.type) and letter in other.interactions
            for other in map(smart_scopes.parse, registered)
            if other is not None
        )
        for letter in scope.interactions
    )


def _for_type(scope: ResourceScope, name: str) -> str:
    return f"{scope.level}/{name}.{scope.text.rpartition('.')[2]}"
