"""Rules that the guide states in words and its expressions do not check, or cannot.

* at most one insurance is focal: the guide's own expression looks at one insurance at a time;
* sequence numbers are unique, and what refers to them by number resolves;
* note numbers of items resolve;
* a newborn admission has a newborn point of origin: the guide's expression compares with a system
  that no coding has.

Sources: the EOB profiles' introductions, and `C4BBSupportingInfoType`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from etl.conform.elements import Json, coded, entries, of_system
from etl.conform.findings import ConformanceRule, Issue, IssueSeverity
from etl.conform.members import error

if TYPE_CHECKING:
    from etl.conform.visit import Check, Visit
    from etl.profiles.structures import Profile

_ADMISSION: Final = "https://www.nubc.org/CodeSystem/PriorityTypeOfAdmitOrVisit"
_ORIGIN: Final = "https://www.nubc.org/CodeSystem/PointOfOrigin"
_NEWBORN_ADMISSION: Final = "4"
"""NUBC, Priority (Type) of Admission or Visit: newborn."""

NUMBERED: Final = ("careTeam", "supportingInfo", "diagnosis", "procedure", "item")
"""Lists of an EOB whose entries have a sequence."""

REFERRING: Final = {
    "careTeamSequence": "careTeam",
    "diagnosisSequence": "diagnosis",
    "procedureSequence": "procedure",
    "informationSequence": "supportingInfo",
}
"""Elements of an item that name entries of those lists by sequence."""

_FOCAL: Final = error("guide-focal", "More than one insurance is focal; at most one may be.")
_TWICE: Final = error("guide-sequence", "Another entry of this list has the same sequence.")
_NOWHERE: Final = "No entry has the sequence that is named here."
_NO_NOTE: Final = error("guide-note", "No processNote has the number that is named here.")
_ORIGIN_RULE: Final = error(
    "guide-newborn", "A newborn admission must have a point of origin for newborns."
)


def checks_of(profile: Profile, *, strict: bool) -> tuple[Check, ...]:
    """Return the checks of a whole resource of that profile's type.

    Args:
        profile: whose type decides.
        strict: a number that leads nowhere is an error; else a warning, because an official example
            of the guide (EOBOral2) has some.
    """
    if profile.type != "ExplanationOfBenefit":
        return ()
    severity = IssueSeverity.ERROR if strict else IssueSeverity.WARNING
    nowhere = ConformanceRule("guide-sequence-link", severity, _NOWHERE)

    def linked(value: Any, visit: Visit) -> None:
        visit.issues.extend(Issue(nowhere, path) for path in dangling(value))

    return (one_focal, sequences, linked, notes, newborn_origin)


def _numbered(value: Any, name: str) -> Iterator[tuple[int, Any]]:
    """Yield the entries of a list with their indexes."""
    inner = value.get(name) if type(value) is dict else None
    if type(inner) is list:
        yield from ((index, entry) for index, entry in enumerate(inner) if type(entry) is dict)


def _numbers(value: Any, name: str, number: str) -> set[int]:
    """Return the numbers of a list's entries."""
    found = (entry.get(number) for _, entry in _numbered(value, name))
    return {number for number in found if type(number) is int}


def one_focal(value: Any, visit: Visit) -> None:
    """At most one insurance is focal."""
    focal = [i for i, entry in _numbered(value, "insurance") if entry.get("focal") is True]
    visit.issues.extend(Issue(_FOCAL, f"insurance[{i}].focal") for i in focal[1:])


def sequences(value: Any, visit: Visit) -> None:
    """No two entries of a list have the same sequence."""
    for name in NUMBERED:
        seen = set()
        for index, entry in _numbered(value, name):
            sequence = entry.get("sequence")
            if type(sequence) is int:
                if sequence in seen:
                    visit.issues.append(Issue(_TWICE, f"{name}[{index}].sequence"))
                seen.add(sequence)


def dangling(value: Any) -> Iterator[str]:
    """Yield the paths of sequence numbers in items that no entry of the list meant has."""
    known = {name: _numbers(value, name, "sequence") for name in REFERRING.values()}
    for at, item in _numbered(value, "item"):
        for name, target in REFERRING.items():
            if name in item:
                yield from _unresolved(item, name, known[target], f"item[{at}]")
    if type(value) is dict and "addItem" in value:
        items = _numbers(value, "item", "sequence")
        for at, item in _numbered(value, "addItem"):
            yield from _unresolved(item, "itemSequence", items, f"addItem[{at}]")


def _unresolved(item: Json, name: str, known: set[int], where: str) -> Iterator[str]:
    named = item.get(name)
    for index, sequence in enumerate(named if type(named) is list else ()):
        if type(sequence) is int and sequence not in known:
            yield f"{where}.{name}[{index}]"


def notes(value: Any, visit: Visit) -> None:
    """The notes that items, their details and adjudicated additions name by number are there."""
    numbers = _numbers(value, "processNote", "number")
    for name in ("item", "addItem"):
        for at, item in _numbered(value, name):
            _notes_of(item, numbers, f"{name}[{at}]", visit)


def _notes_of(item: Json, numbers: set[int], where: str, visit: Visit) -> None:
    named = item.get("noteNumber")
    for index, number in enumerate(named if type(named) is list else ()):
        if type(number) is int and number not in numbers:
            visit.issues.append(Issue(_NO_NOTE, f"{where}.noteNumber[{index}]"))
    for name in ("detail", "subDetail"):
        for at, inner in _numbered(item, name):
            _notes_of(inner, numbers, f"{where}.{name}[{at}]", visit)


def newborn_origin(value: Any, visit: Visit) -> None:
    """With a newborn admission, the point of origin has the code system for newborns."""
    newborn = any(
        of_system(info, "code", _ADMISSION) and coded(info, "code", _NEWBORN_ADMISSION, _ADMISSION)
        for info in entries(value, "supportingInfo")
    )
    if newborn:
        for index, info in _numbered(value, "supportingInfo"):
            if of_system(info, "code", _ORIGIN):
                visit.issues.append(Issue(_ORIGIN_RULE, f"supportingInfo[{index}].code"))
