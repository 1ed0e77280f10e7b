"""Payers, their networks, plans and areas: the part of a directory that no region has."""

from __future__ import annotations

from typing import Final

from etl.synth.directory import DENTAL_PAYER, MEDICAL_PAYERS, VISION_PAYER, Row, payer_rows
from etl.synth.identifiers import phone
from etl.synth.names import STATES, State
from etl.synth.seeded_random import Dice, Purpose, iso
from etl.synth.spec import Spec

NetworkTables = dict[str, list[Row]]
"""Name of a file without its ending -> its rows."""

LARKSPUR, COPPERLEAF, BAYBERRY = MEDICAL_PAYERS
PREFERRED, EXTENDED, HMO, SENIOR = "NW-CHOICE-1", "NW-CHOICE-2", "NW-HMO", "NW-SENIOR"
SELECT, STATE_CARE, DENTAL, VISION = "NW-SELECT", "NW-STATE", "NW-DENTAL", "NW-VISION"
CLOSED_NETWORK: Final = "NW-OLD"
MEDICAL_NETWORKS: Final = (PREFERRED, EXTENDED, HMO, SENIOR, SELECT, STATE_CARE)
PAYER_OF: Final = {
    PREFERRED: LARKSPUR,
    EXTENDED: LARKSPUR,
    HMO: LARKSPUR,
    SENIOR: LARKSPUR,
    SELECT: COPPERLEAF,
    STATE_CARE: BAYBERRY,
    DENTAL: DENTAL_PAYER,
    VISION: VISION_PAYER,
    CLOSED_NETWORK: COPPERLEAF,
}
"""Network -> its payer; the first two are tiers of one product."""
_NAMES: Final = {
    PREFERRED: "Larkspur Choice, preferred tier",
    EXTENDED: "Larkspur Choice, extended tier",
    HMO: "Larkspur Neighborhood HMO",
    SENIOR: "Larkspur Senior",
    SELECT: "Copperleaf Select",
    STATE_CARE: "Bayberry State Care",
    DENTAL: "Pine & Ivory Dentists",
    VISION: "Clear Pane Eye Care",
    CLOSED_NETWORK: "Copperleaf Basic (closed)",
}
_PLANS: Final = (
    ("PLN-PPO", "Larkspur Choice PPO", "commppo", "lowdeductible;highdeductible"),
    ("PLN-QHP", "Larkspur Marketplace", "qhp", "gold;silver;bronze"),
    ("PLN-HMO", "Larkspur HMO", "commhmo", ""),
    ("PLN-SENIOR-1", "Larkspur Senior Basic", "mediadvhmo", ""),
    ("PLN-SENIOR-2", "Larkspur Senior Plus", "mediadvhmo", ""),
    ("PLN-SELECT", "Copperleaf Select EPO", "commepo", "highdeductible"),
    ("PLN-STATE", "Bayberry State Care", "medihmo", ""),
    ("PLN-DENTAL", "Pine & Ivory Dental", "dent", ""),
    ("PLN-VISION", "Clear Pane Vision", "vis", ""),
    ("PLN-OLD", "Larkspur Classic", "commppo", ""),
)
_NETWORKS_OF: Final = {
    "PLN-PPO": f"{PREFERRED};{EXTENDED}",
    "PLN-QHP": PREFERRED,
    "PLN-HMO": HMO,
    "PLN-SENIOR-1": SENIOR,
    "PLN-SENIOR-2": f"{SENIOR};{HMO}",
    "PLN-SELECT": SELECT,
    "PLN-STATE": STATE_CARE,
    "PLN-DENTAL": DENTAL,
    "PLN-VISION": VISION,
    "PLN-OLD": EXTENDED,
}
_MIDDLES: Final = {
    "MA": (42.30, -71.80),
    "NM": (35.00, -106.60),
    "MN": (45.00, -93.30),
    "GA": (33.50, -84.00),
    "OR": (44.60, -122.90),
}
_SUBSIDIARIES: Final = (COPPERLEAF, DENTAL_PAYER)
"""Payers that are part of Larkspur: one with plans and an endpoint, one with affiliations."""
_PAST: Final = 400
"""Days before the extract at which things that are over ended."""


