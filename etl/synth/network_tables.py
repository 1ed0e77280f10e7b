"""Rows of a provider directory, made from the templates of `directory.toml`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from etl.synth import directory
from etl.synth.codes import WEIGHTS
from etl.synth.directory import DIRECTORY_DATA, Place, Region, Row
from etl.synth.names import STATES, State, npi, phone
from etl.synth.seeded_random import Dice, Purpose, iso, stamp
from etl.synth.spec import Spec
from etl.synth.templates import Facts, fill

NetworkTables = dict[str, list[Row]]
"""Name of a file without its ending -> its rows."""
Group = Mapping[str, str] | Callable[[], Mapping[str, str]]

_TEMPLATES: Final = DIRECTORY_DATA["rows"]
_MEDICAL_NETWORKS: Final[tuple[str, ...]] = DIRECTORY_DATA["medical_networks"]
_DENTAL: Final = "NW-DENTAL"
_CLOSED: Final = "NW-OLD"
_PAYER_OF: Final = {network: payer for network, payer, _ in DIRECTORY_DATA["networks"]}
_MIDDLES: Final[dict[str, tuple[float, float]]] = DIRECTORY_DATA["middles"]
_SUBSIDIARIES: Final = ("PAY0002", "PAY0004")
"""Payers that are part of Larkspur: one with plans and an endpoint, one with affiliations."""
_ROLE_CODES: Final[dict[str, str]] = DIRECTORY_DATA["role_codes"]
"""Trade -> its role (ProviderRoleCS); all others are physicians."""
_WELL_KNOWN: Final = 7
"""One practitioner in so many has every kind of telecom."""
_RETIRING: Final = 19
"""One practitioner in so many has retired."""
_DERMATOLOGY: Final = "207N00000X"
"""Second specialty of every other family doctor; a role may have several."""
_NOT_PUBLISHED: Final = ("taxonomy_code", "specialty", "organization_id", "full_name")
_ADDRESS: Final = ("address_line", "address_line_2", "city", "state", "postal_code", "country")


class _Maker:
    """Makes rows of one part of a directory; every row draws when it was last updated."""

    def __init__(
        self, spec: Spec, dice: Dice, state: State | None = None, /, **facts: object
    ) -> None:
        self.spec, self.dice, self.state = spec, dice, state
        self.ended = iso(spec.as_of.toordinal() - 400)
        self.tables: NetworkTables = {}
        self.facts = {"year": spec.as_of.year, "fresh": self._fresh, "phone": self.phone, **facts}

    def phone(self) -> str:
        assert self.state  # noqa: S101 - the payers' rows have fixed numbers
        return phone(self.state.area, self.dice.below(100))

    def position(self) -> Row:
        """Return a position in the state, to about ten meters."""
        assert self.state  # noqa: S101 - see above
        latitude, longitude = _MIDDLES[self.state.code]
        north, east = self.dice.between(-2500, 2500), self.dice.between(-2500, 2500)
        return {
            "latitude": f"{latitude + north / 10_000:.4f}",
            "longitude": f"{longitude + east / 10_000:.4f}",
        }

    def _fresh(self) -> str:
        """Return a day within the last 80, of one row in forty long ago."""
        age = self.dice.between(120, 900) if self.dice.chance(25) else self.dice.below(80)
        return iso(self.spec.as_of.toordinal() - age)

    def add(self, name: str, groups: Mapping[str, Group] | None = None, /, **facts: object) -> Row:
        """Add the rows of a list of templates; return the last one."""
        row: Row = {}
        all_facts = self.facts | facts
        for template in _TEMPLATES[name]:
            if facts.get("role") in template.get("roles", (facts.get("role"),)):
                row = {"record_action": "A"} | self._cells(template, groups or {}, all_facts)
                row.setdefault("last_updated", self._fresh())
                self.tables.setdefault(template["table"], []).append(row)
        return row

    def fill(self, texts: Mapping[str, str], facts: Facts) -> Row:
        """Return a group of cells."""
        return {name: fill(text, facts, self.dice) for name, text in texts.items()}

    def _cells(self, template: Mapping[str, Any], groups: Mapping[str, Group], facts: Facts) -> Row:
        row: Row = {}
        for column, text in template.items():
            if column == "copy":
                for name in text:
                    group = groups.get(name, {})
                    row |= self.fill(group() if callable(group) else group, facts)
            elif column not in ("table", "roles"):
                row[column] = fill(text, facts, self.dice)
        return {column: cell for column, cell in row.items() if cell}


def payer_tables(spec: Spec) -> NetworkTables:
    """Return payers, networks, plans, areas, boards and the payers' endpoints."""
    maker = _Maker(spec, Dice(spec.seed, Purpose.NETWORK, -1))
    facts = {payer: _payer_facts(payer) for payer in directory.PAYER_NAMES}
    areas = [f"AREA-{state.code}" for state in STATES]
    for row in directory.payer_rows(spec):
        payer = row["organization_id"]
        hidden = ("kind", "payer_code", "last_updated")
        published = {name: cell for name, cell in row.items() if name not in hidden}
        if payer in _SUBSIDIARIES:
            published["part_of_id"] = directory.MEDICAL_PAYERS[0]
        details = DIRECTORY_DATA["payer_details"] if payer in directory.MEDICAL_PAYERS else {}
        groups = {"published": published, "details": details}
        maker.add("payer", groups, **facts[payer] | {"phone": row["phone"]})
    for network, payer, name in DIRECTORY_DATA["networks"]:
        active = "N" if network == _CLOSED else "Y"
        own = {"network": network, "name": name, "active": active, "areas": ";".join(areas)}
        maker.add("network", **facts[payer], **own)
    for place, plan in enumerate(DIRECTORY_DATA["plans"]):
        senior = DIRECTORY_DATA["senior_plan"] if plan["product"] == "mediadvhmo" else {}
        own = {"place": place, "areas": ";".join(areas)}
        own["some_areas"] = ";".join(areas[:2]) if plan["kinds"] else ""
        payer = _PAYER_OF[plan["networks"].partition(";")[0]]
        maker.add("plan", {"senior": senior}, **own, **plan, **facts[payer])
    for state in STATES:
        maker.add("area", state=state.code, polygon=_polygon(state))
    for payer in directory.MEDICAL_PAYERS:
        maker.add("endpoint", **facts[payer])
    for state in STATES:
        maker.add("board", state=state.code, town=state.towns[0][0], zip=state.zips[0])
    old = {"endpoint_id": "EP-PAY0001-OLD", "status": "off"}
    old["name"] = "Larkspur directory, before the move"
    maker.tables["endpoint"].append(maker.tables["endpoint"][0] | old)
    work = {"record_action": "A", "sequence": "1", "system": "phone", "use": "work", "rank": "1"}
    maker.tables["telecom"] = [
        work | {"owner": owner, "owner_id": key, "value": number}
        for owner, key, number in DIRECTORY_DATA["contacts"]
    ]
    return maker.tables


