"""Practitioners of a region as a directory lists them: roles, networks of roles, qualifications."""

from __future__ import annotations

from typing import Final

from etl.synth.directory import TRADES, PractitionerName, Region, Row, Trade, practitioners_on
from etl.synth.identifiers import phone
from etl.synth.network_payers import (
    DENTAL,
    MEDICAL_NETWORKS,
    VISION,
    NetworkTables,
    board_of,
    ended,
    fresh,
    position,
)
from etl.synth.network_places import group_of, location_of, service_of, telehealth_of
from etl.synth.seeded_random import Dice, Purpose, Weighted, iso, stamp
from etl.synth.spec import Spec

_ROLE_CODES: Final = {
    "nurse": "apn",
    "therapist": "pt",
    "counselor": "co",
    "dentist": "de",
    "orthodontist": "de",
    "optometrist": "oo",
}
"""Trade -> its role (ProviderRoleCS); all others are physicians."""
_PHYSICIAN: Final = "ph"
_DENTAL: Final = frozenset({"dentist", "orthodontist"})
_ACCEPTING: Final = Weighted(newpt=62, nopt=18, existptonly=10, existptfam=6, unsaid=4)
_LANGUAGES: Final = ("en", "en;es", "en;zh", "es;en", "en;el")
_LEVELS: Final = {
    "en": "50",
    "en;es": "50;30",
    "en;zh": "40;50",
    "es;en": "50;40",
    "en;el": "50;20",
}
_HOURS: Final = {"days": "mon;wed;fri", "all_day": "N", "opens": "09:00", "closes": "16:30"}
_WELL_KNOWN: Final = 7
"""Of so many practitioners one has every kind of telecom."""
_RETIRING: Final = 19
"""Of so many practitioners one has retired."""
_DERMATOLOGY: Final = "207N00000X"
"""Second specialty of every other family doctor; a role may have several."""
_NOT_PUBLISHED: Final = (
    "taxonomy_code",
    "specialty",
    "organization_id",
    "full_name",
    "family_name",
)


def role_tables(spec: Spec, region: Region, count: int) -> NetworkTables:
    """Return the practitioners of a region with all that belongs to them.

    Args:
        spec: which world, and its day.
        region: the region.
        count: the first so many practitioners of it.
    """
    made = _Roles(spec, region)
    trades = [trade for trade in TRADES for _ in range(trade.count)]
    today = list(practitioners_on(spec, region.number, spec.day))[:count]
    for place, (row, day) in enumerate(today):
        made.practitioner(row, day, region.people[place], trades[place])
        made.roles(region.practitioners[place], trades[place])
    made.let_days_pass()
    return made.tables


