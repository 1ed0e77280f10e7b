r"""Parse the values of search parameters into tests of stored values.

FHIR R4, search 3.1.1.4.0.1: `\` escapes `,`, `|`, `$` and itself.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from functools import lru_cache
from math import cos, inf, pi, radians, sin
from typing import Final, NamedTuple

from etl.gateway.http.responses import refused
from etl.gateway.search.dates import Span, request_span, spans_match, stored_span
from etl.gateway.supported_fhir import SearchParameter
from etl.publish.catalog import ID

_ESCAPED: Final = re.compile(r"\\([,|$\\])")
_DIGITS: Final = 19
"""Digits of the largest 64-bit integer, which clients send to request all matches."""


def split(text: str, separator: str) -> list[str]:
    """Split a text at separators that are not escaped; keeps the escapes."""
    if "\\" not in text:
        return text.split(separator)
    pieces = []
    start = 0
    escaped = False
    for position, character in enumerate(text):
        if character == separator and not escaped:
            pieces.append(text[start:position])
            start = position + 1
        escaped = character == "\\" and not escaped
    return [*pieces, text[start:]]


def plain(text: str) -> str:
    """Remove the escapes of a text."""
    return _ESCAPED.sub(r"\1", text) if "\\" in text else text


def count(text: str, least: int) -> int:
    """Parse the value of `_count`.

    Args:
        text: the requested value.
        least: the smallest accepted value.

    Raises:
        FhirError: 400.
    """
    is_number = text.isascii() and text.isdigit() and len(text) <= _DIGITS
    if not is_number or int(text) < least:
        raise refused("_count", "invalid", f"takes a whole number from {least}")
    return int(text)


Test = Callable[[str], bool]

NEAR_KILOMETRES: Final = "40"
"""Default distance of `near`."""

_KILOMETRES: Final = {
    "km": 1.0,
    "m": 0.001,
    "[mi_us]": 1.609347219,
    "[mi_i]": 1.609344,
    "mi": 1.609344,
}
_EARTH_RADIUS: Final = 6371.0088
"""Mean radius of the earth in kilometres (IUGG)."""


class _Center(NamedTuple):
    """A location in radians, and the requested distance from it as an angle."""

    latitude: float
    longitude: float
    angle: float
    chord: float
    """Square of half the chord of that angle, on a sphere of radius 1; the haversine function."""


_PREFIX_LENGTH: Final = 2
_TYPE: Final = re.compile(r"[A-Z][A-Za-z]{0,63}")


def token(parameter: SearchParameter, values: list[str]) -> Test:
    """Return the test of a token: `code`, `system|code`, `|code` (no system) or `system|`.

    Stored values are `system|code`. Codes are compared as they are written.
    """
    exact: set[str] = set()
    codes: set[str] = set()
    systems: set[str] = set()
    for value in values:
        pieces = [plain(piece) for piece in split(value, "|")]
        if len(pieces) == 1:
            codes.add(pieces[0])
        elif len(pieces) == 2 and any(pieces):
            if parameter.has_implicit_system and not pieces[0]:
                codes.add(pieces[1])
            elif pieces[1]:
                exact.add("|".join(pieces))
            else:
                systems.add(pieces[0])
        else:
            raise refused(parameter.name, "invalid", "takes code, system|code, |code or system|")

    if not codes and not systems:
        return exact.__contains__

    def test(value: str) -> bool:
        if value in exact:
            return True
        system, _, code = value.partition("|")
        return code in codes or system in systems

    return test


def typed_identifier(parameter: SearchParameter, values: list[str]) -> Test:
    """Return the test of an identifier with its type, `system|code|value` (`:of-type`).

    System and code are those of `Identifier.type.coding`; all three are compared as they are
    written, and none may be left out (FHIR R4, search, modifiers of tokens). Stored values are
    `system|code|value` too.
    """
    exact: set[str] = set()
    for value in values:
        pieces = [plain(piece) for piece in split(value, "|")]
        if len(pieces) != 3 or not all(pieces):
            raise refused(parameter.name, "invalid", "with :of-type takes system|code|value")
        exact.add("|".join(pieces))
    return exact.__contains__


def date(parameter: SearchParameter, values: list[str], now: int) -> Test:
    """Return the test of a date with its prefix; several values are alternatives."""
    dates = [_parse_date(parameter, value) for value in values]

    def test(value: str) -> bool:
        stored = stored_span(value)
        return any(spans_match(prefix, span, stored, now) for prefix, span in dates)

    return test


def references(
    parameter: SearchParameter, values: list[str], target: str | None, base: str
) -> frozenset[str]:
    """Return the requested references, `Type/id`, of values that are ids, `Type/id` or URLs.

    Args:
        parameter: the parameter.
        values: the alternatives.
        target: type in the modifier; None without one.
        base: the FHIR base URL.
    """
    exact: set[str] = set()
    for raw in values:
        value = relative(plain(raw), base)
        if "://" in value:
            continue  # a resource of another server: nothing here refers to it
        kind, slash, resource_id = value.rpartition("/")
        if slash and (not _TYPE.fullmatch(kind) or target not in (None, kind)):
            raise refused(parameter.name, "invalid", "takes an id, Type/id or a URL of this server")
        kind = kind or target or ""
        if kind and kind not in parameter.targets:
            says = f"refers to {' or '.join(parameter.targets)} alone"
            raise refused(parameter.name, "invalid", says)
        if not ID.fullmatch(resource_id):
            raise refused(parameter.name, "invalid", "takes an id of letters, digits, - and .")
        exact.update(f"{one}/{resource_id}" for one in ((kind,) if kind else parameter.targets))
    return frozenset(exact)


def relative(value: str, base: str) -> str:
    """Remove the base URL from a reference."""
    return value.removeprefix(f"{base}/")


def string(values: list[str], modifier: str) -> Test:
    """Return the test of a string: its start, or what the modifier requires.

    Except for `exact`, the test takes `folded` texts.
    """
    texts = [plain(value) for value in values]
    if modifier == "exact":
        return frozenset(texts).__contains__
    parts = tuple(dict.fromkeys(map(folded, texts)))
    if modifier != "contains":
        return lambda value: value.startswith(parts)
    if len(parts) == 1:
        return lambda value: parts[0] in value

    def contains(value: str) -> bool:
        for part in parts:  # noqa: SIM110 - a generator for each value would cost three times as much
            if part in value:
                return True
        return False

    return contains


def folded(text: str) -> str:
    """Return a text without case and accents."""
    if text.isascii():
        return text.casefold()
    parts = unicodedata.normalize("NFKD", text.casefold())
    return "".join(character for character in parts if not unicodedata.combining(character))


def _parse_date(parameter: SearchParameter, raw: str) -> tuple[str, Span]:
    value = plain(raw)
    prefix = value[:_PREFIX_LENGTH] if value[:1].isalpha() else "eq"
    text = value[_PREFIX_LENGTH:] if value[:1].isalpha() else value
    try:
        span = request_span(text)
    except ValueError:
        says = "takes a date such as 2024, 2024-05, 2024-05-31 or 2024-05-31T10:00:00Z"
        raise refused(parameter.name, "invalid", says) from None
    if prefix not in parameter.prefixes:
        says = f"takes the prefixes {', '.join(parameter.prefixes)}"
        raise refused(parameter.name, "invalid", says)
    return prefix, span


def near(parameter: SearchParameter, values: list[str]) -> Test:
    """Return the test of a location: within a distance of a requested one.

    A value is `latitude|longitude` or `latitude|longitude|distance|units`, with the units `km` (the
    default), `m`, `[mi_us]`, `[mi_i]` or `mi`. Stored values are `latitude|longitude`. Distances
    are those on a sphere of the earth's mean radius.
    """
    centers = [_parse_center(parameter, value) for value in values]

    def test(value: str) -> bool:
        position = _position(value)
        return position is not None and _is_within(position, centers)

    return test


@lru_cache(maxsize=16_384)
def _position(value: str) -> tuple[float, float, float] | None:
    """Return latitude and longitude in radians, and the cosine of the latitude."""
    latitude, _, longitude = value.partition("|")
    try:
        angle = radians(float(latitude))
        return angle, radians(float(longitude)), cos(angle)
    except ValueError:
        return None


def _is_within(position: tuple[float, float, float], centers: Sequence[_Center]) -> bool:
    latitude, longitude, cosine = position
    for center in centers:
        difference = latitude - center.latitude
        if abs(difference) <= center.angle:
            chord = sin(difference / 2) ** 2
            chord += cosine * cos(center.latitude) * sin((longitude - center.longitude) / 2) ** 2
            if chord <= center.chord:
                return True
    return False


def _parse_center(parameter: SearchParameter, raw: str) -> _Center:
    pieces = [plain(piece).strip() for piece in split(raw, "|")]
    pieces += [""] * (4 - len(pieces))
    try:
        latitude, longitude, distance = (
            float(piece or default)
            for piece, default in zip(pieces[:3], ("", "", NEAR_KILOMETRES), strict=True)
        )
        unit = _KILOMETRES[pieces[3] or "km"]
    except (KeyError, ValueError):
        latitude = inf
        longitude = distance = unit = 0.0
    if len(pieces) > 4 or not (abs(latitude) <= 90 and abs(longitude) <= 180 and distance >= 0):
        says = f"takes latitude|longitude|distance|units, with units {', '.join(_KILOMETRES)}"
        raise refused(parameter.name, "invalid", says)
    angle = distance * unit / _EARTH_RADIUS
    chord = sin(angle / 2) ** 2 if angle < pi else inf
    return _Center(radians(latitude), radians(longitude), angle, chord)
