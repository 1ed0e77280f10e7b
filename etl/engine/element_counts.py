"""Must-support elements that resources have, as one bit per element."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeAlias

import numpy as np

from etl.engine.evaluate import Values
from etl.engine.formula_masks import FormulaMasks
from etl.mapping.must_support import MustSupport

ElementCounts: TypeAlias = Mapping[str, tuple[int, ...]]
"""Canonical of a profile -> number of resources, then the number of resources with each of its
must-support elements, in the order of the profile; zeros may follow."""

_SEPARATOR: Final = "#"


def element_bits(values: Values, elements: MustSupport) -> Any:
    """Return each resource's must-support elements as packed bits.

    Args:
        values: the plan's evaluated expressions.
        elements: the must-support elements of the plan's profile.

    Returns:
        numpy `uint8`, shape (rows of level 0, bytes): bits packed by `numpy.packbits`.
    """
    masks = FormulaMasks(values)
    filled = np.zeros((values.levels[0].size, len(elements)), dtype=np.bool_)
    for index, (_, formula) in enumerate(elements):
        filled[:, index] = masks.mask(formula, 0)
    return np.packbits(filled, axis=1)


def count_elements(profile: str, bits: Any) -> ElementCounts:
    """Count the resources that have each element; empty if there is nothing to count."""
    if not bits.size:
        return {}
    counts = np.unpackbits(bits, axis=1).sum(axis=0, dtype=np.int64)
    return {profile: (len(bits), *counts.tolist())}


def add_element_counts(partition_counts: Iterable[ElementCounts]) -> ElementCounts:
    """Add up the counts of several partitions."""
    totals: dict[str, Any] = {}
    for counts_by_profile in partition_counts:
        for profile, counts in counts_by_profile.items():
            numbers = np.array(counts, dtype=np.int64)
            totals[profile] = totals[profile] + numbers if profile in totals else numbers
    return {profile: tuple(counts.tolist()) for profile, counts in sorted(totals.items())}


def count_element_sets(profile: str, bits: Any, owners: Any) -> tuple[list[str], Any, Any, Any]:
    """Count each owner's resources by their set of filled elements.

    Args:
        profile: the profile's canonical.
        bits: the result of `element_bits` for at least one resource.
        owners: numpy `int64`, shape (rows,): each resource's owner.

    Returns:
        The names of the sets; then, for each pair of set and owner, the set's number, the owner,
        and the number of resources, ordered by owner.
    """
    sets, set_numbers = np.unique(bits, axis=0, return_inverse=True)
    pairs, counts = np.unique(owners * len(sets) + set_numbers.ravel(), return_counts=True)
    names = [f"{profile}{_SEPARATOR}{element_set.tobytes().hex()}" for element_set in sets]
    return names, pairs % len(sets), pairs // len(sets), counts


def counts_of_element_sets(patterns: Iterable[tuple[str, int]]) -> ElementCounts:
    """Return element counts from the patterns of `count_element_sets`.

    Args:
        patterns: names of sets, each with its number of resources.
    """
    sums: dict[str, Any] = defaultdict(int)
    for name, count in patterns:
        profile, _, hex_bits = name.rpartition(_SEPARATOR)
        bits = np.unpackbits(np.frombuffer(bytes.fromhex(hex_bits), dtype=np.uint8))
        sums[profile] = sums[profile] + count * np.concatenate(([1], bits.astype(np.int64)))
    return {profile: tuple(counts.tolist()) for profile, counts in sorted(sums.items())}