class _Roles:
    """The practitioners of one region while their rows are made."""

    def __init__(self, spec: Spec, region: Region) -> None:
        self._spec, self._region = spec, region
        names = ("practitioner", "location", "provider_role", "provider_role_network")
        self.tables: NetworkTables = {
            name: [] for name in (*names, "telecom", "availability", "qualification")
        }
        self._dice = Dice(spec.seed, Purpose.NETWORK, region.number, 1)

    def _add(self, table: str, **cells: str) -> Row:
        row = {"record_action": "A"} | {name: cell for name, cell in cells.items() if cell}
        row.setdefault("last_updated", fresh(self._dice, self._spec))
        self.tables[table].append(row)
        return row

    def practitioner(self, claimed: Row, day: int, person: PractitionerName, trade: Trade) -> None:
        """Add a practitioner and the licence.

        Args:
            claimed: the practitioner's row in an extract of claims.
            day: day on which the telephone number last changed; 0: never.
            person: name and languages.
            trade: the field of work.
        """
        key = claimed["practitioner_id"]
        serial = int(key.removeprefix("PRC"))
        dice = self._dice = Dice(self._spec.seed, Purpose.NETWORK, self._region.number, 2, serial)
        spoken = dice.pick(_LANGUAGES)
        cells = {name: cell for name, cell in claimed.items() if name not in _NOT_PUBLISHED}
        cells |= {"name_prefix": "Dr.", "family_name": person.family, "given_name": person.given}
        cells |= {"gender": person.gender, "languages": spoken, "start_date": "2012-09-01"}
        cells |= {"language_proficiency": _LEVELS[spoken], "last_updated": fresh(dice, self._spec)}
        cells["birth_date"] = f"{1950 + dice.below(45)}-{dice.between(1, 12):02d}-01"
        if day:
            cells["last_updated"] = claimed["last_updated"]
        cells |= position(dice, self._region.state)
        if serial % _RETIRING == 0:
            cells["end_date"] = ended(self._spec)
        if serial % _WELL_KNOWN == 2:
            cells |= {"email": f"{key.lower()}@care.example", "url": "https://care.example"}
            cells["fax"] = phone(self._region.state.area, dice.below(100))
        if dice.chance(100):
            cells["photo_url"] = f"https://photos.example/{key.lower()}.jpg"
        self._add("practitioner", **cells)
        self._licence(key, serial, trade)

    def _licence(self, key: str, serial: int, trade: Trade) -> None:
        dice, year = self._dice, self._spec.as_of.year
        physician = trade.role not in _ROLE_CODES
        state = self._region.state
        self._add(
            "qualification",
            owner="practitioner",
            owner_id=key,
            sequence="1",
            code="MD" if physician else trade.taxonomy,
            code_system="v2-0360" if physician else "",
            text="Doctor of Medicine" if physician else "Licence to practise",
            identifier=f"L{serial:07d}",
            issuer_id=board_of(state),
            issuer_name=f"Board of Health Professions, {state.code}",
            status="revoked" if dice.chance(15) else "active",
            start_date=f"{year - dice.between(2, 30)}-07-01",
            end_date=f"{year + dice.between(1, 4)}-06-30",
            valid_in=state.code,
        )

    def _networks(self, trade: Trade) -> list[str]:
        if trade.role in _DENTAL:
            return [DENTAL]
        if trade.role == "optometrist":
            return [VISION]
        dice = self._dice
        return [name for name in MEDICAL_NETWORKS if dice.chance(420)]

    def roles(self, claimed: Row, trade: Trade) -> None:
        """Add the roles of the practitioner that was added last.

        Args:
            claimed: the practitioner's row in an extract of claims on day 0.
            trade: the field of work.
        """
        dice, region = self._dice, self._region
        key = claimed["practitioner_id"]
        serial = int(key.removeprefix("PRC"))
        organization = claimed.get("organization_id", "")
        location = location_of(organization) if organization else self._office(claimed)
        networks = self._networks(trade)
        role = self._role(
            f"ROL{serial:07d}-1",
            key,
            trade,
            networks,
            organization_id=organization,
            location_ids=location,
            service_ids=service_of(organization) if organization else "",
            phone=claimed["phone"] if dice.chance(700) else "",
            active="N" if dice.chance(20) else "Y",
            end_date=ended(self._spec) if serial % _RETIRING == 7 else "",
        )
        if serial % _WELL_KNOWN == 2:
            role |= {"email": f"visits.{serial}@care.example", "url": "https://care.example/visits"}
            role["fax"] = phone(region.state.area, dice.below(100))
        if trade.role == "primary" and serial % 2:
            role["specialties"] = f"{trade.taxonomy};{_DERMATOLOGY}"
        if serial % _RETIRING == 5 and networks:
            role["accepts_from_network_id"] = networks[0]
        self._differing(role, networks)
        if serial % 5 == 1:
            self._reached(role, trade)
        if dice.chance(350) and trade.role not in _DENTAL:
            hospital = dice.pick(region.places["hospital"])
            places = f"{location_of(hospital)};{location_of(hospital)}-PAV"
            second = self._role(
                f"ROL{serial:07d}-2",
                key,
                trade,
                networks[:2],
                organization_id=hospital,
                location_ids=places,
                phone=phone(region.state.area, dice.below(100)),
            )
            second["codes"] = f"{second['codes']};ap"
        if trade.role == "counselor" or dice.chance(60):
            # The first names no organization, so that nothing says how to reach it.
            known = trade.role != "counselor"
            self._role(
                f"ROL{serial:07d}-3",
                key,
                trade,
                networks[-1:],
                organization_id=group_of(region.number) if known else "",
                service_ids=telehealth_of(region.number),
            )

    def _office(self, claimed: Row) -> str:
        """Add the office of a practitioner who works on his own; return its id."""
        key = f"LOC-{claimed['practitioner_id']}"
        names = ("address_line", "address_line_2", "city", "state", "postal_code", "country")
        self._add(
            "location",
            location_id=key,
            name=f"Office at {claimed['address_line']}",
            status="inactive" if self._dice.chance(40) else "active",
            types="OF",
            phone=claimed["phone"],
            accepts_new_patients="newpt",
            accessibility="pubtrans",
            **{name: claimed.get(name, "") for name in names},
            **position(self._dice, self._region.state),
        )
        return key

    def _role(
        self, role: str, practitioner: str, trade: Trade, networks: list[str], **cells: str
    ) -> Row:
        accepting = self._dice.weighted(_ACCEPTING)
        return self._add(
            "provider_role",
            role_id=role,
            practitioner_id=practitioner,
            network_ids=";".join(networks),
            codes=_ROLE_CODES.get(trade.role, _PHYSICIAN),
            specialties=trade.taxonomy,
            start_date=f"{self._spec.as_of.year - self._dice.between(1, 9)}-01-01",
            accepts_new_patients="" if accepting == "unsaid" else accepting,
            accepts_characteristics="children" if trade.role == "pediatrician" else "",
            endpoint_ids=f"EP-DIRECT{self._region.number:06d}" if self._dice.chance(80) else "",
            **cells,
        )

    def _differing(self, role: Row, networks: list[str]) -> None:
        """Add what differs of a role in one of its networks, or that it left it."""
        dice = self._dice
        if len(networks) < 2 or not dice.chance(400):
            return
        left = dice.chance(250)
        self._add(
            "provider_role_network",
            role_id=role["role_id"],
            network_id=networks[-1],
            accepts_new_patients="" if left else dice.pick(("newpt", "nopt", "existptonly")),
            accepts_characteristics="" if left else "adults",
            start_date=f"{self._spec.as_of.year - 1}-01-01",
            end_date=ended(self._spec) if left else "",
        )

    def _reached(self, role: Row, trade: Trade) -> None:
        """Add telephone, hours, an absence and a certificate of a role."""
        key, dice, year = role["role_id"], self._dice, self._spec.as_of.year
        owned = {"owner": "provider_role", "owner_id": key}
        value = phone(self._region.state.area, dice.below(100))
        cells = {"system": "phone", "value": value, "use": "work", "rank": "1"}
        via = {"via_owner": "provider_role", "via_id": key} if dice.chance(500) else {}
        self._add("telecom", **owned, sequence="1", **cells, **via)
        self._add("availability", **owned, sequence="1", **_HOURS)
        self._add("availability", **owned, sequence="2", telecom_sequence="1", **_HOURS)
        self._add(
            "availability",
            **owned,
            sequence="3",
            not_available_text="Parental leave",
            not_available_from=f"{year + 1}-02-01",
            not_available_to=f"{year + 1}-05-31",
        )
        self._add(
            "qualification",
            **owned,
            sequence="1",
            code=trade.taxonomy,
            text="Board certified",
            identifier=f"C{key[3:]}",
            issuer_id=board_of(self._region.state),
            status="active",
            start_date=f"{year - 4}-03-01",
            end_date=f"{year + 5}-02-28",
            valid_in=self._region.state.code,
        )

    def let_days_pass(self) -> None:
        """Change whether new patients are accepted of one role on each day after day 0."""
        roles = self.tables["provider_role"]
        for today in range(1, self._spec.day + 1):
            dice = Dice(self._spec.seed, Purpose.NETWORK_DAY, self._region.number, today)
            row = dice.pick(roles)
            other = "nopt" if row.get("accepts_new_patients") == "newpt" else "newpt"
            row["accepts_new_patients"] = other
            row["last_updated"] = stamp(dice, self._spec.as_of.toordinal() + today)


def changed_on(row: Row, spec: Spec) -> bool:
    """Return whether a row changed on the day of its world, day 0 not counted."""
    return spec.day > 0 and row.get("last_updated", "").startswith(iso(spec.date.toordinal()))
