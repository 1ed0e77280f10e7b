"""Organizations of a region in a directory: departments, places, services, affiliations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from etl.synth.directory import PLACES, Region, Row
from etl.synth.identifiers import npi, phone
from etl.synth.names import State
from etl.synth.network_payers import (
    CLOSED_NETWORK,
    DENTAL,
    MEDICAL_NETWORKS,
    PAYER_OF,
    PREFERRED,
    VISION,
    NetworkTables,
    area_of,
    board_of,
    ended,
    fresh,
    position,
)
from etl.synth.seeded_random import Dice, Purpose
from etl.synth.spec import Spec


@dataclass(frozen=True, slots=True)
class PlaceCodes:
    """Codes of one kind of organization.

    Attributes:
        type: of the organization (OrgTypeCS).
        category: of its service (HealthcareServiceCategoryCS).
        affiliation: its part in a network (OrganizationAffiliationRoleCS).
        specialty: NUCC code.
        networks: those that it may be in.
    """

    type: str
    category: str
    affiliation: str
    specialty: str
    networks: tuple[str, ...] = MEDICAL_NETWORKS


_CODES: Final = {
    "hospital": PlaceCodes("fac", "hosp", "hospital", "282N00000X"),
    "clinic": PlaceCodes("prvgrp", "outpat", "outpatient", "261Q00000X"),
    "laboratory": PlaceCodes("fac", "lab", "laboratory", "291U00000X"),
    "pharmacy": PlaceCodes("fac", "pharm", "pharmacy", "333600000X"),
    "dental": PlaceCodes("prvgrp", "dent", "group", "261QD0000X", (DENTAL,)),
    "optical": PlaceCodes("prvgrp", "vis", "retail", "332H00000X", (VISION,)),
    "ambulance": PlaceCodes("atyprv", "trans", "transport", "341600000X"),
    "nursing": PlaceCodes("fac", "home", "nurseCustodial", "314000000X"),
    "dialysis": PlaceCodes("fac", "outpat", "outpatient", "261QE0700X"),
    "homecare": PlaceCodes("atyprv", "home", "home", "251E00000X"),
    "supplier": PlaceCodes("bus", "dme", "dme", "332B00000X"),
}
_DEPARTMENTS: Final = (
    ("ED", "Emergency Department", "emerg"),
    ("SURG", "Department of Surgery", "hosp"),
    ("BIRTH", "Maternity Center", "hosp"),
)
_LOCATION_TYPES: Final = {"hospital": "HOSP", "pharmacy": "OUTPHARM"}
_ACCESS: Final = ("adacomp", "handiaccess;pubtrans", "adacomp;mobility;anssrvc")
_GROUP_NPI: Final = 80_000_000
_DEPARTMENT_NPI: Final = 85_000_000
_ADDRESS: Final = ("address_line", "address_line_2", "city", "state", "postal_code", "country")
_OPEN: Final = {"days": "mon;tue;wed;thu;fri", "all_day": "N", "opens": "08:00", "closes": "17:00"}


def group_of(number: int) -> str:
    """Return the id of the group that the clinics of a region belong to."""
    return f"GRP{number:06d}"


def telehealth_of(number: int) -> str:
    """Return the id of a region's telehealth service."""
    return f"SVC-TELE{number:06d}"


def location_of(organization: str) -> str:
    """Return the id of an organization's place."""
    return f"LOC-{organization}"


def service_of(organization: str) -> str:
    """Return the id of an organization's service."""
    return f"SVC-{organization}"


def place_tables(spec: Spec, region: Region) -> NetworkTables:
    """Return the organizations of a region with all that belongs to them."""
    return _Places(spec, region).tables


