"""The certificate of a release: the comparison of a run, and the sums of the whole release."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import astuple, dataclass, field, replace
from datetime import date
from typing import Any, Final

import msgspec

from etl.certificate.comparison import Comparison
from etl.certificate.differences import FactDifference, FileCell, FileSum
from etl.certificate.sums import COUNTED, LEVELS, Sums
from etl.certificate.timeliness import count_delays

_FORMAT: Final = 3
"""Format of `state_to_bytes`; 1 had no business days, 2 no claims by several dimensions."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """The comparison of a release's bytes with its source.

    Attributes:
        facts: number of compared facts.
        source: sums of the rows of the compared members.
        read: sums of the published bytes of these members.
        release: sums of all bytes of the release; those of other members are carried over from the
            previous release, in which they were compared.
        carried: number of claims whose sums are carried over.
        reasons: (reason, fact) -> number of differences that it explains, and their cents.
        unexplained: number of differences that nothing explains.
        exposing: number of these that would show somebody what isn't theirs.
        first: the first unexplained difference; None if there is none.
        adjudicated: date of adjudication -> claims that become visible with the release; empty for
            a first one.
        earlier_delays: business days -> claims, of earlier releases.
        files: amounts of the compared members, by the file whose row contributed them.
    """

    facts: int = 0
    source: Sums = field(default_factory=Sums)
    read: Sums = field(default_factory=Sums)
    release: Sums = field(default_factory=Sums)
    carried: int = 0
    reasons: Mapping[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    unexplained: int = 0
    exposing: int = 0
    first: FactDifference | None = None
    adjudicated: Counter[str] = field(default_factory=Counter)
    earlier_delays: Counter[int] = field(default_factory=Counter)
    files: Mapping[FileCell, FileSum] = field(default_factory=dict)

    def with_carried_sums(self, carried_sums: Sums, earlier_delays: Counter[int]) -> Certificate:
        """Return the certificate of a whole release.

        Args:
            carried_sums: sums of the members that were not compared.
            earlier_delays: business days -> claims, of earlier releases.
        """
        return replace(
            self,
            release=carried_sums + self.read,
            carried=carried_sums.counts.get("claim", 0),
            earlier_delays=earlier_delays,
        )

    @property
    def sums(self) -> int:
        """Number of sums that were compared."""
        return (
            len(self.source.money.keys() | self.read.money.keys())
            + len(self.source.claims)
            + len(self.files)
        )


_COMPARISONS: Final = msgspec.msgpack.Decoder(tuple[Comparison, Sums | None])


def encode_comparison(comparison: Comparison, previous_sums: Sums | None) -> bytes:
    """Encode the comparison of a task for the end of the run.

    Args:
        comparison: the comparison.
        previous_sums: sums of the same members in the previous release; None if a block of it is
            unreadable.
    """
    return msgspec.msgpack.encode((comparison, previous_sums))


def merge_comparisons(encoded: Iterable[bytes]) -> tuple[Certificate, Sums | None]:
    """Merge the comparisons of all tasks into a certificate.

    Each one is decoded once; memory doesn't grow with their number.

    Args:
        encoded: results of `encode_comparison`.

    Returns:
        The certificate of these members, and their sums in the previous release; None if one of
        its blocks can't be read.
    """
    facts = unexplained = exposing = 0
    source, read, previous_sums = Sums(), Sums(), Sums()
    is_known = True
    reasons: dict[tuple[str, str], tuple[int, int]] = {}
    first_unexplained: FactDifference | None = None
    adjudicated: Counter[str] = Counter()
    files: dict[FileCell, FileSum] = {}
    for comparison, task_previous in map(_COMPARISONS.decode, encoded):
        facts += comparison.facts
        unexplained += comparison.unexplained
        exposing += comparison.exposing
        source += comparison.source
        read += comparison.published
        is_known = is_known and task_previous is not None
        previous_sums += task_previous or Sums()
        for difference in comparison.differences:
            if difference.reason:
                key = (difference.reason, difference.fact)
                count, cents = reasons.get(key, (0, 0))
                reasons[key] = (count + 1, cents + difference.cents)
            elif first_unexplained is None:
                first_unexplained = difference
        adjudicated.update(day for *_, day in comparison.visible)
        for cell, file_sum in comparison.files.items():
            files[cell] = files.get(cell, FileSum()) + file_sum
    certificate = Certificate(
        facts=facts,
        source=source,
        read=read,
        release=read,
        reasons=dict(sorted(reasons.items())),
        unexplained=unexplained,
        exposing=exposing,
        first=first_unexplained,
        adjudicated=adjudicated,
        files=dict(sorted(files.items())),
    )
    return certificate, previous_sums if is_known else None


def listed_differences(encoded: Iterable[bytes]) -> Iterator[FactDifference]:
    """Yield the listed differences of each task, by row position."""
    for comparison, _ in map(_COMPARISONS.decode, encoded):
        yield from sorted(comparison.differences, key=astuple)


def visible_claims(encoded: Iterable[bytes]) -> Iterator[tuple[int, int, str]]:
    """Yield file, row and adjudication date of claims that become visible, task by task."""
    for comparison, _ in map(_COMPARISONS.decode, encoded):
        yield from sorted(comparison.visible)


def broken_sums(certificate: Certificate) -> list[str]:
    """Return the sums whose rows, with explained differences, don't match the bytes."""
    explained: Counter[str] = Counter()
    for (_, name), (_, cents) in certificate.reasons.items():
        explained[name] += cents
    broken = []
    for level in LEVELS:
        source_sums = certificate.source.by_category(level)
        published_sums = certificate.read.by_category(level)
        for category in sorted(source_sums.keys() | published_sums.keys()):
            name = f"{level}.{category}"
            if source_sums.get(category, 0) + explained[name] != published_sums.get(category, 0):
                broken.append(name)
    return broken


