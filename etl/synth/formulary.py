"""Rows of a drug formulary, from the lists of `formulary.toml`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Final

from etl.synth.directory import Row
from etl.synth.names import read_toml
from etl.synth.seeded_random import Dice, Purpose, iso_date
from etl.synth.spec import Spec
from etl.synth.templates import fill

FormularyTables = dict[str, list[Row]]
"""Name of a file without its ending -> its rows."""

_DATA: Final = read_toml("formulary")
_PHARMACIES: Final = ("1-month-in-retail", "1-month-in-retail;3-month-in-mail")
_FIRST_CODE: Final = 91_000_000
"""RxNorm codes have seven digits today, so nothing has one of eight."""


@cache
def plan_tables(spec: Spec) -> FormularyTables:
    """Return formularies, areas, plans, and their costs."""
    facts = {"year": spec.as_of.year, "outline": _DATA["outline"]}
    day = iso_date(spec.as_of.toordinal() - 30)

    def rows(table: str, own: Mapping[str, str]) -> list[Row]:
        filled = (
            {name: fill(text, facts | dict(own)) for name, text in template.items()}
            for template in _DATA[table]
        )
        return [row | {"last_updated": day} for row in filled]

    tables = {table: rows(table, {}) for table in ("formulary", "area")}
    for table in ("plan", "cost"):
        tables[table] = [row for plan in _DATA["plans"] for row in rows(table, plan)]
    return tables


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
    for formulary in plan_tables(spec)["formulary"]:
        if dice.chance(750):
            item = _item(dice, is_brand=bool(is_brand))
            shared = {name: formulary[name] for name in ("formulary_id", "start_date", "end_date")}
            items.append({**shared, "drug_id": code, **item, "last_updated": day})
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