class _Places:
    """The organizations of one region while their rows are made."""

    def __init__(self, spec: Spec, region: Region) -> None:
        self._spec, self._region = spec, region
        self._dice = Dice(spec.seed, Purpose.NETWORK, region.number, 0)
        names = ("organization", "location", "healthcare_service", "affiliation", "endpoint")
        self.tables: NetworkTables = {
            name: [] for name in (*names, "telecom", "availability", "qualification")
        }
        rows = {row["organization_id"]: row for row in region.organizations}
        self._group(rows[region.places["clinic"][0]])
        for role, *_ in PLACES:
            for place, identifier in enumerate(region.places[role]):
                self._organization(role, place, rows[identifier])
        self._telehealth()

    def _add(self, table: str, **cells: str) -> Row:
        row = {"record_action": "A"} | {name: cell for name, cell in cells.items() if cell}
        row["last_updated"] = fresh(self._dice, self._spec)
        self.tables[table].append(row)
        return row

    def _owned(self, table: str, owner: str, key: str, sequence: int, **cells: str) -> None:
        self._add(table, owner=owner, owner_id=key, sequence=str(sequence), **cells)

    @property
    def _state(self) -> State:
        return self._region.state

    def _phone(self) -> str:
        return phone(self._state.area, self._dice.below(100))

    def _group(self, clinic: Row) -> None:
        number = self._region.number
        key, endpoint = group_of(number), f"EP-DIRECT{number:06d}"
        self._add(
            "organization",
            organization_id=key,
            type="prvgrp",
            name=f"Crossroads Physicians {number + 1}",
            alias="Crossroads;CP",
            description="The group that the clinics of the region belong to",
            npi=npi(_GROUP_NPI + number),
            start_date="2001-05-01",
            email=f"office{number}@crossroads.example",
            contact_name="Practice Manager",
            contact_email=f"manager{number}@crossroads.example",
            endpoint_ids=endpoint,
            **{name: clinic.get(name, "") for name in _ADDRESS},
            **position(self._dice, self._state),
        )
        self._add(
            "endpoint",
            endpoint_id=endpoint,
            name="Referrals by Direct",
            organization_id=key,
            connection_type="direct-project",
            address=f"mailto:referrals@direct{number}.example",
            contact_phone=self._phone(),
            use_case="TREAT",
        )
        self._owned(
            "qualification",
            "organization",
            key,
            1,
            code="193200000X",
            text="Licensed group practice",
            identifier=f"G{number:06d}",
            issuer_id=board_of(self._state),
            status="active",
            start_date="2001-05-01",
            end_date=f"{self._spec.as_of.year + 3}-12-31",
            valid_in=self._state.code,
        )

    def _organization(self, role: str, place: int, claimed: Row) -> None:
        codes, key = _CODES[role], claimed["organization_id"]
        where = {name: claimed.get(name, "") for name in _ADDRESS}
        where |= position(self._dice, self._state)
        columns = ("npi", "tax_id", "clia", "name", "phone", "active")
        extra = {"part_of_id": group_of(self._region.number)} if role == "clinic" else {}
        if role == "hospital":
            extra = {"fax": self._phone(), "url": f"https://hospital{place}.example"}
        self._add(
            "organization",
            organization_id=key,
            type=codes.type,
            **{name: claimed.get(name, "") for name in columns},
            **where,
            **extra,
        )
        if role == "hospital":
            self._hospital(place, claimed, where)
        self._location(role, key, claimed, where)
        self._service(role, key)
        self._affiliation(role, place, key)

    def _hospital(self, place: int, claimed: Row, where: Row) -> None:
        key = claimed["organization_id"]
        serial = (self._region.number * 2 + place) * len(_DEPARTMENTS) + _DEPARTMENT_NPI
        for index, (suffix, name, category) in enumerate(_DEPARTMENTS):
            department = f"{key}-{suffix}"
            self._add(
                "organization",
                organization_id=department,
                type="fac",
                name=f"{name}, {claimed['name']}",
                npi=npi(serial + index),
                part_of_id=key,
                end_date=f"{self._spec.as_of.year + 4}-12-31" if suffix == "BIRTH" else "",
                **where,
            )
            self._add(
                "healthcare_service",
                service_id=service_of(department),
                category=category,
                specialties="261QE0002X" if category == "emerg" else "282N00000X",
                organization_id=department,
                location_ids=location_of(key),
                name=name,
                phone=self._phone(),
                accepts_new_patients="newpt",
            )
            if category == "emerg":
                self._owned(
                    "availability", "healthcare_service", service_of(department), 1, all_day="Y"
                )
        self._owned(
            "telecom",
            "organization",
            key,
            1,
            system="phone",
            value=self._phone(),
            use="work",
            rank="1",
        )
        self._owned(
            "telecom",
            "organization",
            key,
            2,
            system="phone",
            value=self._phone(),
            via_owner="location",
            via_id=location_of(key),
        )
        self._owned("availability", "organization", key, 1, telecom_sequence="1", **_OPEN)
        self._add(
            "location",
            location_id=f"{location_of(key)}-PAV",
            name=f"Outpatient Pavilion, {claimed['name']}",
            organization_id=key,
            part_of_id=location_of(key),
            phone=self._phone(),
            fax=self._phone(),
            url="https://pavilion.example",
            accepts_new_patients="newpt",
            accepts_from_network_id=PREFERRED,
            accepts_characteristics="adults;referred",
            **where,
        )

    def _location(self, role: str, key: str, claimed: Row, where: Row) -> None:
        dice = self._dice
        closed = dice.chance(30) or (role == "clinic" and key.endswith("5"))
        self._add(
            "location",
            location_id=location_of(key),
            name=claimed["name"],
            alias="Main site",
            description=f"Where {claimed['name']} is",
            status="suspended" if closed else "active",
            types=_LOCATION_TYPES.get(role, ""),
            organization_id=key,
            phone=claimed["phone"],
            email=f"desk.{key.lower()}@site.example",
            accepts_new_patients="nopt" if dice.chance(150) else "newpt",
            accessibility=dice.pick(_ACCESS),
            availability_exceptions="Closed on public holidays",
            endpoint_ids=f"EP-DIRECT{self._region.number:06d}" if role == "clinic" else "",
            **where,
        )
        hours = {"all_day": "Y"} if role in ("hospital", "ambulance") else _OPEN
        self._owned("availability", "location", location_of(key), 1, **hours)
        if role == "pharmacy":
            saturday = {"days": "sat", "opens": "09:00", "closes": "13:00"}
            self._owned("availability", "location", location_of(key), 2, **saturday)
        if role == "clinic":
            year = self._spec.as_of.year + 1
            self._owned(
                "availability",
                "location",
                location_of(key),
                2,
                not_available_text="Moving house",
                not_available_from=f"{year}-03-02",
                not_available_to=f"{year}-03-06",
            )
            self._owned(
                "telecom",
                "location",
                location_of(key),
                1,
                system="phone",
                value=self._phone(),
                use="work",
                rank="2",
                via_owner="organization",
                via_id=key,
            )
            self._owned(
                "availability",
                "location",
                location_of(key),
                3,
                telecom_sequence="1",
                **_OPEN,
            )

    def _service(self, role: str, key: str) -> None:
        codes, dice = _CODES[role], self._dice
        self._add(
            "healthcare_service",
            service_id=service_of(key),
            category=codes.category,
            types="8" if role == "homecare" else "",
            specialties=codes.specialty,
            organization_id=key,
            location_ids=location_of(key),
            area_location_ids=area_of(self._state) if role in ("homecare", "ambulance") else "",
            name=f"Services: {role}",
            comment="By appointment" if role != "pharmacy" else "Walk in",
            delivery_methods="physical",
            appointment_required="N" if role in ("pharmacy", "ambulance") else "Y",
            accepts_new_patients="existptonly" if dice.chance(100) else "newpt",
            accepts_from_network_id=PREFERRED if role == "dialysis" else "",
            accepts_characteristics="adults" if role == "dialysis" else "",
            phone=self._phone(),
        )
        if role == "clinic":
            year = self._spec.as_of.year
            self._owned("availability", "healthcare_service", service_of(key), 1, **_OPEN)
            self._owned(
                "availability",
                "healthcare_service",
                service_of(key),
                2,
                not_available_text="Staff training",
                not_available_from=f"{year}-12-24",
                not_available_to=f"{year}-12-26",
            )

    def _affiliation(self, role: str, place: int, key: str) -> None:
        codes, dice = _CODES[role], self._dice
        networks = [name for name in codes.networks if dice.chance(550)] or [codes.networks[0]]
        over = role == "supplier" and dice.chance(500)
        self._add(
            "affiliation",
            affiliation_id=f"AFF-{key}",
            organization_id=PAYER_OF[networks[0]],
            participating_organization_id=key,
            network_ids=";".join([*networks, *([CLOSED_NETWORK] if role == "nursing" else [])]),
            codes=codes.affiliation,
            specialties=codes.specialty,
            location_ids=location_of(key),
            service_ids=service_of(key),
            start_date="2015-01-01",
            end_date=ended(self._spec) if over else f"{self._spec.as_of.year + 2}-12-31",
            active="Y",
            phone=self._phone(),
            endpoint_ids=f"EP-{PAYER_OF[networks[0]]}" if networks[0] in MEDICAL_NETWORKS else "",
        )
        if role != "hospital":
            return
        self._owned(
            "telecom",
            "affiliation",
            f"AFF-{key}",
            1,
            system="phone",
            value=self._phone(),
            use="work",
            rank="1",
        )
        self._owned(
            "qualification",
            "affiliation",
            f"AFF-{key}",
            1,
            code=codes.specialty,
            text="Accredited hospital",
            identifier=f"ACC{key[-6:]}",
            issuer_id=board_of(self._state),
            status="active",
            valid_in=self._state.code,
            start_date="2019-01-01",
        )
        if place == 0:
            self._add(
                "affiliation",
                affiliation_id=f"AFF-{group_of(self._region.number)}-{key}",
                organization_id=key,
                participating_organization_id=group_of(self._region.number),
                codes="group",
                location_ids=f"{location_of(key)}-PAV",
                start_date="2018-07-01",
                phone=self._phone(),
            )

    def _telehealth(self) -> None:
        key = telehealth_of(self._region.number)
        self._add(
            "healthcare_service",
            service_id=key,
            category="behav",
            specialties="101YP2500X",
            organization_id=group_of(self._region.number),
            area_location_ids=area_of(self._state),
            name="Counseling by video",
            comment="From home, in the whole state",
            delivery_methods="virtual;physical",
            virtual_modalities="video;phone",
            appointment_required="Y",
            accepts_new_patients="newpt",
            availability_exceptions="Closed on public holidays",
            endpoint_ids=f"EP-DIRECT{self._region.number:06d}",
        )
        self._owned(
            "telecom",
            "healthcare_service",
            key,
            1,
            system="url",
            value=f"https://crossroads.example/video/{self._region.number}",
            use="work",
            rank="1",
            via_owner="affiliation",
            via_id=f"AFF-{self._region.places['clinic'][0]}",
        )
        self._owned("availability", "healthcare_service", key, 1, **_OPEN)
        self._owned("availability", "healthcare_service", key, 2, telecom_sequence="1", **_OPEN)
