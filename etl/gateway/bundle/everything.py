"""`$everything`: its parameters, and the resources of a member's compartment.

FHIR R4, Patient operation `everything`. `start` and `end` are dates of care and choose among
claims. With `_since` the answer is what changed after an instant (`etl.gateway.changes_since`).
Without it, directory resources come with the page that refers to them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final

from etl.errors import DamagedObject, NotFound
from etl.gateway.bundle.bundle import Entries, Note
from etl.gateway.bundle.includes import Hit, ReferenceResolver, find_referenced
from etl.gateway.http.responses import KINDS, SYSTEM, refused
from etl.gateway.release.release_reader import IndexedBlock, ReleaseTree, column_name
from etl.gateway.release.served_releases import Releases
from etl.gateway.search.comparisons import count
from etl.gateway.search.dates import BEGINNING, END, Span, request_span, stored_span
from etl.gateway.search.parsing import EMPTY, HTTP, UnsupportedParameters
from etl.gateway.supported_fhir import EVERYTHING, TYPES
from etl.smart.grants import Grant
from etl.storage.port import Line

MEMBER_TYPES: Final = tuple(name for name, kind in TYPES.items() if not kind.shared)
_SHARED: Final = tuple(name for name, kind in TYPES.items() if kind.shared)
_REFERENCE: Final = re.compile(
    rb'"reference":"((?:%b)/[A-Za-z0-9.-]{1,64})[/"]' % "|".join(_SHARED).encode()
)
_CLAIM: Final = "ExplanationOfBenefit"
_INSTANT: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+ -]\d\d:\d\d)")
"""A FHIR instant, also with the `+` of its zone decoded to a blank."""

_DATE: Final = "takes a date such as 2024-05-31 or an instant"

SECTIONS: Final = ("ids", "parts", column_name(_CLAIM, "service-date"))


@dataclass(frozen=True, slots=True)
class EverythingRequest:
    """Parameters of `$everything`.

    Attributes:
        care: the dates of care.
        since: an instant in nanoseconds; None for all there is.
        types: requested resource types; None for all.
        count: page size, in resources of the member; None for the server's.
        used: the supported parameters, as requested.
        ignored: which parameters were ignored and why, one sentence each.
    """

    care: Span
    since: int | None
    types: frozenset[str] | None
    count: int | None
    used: tuple[tuple[str, str], ...]
    ignored: tuple[str, ...]

    def wants(self, resource_type: str) -> bool:
        """Return whether a resource type is requested."""
        return self.types is None or resource_type in self.types


def parse(parameters: Iterable[tuple[str, str]], *, strict: bool) -> EverythingRequest:
    """Parse the parameters of a request.

    Args:
        parameters: names and values, decoded.
        strict: whether an unsupported or empty parameter is refused.

    Raises:
        FhirError: 400, a parameter is invalid.
    """
    values: dict[str, str] = {}
    unsupported = UnsupportedParameters(strict)
    for name, value in parameters:
        if name in HTTP:
            continue
        if name not in EVERYTHING.parameters:
            names = ", ".join(EVERYTHING.parameters)
            unsupported.ignore(name, "not-supported", f"is no parameter of $everything: {names}")
            continue
        if not value:
            unsupported.ignore(name, "invalid", EMPTY)
            continue
        if name == "_type" and name in values:
            value = f"{values[name]},{value}"
        elif name in values:
            raise refused(name, "invalid", "may be given once")
        values[name] = value
    start, end = (_span(values, name, _DATE) for name in ("start", "end"))
    care = (start[0] if start else BEGINNING, end[1] if end else END)
    if care[0] >= care[1]:
        raise refused("start", "invalid", "is after the end")
    since = _span(values, "_since", "takes an instant: meta.lastUpdated of an earlier answer")
    return EverythingRequest(
        care,
        None if since is None else since[0],
        _types(values),
        count(values["_count"], 1) if "_count" in values else None,
        tuple(values.items()),
        tuple(unsupported.ignored),
    )


def filter_rows(block: IndexedBlock, request: EverythingRequest, types: Sequence[str]) -> list[int]:
    """Return the rows of `types` in the requested dates of care, in the block's order."""
    rows: list[int] = []
    for resource_type in sorted(types, key=lambda kind: block.rows(kind).start):
        of_type = block.rows(resource_type)
        if resource_type == _CLAIM and request.care != (BEGINNING, END):
            column = block.values(_CLAIM, "service-date")
            is_in_care = [_overlaps(stored_span(value), request.care) for value in column.values]
            rows += [
                row
                for row in of_type
                if any(is_in_care[code] for code in column.rows[row - of_type.start])
            ]
        else:
            rows += of_type
    return rows


async def read_page(
    tree: ReleaseTree,
    grant: Grant,
    member: IndexedBlock,
    request: EverythingRequest,
    resolver: ReferenceResolver,
    page: slice,
) -> tuple[list[Entries], int]:
    """Return one page of the requested resources, and their number on all pages."""
    await tree.need(member, SECTIONS)
    allowed_types = [name for name in MEMBER_TYPES if grant.may(name, "r")]
    emitted_types = [name for name in allowed_types if request.wants(name)]
    has_shared = request.types is None or any(TYPES[kind].shared for kind in request.types)
    # If directory types are requested, all rows that may refer to them are read.
    rows = filter_rows(member, request, allowed_types if has_shared else emitted_types)
    page_rows = rows[page]
    lines = await tree.lines(member, page_rows)
    types = [name for row in page_rows for name, span in member.index.types.items() if row in span]
    typed = list(zip(types, lines, strict=True))
    entries = [Entries(name, (line,), "match") for name, line in typed if name in emitted_types]
    if has_shared:
        allowed = resolver.filter_allowed(
            reference
            for reference in references(lines)
            if request.wants(reference.partition("/")[0])
        )
        read = await resolver.read_lines(await resolver.locate(allowed))
        entries += [Entries(name, (line,), "include") for name, line in read]
    return entries, len(rows)


