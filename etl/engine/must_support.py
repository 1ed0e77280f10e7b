"""Must-support elements that resources have: a bit for each, a whole column at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeAlias

import numpy as np

from etl.engine.evaluate import Values
from etl.engine.formula_masks import FormulaMasks
from etl.mapping.must_support import MustSupport

ElementCounts: TypeAlias = Mapping[str, tuple[int, ...]]
"""Canonical of a profile -> how many resources it has, then how many of them have each of its
must-support elements, in the order of the profile; zeros may follow."""

_MARK: Final = "#"


def filled_bits(values: Values, elements: MustSupport) -> Any:
    """Return which elements each resource of a plan has.

    Args:
        values: the plan's expressions, as rendering left them.
        elements: of the plan's profile.

    Returns:
        numpy `uint8`, shape (rows of level 0, bytes): bits as `numpy.packbits` has them.
    """
    masks = FormulaMasks(values)
    filled = np.zeros((values.levels[0].size, len(elements)), dtype=np.bool_)
    for number, (_, formula) in enumerate(elements):
        filled[:, number] = masks.mask(formula, 0)
    return np.packbits(filled, axis=1)


def element_counts(profile: str, bits: Any) -> ElementCounts:
    """Return how many resources have each element; none where there is no resource or element."""
    if not bits.size:
        return {}
    each = np.unpackbits(bits, axis=1).sum(axis=0, dtype=np.int64)
    return {profile: (len(bits), *each.tolist())}


def add_element_counts(parts: Iterable[ElementCounts]) -> ElementCounts:
    """Return the counts of several partitions, whatever their order."""
    totals: dict[str, Any] = {}
    for part in parts:
        for profile, counts in part.items():
            numbers = np.array(counts, dtype=np.int64)
            totals[profile] = totals[profile] + numbers if profile in totals else numbers
    return {profile: tuple(counts.tolist()) for profile, counts in sorted(totals.items())}


def fill_patterns(profile: str, bits: Any, owners: Any) -> tuple[list[str], Any, Any, Any]:
    """Return which sets of elements the resources of each owner have.

    Args:
        profile: canonical.
        bits: of `filled_bits`; one resource or more.
        owners: numpy `int64`, shape (rows,): the owner of each.

    Returns:
        The names of the sets; then, for each set and owner of such a resource, the number of the
        set, the owner, and how many resources, ordered by owner.
    """
    sets, numbers = np.unique(bits, axis=0, return_inverse=True)
    pairs, counts = np.unique(owners * len(sets) + numbers.ravel(), return_counts=True)
    names = [f"{profile}{_MARK}{each.tobytes().hex()}" for each in sets]
    return names, pairs % len(sets), pairs // len(sets), counts


def counts_of_patterns(patterns: Iterable[tuple[str, int]]) -> ElementCounts:
    """Return the counts of resources that are given by their patterns.

    Args:
        patterns: names of `fill_patterns`, and how many resources have each.
    """
    sums: dict[str, Any] = defaultdict(int)
    for name, count in patterns:
        profile, _, code = name.rpartition(_MARK)
        bits = np.unpackbits(np.frombuffer(bytes.fromhex(code), dtype=np.uint8))
        sums[profile] = sums[profile] + count * np.concatenate(([1], bits.astype(np.int64)))
    return {profile: tuple(counts.tolist()) for profile, counts in sorted(sums.items())}