def _payer_facts(payer: str) -> dict[str, object]:
    endpoint = f"EP-{payer}" if payer in directory.MEDICAL_PAYERS else ""
    return {"payer": payer, "host": f"{payer.lower()}.example", "endpoint": endpoint}


def _polygon(state: State) -> str:
    latitude, longitude = _MIDDLES[state.code]
    west, east, south, north = longitude - 1, longitude + 1, latitude - 1, latitude + 1
    corners = ((west, south), (east, south), (east, north), (west, north), (west, south))
    ring = ", ".join(f"[{x:.1f}, {y:.1f}]" for x, y in corners)
    return f'{{"type": "Polygon", "coordinates": [[{ring}]]}}'


def region_tables(spec: Spec, region: Region, count: int) -> NetworkTables:
    """Return the organizations and the first `count` practitioners of a region."""
    dice = Dice(spec.seed, Purpose.NETWORK, region.number, 0)
    number, state = region.number, region.state
    maker = _Maker(spec, dice, state, number=number, region=f"{number:06d}", state=state.code)
    organizations = {row["organization_id"]: row for row in region.organizations}
    clinic = region.places["clinic"][0]
    where = _address(organizations[clinic]) | maker.position()
    maker.add("group", {"where": where}, npi=npi(80_000_000 + number))
    for kind in directory.PLACES:
        for place, key in enumerate(region.places[kind.role]):
            _add_organization(maker, number, kind, place, organizations[key])
    open_hours = {"open": DIRECTORY_DATA["hours"]}
    maker.add("telehealth", open_hours, clinic=clinic)
    trades = [trade for trade in directory.TRADES for _ in range(trade.count)]
    people = list(directory.practitioners_on(spec, number, spec.day))[:count]
    for place, (row, day) in enumerate(people):
        serial = int(row["practitioner_id"].removeprefix("PRC"))
        maker.dice = Dice(spec.seed, Purpose.NETWORK, number, 2, serial)
        _Practitioner(maker, region, trades[place], serial).add(
            row, day, region.people[place], region.practitioners[place]
        )
    _change_roles(spec, number, maker.tables["provider_role"])
    return maker.tables


