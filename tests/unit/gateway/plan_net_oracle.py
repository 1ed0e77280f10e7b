"""A slow, obvious search of a directory: every resource looked at as JSON, for each condition.

Shares nothing with the gateway. Where the values of a parameter are is written here again, from
the expressions of the guide's SearchParameters.
"""

import math
import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

from tests.given.tables import read_tables

Resource = dict[str, Any]
Directory = Mapping[str, Resource]
"""Resources by `Type/id`."""


_TABLES = read_tables(__file__)
STRINGS = _TABLES["strings"]
TOKENS = _TABLES["tokens"]
REFERENCES = _TABLES["references"]
PERIODS = _TABLES["periods"]
COMPARISONS = {
    "": lambda one, other: one == other,
    "eq": lambda one, other: one == other,
    "ne": lambda one, other: one != other,
    "gt": lambda one, other: one > other,
    "lt": lambda one, other: one < other,
    "ge": lambda one, other: one >= other,
    "le": lambda one, other: one <= other,
}


def values_at(resource: Any, path: str) -> list[Any]:
    """Return what stands at a path; `extension:name` is an extension by the end of its URL."""
    found = [resource]
    for step in path.split("."):
        name, _, url = step.partition(":")
        inner: list[Any] = []
        for one in found:
            value = one.get(name, []) if isinstance(one, dict) else []
            inner += value if isinstance(value, list) else [value]
        if url:
            inner = [one for one in inner if one["url"].rsplit("/", 1)[-1] == url]
        found = inner
    return found


def meets(directory: Directory, resource: Resource, name: str, value: str) -> bool:
    """Return whether a resource meets one condition of a search, chains and `_has` included."""
    kind = resource["resourceType"]
    here = f"{kind}/{resource['id']}"
    if name.startswith("_has:"):
        _, other, parameter, rest = name.split(":", 3)
        path, _ = REFERENCES[other][parameter]
        return any(
            meets(directory, one, rest, value)
            for one in directory.values()
            if one["resourceType"] == other and here in _references(one, path)
        )
    first, dot, rest = name.partition(".")
    if dot:
        path, _ = REFERENCES[kind][first.partition(":")[0]]
        return any(
            meets(directory, directory[reference], rest, value)
            for reference in _references(resource, path)
            if reference in directory
        )
    parameter, _, modifier = name.partition(":")
    if modifier == "missing":
        return bool(_any_values(resource, parameter)) is (value == "false")
    wanted = [re.sub(r"\\([,\\])", r"\1", one) for one in re.split(r"(?<!\\),", value)]
    found = any(_one(resource, parameter, modifier, one) for one in wanted)
    return not found if modifier == "not" else found


def _one(resource: Resource, parameter: str, modifier: str, wanted: str) -> bool:
    kind = resource["resourceType"]
    if parameter == "_id":
        return bool(resource["id"] == wanted)
    if parameter == "_lastUpdated":
        prefix = wanted[:2] if wanted[:2].isalpha() else ""
        day = resource["meta"]["lastUpdated"][: len(wanted) - len(prefix)]
        return bool(COMPARISONS[prefix](day, wanted.removeprefix(prefix)))
    if parameter == "near":
        return _is_near(resource, wanted)
    if parameter in STRINGS.get(kind, {}):
        return any(text_matches(one, modifier, wanted) for one in _any_values(resource, parameter))
    if parameter in TOKENS.get(kind, {}):
        if modifier == "text":
            return any(text_matches(one, "", wanted) for one in texts(resource, parameter))
        if modifier == "of-type":
            return wanted in typed_identifiers(resource, parameter)
        return any(_token(one, wanted) for one in _any_values(resource, parameter))
    _, target = REFERENCES[kind][parameter]
    full = wanted if "/" in wanted else f"{target}/{wanted}"
    return full in _any_values(resource, parameter)


def texts(resource: Resource, parameter: str) -> list[str]:
    """Return the texts of the concepts, or of the types of the identifiers, of a token."""
    found = values_at(resource, TOKENS[resource["resourceType"]][parameter])
    parts = ("text", "coding.display", "type.text")
    return [text for one in found for part in parts for text in values_at(one, part)]


def typed_identifiers(resource: Resource, parameter: str) -> list[str]:
    """Return `system|code|value` of identifiers, for each coding of their types."""
    return [
        f"{coding['system']}|{coding['code']}|{one['value']}"
        for one in values_at(resource, TOKENS[resource["resourceType"]][parameter])
        for coding in values_at(one, "type.coding")
    ]


def _any_values(resource: Resource, parameter: str) -> list[Any]:
    kind = resource["resourceType"]
    if parameter in STRINGS.get(kind, {}):
        return [one for path in STRINGS[kind][parameter] for one in values_at(resource, path)]
    if parameter in TOKENS.get(kind, {}):
        return list(_tokens(values_at(resource, TOKENS[kind][parameter])))
    if parameter == "near":
        return values_at(resource, "position.latitude")
    if parameter == "period":
        return values_at(resource, PERIODS[kind])
    return _references(resource, REFERENCES[kind][parameter][0])


def _tokens(values: Iterable[Any]) -> Iterable[tuple[str, str]]:
    for value in values:
        for one in value.get("coding", [value]):
            code = one.get("code", one.get("value"))
            if code is not None:
                yield one.get("system", ""), code


def _token(found: tuple[str, str], wanted: str) -> bool:
    system, bar, code = wanted.rpartition("|")
    if not bar:
        return found[1] == wanted
    return found[0] == system and code in ("", found[1])


def text_matches(found: str, modifier: str, wanted: str) -> bool:
    """Return whether a text meets a condition on a string."""
    if modifier == "exact":
        return found == wanted
    plain, start = _plain(found), _plain(wanted)
    return start in plain if modifier == "contains" else plain.startswith(start)


def _plain(text: str) -> str:
    parts = unicodedata.normalize("NFKD", text.casefold())
    return "".join(one for one in parts if not unicodedata.combining(one))


def _references(resource: Resource, path: str) -> list[str]:
    return [one["reference"] for one in values_at(resource, path) if "reference" in one]


def _is_near(resource: Resource, wanted: str) -> bool:
    latitude, longitude, distance, unit = wanted.split("|")
    position = resource.get("position")
    if position is None:
        return False
    there = math.radians(position["latitude"]), math.radians(position["longitude"])
    here = math.radians(float(latitude)), math.radians(float(longitude))
    cosine = math.sin(here[0]) * math.sin(there[0])
    cosine += math.cos(here[0]) * math.cos(there[0]) * math.cos(here[1] - there[1])
    kilometres = 6371.0088 * math.acos(min(1.0, cosine))
    return kilometres <= float(distance) * {"km": 1, "[mi_us]": 1.609347219, "m": 0.001}[unit]
