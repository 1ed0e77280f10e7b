"""Two resources compared element by element, lists without regard to order."""

import json
from collections import Counter
from collections.abc import Mapping
from decimal import Decimal


def differences(theirs, ours, path=""):
    """Yield (`theirs` | `ours`, path, value) for each leaf that only one of two values has.

    Entries of lists are matched to the entry that is most like them.
    """
    if isinstance(theirs, Mapping) and isinstance(ours, Mapping):
        for key in dict.fromkeys((*theirs, *ours)):
            below = f"{path}.{key}" if path else key
            yield from differences(theirs.get(key), ours.get(key), below)
    elif isinstance(theirs, list) and isinstance(ours, list):
        for left, right in _matched(theirs, ours):
            yield from differences(left, right, path)
    elif theirs != ours:
        for side, value in (("theirs", theirs), ("ours", ours)):
            yield from ((side, *leaf) for leaf in leaves(value, path))


def leaves(value, path):
    """Yield path and text of every leaf of a value."""
    match value:
        case None:
            return
        case dict():
            for key, inner in value.items():
                yield from leaves(inner, f"{path}.{key}" if path else key)
        case list():
            for inner in value:
                yield from leaves(inner, path)
        case Decimal() | int() | float() if not isinstance(value, bool):
            yield path, str(Decimal(str(value)).normalize())
        case _:
            yield path, json.dumps(value, ensure_ascii=False).strip('"')


def _matched(left, right):
    """Yield pairs of entries, the likest first; entries left over are paired with None."""
    pairs = sorted(
        (
            (-_likeness(one, other), i, j)
            for i, one in enumerate(left)
            for j, other in enumerate(right)
        )
    )
    free_left, free_right = set(range(len(left))), set(range(len(right)))
    for unlike, i, j in pairs:
        if i in free_left and j in free_right and unlike < 0:
            free_left.remove(i)
            free_right.remove(j)
            yield left[i], right[j]
    yield from ((left[i], None) for i in sorted(free_left))
    yield from ((None, right[j]) for j in sorted(free_right))


def _likeness(left, right):
    ours, theirs = Counter(leaves(left, "")), Counter(leaves(right, ""))
    shared = sum((ours & theirs).values())
    return shared / max(sum(ours.values()), sum(theirs.values()), 1)
