"""Counts of what a release changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from etl.publish.canonical_json import JSON


@dataclass(frozen=True, slots=True)
class ChangeCounts:
    """Counts of added, changed, retracted and unchanged items."""

    added: int = 0
    changed: int = 0
    retracted: int = 0
    same: int = 0

    def __add__(self, other: ChangeCounts) -> ChangeCounts:
        """Return the sums."""
        return ChangeCounts(
            self.added + other.added,
            self.changed + other.changed,
            self.retracted + other.retracted,
            self.same + other.same,
        )

    @property
    def touched(self) -> int:
        """Number of added, changed and retracted items."""
        return self.added + self.changed + self.retracted

    def to_json(self) -> JSON:
        """Return the three counts of what was touched."""
        return {"added": self.added, "changed": self.changed, "retracted": self.retracted}


@dataclass(frozen=True, slots=True)
class Changes:
    """Changes to patients and to resources.

    Attributes:
        patients: by what happened to anything in their blocks.
        resources: by type; added, changed (content or stated time) and retracted.
    """

    patients: ChangeCounts = ChangeCounts()
    resources: Mapping[str, ChangeCounts] = field(default_factory=dict)

    def to_json(self) -> JSON:
        """Return the counts as a manifest states them; types without a change are left out."""
        touched = {name: tally for name, tally in self.resources.items() if tally.touched}
        return {
            "patients": self.patients.to_json(),
            "resources": {name: tally.to_json() for name, tally in touched.items()},
        }

    @classmethod
    def from_json(cls, value: JSON) -> Changes:
        """Return the counts that a manifest states."""
        resources = {name: ChangeCounts(**tally) for name, tally in value["resources"].items()}
        return cls(ChangeCounts(**value["patients"]), resources)


def total(changes: Iterable[Changes]) -> Changes:
    """Return the sums of many."""
    patients = ChangeCounts()
    resources: dict[str, ChangeCounts] = {}
    for change in changes:
        patients += change.patients
        for name, tally in change.resources.items():
            resources[name] = resources.get(name, ChangeCounts()) + tally
    return Changes(patients, resources)
