"""Percentages that add up to 100."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

_DECIMALS: Final = (1, 2, 3, 4)


def percentages(parts: Sequence[int]) -> list[str]:
    """Return each part's percentage of their sum, by largest remainder.

    They add up to exactly 100. A part that is there is never `0.0 %`: as many decimals are given
    as the smallest part needs, four at most, and the last digit is one then.

    Args:
        parts: counts, none negative. Parts of nothing have no percentage: a dash.
    """
    whole = sum(parts)
    if not whole:
        return ["\N{EN DASH}"] * len(parts)
    if whole in parts:
        return ["100 %" if part else "0 %" for part in parts]
    for decimals in _DECIMALS:
        units = _largest_remainder(parts, whole, 100 * 10**decimals)
        if all(unit for part, unit in zip(parts, units, strict=True) if part):
            break
    else:
        units = _at_least_one(parts, units)
    return [
        _text(unit, decimals) if part else "0 %" for part, unit in zip(parts, units, strict=True)
    ]


def share(part: int, whole: int) -> str:
    """Return one percentage: `100 %` only where it is all, `0 %` only where it is none."""
    return percentages([part, whole - part])[0]


def _largest_remainder(parts: Sequence[int], whole: int, units: int) -> list[int]:
    given = [part * units // whole for part in parts]
    by_rest = sorted(range(len(parts)), key=lambda index: (-(parts[index] * units % whole), index))
    for index in by_rest[: units - sum(given)]:
        given[index] += 1
    return given


def _at_least_one(parts: Sequence[int], units: Sequence[int]) -> list[int]:
    raised = [max(unit, 1) if part else 0 for part, unit in zip(parts, units, strict=True)]
    raised[raised.index(max(raised))] -= sum(raised) - sum(units)
    return raised


def _text(unit: int, decimals: int) -> str:
    whole, rest = divmod(unit, 10**decimals)
    return f"{whole}.{rest:0{decimals}d} %"
