"""What the guide asks in words, where its profiles' expressions cannot check it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from etl.mapping.formulas import (
    all_of,
    at_least,
    exists,
    matches,
    no,
)
from etl.mapping.invariants import NUBC, admission, of_system
from etl.mapping.plan import (
    Entry,
)
from etl.mapping.row_tests import (
    Nowhere,
    Rows,
    Test,
    Twice,
)
from etl.mapping.selecting import entries_of, numbers

_NUMBERED: Final = ("careTeam", "supportingInfo", "diagnosis", "procedure", "item")
_REFERRING: Final = {
    "careTeamSequence": "careTeam",
    "diagnosisSequence": "diagnosis",
    "procedureSequence": "procedure",
    "informationSequence": "supportingInfo",
}


def guide_rules(root: Entry) -> Iterator[tuple[str, str, Test]]:
    """Yield what the guide asks of an EOB in words: rule, path and test.

    At most one insurance is focal; sequences are unique, and what names them resolves; so do note
    numbers; a newborn admission has a newborn's point of origin. `etl.conform.guide` checks the
    same on JSON.
    """
    focal = tuple(
        (loops, all_of(given, exists(entry, ("focal",), lambda one: matches(one, True))))
        for loops, given, entry in entries_of(root, "insurance")
    )
    yield "guide-focal", "insurance.focal", Rows((), no(at_least(1, focal)))
    yield "guide-focal", "insurance.focal", Rows((), at_least(2, focal))
    for name in _NUMBERED:
        yield "guide-sequence", f"{name}.sequence", Twice(numbers(root, (name, "sequence")))
    for loops, given, item in entries_of(root, "item"):
        details = numbers(item, ("detail", "sequence"), loops=loops, given=given)
        if details.sources:
            yield "guide-sequence", "item.detail.sequence", Twice(details, loops)
    for name, target in _REFERRING.items():
        known = numbers(root, (target, "sequence"))
        yield "guide-sequence-link", f"item.{name}", Nowhere(numbers(root, ("item", name)), known)
    notes = numbers(root, ("processNote", "number"))
    for path in (("item", "noteNumber"), ("item", "detail", "noteNumber")):
        yield "guide-note", ".".join(path), Nowhere(numbers(root, path), notes)
    plain = exists(
        root, ("supportingInfo",), lambda info: of_system(info, "code", f"{NUBC}PointOfOrigin")
    )
    at = "supportingInfo:pointoforigin.code"
    yield "guide-newborn", at, Rows((), all_of(admission(root, newborn=True), plain))
