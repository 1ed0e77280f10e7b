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
    """The start of a stored line; docs/published-tree.md promises its form.

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
    """One issue of the OperationOutcome beside the matches.

    Attributes:
        code: FHIR IssueType.
        text: one sentence.
        severity: FHIR IssueSeverity.
        details: `issue.details`; None for none.
    """

    code: str
    text: str
    severity: Literal["information", "warning"] = "warning"
    details: Mapping[str, Any] | None = None


class Entries(NamedTuple):
    """Entries of one kind, in order.

    Attributes:
        type: FHIR resource type.
        lines: the resources' JSON.
        mode: `search.mode` of the entries.
    """

    type: str
    lines: Sequence[Line]
    mode: Mode


def types_of(entries: Iterable[Entries]) -> tuple[str, ...]:
    """Return the resource types that some entries have, sorted."""
    return tuple(sorted({each.type for each in entries if each.lines}))


def head_of(line: Line) -> Head:
    """Return the parsed start of a line.

    Raises:
        StoreError: it is not a line of a block.
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
    """Return a Bundle.

    Args:
        base: the FHIR base URL.
        created: FHIR instant, for `meta.lastUpdated`.
        total: number of matches; None leaves it out.
        links: relation and URL.
        entries: matches, then what was included.
        notes: issues of an OperationOutcome after them; without issues there is none.
    """
    head = f'{{"resourceType":"Bundle","meta":{{"lastUpdated":"{created}"}},"type":"searchset"'
    if total is not None:
        head += f',"total":{total}'
    text = ",".join(
        f'{{"relation":"{relation}","url":{orjson.dumps(url).decode()}}}' for relation, url in links
    )
    pieces: list[Line] = [f'{head},"link":[{text}]'.encode()]
    before = b',"entry":['
    for resource_type, lines, mode in entries:
        if not lines:
            continue
        opening, url = _openings(base, resource_type)
        before, between = before + url, _BETWEEN[mode] + url
        for line in lines:
            found = opening(line)
            if found is None:
                raise StoreError(f"a block holds a line that is no {resource_type}; run verify")
            pieces += (before, found[1], _RESOURCE, line)
            before = between
        pieces.append(_MODES[mode])
        before = b","
    if notes:
        first = len(pieces) == 1
        pieces += (b',"entry":[' if first else b",", _outcome(notes))
    if len(pieces) > 1:
        pieces.append(b"]")
    pieces.append(b"}")
    return b"".join(pieces)


@lru_cache(maxsize=64)
def _openings(
    base: str, resource_type: str
) -> tuple[Callable[[Line], re.Match[bytes] | None], bytes]:
    """Return what finds the logical id of a line of a type, and its entry up to that id."""
    line = re.compile(rb'\{"resourceType":"%b","id":"([A-Za-z0-9.-]+)"' % resource_type.encode())
    return line.match, f'{{"fullUrl":"{base}/{resource_type}/'.encode()


def _outcome(notes: Sequence[Note]) -> bytes:
    issues = [
        {"severity": note.severity, "code": note.code, "diagnostics": note.text}
        | ({"details": note.details} if note.details else {})
        for note in notes
    ]
    outcome = {"resourceType": "OperationOutcome", "issue": issues}
    # Every entry needs a URL, and this one has none: it is derived from the text.
    url = uuid.uuid5(uuid.NAMESPACE_URL, "\n".join(note.text for note in notes)).urn
    return orjson.dumps({"fullUrl": url, "resource": outcome, "search": {"mode": "outcome"}})


_ALWAYS: Final = ("resourceType", "id", "meta", "implicitRules")
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
