"""A member's compartment for `$everything`: parameters, and rows of the block.

FHIR R4, Patient operation `everything`. `start` and `end` are dates of care and choose among
claims. `_since` names a release; the answer is what changed after it (`etl.gateway.changes_since`).
Without it, directory resources come with the page that refers to them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from etl.gateway.access import may
from etl.gateway.bundle import Entries
from etl.gateway.includes import ReferenceResolver
from etl.gateway.refusals import wrong
from etl.gateway.release_reader import IndexedBlock, ReleaseTree, column_name
from etl.gateway.search.dates import BEGINNING, END, Span, asked_span, stored_span
from etl.gateway.search.parameter_values import count
from etl.gateway.search.parsing import EMPTY, HTTP, LeavingOut
from etl.gateway.supported import EVERYTHING, TYPES
from etl.publish.manifest import RELEASE
from etl.smart.grants import Grant
from etl.storage.async_port import Line

OWN: Final = tuple(name for name, kind in TYPES.items() if not kind.shared)
_SHARED: Final = tuple(name for name, kind in TYPES.items() if kind.shared)
_REFERENCE: Final = re.compile(
    rb'"reference":"((?:%b)/[A-Za-z0-9.-]{1,64})[/"]' % "|".join(_SHARED).encode()
)
_CLAIM: Final = "ExplanationOfBenefit"
_BITS: Final = (*OWN, *_SHARED)
"""Types by their bit in a token. Tokens are kept for weeks: a new type goes to the end."""

_HEX: Final = re.compile(r"[0-9a-f]{2}")
SECTIONS: Final = ("ids", "parts", column_name(_CLAIM, "service-date"))


@dataclass(frozen=True, slots=True)
class SeenRelease:
    """A release, as far as an app's scopes let it be read.

    Attributes:
        release: id of the release.
        types: resource types that it could read.
    """

    release: str
    types: frozenset[str]

    @property
    def token(self) -> str:
        """The value of `_since`: the release, `.`, and a bit for each type, as hex digits."""
        bits = sum(1 << at for at, name in enumerate(_BITS) if name in self.types)
        return f"{self.release}.{bits:02x}"

    @classmethod
    def of(cls, token: str) -> SeenRelease | None:
        """Return what a token says; None for a text that is none."""
        release, _, bits = token.partition(".")
        if not RELEASE.fullmatch(release) or not _HEX.fullmatch(bits):
            return None
        types = (name for at, name in enumerate(_BITS) if int(bits, 16) >> at & 1)
        return cls(release, frozenset(types))


@dataclass(frozen=True, slots=True)
class EverythingRequest:
    """Parameters of `$everything`.

    Attributes:
        care: the dates of care.
        since: what the app has seen, or an instant in nanoseconds; None for all there is.
        types: types that are wanted; None for all.
        count: resources of the member a page; None leaves it to the server.
        used: the parameters, as they were asked.
        ignored: what was left out and why, one sentence each.
    """

    care: Span
    since: SeenRelease | int | None
    types: frozenset[str] | None
    count: int | None
    used: tuple[tuple[str, str], ...]
    ignored: tuple[str, ...]

    def wants(self, resource_type: str) -> bool:
        """Return whether a type is wanted."""
        return self.types is None or resource_type in self.types


def parse(parameters: Iterable[tuple[str, str]], *, strict: bool) -> EverythingRequest:
    """Return what some parameters ask.

    Args:
        parameters: names and values, decoded.
        strict: whether a parameter that is not supported or empty is refused.

    Raises:
        Refusal: 400.
    """
    found: dict[str, str] = {}
    leaving = LeavingOut(strict)
    for name, value in parameters:
        if name in HTTP:
            continue
        if name not in EVERYTHING.parameters:
            known = ", ".join(EVERYTHING.parameters)
            leaving.leave_out(name, "not-supported", f"is no parameter of $everything: {known}")
            continue
        if not value:
            leaving.leave_out(name, "invalid", EMPTY)
            continue
        if name == "_type" and name in found:
            value = f"{found[name]},{value}"
        elif name in found:
            raise wrong(name, "invalid", "may be given once")
        found[name] = value
    start, end = _date(found, "start"), _date(found, "end")
    care = (start[0] if start else BEGINNING, end[1] if end else END)
    if care[0] >= care[1]:
        raise wrong("start", "invalid", "is after the end")
    return EverythingRequest(
        care,
        _since(found),
        _types(found),
        count(found["_count"], 1) if "_count" in found else None,
        tuple(found.items()),
        tuple(leaving.ignored),
    )


def rows_of(block: IndexedBlock, asked: EverythingRequest, types: Sequence[str]) -> list[int]:
    """Return the rows of some types that are within the dates asked for, in the block's order."""
    rows: list[int] = []
    for resource_type in sorted(types, key=lambda one: block.rows(one).start):
        of_type = block.rows(resource_type)
        if resource_type == _CLAIM and asked.care != (BEGINNING, END):
            column = block.values(_CLAIM, "service-date")
            good = [_overlap(stored_span(value), asked.care) for value in column.values]
            rows += [
                row for row in of_type if any(good[one] for one in column.rows[row - of_type.start])
            ]
        else:
            rows += of_type
    return rows


