"""Random draws that are the same on every machine.

Every stream of draws is named by whole numbers (seed, purpose, index …), so one member's draws
never depend on another's. Only `random()` is used, because Python promises to keep its sequence,
and only arithmetic that IEEE 754 fixes to the last bit: no logarithm, no power.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from enum import IntEnum
from functools import cache
from random import Random
from typing import Final, TypeVar

T = TypeVar("T")

_MASK: Final = (1 << 64) - 1


class Purpose(IntEnum):
    """Purpose of a stream of draws, so that two uses of one index never share it."""

    HOUSEHOLD = 1
    PERSON = 2
    REGION = 3
    CLAIMS = 4
    DAY = 5
    EVENT = 6
    FAULT = 7
    DIRECTORY_FAULT = 8
    DIRECTORY_DAY = 9
    NETWORK = 10
    NETWORK_DAY = 11
    NETWORK_FAULT = 12
    PRIOR_AUTH = 13
    FORMULARY = 14


def mix_bits(*parts: int) -> int:
    """Return 64 bits that differ in about half their places when any part differs (splitmix64)."""
    state = 0x9E3779B97F4A7C15
    for part in parts:
        state = (state ^ (part & _MASK)) + 0x9E3779B97F4A7C15 & _MASK
        state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & _MASK
        state = (state ^ state >> 27) * 0x94D049BB133111EB & _MASK
        state ^= state >> 31
    return state


class Dice:
    """One stream of draws."""

    __slots__ = ("random",)

    def __init__(self, *stream_name: int) -> None:
        self.random = Random(mix_bits(*stream_name)).random  # noqa: S311 - made-up data keeps no secret

    def below(self, count: int) -> int:
        """Return a whole number from 0 up to `count`, exclusive."""
        return int(self.random() * count)

    def between(self, low: int, high: int) -> int:
        """Return a whole number from `low` to `high`, both included."""
        return low + int(self.random() * (high - low + 1))

    def chance(self, thousandths: int) -> bool:
        """Return True with a probability of this many thousandths."""
        return self.random() * 1000 < thousandths

    def pick(self, choices: Sequence[T]) -> T:
        """Return one of the choices, each with the same probability."""
        return choices[int(self.random() * len(choices))]

    def quantile(self, points: Sequence[tuple[float, float]]) -> float:
        """Return a draw from a distribution given by points (share of draws below, value).

        It is uniform between two points. The first share is 0 and the last 1. A heavy tail is one
        more point, and needs no logarithm.
        """
        share = self.random()
        low_share, low = points[0]
        for high_share, high in points[1:]:
            if share < high_share:
                return low + (high - low) * (share - low_share) / (high_share - low_share)
            low_share, low = high_share, high
        return low


@cache
def iso_date(day: int) -> str:
    """Return `YYYY-MM-DD` of a proleptic ordinal day."""
    return date.fromordinal(day).isoformat()


@cache
def year_of(day: int) -> int:
    """Return the year of a proleptic ordinal day."""
    return date.fromordinal(day).year


@cache
def first_of_year(year: int) -> int:
    """Return the ordinal of January 1."""
    return date(year, 1, 1).toordinal()


def draw_timestamp(dice: Dice, day: int) -> str:
    """Return a `last_updated` on that day: mostly an instant in UTC, sometimes another form."""
    second = dice.below(86400)
    form = second % 19
    if form == 0:
        return iso_date(day)
    zone = "-05:00" if form == 1 else ".250Z" if form == 2 else "Z"
    return f"{iso_date(day)}T{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}{zone}"
