"""The certificate of a release: the comparison of this night, and the sums of the whole release."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import astuple, dataclass, field, replace
from typing import Any, Final

import msgspec

from etl.certificate.comparison import Compared
from etl.certificate.differences import FactDifference, FileCell, FileSum
from etl.certificate.sums import COUNTED, LEVELS, Sums

_FORMAT: Final = 3
"""Of states; 1 had no business days, 2 no claims by several dimensions."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """The comparison of a release's bytes with its source.

    Attributes:
        facts: how many facts were compared.
        source: sums of the rows of the members that were compared.
        read: sums of the bytes of these members.
        release: sums of all the release's bytes; those of other members are carried from the
            release before, where they were compared.
        carried: how many claims of them are.
        reasons: explanations of differences: (reason, fact) -> how many, and cents together.
        unexplained: how many differences nothing explains.
        first: the first of them; None where there is none.
        days: business days -> claims that became visible; empty for a first release.
        late: how many of them took too long.
        all_delays: business days -> claims, of all releases since the first.
        files: amounts of the members that were compared, by the file whose row brought them.
    """

    facts: int = 0
    source: Sums = field(default_factory=Sums)
    read: Sums = field(default_factory=Sums)
    release: Sums = field(default_factory=Sums)
    carried: int = 0
    reasons: Mapping[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    unexplained: int = 0
    first: FactDifference | None = None
    days: Counter[int] = field(default_factory=Counter)
    late: int = 0
    all_delays: Counter[int] = field(default_factory=Counter)
    files: Mapping[FileCell, FileSum] = field(default_factory=dict)

    def with_others(self, others: Sums, earlier: Counter[int]) -> Certificate:
        """Return the certificate of a whole release.

        Args:
            others: sums of the members that were not compared.
            earlier: business days -> claims, of earlier releases.
        """
        return replace(
            self,
            release=others + self.read,
            carried=others.counts.get("claim", 0),
            all_delays=self.days + earlier,
        )

    @property
    def sums(self) -> int:
        """Number of sums that were compared."""
        return (
            len(self.source.money.keys() | self.read.money.keys())
            + len(self.source.claims)
            + len(self.files)
        )


_UNITS: Final = msgspec.msgpack.Decoder(tuple[Compared, Sums | None])


def piece(compared: Compared, before: Sums | None) -> bytes:
    """Return the comparison of a unit as bytes, for the run's end.

    Args:
        compared: the comparison.
        before: sums of what the release before had of the same members; None where some of it
            cannot be read any more.
    """
    return msgspec.msgpack.encode((compared, before))


def compared_units(pieces: Iterable[bytes]) -> tuple[Certificate, Sums | None]:
    """Return the certificate of the members that a run compared, and their sums before.

    Each piece is parsed once, and memory does not grow with them.

    Args:
        pieces: what `piece` made of each unit.

    Returns:
        The certificate, of these members alone; and what the release before had of them, None
        where some of it cannot be read any more.
    """
    facts = unexplained = late = 0
    source, read, before = Sums(), Sums(), Sums()
    is_known = True
    reasons: dict[tuple[str, str], tuple[int, int]] = {}
    first: FactDifference | None = None
    days: Counter[int] = Counter()
    files: dict[FileCell, FileSum] = {}
    for unit, unit_before in map(_UNITS.decode, pieces):
        facts += unit.facts
        unexplained += unit.unexplained
        source += unit.source
        read += unit.published
        is_known = is_known and unit_before is not None
        before += unit_before or Sums()
        for difference in unit.differences:
            if difference.reason:
                key = (difference.reason, difference.fact)
                count, cents = reasons.get(key, (0, 0))
                reasons[key] = (count + 1, cents + difference.cents)
            elif first is None:
                first = difference
        days.update(unit.delays.days)
        late += len(unit.delays.late)
        for cell, file_sum in unit.files.items():
            files[cell] = files.get(cell, FileSum()) + file_sum
    made = Certificate(
        facts=facts,
        source=source,
        read=read,
        release=read,
        reasons=dict(sorted(reasons.items())),
        unexplained=unexplained,
        first=first,
        days=days,
        late=late,
        all_delays=days,
        files=dict(sorted(files.items())),
    )
    return made, before if is_known else None


def differences_of(pieces: Iterable[bytes]) -> Iterator[FactDifference]:
    """Yield the differences, unit by unit, by place: those explained, and some that are not."""
    for unit, _ in map(_UNITS.decode, pieces):
        yield from sorted(unit.differences, key=astuple)


def late_of(pieces: Iterable[bytes]) -> Iterator[tuple[int, int, int]]:
    """Yield file, row and business days of claims that became visible late, unit by unit."""
    for unit, _ in map(_UNITS.decode, pieces):
        yield from sorted(unit.delays.late)


def broken_sums(made: Certificate) -> list[str]:
    """Return which sums of the rows, with what explains them, are not those of the bytes."""
    explained: Counter[str] = Counter()
    for (_, fact), (_, cents) in made.reasons.items():
        explained[fact] += cents
    broken = []
    for level in LEVELS:
        source, read = made.source.by_category(level), made.read.by_category(level)
        for category in sorted(source.keys() | read.keys()):
            fact = f"{level}.{category}"
            if source.get(category, 0) + explained[fact] != read.get(category, 0):
                broken.append(fact)
    return broken


def broken_files(made: Certificate) -> list[FileCell]:
    """Return which sums of a file's rows, with what explains them, are not those of the bytes."""
    return [cell for cell, each in made.files.items() if not each.holds]


def carried_money(made: Certificate) -> dict[tuple[str, str], tuple[int, int]]:
    """Return (level, category) -> cents and claims of the members that were not compared."""
    money: dict[tuple[str, str], tuple[int, int]] = {}
    for (by, _, level, category), (cents, claims) in (made.release - made.read).money.items():
        if by == "type":
            carried = money.get((level, category), (0, 0))
            money[level, category] = (carried[0] + cents, carried[1] + claims)
    return money


def miscounted(made: Certificate, published: Mapping[str, int]) -> list[str]:
    """Return the tables of which the bytes hold another number than was published.

    Args:
        made: the certificate.
        published: table -> rows that the run counted as published, in all of the release.
    """
    counts = made.release.counts
    return [table for table in COUNTED if counts.get(table, 0) != published.get(table, 0)]


def state_to_bytes(made: Certificate) -> bytes:
    """Return what the next release carries on from."""
    body = {
        "format": _FORMAT,
        "sums": made.release.to_json(),
        "days": [list(each) for each in sorted(made.all_delays.items())],
    }
    return json.dumps(body, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def state_from(data: bytes) -> tuple[Sums, Counter[int]] | None:
    """Return the sums of a release before, and business days -> claims of all until then.

    None where they are of another format.
    """
    value: Mapping[str, Any] = msgspec.json.decode(data)
    if value.get("format") != _FORMAT:
        return None
    return Sums.from_json(value["sums"]), Counter(dict(value["days"]))