def _address(row: Row) -> Row:
    return {name: row.get(name, "") for name in _ADDRESS}


def _add_organization(maker: _Maker, number: int, kind: Place, place: int, claimed: Row) -> None:
    """Add an organization with its location, hours, service and affiliation."""
    dice, role, key, name = maker.dice, kind.role, claimed["organization_id"], claimed["name"]
    columns = ("npi", "tax_id", "clia", "name", "phone", "active")
    groups: dict[str, Group] = {
        "published": {column: claimed.get(column, "") for column in columns},
        "where": _address(claimed) | maker.position(),
        "organization": kind.organization,
        "location": kind.location,
        "service": kind.service,
        "hours": kind.hours or DIRECTORY_DATA["hours"],
        "open": DIRECTORY_DATA["hours"],
    }
    facts: dict[str, object] = {"role": role, "key": key, "place": place, "name": name}
    facts |= {**kind.codes, "small_key": key.lower(), "listed_phone": claimed["phone"]}
    maker.add("organization", groups, **facts)
    if role == "hospital":
        departments = DIRECTORY_DATA["departments"]
        serial = (number * 2 + place) * len(departments) + 85_000_000
        for index, department in enumerate(departments):
            closing = {"closing": {"end_date": department["end_date"]}}
            own = {"key": key, "hospital": name, "npi": npi(serial + index), **department}
            maker.add("department", groups | closing, **own)
    is_closed = role == "clinic" and key.endswith("5")

    def status() -> str:
        return "suspended" if dice.chance(30) or is_closed else "active"

    maker.add("place", groups, status=status, **facts)
    possible = kind.networks or _MEDICAL_NETWORKS
    networks = [network for network in possible if dice.chance(550)] or [possible[0]]
    is_over = role == "supplier" and dice.chance(500)
    payer = _PAYER_OF[networks[0]]
    maker.add(
        "affiliation",
        payer=payer,
        networks=";".join([*networks, *([_CLOSED] if role == "nursing" else [])]),
        end=maker.ended if is_over else f"{maker.spec.as_of.year + 2}-12-31",
        endpoint=f"EP-{payer}" if networks[0] in _MEDICAL_NETWORKS else "",
        digits=key[-6:],
        **facts,
    )
    if role == "hospital" and place == 0:
        maker.add("main_hospital", **facts)