def references(lines: Iterable[Line]) -> list[str]:
    """Return the directory resources that the lines refer to, each once."""
    matches = dict.fromkeys(match for line in lines for match in _REFERENCE.findall(line))
    return [match.decode() for match in matches]


def _overlaps(span: Span, other: Span) -> bool:
    return span[0] < other[1] and span[1] > other[0]


def _span(values: dict[str, str], name: str, says: str) -> Span | None:
    text = values.get(name)
    if text is None:
        return None
    try:
        if name == "_since" and not _INSTANT.fullmatch(text):
            raise ValueError(text)
        return request_span(text)
    except ValueError:
        raise refused(name, "invalid", says) from None


def _types(values: dict[str, str]) -> frozenset[str] | None:
    text = values.get("_type")
    if text is None:
        return None
    types = frozenset(text.split(","))
    if not types <= TYPES.keys():
        raise refused("_type", "invalid", f"takes {', '.join(TYPES)}")
    return types


_SECTIONS: Final = ("ids", "parts", "versions", "lastUpdated")
_GONE: Final = "resource-deleted"


Mark = tuple[str, str]
"""Version and time of a resource: an app's copy is valid while both are unchanged."""


@dataclass(frozen=True, slots=True)
class MemberChanges:
    """Changes that bring an app's copy up to date.

    Attributes:
        hits: resources to add or replace, by `Type/id`: the member's own first.
        deleted: `Type/id` of the resources to delete.
        is_complete: whether these are all resources, as there is no release to compare with.
    """

    hits: dict[str, Hit]
    deleted: Sequence[str]
    is_complete: bool

    def notes(self) -> list[Note]:
        """Return the notes of the answer: one for each deleted resource."""
        notes = [
            Note(
                "deleted",
                f"{name} is gone: drop it",
                "information",
                {
                    "coding": [{"system": SYSTEM, "code": _GONE, "display": KINDS[_GONE].display}],
                    "text": name,
                },
            )
            for name in self.deleted
        ]
        if self.is_complete:
            notes.append(
                Note(
                    "incomplete",
                    "_since lies before the oldest release that is kept, or can be compared: "
                    "this is everything there is; drop what is not in it",
                )
            )
        return notes


async def difference(
    releases: Releases, tree: ReleaseTree, grant: Grant, request: EverythingRequest
) -> MemberChanges:
    """Return what changed in release `tree` since the instant of `_since`.

    Several releases may fit the instant. A resource that was added and removed, or changed and
    changed back, among them shows in neither the first nor the last of them: all are compared.
    """
    assert request.since is not None  # noqa: S101 - checked by the caller
    try:
        previous = [
            await _all_hits(release, grant, request)
            for release in await releases.since(tree, request.since)
        ]
    except (NotFound, DamagedObject):  # pruned meanwhile, or left by a rollback
        previous = []
    current = await _all_hits(tree, grant, request)
    if not previous:
        member = await tree.patient(grant.patient)
        if member is not None:
            await tree.need(member, ("gone",))
        deleted = [
            f"{gone.type}/{gone.id}"
            for gone in (member.index.deleted if member is not None else ())
            if grant.may(gone.type, "r") and request.wants(gone.type)
        ]
        return MemberChanges({name: hit for name, (hit, _) in current.items()}, deleted, True)
    hits = {
        name: hit
        for name, (hit, mark) in current.items()
        if any(name not in marks or marks[name][1] != mark for marks in previous)
    }
    missing = [name for name in dict.fromkeys(chain.from_iterable(previous)) if name not in current]
    # A directory resource that still exists but is no longer referred to is not reported.
    remaining = await ReferenceResolver(tree, grant, None).locate(
        name for name in missing if TYPES[name.partition("/")[0]].shared
    )
    return MemberChanges(hits, [name for name in missing if name not in remaining], False)


async def _all_hits(
    tree: ReleaseTree, grant: Grant, request: EverythingRequest
) -> dict[str, tuple[Hit, Mark]]:
    """Return all resources of `$everything` in a release, each with its mark."""
    member = await tree.patient(grant.patient)
    hits: dict[str, Hit] = {}
    if member is None:
        return {}
    await tree.need(member, (*SECTIONS, *_SECTIONS))
    allowed_types = [name for name in MEMBER_TYPES if grant.may(name, "r")]
    rows = filter_rows(member, request, allowed_types)
    for name in allowed_types:
        if request.wants(name):
            type_rows = filter(member.rows(name).__contains__, rows)
            hits |= {f"{name}/{member.index.ids[row]}": (member, row) for row in type_rows}
    row_set = frozenset(rows)
    for name, kind in TYPES.items():
        if kind.shared and request.wants(name) and grant.may(name, "r"):
            references = sorted(await find_referenced(tree, member, name, row_set))
            hits |= await ReferenceResolver(tree, grant, None).locate(references, {name: _SECTIONS})
    return {name: (hit, _mark(hit)) for name, hit in hits.items()}


def _mark(hit: Hit) -> Mark:
    block, row = hit
    (stamp,) = block.index.last_updated.values_of(row)
    return block.index.versions[row], stamp
