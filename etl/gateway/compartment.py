"""A member's compartment for `$everything`: what is asked, and which rows of the block that is.

FHIR R4, Patient operation `everything`. `start` and `end` are dates of care and choose among
claims; `_since` chooses by `meta.lastUpdated`. Directory resources come with the page that refers
to them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from etl.gateway.objects import Line
from etl.gateway.refusals import wrong
from etl.gateway.search.dates import BEGINNING, END, Span, asked_span, stored_span
from etl.gateway.search.parsing import EMPTY, HTTP, LeavingOut
from etl.gateway.search.values import count
from etl.gateway.supported import EVERYTHING, TYPES
from etl.gateway.tree import Block, column_name

OWN: Final = tuple(name for name, kind in TYPES.items() if not kind.shared)
_SHARED: Final = tuple(name for name, kind in TYPES.items() if kind.shared)
_REFERENCE: Final = re.compile(
    rb'"reference":"((?:%b)/[A-Za-z0-9.-]{1,64})[/"]' % "|".join(_SHARED).encode()
)
_CLAIM: Final = "ExplanationOfBenefit"
SECTIONS: Final = ("ids", "parts", "lastUpdated", column_name(_CLAIM, "service-date"))


@dataclass(frozen=True, slots=True)
class Asked:
    """What is wanted.

    Attributes:
        care: the dates of care.
        since: nanoseconds; None for all times.
        types: types that are wanted; None for all.
        count: resources of the member a page; None leaves it to the server.
        used: the parameters, as they were asked.
        ignored: what was left out and why, one sentence each.
    """

    care: Span
    since: int | None
    types: frozenset[str] | None
    count: int | None
    used: tuple[tuple[str, str], ...]
    ignored: tuple[str, ...]

    def wants(self, resource_type: str) -> bool:
        """Return whether a type is wanted."""
        return self.types is None or resource_type in self.types


def parse(parameters: Iterable[tuple[str, str]], *, strict: bool) -> Asked:
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
    start, end, since = (_date(found, name) for name in ("start", "end", "_since"))
    care = (start[0] if start else BEGINNING, end[1] if end else END)
    if care[0] >= care[1]:
        raise wrong("start", "invalid", "is after the end")
    return Asked(
        care,
        since[0] if since else None,
        _types(found),
        count(found["_count"], 1) if "_count" in found else None,
        tuple(found.items()),
        tuple(leaving.ignored),
    )


def rows_of(block: Block, asked: Asked, types: Sequence[str]) -> list[int]:
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
    if asked.since is not None:
        since = asked.since
        stamps = block.index.last_updated
        late = [stored_span(value)[0] >= since for value in stamps.values]
        rows = [row for row in rows if any(late[one] for one in stamps.rows[row])]
    return rows


def is_late(hit: tuple[Block, int], asked: Asked) -> bool:
    """Return whether a resource changed since the instant asked for."""
    if asked.since is None:
        return True
    block, row = hit
    return any(stored_span(one)[0] >= asked.since for one in block.index.last_updated.of(row))


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


def _types(found: dict[str, str]) -> frozenset[str] | None:
    text = found.get("_type")
    if text is None:
        return None
    types = frozenset(text.split(","))
    if not types <= TYPES.keys():
        raise wrong("_type", "invalid", f"takes {', '.join(TYPES)}")
    return types