def broken_files(certificate: Certificate) -> list[FileCell]:
    """Return the file sums that don't match the bytes."""
    return [cell for cell, file_sum in certificate.files.items() if not file_sum.holds]


def carried_money(certificate: Certificate) -> dict[tuple[str, str], tuple[int, int]]:
    """Return (level, category) -> cents and claims of members not compared."""
    money: dict[tuple[str, str], tuple[int, int]] = {}
    carried_sums = certificate.release - certificate.read
    for (dimension, _, level, category), (cents, claims) in carried_sums.money.items():
        if dimension == "type":
            carried = money.get((level, category), (0, 0))
            money[level, category] = (carried[0] + cents, carried[1] + claims)
    return money


def miscounted_tables(certificate: Certificate, published: Mapping[str, int]) -> list[str]:
    """Return the tables whose row count in the bytes differs from the run's.

    Args:
        certificate: the certificate.
        published: table -> rows of the release that the run counted as published.
    """
    counts = certificate.release.counts
    return [table for table in COUNTED if counts.get(table, 0) != published.get(table, 0)]


def state_to_bytes(certificate: Certificate, visible_day: date) -> bytes:
    """Serialize the state from which the next release continues.

    Args:
        certificate: of the release.
        visible_day: the day on which its claims become visible, UTC.
    """
    delays = certificate.earlier_delays + count_delays(certificate.adjudicated, visible_day)
    body = {
        "format": _FORMAT,
        "sums": certificate.release.to_json(),
        "days": [list(day_count) for day_count in sorted(delays.items())],
    }
    return json.dumps(body, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def state_from(data: bytes) -> tuple[Sums, Counter[int]] | None:
    """Parse a previous state: its sums, and business days -> claims; None for other formats."""
    state: Mapping[str, Any] = msgspec.json.decode(data)
    if state.get("format") != _FORMAT:
        return None
    return Sums.from_json(state["sums"]), Counter(dict(state["days"]))
