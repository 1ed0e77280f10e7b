"""Elements of resources, and the search parameters that look at them, as the guide has them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.given.tables import read_tables

Json = dict[str, Any]

GUIDE = read_tables(Path(__file__).with_name("plan_net.toml"))

ABSENT = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"


def elements(resource: Any, path: str) -> list[Any]:
    """Return the values at a path, those of lists one by one."""
    found = [resource]
    for step in path.split("."):
        name, _, narrowed = step.rstrip(")").partition("(")
        values = [one[name] for one in found if isinstance(one, dict) and name in one]
        found = [one for value in values for one in (value if isinstance(value, list) else [value])]
        if narrowed:
            found = [one for one in found if _is_of(one, narrowed)]
    return found


def _is_of(entry: Json, narrowed: str) -> bool:
    stated = str(entry.get("url") or entry.get("system") or "")
    return stated == narrowed or stated.endswith(f"/{narrowed}")


def has(resource: Json, path: str) -> bool:
    path, _, wanted = path.partition("=")
    found = elements(resource, path)
    if wanted:
        return wanted in {str(one).lower() for one in found}
    is_extension = path.endswith(")") and path.rpartition(".")[2].startswith("extension(")
    return any(is_extension or _is_there(one) for one in found)


def _is_there(value: Any) -> bool:
    if not isinstance(value, dict):
        return value not in (None, "")
    absent = any(one.get("url") == ABSENT for one in value.get("extension", []))
    return not absent and bool(set(value) - {"extension", "id"})


def references(resource: Json, type_: str, name: str) -> list[str]:
    """Return the references that a parameter searches."""
    _, paths = parameter(type_, name)
    found = [one for path in paths for one in elements(resource, path)]
    return [one["reference"] for one in found if "reference" in one]


def all_references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == "reference" and isinstance(inner, str):
                yield inner
            else:
                yield from all_references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from all_references(inner)


def parameter(type_: str, name: str) -> tuple[str, list[str]]:
    """Return the kind of a parameter's values, and where resources have them."""
    known = GUIDE["parameters"]
    kind, *paths = (known.get(f"{type_}.{name}") or known[name]).split()
    return kind, paths


def type_codes(resource: Json) -> set[str]:
    return {coding.get("code", "") for coding in elements(resource, "type.coding")}


def name_of(resource: Json) -> str:
    return f"{resource['resourceType']}/{resource['id']}"


# Values of parameters


def sent_values(kind: str, element: Any) -> Iterator[tuple[str, str]]:
    """Yield values that an element is searched by, each also with its system."""
    if kind == "reference":
        if "reference" in element:
            yield element["reference"], element["reference"]
    elif kind in ("token", "identifier"):
        for system, code in _tokens(kind, element):
            yield _escaped(code), f"{system}|{_escaped(code)}" if system else _escaped(code)
    else:
        text = next((one for one in _texts(kind, element) if one), "")
        if text:
            yield _escaped(text), _escaped(text)


def _tokens(kind: str, element: Any) -> list[tuple[str, str]]:
    if kind == "identifier":
        return [(element.get("system", ""), element.get("value", ""))]
    return [(one.get("system", ""), one["code"]) for one in element.get("coding", [])]


def _texts(kind: str, element: Any) -> list[str]:
    if kind == "address":
        return [element.get(n, "") for n in ("text", "city", "state", "postalCode", "country")]
    if kind == "name":
        parts = (element.get("family", ""), *element.get("given", []), element.get("text", ""))
        return [*parts, *element.get("prefix", []), *element.get("suffix", [])]
    return [str(element)]


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace(",", "\\,").replace("|", "\\|").replace("$", "\\$")


def matches(resource: Json, type_: str, name: str, value: str) -> bool:
    """Return whether a resource has a value of a parameter: of strings its beginning."""
    kind, paths = parameter(type_, name)
    found = [element for path in paths for element in elements(resource, path)]
    if kind == "reference":
        return any(one.get("reference", "").endswith(value) for one in found)
    if kind in ("token", "identifier"):
        sent = [pair[0].lower() for element in found for pair in sent_values(kind, element)]
        return value.lower() in sent
    if kind in ("id", "instant"):
        return value in found
    texts = [_escaped(text).lower() for element in found for text in _texts(kind, element)]
    return any(text.startswith(value.lower()) for text in texts)
