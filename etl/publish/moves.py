"""Claims that a delta moves from one member to another.

A block is only known by its patient. A full extract rebuilds every block, so a claim that moves
leaves its old one by itself. A delta names the new member alone: the old block would keep the
claim, and show it to the wrong person. What gives it away is an update of something that is not
there.

    lost = strangers(release, changes, updates)
    for name, patient_id in holders(release, lost).items():
        …  # add `name` to the deletes of that patient's PatientChanges, before write_changes
"""

from __future__ import annotations

from collections.abc import Iterable

from etl.publish.catalog import Unit
from etl.publish.difference import Name
from etl.publish.reader import Release, open_index
from etl.publish.resources import PatientChanges
from etl.storage.mapped import mapped


def strangers(
    release: Release, changes: Iterable[PatientChanges], updates: Iterable[Name]
) -> set[Name]:
    """Return the updates whose resource is not in the block of the patient that they are for.

    Args:
        release: the release that the run started from.
        changes: what the delta says.
        updates: type and id of what the source calls an update, not an addition.
    """
    asked = set(updates)
    wanted: dict[str, set[Name]] = {}
    for patient in changes:
        names = {(one.type, one.id) for one in patient.upserts} & asked
        if names:
            wanted[patient.patient_id] = names
    lost = {name for names in wanted.values() for name in names}
    for patient_id, there in _names(release, release.units(wanted).values()):
        lost -= there & wanted[patient_id]
    return lost


def holders(release: Release, names: Iterable[Name]) -> dict[Name, str]:
    """Return which patient's block holds a resource; those that none holds are left out.

    Reads the index of every patient, so ask for all of them at once, and only where something is
    lost.

    Args:
        release: the release that the run started from.
        names: type and id of the resources to look for.
    """
    asked = set(names)
    if not asked:
        return {}
    found: dict[Name, str] = {}
    for patient_id, there in _names(release, release.all_units()):
        for name in there & asked:
            found[name] = patient_id
    return found


def _names(release: Release, units: Iterable[Unit]) -> Iterable[tuple[str, set[Name]]]:
    def one(unit: Unit) -> tuple[str, set[Name]]:
        index = open_index(release.store, unit)
        return unit.id, {
            (kind, index.ids[row]) for kind, rows in index.types.items() for row in rows
        }

    return mapped(release.store, one, (unit for unit in units if unit.block is not None))
