"""Rows of a provider directory, filled from the templates of `directory.toml`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import islice
from typing import Final

from etl.synth import directory
from etl.synth.codes import WEIGHTS
from etl.synth.directory import DIRECTORY_DATA, OrganizationKind, Region, Row
from etl.synth.names import STATES, State, make_npi, make_phone
from etl.synth.seeded_random import Dice, Purpose, draw_timestamp, iso_date
from etl.synth.spec import Spec
from etl.synth.templates import Facts, fill

NetworkTables = dict[str, list[Row]]
"""Name of a file without its ending -> its rows."""
CellGroups = Mapping[str, Mapping[str, str] | Callable[[], Row]]
"""Name of a group of cells -> the cells, or a function that draws them."""

_TEMPLATES: Final = DIRECTORY_DATA["rows"]
_MEDICAL_NETWORKS: Final[tuple[str, ...]] = DIRECTORY_DATA["medical_networks"]
_DENTAL_NETWORK: Final = "NW-DENTAL"
_CLOSED_NETWORK: Final = "NW-OLD"
_NETWORK_PAYERS: Final = {network: payer for network, payer, _ in DIRECTORY_DATA["networks"]}
_STATE_CENTERS: Final[dict[str, tuple[float, float]]] = DIRECTORY_DATA["middles"]
_SUBSIDIARIES: Final = ("PAY0002", "PAY0004")
"""Payers that belong to Larkspur: one with plans and an endpoint, one with affiliations."""
_ROLE_CODES: Final[dict[str, str]] = DIRECTORY_DATA["role_codes"]
"""Role of a practitioner -> its code (ProviderRoleCS); all others are physicians."""
_FULL_TELECOM_INTERVAL: Final = 7
"""One practitioner in this many has every kind of telecom."""
_RETIRED_INTERVAL: Final = 19
"""One practitioner in this many has retired."""
_DERMATOLOGY: Final = "207N00000X"
"""Second specialty of every other family doctor."""
_UNPUBLISHED_COLUMNS: Final = ("taxonomy_code", "specialty", "organization_id", "full_name")
_ADDRESS: Final = ("address_line", "address_line_2", "city", "state", "postal_code", "country")


class _RowWriter:
    """Collects the rows of the payers or of a region; draws when each was last updated."""

    def __init__(
        self, spec: Spec, dice: Dice, state: State | None = None, /, **facts: object
    ) -> None:
        self.spec, self.dice, self.state = spec, dice, state
        self.ended = iso_date(spec.as_of.toordinal() - 400)
        self.tables: NetworkTables = {}
        drawn = {"fresh": self._draw_update_day, "phone": self.draw_phone}
        self.facts = {"year": spec.as_of.year, **drawn, **facts}

    def draw_phone(self) -> str:
        assert self.state  # noqa: S101 - the payers' rows have fixed numbers
        return make_phone(self.state.area, self.dice.below(100))

    def draw_position(self) -> Row:
        """Return a position in the state, to about ten meters."""
        assert self.state  # noqa: S101 - see above
        latitude, longitude = _STATE_CENTERS[self.state.code]
        north, east = self.dice.between(-2500, 2500), self.dice.between(-2500, 2500)
        return {
            "latitude": f"{latitude + north / 10_000:.4f}",
            "longitude": f"{longitude + east / 10_000:.4f}",
        }

    def _draw_update_day(self) -> str:
        """Return one of the last 80 days; for one row in 40, a much earlier day."""
        age = self.dice.between(120, 900) if self.dice.chance(25) else self.dice.below(80)
        return iso_date(self.spec.as_of.toordinal() - age)

    def add(self, name: str, groups: CellGroups | None = None, /, **facts: object) -> Row:
        """Add the rows of a list of templates; return the last one."""
        row: Row = {}
        all_facts = self.facts | facts
        for template in _TEMPLATES[name]:
            if facts.get("role") in template.get("roles", (facts.get("role"),)):
                cells = self._fill_template(template, groups or {}, all_facts)
                row = {"record_action": "A"} | cells
                row.setdefault("last_updated", self._draw_update_day())
                self.tables.setdefault(template["table"], []).append(row)
        return row

    def fill(self, texts: Mapping[str, str], facts: Facts) -> Row:
        """Return a group of cells."""
        return {name: fill(text, facts, self.dice) for name, text in texts.items()}

    def _fill_template(self, template: Row, groups: CellGroups, facts: Facts) -> Row:
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
    """Return the rows of the payers: networks, plans, areas, boards and endpoints."""
    writer = _RowWriter(spec, Dice(spec.seed, Purpose.NETWORK, -1))
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
        writer.add("payer", groups, **facts[payer] | {"phone": row["phone"]})
    for network, payer, name in DIRECTORY_DATA["networks"]:
        active = "N" if network == _CLOSED_NETWORK else "Y"
        own = {"network": network, "name": name, "active": active, "areas": ";".join(areas)}
        writer.add("network", **facts[payer], **own)
    for place, plan in enumerate(DIRECTORY_DATA["plans"]):
        senior = DIRECTORY_DATA["senior_plan"] if plan["product"] == "mediadvhmo" else {}
        own = {"place": place, "areas": ";".join(areas)}
        own["some_areas"] = ";".join(areas[:2]) if plan["kinds"] else ""
        payer = _NETWORK_PAYERS[plan["networks"].partition(";")[0]]
        writer.add("plan", {"senior": senior}, **own, **plan, **facts[payer])
    for state in STATES:
        writer.add("area", state=state.code, polygon=_polygon(state))
    for payer in directory.MEDICAL_PAYERS:
        writer.add("endpoint", **facts[payer])
    for state in STATES:
        writer.add("board", state=state.code, town=state.towns[0][0], zip=state.zips[0])
    old = {"endpoint_id": "EP-PAY0001-OLD", "status": "off"}
    old["name"] = "Larkspur directory, before the move"
    writer.tables["endpoint"].append(writer.tables["endpoint"][0] | old)
    work = {"record_action": "A", "sequence": "1", "system": "phone", "use": "work", "rank": "1"}
    writer.tables["telecom"] = [
        work | {"owner": owner, "owner_id": key, "value": number}
        for owner, key, number in DIRECTORY_DATA["contacts"]
    ]
    return writer.tables


def _payer_facts(payer: str) -> dict[str, object]:
    endpoint = f"EP-{payer}" if payer in directory.MEDICAL_PAYERS else ""
    return {"payer": payer, "host": f"{payer.lower()}.example", "endpoint": endpoint}


def _polygon(state: State) -> str:
    latitude, longitude = _STATE_CENTERS[state.code]
    west, east, south, north = longitude - 1, longitude + 1, latitude - 1, latitude + 1
    corners = ((west, south), (east, south), (east, north), (west, north), (west, south))
    ring = ", ".join(f"[{x:.1f}, {y:.1f}]" for x, y in corners)
    return f'{{"type": "Polygon", "coordinates": [[{ring}]]}}'


def region_tables(spec: Spec, region: Region, practitioner_count: int) -> NetworkTables:
    """Return the organizations and the first `practitioner_count` practitioners of a region."""
    dice = Dice(spec.seed, Purpose.NETWORK, region.number, 0)
    number, state = region.number, region.state
    writer = _RowWriter(spec, dice, state, number=number, region=f"{number:06d}", state=state.code)
    organizations = {row["organization_id"]: row for row in region.organizations}
    clinic = region.organization_ids["clinic"][0]
    where = _address_cells(organizations[clinic]) | writer.draw_position()
    writer.add("group", {"where": where}, npi=make_npi(80_000_000 + number))
    for kind in directory.ORGANIZATION_KINDS:
        for index, key in enumerate(region.organization_ids[kind.role]):
            _add_organization(writer, number, kind, index, organizations[key])
    open_hours = {"open": DIRECTORY_DATA["hours"]}
    writer.add("telehealth", open_hours, clinic=clinic)
    kinds = [kind for kind in directory.PRACTITIONER_KINDS for _ in range(kind.count)]
    practitioners = directory.practitioners_on_day(spec, number, spec.day)
    for index, (row, change_day) in enumerate(islice(practitioners, practitioner_count)):
        serial = int(row["practitioner_id"].removeprefix("PRC"))
        writer.dice = Dice(spec.seed, Purpose.NETWORK, number, 2, serial)
        name, original = region.practitioner_names[index], region.practitioners[index]
        _PractitionerWriter(writer, region, kinds[index], serial).add(
            row, change_day, name, original
        )
    _change_roles(spec, number, writer.tables["provider_role"])
    return writer.tables


def _address_cells(row: Row) -> Row:
    return {name: row.get(name, "") for name in _ADDRESS}


def _add_organization(
    writer: _RowWriter, number: int, kind: OrganizationKind, ordinal: int, row: Row
) -> None:
    """Add an organization with its location, hours, service and affiliation."""
    dice, role, key, name = writer.dice, kind.role, row["organization_id"], row["name"]
    columns = ("npi", "tax_id", "clia", "name", "phone", "active")
    groups: CellGroups = {
        "published": {column: row.get(column, "") for column in columns},
        "where": _address_cells(row) | writer.draw_position(),
        "organization": kind.organization,
        "location": kind.location,
        "service": kind.service,
        "hours": kind.hours or DIRECTORY_DATA["hours"],
        "open": DIRECTORY_DATA["hours"],
    }
    facts: dict[str, object] = {"role": role, "key": key, "place": ordinal, "name": name}
    facts |= {**kind.codes, "small_key": key.lower(), "listed_phone": row["phone"]}
    writer.add("organization", groups, **facts)
    if role == "hospital":
        departments = DIRECTORY_DATA["departments"]
        serial = (number * 2 + ordinal) * len(departments) + 85_000_000
        for index, department in enumerate(departments):
            closing = {"closing": {"end_date": department["end_date"]}}
            own = {"key": key, "hospital": name, "npi": make_npi(serial + index), **department}
            writer.add("department", {**groups, **closing}, **own)
    is_closed = role == "clinic" and key.endswith("5")

    def status() -> str:
        return "suspended" if dice.chance(30) or is_closed else "active"

    writer.add("place", groups, status=status, **facts)
    possible = kind.networks or _MEDICAL_NETWORKS
    networks = [network for network in possible if dice.chance(550)] or [possible[0]]
    is_over = role == "supplier" and dice.chance(500)
    payer = _NETWORK_PAYERS[networks[0]]
    writer.add(
        "affiliation",
        payer=payer,
        networks=";".join([*networks, *([_CLOSED_NETWORK] if role == "nursing" else [])]),
        end=writer.ended if is_over else f"{writer.spec.as_of.year + 2}-12-31",
        endpoint=f"EP-{payer}" if networks[0] in _MEDICAL_NETWORKS else "",
        digits=key[-6:],
        **facts,
    )
    if role == "hospital" and ordinal == 0:
        writer.add("main_hospital", **facts)


class _PractitionerWriter:
    """Adds the rows of one practitioner."""

    def __init__(
        self, writer: _RowWriter, region: Region, kind: directory.PractitionerKind, serial: int
    ) -> None:
        self._writer, self._dice, self._region = writer, writer.dice, region
        self._kind, self._serial = kind, serial
        key = f"PRC{serial:07d}"
        self._has_all_telecoms = serial % _FULL_TELECOM_INTERVAL == 2
        self._facts: dict[str, object] = {"key": key, "small_key": key.lower()}
        self._facts |= {"serial": serial, "serial7": f"{serial:07d}", "taxonomy": kind.taxonomy}

    def add(self, row: Row, change_day: int, name: Row, original: Row) -> None:
        """Add the practitioner, the license, and the roles.

        Args:
            row: the practitioner's row in an extract of claims.
            change_day: when the telephone number last changed; 0 if never.
            name: name and gender, as cells.
            original: the row on day 0.
        """
        writer, dice = self._writer, self._dice
        spoken = dice.pick(tuple(DIRECTORY_DATA["languages"]))
        hidden = _UNPUBLISHED_COLUMNS if change_day else (*_UNPUBLISHED_COLUMNS, "last_updated")

        def photo() -> str:
            address = f"https://photos.example/{self._facts['small_key']}.jpg"
            return address if dice.chance(100) else ""

        groups: CellGroups = {
            "claimed": {column: cell for column, cell in row.items() if column not in hidden},
            "name": name,
            "position": writer.draw_position,
            "telecoms": DIRECTORY_DATA["practitioner_telecoms"] if self._has_all_telecoms else {},
        }
        writer.add(
            "practitioner",
            groups,
            spoken=spoken,
            levels=DIRECTORY_DATA["languages"][spoken],
            end=writer.ended if self._serial % _RETIRED_INTERVAL == 0 else "",
            photo=photo,
            **self._facts,
        )
        doctor = {"code": "MD", "code_system": "v2-0360", "text": "Doctor of Medicine"}
        other = {"code": self._kind.taxonomy, "text": "Licence to practise"}
        licence = other if self._kind.role in _ROLE_CODES else doctor
        writer.add("licence", {"licence": licence}, **self._facts)
        self._add_roles(original)

    def _networks(self) -> list[str]:
        if self._kind.workplace == "dental":
            return [_DENTAL_NETWORK]
        if self._kind.role == "optometrist":
            return ["NW-VISION"]
        return [network for network in _MEDICAL_NETWORKS if self._dice.chance(420)]

    def _add_roles(self, original: Row) -> None:
        writer, dice, region = self._writer, self._dice, self._region
        kind, serial = self._kind, self._serial
        organization = original.get("organization_id", "")
        office = f"LOC-{organization or original['practitioner_id']}"
        if not organization:
            address = _address_cells(original)
            groups: CellGroups = {"where": address, "position": writer.draw_position}
            facts = {"street": original["address_line"], "listed_phone": original["phone"]}
            writer.add("office", groups, **facts, **self._facts)
        networks = self._networks()
        cells = {"organization_id": organization, "location_ids": office}
        cells["service_ids"] = f"SVC-{organization}" if organization else ""
        cells["phone"] = original["phone"] if dice.chance(700) else ""
        cells["active"] = "N" if dice.chance(20) else "Y"
        cells["end_date"] = writer.ended if serial % _RETIRED_INTERVAL == 7 else ""
        role = self._add_role(1, networks, cells)
        if self._has_all_telecoms:
            role |= writer.fill(DIRECTORY_DATA["role_telecoms"], writer.facts | self._facts)
        if kind.role == "primary" and serial % 2:
            role["specialties"] = f"{kind.taxonomy};{_DERMATOLOGY}"
        if serial % _RETIRED_INTERVAL == 5 and networks:
            role["accepts_from_network_id"] = networks[0]
        if len(networks) > 1 and dice.chance(400):
            differing = {"accepts_new_patients": "{newpt|nopt|existptonly}"}
            differing["accepts_characteristics"] = "adults"
            difference = {"end_date": writer.ended} if dice.chance(250) else differing
            facts = {"role_id": role["role_id"], "network": networks[-1]}
            writer.add("role_network", {"difference": difference}, **facts)
        if serial % 5 == 1:
            key, number = role["role_id"], writer.draw_phone()
            via = {"via_owner": "provider_role", "via_id": key} if dice.chance(500) else {}
            facts = {"role_id": key, "role_phone": number, "certificate": f"C{key[3:]}"}
            writer.add("reached", {"via": via}, **facts, **self._facts)
        if dice.chance(350) and kind.workplace != "dental":
            hospital = dice.pick(region.organization_ids["hospital"])
            cells = {"organization_id": hospital, "phone": writer.draw_phone()}
            cells["location_ids"] = f"LOC-{hospital};LOC-{hospital}-PAV"
            second_role = self._add_role(2, networks[:2], cells)
            second_role["codes"] += ";ap"
        if kind.role == "counselor" or dice.chance(60):
            # The first names no organization, so that nothing says how to reach it.
            group_id = "" if kind.role == "counselor" else f"GRP{region.number:06d}"
            telehealth = f"SVC-TELE{region.number:06d}"
            cells = {"organization_id": group_id, "service_ids": telehealth}
            self._add_role(3, networks[-1:], cells)

    def _add_role(self, ordinal: int, networks: list[str], place: Row) -> Row:
        dice, kind = self._dice, self._kind
        accepting = dice.pick(WEIGHTS["accepting"])

        def direct() -> str:
            return f"EP-DIRECT{self._region.number:06d}" if dice.chance(80) else ""

        return self._writer.add(
            "role",
            {"place": place},
            ordinal=ordinal,
            networks=";".join(networks),
            code=_ROLE_CODES.get(kind.role, "ph"),
            accepting=accepting,
            accepted="children" if kind.role == "pediatrician" else "",
            direct=direct,
            **self._facts,
        )


def _change_roles(spec: Spec, number: int, roles: list[Row]) -> None:
    """Change on each day after day 0 whether one of the roles accepts new patients."""
    for today in range(1, spec.day + 1):
        dice = Dice(spec.seed, Purpose.NETWORK_DAY, number, today)
        row = dice.pick(roles)
        is_open = row.get("accepts_new_patients") == "newpt"
        row["accepts_new_patients"] = "nopt" if is_open else "newpt"
        row["last_updated"] = draw_timestamp(dice, spec.as_of.toordinal() + today)


def changed_on_day(row: Row, spec: Spec) -> bool:
    """Return whether a row changed on the day of the extract; False on day 0."""
    return spec.day > 0 and row.get("last_updated", "").startswith(iso_date(spec.date.toordinal()))
