"""Bundles of type searchset, joined from stored bytes. Nothing is parsed."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple

import orjson

from etl.documents.packaged_toml import read_beside
from etl.errors import StoreError
from etl.gateway.search.query import Summary
from etl.storage.port import Line

Mode = Literal["match", "include"]

_HEAD: Final = re.compile(
    rb'\{"resourceType":"([A-Za-z]+)","id":"([A-Za-z0-9.-]+)",'
    rb'"meta":\{"versionId":"([^"]+)","lastUpdated":"([^"]+)",'
)
_MODES: Final[Mapping[Mode, bytes]] = MappingProxyType(
    {"match": b',"search":{"mode":"match"}}', "include": b',"search":{"mode":"include"}}'}
)
_BETWEEN: Final = MappingProxyType({mode: end + b"," for mode, end in _MODES.items()})
_RESOURCE: Final = b'","resource":'


@dataclass(frozen=True, slots=True)
class Head:
    """The start of a stored line, in the format that docs/published-tree.md documents.

    Attributes:
        type: FHIR resource type.
        id: logical id.
        version: `meta.versionId`.
        last_updated: `meta.lastUpdated`.
    """

    type: str
    id: str
    version: str
    last_updated: str


class Note(NamedTuple):
    """One issue of the Bundle's OperationOutcome.

    Attributes:
        code: FHIR IssueType.
        text: one sentence.
        severity: FHIR IssueSeverity.
        details: `issue.details`; None if it has none.
    """

    code: str
    text: str
    severity: Literal["information", "warning"] = "warning"
    details: Mapping[str, Any] | None = None


class Entries(NamedTuple):
    """Entries of one type and search mode, in order.

    Attributes:
        type: FHIR resource type.
        lines: the resources' JSON.
        mode: `search.mode` of the entries.
    """

    type: str
    lines: Sequence[Line]
    mode: Mode


def types_of(entries: Iterable[Entries]) -> tuple[str, ...]:
    """Return the resource types of entries, sorted."""
    return tuple(sorted({group.type for group in entries if group.lines}))


def head_of(line: Line) -> Head:
    """Return the parsed start of a line.

    Raises:
        StoreError: the line is not a resource.
    """
    match = _HEAD.match(line)
    if match is None:
        raise StoreError("a block holds a line that is no resource; run verify")
    return Head(*(group.decode() for group in match.groups()))


def searchset(
    *,
    base: str,
    created: str,
    total: int | None,
    links: Sequence[tuple[str, str]],
    entries: Iterable[Entries],
    notes: Sequence[Note] = (),
) -> bytes:
    """Return the JSON of a Bundle of type searchset.

    Args:
        base: the FHIR base URL.
        created: FHIR instant, for `meta.lastUpdated`.
        total: number of matches; None leaves it out.
        links: relation and URL.
        entries: matches, then included resources.
        notes: issues of an OperationOutcome after the entries; without issues it is left out.
    """
    head = f'{{"resourceType":"Bundle","meta":{{"lastUpdated":"{created}"}},"type":"searchset"'
    if total is not None:
        head += f',"total":{total}'
    link_texts = ",".join(
        f'{{"relation":"{relation}","url":{orjson.dumps(url).decode()}}}' for relation, url in links
    )
    # The Bundle is joined from pieces; `prefix` is the text separator one resource and the next.
    pieces: list[Line] = [f'{head},"link":[{link_texts}]'.encode()]
    prefix = b',"entry":['
    for resource_type, lines, mode in entries:
        if not lines:
            continue
        match_start, entry_start = _entry_parts(base, resource_type)
        prefix, separator = prefix + entry_start, _BETWEEN[mode] + entry_start
        for line in lines:
            match = match_start(line)
            if match is None:
                raise StoreError(f"a block holds a line that is no {resource_type}; run verify")
            pieces += (prefix, match[1], _RESOURCE, line)
            prefix = separator
        pieces.append(_MODES[mode])
        prefix = b","
    if notes:
        is_first = len(pieces) == 1
        pieces += (b',"entry":[' if is_first else b",", _format_outcome(notes))
    if len(pieces) > 1:
        pieces.append(b"]")
    pieces.append(b"}")
    return b"".join(pieces)


@lru_cache(maxsize=64)
def _entry_parts(
    base: str, resource_type: str
) -> tuple[Callable[[Line], re.Match[bytes] | None], bytes]:
    """Return a function that matches a line's start, and the start of a Bundle entry.

    Group 1 of the match is the logical ID; the start of the entry ends where that follows.
    """
    start = re.compile(rb'\{"resourceType":"%b","id":"([A-Za-z0-9.-]+)"' % resource_type.encode())
    return start.match, f'{{"fullUrl":"{base}/{resource_type}/'.encode()


def _format_outcome(notes: Sequence[Note]) -> bytes:
    issues = [
        {"severity": note.severity, "code": note.code, "diagnostics": note.text}
        | ({"details": note.details} if note.details else {})
        for note in notes
    ]
    outcome = {"resourceType": "OperationOutcome", "issue": issues}
    # Every entry needs a URL. An OperationOutcome has none: derive one from the text.
    url = uuid.uuid5(uuid.NAMESPACE_URL, "\n".join(note.text for note in notes)).urn
    return orjson.dumps({"fullUrl": url, "resource": outcome, "search": {"mode": "outcome"}})


_ALWAYS_KEPT: Final = ("resourceType", "id", "meta", "implicitRules")
_TAG: Final = (
    '{"system":"http://terminology.hl7.org/CodeSystem/v3-ObservationValue","code":"SUBSETTED"}'
)
_TABLES: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    table: {name: tuple(elements) for name, elements in types.items()}
    for table, types in read_beside(__file__, "elements.toml").items()
}
MANDATORY: Final = _TABLES["mandatory"]
SUMMARY: Final = _TABLES["summary"]


def subset(line: Line, resource_type: str, summary: Summary, elements: tuple[str, ...]) -> bytes:
    """Return a resource with some of its top-level elements, tagged unless these are all.

    Args:
        line: JSON of the resource.
        resource_type: FHIR resource type.
        summary: `true`, `text`, `data`; with `false`, `elements` decides.
        elements: names of top-level elements to keep besides the mandatory ones.
    """
    mandatory = MANDATORY.get(resource_type, ())
    kept_names: tuple[str, ...] | None
    match summary:
        case "true":
            kept_names = SUMMARY[resource_type]
        case "text":
            kept_names = ("text", *mandatory)
        case "data" | "count":
            kept_names = None  # all but `text`
        case "false":
            kept_names = (*elements, *mandatory)
    members, is_subset = [], False
    for name, text in _members(bytes(line).decode()):
        plain_name = name.removeprefix("_")
        keep = plain_name != "text" if kept_names is None else plain_name in kept_names
        if name == "meta":
            members.append(f'"meta":{_add_tag(text)}')
        elif keep or plain_name in _ALWAYS_KEPT:
            members.append(f'"{name}":{text}')
        else:
            is_subset = True
    return f"{{{','.join(members)}}}".encode() if is_subset else bytes(line)


def _add_tag(meta: str) -> str:
    """Add the tag SUBSETTED to the JSON of a `meta`."""
    tags = dict(_members(meta)).get("tag")
    if tags is None:
        return f'{meta[:-1]},"tag":[{_TAG}]}}'
    return meta.replace(f'"tag":{tags}', f'"tag":{tags[:-1]},{_TAG}]')


def _members(text: str) -> Iterator[tuple[str, str]]:
    """Yield names and JSON values of a compact JSON object."""
    decoder = json.JSONDecoder()
    position = 1
    while text[position - 1] != "}" and text[position] != "}":
        name, position = decoder.raw_decode(text, position)
        start = position + 1
        _, position = decoder.raw_decode(text, start)
        yield name, text[start:position]
        position += 1