def fresh(dice: Dice, spec: Spec) -> str:
    """Return when a row was last updated: within 80 days, of one row in forty long ago."""
    age = dice.between(120, 900) if dice.chance(25) else dice.below(80)
    return iso(spec.as_of.toordinal() - age)


def ended(spec: Spec) -> str:
    """Return a day that is over when the extract is made, whenever it is read."""
    return iso(spec.as_of.toordinal() - _PAST)


def position(dice: Dice, state: State) -> Row:
    """Return a position in a state, to about ten meters."""
    latitude, longitude = _MIDDLES[state.code]
    north, east = dice.between(-2500, 2500), dice.between(-2500, 2500)
    return {
        "latitude": f"{latitude + north / 10_000:.4f}",
        "longitude": f"{longitude + east / 10_000:.4f}",
    }


def area_of(state: State) -> str:
    """Return the id of the area that a state is."""
    return f"AREA-{state.code}"


def board_of(state: State) -> str:
    """Return the id of the board that issues the licences of a state."""
    return f"BRD-{state.code}"


def payer_tables(spec: Spec) -> NetworkTables:
    """Return payers, networks, plans, areas, boards and the payers' endpoints."""
    dice = Dice(spec.seed, Purpose.NETWORK, -1)
    tables: NetworkTables = {
        "organization": [_payer(dice, spec, row) for row in payer_rows(spec)],
        "network": [_network(dice, spec, identifier) for identifier in PAYER_OF],
        "insurance_plan": [_plan(dice, spec, place, plan) for place, plan in enumerate(_PLANS)],
        "location": [_area(dice, spec, state) for state in STATES],
        "endpoint": [_endpoint(dice, spec, payer) for payer in MEDICAL_PAYERS],
    }
    tables["organization"] += [_board(dice, spec, state) for state in STATES]
    old = tables["endpoint"][0] | {"endpoint_id": "EP-PAY0001-OLD", "status": "off"}
    tables["endpoint"].append(old | {"name": "Larkspur directory, before the move"})
    tables["telecom"] = [
        _telecom("network_contact", PREFERRED, phone("800", 41)),
        _telecom("insurance_plan_contact", "PLN-PPO", phone("800", 42)),
        _telecom("endpoint_contact", "EP-PAY0001", phone("800", 43)),
        _telecom("organization_contact", LARKSPUR, phone("800", 44)),
    ]
    return tables


def _telecom(owner: str, key: str, value: str) -> Row:
    row = {"record_action": "A", "owner": owner, "owner_id": key, "sequence": "1"}
    return row | {"system": "phone", "value": value, "use": "work", "rank": "1"}


def _payer(dice: Dice, spec: Spec, payer: Row) -> Row:
    row = {name: cell for name, cell in payer.items() if name not in ("kind", "payer_code")}
    row |= {"type": "payer", "last_updated": fresh(dice, spec)}
    if payer["organization_id"] in _SUBSIDIARIES:
        row["part_of_id"] = LARKSPUR
    if payer["organization_id"] in MEDICAL_PAYERS:
        host = f"{payer['organization_id'].lower()}.example"
        row |= {"url": f"https://{host}", "endpoint_ids": f"EP-{payer['organization_id']}"}
        row |= {"contact_name": "Provider Directory Team", "contact_phone": payer["phone"]}
        row |= {"contact_email": f"directory@{host}", "description": "A payer of medical care"}
    return row