class _Practitioner:
    """Adds the rows of one practitioner."""

    def __init__(self, maker: _Maker, region: Region, trade: directory.Trade, serial: int) -> None:
        self._maker, self._dice, self._region = maker, maker.dice, region
        self._trade, self._serial = trade, serial
        key = f"PRC{serial:07d}"
        self._is_known = serial % _WELL_KNOWN == 2
        self._facts: dict[str, object] = {"key": key, "small_key": key.lower()}
        self._facts |= {"serial": serial, "serial7": f"{serial:07d}", "taxonomy": trade.taxonomy}

    def add(self, row: Row, day: int, person: Row, claimed: Row) -> None:
        """Add the practitioner, the license, and the roles.

        Args:
            row: the practitioner's row in an extract of claims.
            day: day on which the telephone number last changed; 0: never.
            person: name and gender.
            claimed: the row as it was on day 0.
        """
        maker, dice = self._maker, self._dice
        spoken = dice.pick(tuple(DIRECTORY_DATA["languages"]))
        hidden = _NOT_PUBLISHED if day else (*_NOT_PUBLISHED, "last_updated")

        def photo() -> str:
            address = f"https://photos.example/{self._facts['small_key']}.jpg"
            return address if dice.chance(100) else ""

        groups: dict[str, Group] = {
            "claimed": {column: cell for column, cell in row.items() if column not in hidden},
            "name": person,
            "position": maker.position,
            "telecoms": DIRECTORY_DATA["practitioner_telecoms"] if self._is_known else {},
        }
        maker.add(
            "practitioner",
            groups,
            spoken=spoken,
            levels=DIRECTORY_DATA["languages"][spoken],
            end=maker.ended if self._serial % _RETIRING == 0 else "",
            photo=photo,
            **self._facts,
        )
        doctor = {"code": "MD", "code_system": "v2-0360", "text": "Doctor of Medicine"}
        other = {"code": self._trade.taxonomy, "text": "Licence to practise"}
        licence = other if self._trade.role in _ROLE_CODES else doctor
        maker.add("licence", {"licence": licence}, **self._facts)
        self._add_roles(claimed)

    def _networks(self) -> list[str]:
        if self._trade.place == "dental":
            return [_DENTAL]
        if self._trade.role == "optometrist":
            return ["NW-VISION"]
        return [network for network in _MEDICAL_NETWORKS if self._dice.chance(420)]

    def _add_roles(self, claimed: Row) -> None:
        maker, dice, region = self._maker, self._dice, self._region
        trade, serial = self._trade, self._serial
        organization = claimed.get("organization_id", "")
        office = f"LOC-{organization or claimed['practitioner_id']}"
        if not organization:
            groups: dict[str, Group] = {"where": _address(claimed), "position": maker.position}
            own = {"street": claimed["address_line"], "listed_phone": claimed["phone"]}
            maker.add("office", groups, **own, **self._facts)
        networks = self._networks()
        place = {"organization_id": organization, "location_ids": office}
        place["service_ids"] = f"SVC-{organization}" if organization else ""
        place["phone"] = claimed["phone"] if dice.chance(700) else ""
        place["active"] = "N" if dice.chance(20) else "Y"
        place["end_date"] = maker.ended if serial % _RETIRING == 7 else ""
        role = self._add_role(1, networks, place)
        if self._is_known:
            role |= maker.fill(DIRECTORY_DATA["role_telecoms"], maker.facts | self._facts)
        if trade.role == "primary" and serial % 2:
            role["specialties"] = f"{trade.taxonomy};{_DERMATOLOGY}"
        if serial % _RETIRING == 5 and networks:
            role["accepts_from_network_id"] = networks[0]
        if len(networks) > 1 and dice.chance(400):
            differing = {"accepts_new_patients": "{newpt|nopt|existptonly}"}
            differing["accepts_characteristics"] = "adults"
            difference = {"end_date": maker.ended} if dice.chance(250) else differing
            own = {"role_id": role["role_id"], "network": networks[-1]}
            maker.add("role_network", {"difference": difference}, **own)
        if serial % 5 == 1:
            key, number = role["role_id"], maker.phone()
            via = {"via_owner": "provider_role", "via_id": key} if dice.chance(500) else {}
            own = {"role_id": key, "role_phone": number, "certificate": f"C{key[3:]}"}
            maker.add("reached", {"via": via}, **own, **self._facts)
        if dice.chance(350) and trade.place != "dental":
            hospital = dice.pick(region.places["hospital"])
            place = {"organization_id": hospital, "phone": maker.phone()}
            place["location_ids"] = f"LOC-{hospital};LOC-{hospital}-PAV"
            second = self._add_role(2, networks[:2], place)
            second["codes"] += ";ap"
        if trade.role == "counselor" or dice.chance(60):
            # The first names no organization, so that nothing says how to reach it.
            own_group = "" if trade.role == "counselor" else f"GRP{region.number:06d}"
            tele = f"SVC-TELE{region.number:06d}"
            place = {"organization_id": own_group, "service_ids": tele}
            self._add_role(3, networks[-1:], place)

    def _add_role(self, ordinal: int, networks: list[str], place: Row) -> Row:
        dice, trade = self._dice, self._trade
        accepting = dice.pick(WEIGHTS["accepting"])

        def direct() -> str:
            return f"EP-DIRECT{self._region.number:06d}" if dice.chance(80) else ""

        return self._maker.add(
            "role",
            {"place": place},
            ordinal=ordinal,
            networks=";".join(networks),
            code=_ROLE_CODES.get(trade.role, "ph"),
            accepting=accepting,
            accepted="children" if trade.role == "pediatrician" else "",
            direct=direct,
            **self._facts,
        )


def _change_roles(spec: Spec, number: int, roles: list[Row]) -> None:
    """Change whether new patients are accepted of one role on each day after day 0."""
    for today in range(1, spec.day + 1):
        dice = Dice(spec.seed, Purpose.NETWORK_DAY, number, today)
        row = dice.pick(roles)
        is_open = row.get("accepts_new_patients") == "newpt"
        row["accepts_new_patients"] = "nopt" if is_open else "newpt"
        row["last_updated"] = stamp(dice, spec.as_of.toordinal() + today)


def changed_on(row: Row, spec: Spec) -> bool:
    """Return whether a row changed on the day of its world, day 0 not counted."""
    return spec.day > 0 and row.get("last_updated", "").startswith(iso(spec.date.toordinal()))
