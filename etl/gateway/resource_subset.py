"""Parts of a resource: `_elements` and `_summary`.

Kept elements are copied as text, so that an amount of 12.30 stays 12.30. `elements.toml` lists the
elements.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from etl.gateway.search.query import Summary
from etl.storage.port import Line

_ALWAYS: Final = ("resourceType", "id", "meta", "implicitRules")
_TAG: Final = (
    '{"system":"http://terminology.hl7.org/CodeSystem/v3-ObservationValue","code":"SUBSETTED"}'
)
_TABLES: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    table: {name: tuple(elements) for name, elements in types.items()}
    for table, types in tomllib.loads(
        Path(__file__).with_name("elements.toml").read_text(encoding="utf-8")
    ).items()
}
MANDATORY: Final = _TABLES["mandatory"]
SUMMARY: Final = _TABLES["summary"]


def subset(line: Line, resource_type: str, summary: Summary, elements: tuple[str, ...]) -> bytes:
    """Return a resource with some of its top-level elements, tagged as a subset.

    Args:
        line: its JSON.
        resource_type: its type.
        summary: `true`, `text`, `data`; `false` leaves it to `elements`.
        elements: names of top-level elements; the mandatory ones are kept beside them.
    """
    mandatory = MANDATORY.get(resource_type, ())
    wanted: tuple[str, ...] | None
    match summary:
        case "true":
            wanted = SUMMARY[resource_type]
        case "text":
            wanted = ("text", *mandatory)
        case "data" | "count":
            wanted = None
        case "false":
            wanted = (*elements, *mandatory)
    kept = []
    for name, text in _members(bytes(line).decode()):
        plain = name.removeprefix("_")
        keep = plain != "text" if wanted is None else plain in wanted
        if name == "meta":
            kept.append(f'"meta":{_tagged(text)}')
        elif keep or plain in _ALWAYS:
            kept.append(f'"{name}":{text}')
    return f"{{{','.join(kept)}}}".encode()


def _tagged(meta: str) -> str:
    tags = dict(_members(meta)).get("tag")
    if tags is None:
        return f'{meta[:-1]},"tag":[{_TAG}]}}'
    return meta.replace(f'"tag":{tags}', f'"tag":{tags[:-1]},{_TAG}]')


def _members(text: str) -> Iterator[tuple[str, str]]:
    """Yield the members of a JSON object without blanks, their values as text."""
    decoder = json.JSONDecoder()
    position = 1
    while text[position - 1] != "}" and text[position] != "}":
        name, position = decoder.raw_decode(text, position)
        start = position + 1
        _, position = decoder.raw_decode(text, start)
        yield name, text[start:position]
        position += 1