def _network(dice: Dice, spec: Spec, identifier: str) -> Row:
    payer = PAYER_OF[identifier]
    row = {"record_action": "A", "network_id": identifier, "name": _NAMES[identifier]}
    row |= {"payer_id": payer, "active": "N" if identifier == CLOSED_NETWORK else "Y"}
    row["area_location_ids"] = ";".join(map(area_of, STATES))
    row |= {
        "contact_name": "Network Contracting",
        "url": f"https://{payer.lower()}.example/network",
    }
    row["contact_phone"] = phone("800", 60)
    row |= {"contact_email": f"network@{payer.lower()}.example", "last_updated": fresh(dice, spec)}
    if payer in MEDICAL_PAYERS:
        row["endpoint_ids"] = f"EP-{payer}"
    return row


def _plan(dice: Dice, spec: Spec, place: int, plan: tuple[str, str, str, str]) -> Row:
    identifier, name, product, kinds = plan
    networks = _NETWORKS_OF[identifier]
    payer = PAYER_OF[networks.partition(";")[0]]
    year = spec.as_of.year
    row = {"record_action": "A", "plan_id": identifier, "name": name, "product_type": product}
    row |= {"plan_types": kinds, "status": "retired" if identifier == "PLN-OLD" else "active"}
    row |= {"owned_by_id": payer, "administered_by_id": payer, "network_ids": networks}
    row |= {"identifiers": f"https://{payer.lower()}.example/plan|{100 + place}|{payer}"}
    row |= {"start_date": f"{year}-01-01", "end_date": f"{year + 1}-12-31"}
    row |= {"area_location_ids": ";".join(map(area_of, STATES)), "alias": f"{name} {year}"}
    row |= {"contact_name": "Member Services", "contact_email": f"plans@{payer.lower()}.example"}
    row["contact_phone"] = phone("800", 70 + place)
    if kinds:
        row["plan_area_location_ids"] = ";".join(map(area_of, STATES[:2]))
    if payer in MEDICAL_PAYERS:
        row["endpoint_ids"] = f"EP-{payer}"
    if product == "mediadvhmo":
        row |= {"contract_id": "H0009", "pbp_id": f"00{identifier[-1]}", "plan_year": str(year)}
        if identifier[-1] == "2":
            row["segment_id"] = "001"
    return {column: cell for column, cell in row.items() if cell} | {
        "last_updated": fresh(dice, spec)
    }


def _area(dice: Dice, spec: Spec, state: State) -> Row:
    latitude, longitude = _MIDDLES[state.code]
    west, east, south, north = longitude - 1, longitude + 1, latitude - 1, latitude + 1
    corners = ((west, south), (east, south), (east, north), (west, north), (west, south))
    ring = ", ".join(f"[{x:.1f}, {y:.1f}]" for x, y in corners)
    return {
        "record_action": "A",
        "location_id": area_of(state),
        "name": f"Service area {state.code}",
        "state": state.code,
        "region_geojson": f'{{"type": "Polygon", "coordinates": [[{ring}]]}}',
        "last_updated": fresh(dice, spec),
    }


def _board(dice: Dice, spec: Spec, state: State) -> Row:
    town, _ = state.towns[0]
    return {
        "record_action": "A",
        "organization_id": board_of(state),
        "type": "bus",
        "name": f"Board of Health Professions, {state.code}",
        "address_line": "1 Licence Square",
        "city": town,
        "state": state.code,
        "postal_code": f"{state.zips[0]}01",
        "country": "US",
        "last_updated": fresh(dice, spec),
    }


def _endpoint(dice: Dice, spec: Spec, payer: str) -> Row:
    return {
        "record_action": "A",
        "endpoint_id": f"EP-{payer}",
        "name": "Directory over FHIR",
        "organization_id": payer,
        "connection_type": "hl7-fhir-rest",
        "payload_type": "NA",
        "payload_mime_types": "application/fhir+json",
        "address": f"https://fhir.{payer.lower()}.example/directory",
        "status": "active",
        "contact_email": f"fhir@{payer.lower()}.example",
        "use_case": "COVERAGE;PATRQT",
        "use_case_standard": "http://hl7.org/fhir/us/davinci-pdex-plan-net",
        "last_updated": fresh(dice, spec),
    }
