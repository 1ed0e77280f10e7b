"""Tests of one search value of the index, by type of parameter."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import Final

from etl.gateway.refusals import wrong
from etl.gateway.search.dates import Span, asked_span, compares, stored_span
from etl.gateway.search.parameter_values import plain, split
from etl.gateway.supported_fhir import SearchParameter
from etl.publish.catalog import ID

Test = Callable[[str], bool]

_PREFIX: Final = 2
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
            if pieces[1]:
                exact.add("|".join(pieces))
            else:
                systems.add(pieces[0])
        else:
            raise wrong(parameter.name, "invalid", "takes code, system|code, |code or system|")

    def test(value: str) -> bool:
        if value in exact:
            return True
        system, _, code = value.partition("|")
        return code in codes or system in systems

    return test


def date(parameter: SearchParameter, values: list[str], now: int) -> Test:
    """Return the test of a date with its prefix; several values are alternatives."""
    dates = [_dated(parameter, value) for value in values]

    def test(value: str) -> bool:
        stored = stored_span(value)
        return any(compares(prefix, span, stored, now) for prefix, span in dates)

    return test


def reference(parameter: SearchParameter, values: list[str], target: str | None, base: str) -> Test:
    """Return the test of a reference: an id, `Type/id`, or a URL under the base.

    Args:
        parameter: the parameter.
        values: alternatives.
        target: the type that a modifier names; None without.
        base: the FHIR base URL.
    """
    exact: set[str] = set()
    ids: set[str] = set()
    for raw in values:
        value = relative(plain(raw), base)
        if "://" in value:
            continue  # a resource of another server: nothing here refers to it
        kind, slash, resource_id = value.rpartition("/")
        if slash and (not _TYPE.fullmatch(kind) or target not in (None, kind)):
            raise wrong(parameter.name, "invalid", "takes an id, Type/id or a URL of this server")
        kind = kind or target or ""
        if kind and kind not in parameter.targets:
            raise wrong(
                parameter.name, "invalid", f"refers to {' or '.join(parameter.targets)} alone"
            )
        if not ID.fullmatch(resource_id):
            raise wrong(parameter.name, "invalid", "takes an id of letters, digits, - and .")
        if kind:
            exact.add(f"{kind}/{resource_id}")
        else:
            ids.add(resource_id)

    def test(value: str) -> bool:
        return value in exact or value.partition("/")[2] in ids

    return test


def relative(value: str, base: str) -> str:
    """Return a reference without the base URL, where it starts with that."""
    return value.removeprefix(f"{base}/")


def string(values: list[str], modifier: str) -> Test:
    """Return the test of a string: its start, whatever case and accents; or as a modifier says."""
    texts = [plain(value) for value in values]
    if modifier == "exact":
        return lambda value: value in texts
    folded = tuple(_folded(value) for value in texts)
    if modifier == "contains":
        return lambda value: _holds(_folded(value), folded)
    return lambda value: _folded(value).startswith(folded)


def _holds(text: str, parts: tuple[str, ...]) -> bool:
    return any(part in text for part in parts)


def _folded(text: str) -> str:
    parts = unicodedata.normalize("NFKD", text.casefold())
    return "".join(character for character in parts if not unicodedata.combining(character))


def _dated(parameter: SearchParameter, raw: str) -> tuple[str, Span]:
    value = plain(raw)
    prefix = value[:_PREFIX] if value[:1].isalpha() else "eq"
    text = value[_PREFIX:] if value[:1].isalpha() else value
    try:
        span = asked_span(text)
    except ValueError:
        raise wrong(
            parameter.name,
            "invalid",
            "takes a date such as 2024, 2024-05, 2024-05-31 or 2024-05-31T10:00:00Z",
        ) from None
    if prefix not in parameter.prefixes:
        raise wrong(
            parameter.name, "invalid", f"takes the prefixes {', '.join(parameter.prefixes)}"
        )
    return prefix, span
