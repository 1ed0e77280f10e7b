"""Which scopes an app is given: what it asks for, within what it is registered for.

SMART App Launch 2.2.0, "Scopes and Launch Context". A scope that would write, reach beyond one
patient, or hold a filter is refused, not dropped, so that its developer learns of it. Scopes of
identity that this server has no data for, and types of resources it does not hold, are left out;
the answer's `scope` says what was granted (RFC 6749 section 3.3).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from etl.auth.values import RESOURCE_TYPES
from etl.smart import scopes as smart_scopes
from etl.smart.scopes import EVERY, ResourceScope

_LEFT_OUT: Final = ("profile", "email", "phone", "address")
"""OpenID Connect Core 5.4; claims that the ID token does not hold here."""

_LONG_LIVED: Final = ("offline_access", "online_access")


class ScopeRefused(Exception):
    """The scopes asked for cannot be granted; the message is for the app's developer."""


def granted(asked: Iterable[str], registered: Iterable[str]) -> tuple[str, ...]:
    """Return the scopes that a member is asked to grant, in the order asked for.

    Raises:
        ScopeRefused: a scope is unknown or would write, or none of them opens a resource.
    """
    registered = tuple(registered)
    scopes: list[str] = []
    for text in dict.fromkeys(asked):
        if text in _LEFT_OUT:
            continue
        if text in smart_scopes.PLAIN:
            scopes.extend((text,) if text in registered else ())
            continue
        scope = smart_scopes.parse(text)
        if scope is None:
            raise ScopeRefused("a scope is unknown, would write, or holds a filter")
        scopes.extend(_within(scope, registered))
    if not any(smart_scopes.parse(text) for text in scopes):
        raise ScopeRefused("none of the scopes opens data that the app is registered for")
    return tuple(dict.fromkeys(scopes))


def covers(granted_scopes: Iterable[str], asked: Iterable[str]) -> bool:
    """Return whether scopes asked for at a refresh lie within those granted."""
    granted_scopes = tuple(granted_scopes)
    return all(
        text in granted_scopes
        or ((scope := smart_scopes.parse(text)) is not None and _is_covered(scope, granted_scopes))
        for text in asked
    )


def types_of(scopes: Iterable[str]) -> tuple[str, ...]:
    """Return the types of resources that scopes open, in the order they are shown."""
    found = [scope for scope in map(smart_scopes.parse, scopes) if scope is not None]
    return tuple(name for name in RESOURCE_TYPES if any(one.type in (EVERY, name) for one in found))


def narrowed(
    scopes: Iterable[str], types: Iterable[str], *, identity: bool, long_lived: bool
) -> tuple[str, ...]:
    """Return scopes cut down to what a member ticked.

    Args:
        scopes: what was asked for.
        types: types of resources that may be read.
        identity: whether the app may know who the member is (`openid`, `fhirUser`).
        long_lived: whether it may go on when the member is away (`offline_access`).
    """
    scopes, types = tuple(scopes), tuple(types)
    is_whole = set(types) >= set(types_of(scopes))
    kept: list[str] = []
    for text in scopes:
        scope = smart_scopes.parse(text)
        if scope is None:
            is_kept = (
                long_lived
                if text in _LONG_LIVED
                else identity
                if text in ("openid", "fhirUser")
                else True
            )
            kept.extend((text,) if is_kept else ())
        elif scope.type == EVERY and not is_whole:
            kept.extend(_of_type(scope, name) for name in RESOURCE_TYPES if name in types)
        elif scope.type == EVERY or scope.type in types:
            kept.append(text)
    return tuple(dict.fromkeys(kept))


def is_long_lived(scopes: Iterable[str]) -> bool:
    """Return whether scopes ask for a refresh token."""
    return any(text in _LONG_LIVED for text in scopes)


def names_patient(scopes: Iterable[str]) -> bool:
    """Return whether the token response tells the patient: for `launch/patient` and `patient/`."""
    return any(text == "launch/patient" or text.startswith("patient/") for text in scopes)


def _within(scope: ResourceScope, registered: tuple[str, ...]) -> list[str]:
    if scope.type != EVERY:
        is_held = scope.type in RESOURCE_TYPES and _is_covered(scope, registered)
        return [scope.text] if is_held else []
    if _is_covered(scope, registered):
        return [scope.text]
    each = [(name, _of_type(scope, name)) for name in RESOURCE_TYPES]
    return [
        text
        for name, text in each
        if _is_covered(ResourceScope(text, scope.level, name, scope.interactions), registered)
    ]


def _is_covered(scope: ResourceScope, by: tuple[str, ...]) -> bool:
    return all(
        any(
            other.type in (EVERY, scope.type) and letter in other.interactions
            for other in map(smart_scopes.parse, by)
            if other is not None
        )
        for letter in scope.interactions
    )


def _of_type(scope: ResourceScope, name: str) -> str:
    return f"{scope.level}/{name}.{scope.text.rpartition('.')[2]}"
