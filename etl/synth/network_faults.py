"""Planted faults of provider directories: one row spoiled, and the rule that should find it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from etl.synth.directory import Row
from etl.synth.faults import Planted
from etl.synth.network_payers import NetworkTables
from etl.synth.seeded_random import Dice, Purpose
from etl.synth.spec import Spec


@dataclass(frozen=True, slots=True)
class NetworkFault:
    """One kind of fault.

    Attributes:
        rule: id of the rule that should find it.
        table: file of the row, without its ending.
        column: the failing column; empty where the row as a whole is wrong.
        cells: put into the row; an empty text takes the cell out, and `#` is the region's number.
        fits: whether a row can have it.
    """

    rule: str
    table: str
    column: str
    cells: Row
    fits: Callable[[Row], bool] = lambda row: True


def _filled(*columns: str) -> Callable[[Row], bool]:
    return lambda row: all(row.get(column) for column in columns)


def _in_force(row: Row) -> bool:
    return row.get("active", "Y") == "Y" and row.get("status", "active") == "active"


NETWORK_FAULTS: Final = (
    NetworkFault("directory-organization-type", "organization", "type", {"type": "zoo"}),
    NetworkFault("directory-network-as-type", "organization", "type", {"type": "fac;ntwk"}),
    NetworkFault(
        "directory-organization-without-address",
        "organization",
        "",
        {"address_line": "", "city": "", "postal_code": ""},
    ),
    NetworkFault("directory-npi", "practitioner", "npi", {"npi": "2500000010"}),
    NetworkFault("directory-practitioner-without-npi", "practitioner", "", {"npi": ""}),
    NetworkFault("directory-phone-shape", "practitioner", "phone", {"phone": "extension 12"}),
    NetworkFault(
        "directory-zip-shape", "location", "postal_code", {"postal_code": "2138"}, _filled("city")
    ),
    NetworkFault(
        "directory-state-of-zip",
        "location",
        "postal_code",
        {"postal_code": "99501"},
        _filled("city"),
    ),
    NetworkFault(
        "directory-state-of-position",
        "location",
        "latitude",
        {"latitude": "21.3", "longitude": "-157.8"},
        _filled("city"),
    ),
    NetworkFault("directory-latitude", "location", "latitude", {"latitude": "131.5"}),
    NetworkFault(
        "directory-organization-unknown",
        "location",
        "organization_id",
        {"organization_id": "ORG9#"},
    ),
    NetworkFault(
        "directory-role-practitioner-unknown",
        "provider_role",
        "practitioner_id",
        {"practitioner_id": "PRC9#"},
    ),
    NetworkFault("directory-role-without-place", "provider_role", "", {"location_ids": ""}),
    NetworkFault("directory-role-without-specialty", "provider_role", "", {"specialties": ""}),
    NetworkFault(
        "directory-specialty-shape", "provider_role", "specialties", {"specialties": "heart doctor"}
    ),
    NetworkFault(
        "directory-network-unknown", "provider_role", "network_ids", {"network_ids": "NW-NOWHERE"}
    ),
    NetworkFault(
        "directory-accepting-patients-missing", "provider_role", "", {"accepts_new_patients": ""}
    ),
    NetworkFault(
        "directory-dates-order",
        "provider_role",
        "end_date",
        {"start_date": "2090-01-01", "end_date": "2089-01-01"},
    ),
    NetworkFault(
        "directory-service-category", "healthcare_service", "category", {"category": "spa"}
    ),
    NetworkFault(
        "directory-participant-unknown",
        "affiliation",
        "participating_organization_id",
        {"participating_organization_id": "ORG9#"},
    ),
    NetworkFault(
        "directory-owner-practitioner-unknown",
        "qualification",
        "owner_id",
        {"owner_id": "PRC9#"},
        lambda row: row["owner"] == "practitioner",
    ),
    NetworkFault(
        "directory-time-shape", "availability", "opens", {"opens": "8 o'clock"}, _filled("opens")
    ),
    NetworkFault("directory-telecom-without-system", "telecom", "", {"system": ""}),
    NetworkFault(
        "directory-connection-type",
        "endpoint",
        "connection_type",
        {"connection_type": "carrier-pigeon"},
    ),
    NetworkFault("required", "practitioner", "family_name", {"family_name": ""}),
)
"""All kinds; every region that is chosen gets one of each, as far as it has rows for them."""


def plant_network(spec: Spec, number: int, tables: NetworkTables) -> list[Planted]:
    """Plant faults in the rows of a region; the payers' part stays whole.

    Args:
        spec: states the seed, and the share of regions that get faults.
        number: the region; -1 is the payers' part.
        tables: its rows; spoiled ones are replaced.
    """
    dice = Dice(spec.seed, Purpose.NETWORK_FAULT, number)
    if number < 0 or dice.random() >= spec.fault_rate:
        return []
    planted: list[Planted] = []
    taken: set[tuple[str, int]] = set()
    for fault in NETWORK_FAULTS:
        rows = tables.get(fault.table, [])
        free = [
            place
            for place, row in enumerate(rows)
            if (fault.table, place) not in taken and _in_force(row) and fault.fits(row)
        ]
        if not free:
            continue
        place = dice.pick(free)
        taken.add((fault.table, place))
        cells = {name: cell.replace("#", f"{number:06d}") for name, cell in fault.cells.items()}
        rows[place] = {name: cell for name, cell in (rows[place] | cells).items() if cell}
        planted.append(Planted(fault.table, place, fault.column, fault.rule))
    return planted
