"""Rows of a drug formulary, from the lists of `formulary.toml`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from typing import Any, Final

from etl.synth.directory import Row
from etl.synth.names import STATES, read_toml
from etl.synth.seeded_random import Dice, Purpose, iso_date
from etl.synth.spec import Spec

FormularyTables = dict[str, list[Row]]
"""Name of a file without its ending -> its rows."""

_DATA: Final = read_toml("formulary")
_PHARMACIES: Final = ("1-month-in-retail", "1-month-in-retail;3-month-in-mail")
_FIRST_CODE: Final = 91_000_000
"""RxNorm codes have seven digits today, so nothing has one of eight."""


def plan_tables(spec: Spec) -> FormularyTables:
    """Return formularies, areas, plans, and their costs."""
    day = iso_date(spec.as_of.toordinal() - 30)
    tables: FormularyTables = {"formulary": [], "area": [], "plan": [], "cost": []}
    for formulary in _DATA["formularies"]:
        year = spec.as_of.year + formulary["since"]
        tables["formulary"].append(
            {
                "formulary_id": formulary["id"],
                "name": formulary["name"],
                "status": formulary.get("status", "active"),
                **_year(year),
                "last_updated": day,
            }
        )
    tables["area"] = [*_areas(day)]
    areas = ";".join(row["area_id"] for row in tables["area"])
    for number, plan in enumerate(_DATA["plans"]):
        site = f"https://larkspur.example/{plan['id'].lower()}"
        contract = plan.get("contract", "")
        row = {
            "plan_id": plan["id"],
            "identifiers": contract and f"http://cms.gov/medicare/ma-plan-id|{contract}",
            "drug_plan_identifiers": contract and f"{plan['id']}-RX",
            "name": plan["name"],
            "product_type": plan["product"],
            **_year(spec.as_of.year),
            "area_ids": areas,
            "formulary_ids": ";".join(
                _DATA["formularies"][place]["id"] for place in plan["formularies"]
            ),
            "phone": f"800-555-01{number + 80}",
            "email": "members@larkspur.example",
            "last_updated": day,
        }
        for purpose in ("marketing", "summary", "formulary"):
            row |= {f"{purpose}_name": f"{plan['name']}: {purpose}"}
            row |= {f"{purpose}_url": f"{site}/{purpose}"}
        tables["plan"].append(row)
        tables["cost"] += [_cost(plan, cost, day) for cost in _DATA["costs"]]
    return tables


def _year(year: int) -> Row:
    return {"start_date": f"{date(year, 1, 1)}", "end_date": f"{date(year, 12, 31)}"}


def _areas(day: str) -> Iterator[Row]:
    state, other = STATES[:2]
    corners = [[-90.0, 35.0], [-89.0, 35.0], [-89.0, 36.0], [-90.0, 35.0]]
    outline = {"type": "Polygon", "coordinates": [corners]}
    town = {"city": state.towns[0][0], "postal_code": f"{state.zips[0]}01"}
    names = {"area_id": f"AREA-{state.code}", "name": f"Service area {state.code}"}
    yield {**names, **town, "state": state.code, "country": "US", "last_updated": day}
    names = {"area_id": f"AREA-{other.code}", "name": f"Service area {other.code}"}
    yield {**names, "region_geojson": json.dumps(outline), "last_updated": day}


def _cost(plan: dict[str, Any], cost: dict[str, Any], day: str) -> Row:
    row = {name: cell for name, cell in cost.items() if name != "copay"}
    if "copay" in cost:
        cents = cost["copay"] * plan["scale"] // 1000
        row["copay"] = f"{cents // 100}.{cents % 100:02d}"
    return {"plan_id": plan["id"], **row, "last_updated": day}


def drug_tables(spec: Spec, number: int) -> FormularyTables:
    """Return a drug, and its items in the formularies that list it.

    Args:
        spec: the seed and the day.
        number: from 0; even ones are generics, each followed by its brand.
    """
    dice = Dice(spec.seed, Purpose.FORMULARY, number)
    pair, is_brand = divmod(number, 2)
    strength, place = divmod(pair, len(_DATA["drugs"]))
    ingredient, brand, form, form_code, unit, base = _DATA["drugs"][place]
    code = str(_FIRST_CODE + number)
    name = f"{ingredient} {base * (strength + 1)} {unit} {form}"
    day = iso_date(spec.as_of.toordinal() - dice.below(80))
    drug = {
        "drug_id": code,
        "rxnorm_code": code,
        "name": f"{name} [{brand}]" if is_brand else name,
        "form_group_code": str(92_000_000 + place * 2 + is_brand),
        "form_group_name": f"{brand if is_brand else ingredient} {form}",
        "dose_form_code": form_code,
        "dose_form_name": form,
        "other_codes": f"http://hl7.org/fhir/sid/ndc|00900{number % 1_000_000:06d}",
        "synonyms": brand if is_brand else "",
        "last_updated": day,
    }
    items = []
    for formulary in _DATA["formularies"]:
        if dice.chance(750):
            item = _item(dice, is_brand=bool(is_brand))
            year = _year(spec.as_of.year + formulary["since"])
            keys = {"formulary_id": formulary["id"], "drug_id": code}
            items.append({**keys, **item, **year, "last_updated": day})
    return {"drug": [drug], "item": items}


def _item(dice: Dice, *, is_brand: bool) -> Row:
    authorized, stepped = dice.chance(300), dice.chance(200)
    limit = dice.pick(_DATA["limits"]) if dice.chance(400) else {}
    row = {
        "tier": dice.pick(_DATA["brand_tiers"]) if is_brand else "generic",
        "pharmacy_types": dice.pick(_PHARMACIES),
        "prior_authorization": "Y" if authorized else "N",
        "prior_authorization_new_starts": "Y" if authorized and dice.chance(400) else "",
        "step_therapy": "Y" if stepped else "N",
        "step_therapy_new_starts": "Y" if stepped and dice.chance(400) else "",
        "quantity_limit": "Y" if limit else "N",
        "information": "Ask your doctor about other drugs." if stepped else "",
        **limit,
    }
    return {name: cell for name, cell in row.items() if cell}