async def whole(
    tree: ReleaseTree,
    grant: Grant,
    own: IndexedBlock,
    asked: EverythingRequest,
    following: ReferenceResolver,
    here: slice,
) -> tuple[list[Entries], int]:
    """Return a page of all that is asked for, and how many resources there are on all pages."""
    await tree.need(own, SECTIONS)
    own_types = [name for name in OWN if may(grant, name, "r")]
    emitted = [name for name in own_types if asked.wants(name)]
    shared = asked.types is None or any(TYPES[one].shared for one in asked.types)
    # Where directory types are asked for, whatever refers to them has to be looked at.
    rows = rows_of(own, asked, own_types if shared else emitted)
    page = rows[here]
    lines = await tree.lines(own, page)
    typed = list(zip(_types_of(own, page), lines, strict=True))
    entries = [Entries(name, (line,), "match") for name, line in typed if name in emitted]
    if shared:
        found = following.allowed(
            one for one in references(lines) if asked.wants(one.partition("/")[0])
        )
        read = await following.read(await following.hits(found))
        entries += [Entries(name, (line,), "include") for name, line in read]
    return entries, len(rows)


def references(lines: Iterable[Line]) -> list[str]:
    """Return the directory resources that some lines refer to, each once."""
    found = dict.fromkeys(match for line in lines for match in _REFERENCE.findall(line))
    return [one.decode() for one in found]


def _overlap(one: Span, other: Span) -> bool:
    return one[0] < other[1] and one[1] > other[0]


def _date(found: dict[str, str], name: str) -> Span | None:
    text = found.get(name)
    if text is None:
        return None
    try:
        return asked_span(text)
    except ValueError:
        raise wrong(name, "invalid", "takes a date such as 2024-05-31 or an instant") from None


def _since(found: dict[str, str]) -> SeenRelease | int | None:
    text = found.get("_since")
    if text is None:
        return None
    seen = SeenRelease.of(text)
    if seen is not None:
        return seen
    try:
        return asked_span(text)[0]
    except ValueError:
        raise wrong(
            "_since", "invalid", "takes what the link `monitor` of an earlier answer has, or a date"
        ) from None


def _types(found: dict[str, str]) -> frozenset[str] | None:
    text = found.get("_type")
    if text is None:
        return None
    types = frozenset(text.split(","))
    if not types <= TYPES.keys():
        raise wrong("_type", "invalid", f"takes {', '.join(TYPES)}")
    return types


def _types_of(block: IndexedBlock, rows: Sequence[int]) -> list[str]:
    return [name for row in rows for name, of_type in block.index.types.items() if row in of_type]
