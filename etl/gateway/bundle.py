"""Bundles of type searchset, joined from stored bytes. Nothing is parsed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import orjson

from etl.errors import StoreError

Mode = Literal["match", "include"]

_HEAD: Final = re.compile(
    rb'\{"resourceType":"([A-Za-z]+)","id":"([A-Za-z0-9.-]+)",'
    rb'"meta":\{"versionId":"([^"]+)","lastUpdated":"([^"]+)",'
)


@dataclass(frozen=True, slots=True)
class Head:
    """What the start of a stored line says; docs/published-tree.md promises its form.

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


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry.

    Attributes:
        type: FHIR resource type.
        line: the resource's JSON.
        mode: why it is there.
    """

    type: str
    line: bytes
    mode: Mode


def head_of(line: bytes) -> Head:
    """Return what the start of a line says.

    Raises:
        StoreError: it is no line of a block.
    """
    match = _HEAD.match(line)
    if match is None:
        raise StoreError("a block holds a line that is no resource; run verify")
    return Head(*(one.decode() for one in match.groups()))


def reference_of(line: bytes, resource_type: str) -> str:
    """Return `Type/id` of a line.

    Raises:
        StoreError: it is no line of that type.
    """
    start = b'{"resourceType":"%b","id":"' % resource_type.encode()
    end = line.find(b'"', len(start))
    if not line.startswith(start) or end < 0:
        raise StoreError(f"a block holds a line that is no {resource_type}; run verify")
    return f"{resource_type}/{line[len(start) : end].decode()}"


def searchset(
    *,
    base: str,
    created: str,
    total: int | None,
    links: Sequence[tuple[str, str]],
    entries: Iterable[Entry],
    notes: Sequence[str] = (),
) -> bytes:
    """Return a Bundle.

    Args:
        base: the FHIR base URL.
        created: FHIR instant, for `meta.lastUpdated`.
        total: number of matches; None leaves it out.
        links: relation and URL.
        entries: matches, then what was included.
        notes: what the app's developer is told in an OperationOutcome, one issue each.
    """
    head = f'{{"resourceType":"Bundle","meta":{{"lastUpdated":"{created}"}},"type":"searchset"'
    if total is not None:
        head += f',"total":{total}'
    told = ",".join(
        f'{{"relation":"{relation}","url":{orjson.dumps(url).decode()}}}' for relation, url in links
    )
    pieces = [f'{head},"link":[{told}]'.encode()]
    before = b',"entry":[{"fullUrl":"'
    for entry in entries:
        url = f"{base}/{reference_of(entry.line, entry.type)}"
        pieces += (
            before,
            url.encode(),
            b'","resource":',
            entry.line,
            b',"search":{"mode":"match"}}'
            if entry.mode == "match"
            else b',"search":{"mode":"include"}}',
        )
        before = b',{"fullUrl":"'
    if notes:
        first = len(pieces) == 1
        pieces += (b',"entry":[' if first else b",", _outcome(notes))
    if len(pieces) > 1:
        pieces.append(b"]")
    pieces.append(b"}")
    return b"".join(pieces)


def _outcome(notes: Sequence[str]) -> bytes:
    issues = [
        {"severity": "warning", "code": "informational", "diagnostics": note} for note in notes
    ]
    outcome = {"resourceType": "OperationOutcome", "issue": issues}
    return orjson.dumps({"resource": outcome, "search": {"mode": "outcome"}})
