"""The Basis view is the financial one without amounts: no money in it, nothing else gone."""

import json
import random
import re
from decimal import Decimal

import pytest

from etl.model.canonical_tables import CLAIMS_TABLES as TABLES
from etl.model.canonical_tables import FieldType
from etl.profiles.structures import load_profile
from etl.profiles.value_sets import value_set
from tests.given.tables import read_tables
from tests.golden.mapping.everything import everything, thinned, without_line_amounts
from tests.golden.mapping.rendering import exact, rendered, resources

AMOUNTS = value_set("http://hl7.org/fhir/us/carin-bb/ValueSet/C4BBAdjudication")
NAMES_OF_MONEY = {*read_tables(__file__)["names_of_money"]}


def odd_amounts(rows):
    """Return rows with an amount of its own in every cell of money, and the amounts."""
    amounts = set()
    found = {}
    for name, table in TABLES.items():
        money = {one.name for one in table.columns if one.type is FieldType.MONEY}
        found[name] = []
        for row in rows[name]:
            cells = dict(row)
            for column in money & set(cells):
                amount = Decimal(7_000_000 + 7 * len(amounts)) / 100
                cells[column] = f"{amount:.2f}"
                amounts.add(amount)
            found[name].append(cells)
    return found, amounts


def walked(value, name=""):
    """Yield every value inside one, with the name that it stands under."""
    yield name, value
    match value:
        case dict():
            for key, inner in value.items():
                yield from walked(inner, key)
        case list():
            for inner in value:
                yield from walked(inner, name)
        case _:
            return


def numbers_in(value):
    """Return every number in a JSON value: as a number, or in the middle of a text."""
    found = set()
    for _, inner in walked(value):
        if isinstance(inner, Decimal | int) and not isinstance(inner, bool):
            found.add(Decimal(inner))
        elif isinstance(inner, str):
            found |= {Decimal(text) for text in re.findall(r"\d+(?:\.\d+)?", inner)}
    return found


ROWS = pytest.mark.parametrize("shape", [lambda rows: rows, without_line_amounts])


@ROWS
def test_no_amount_of_the_rows_is_in_a_resource_or_in_the_search_index(shape):
    rows, amounts = odd_amounts(shape(everything()))
    assert len(amounts) > 100
    financial = set()
    for text, search in rendered(rows):
        financial |= numbers_in(exact(text)) | numbers_in(exact(search))
    assert len(financial & amounts) > 100, "the amounts are there to be found"
    for text, search in rendered(rows, view="basis"):
        assert not (numbers_in(exact(text)) | numbers_in(exact(search))) & amounts


@ROWS
@pytest.mark.parametrize("seed", range(4))
def test_nothing_that_names_money_is_in_a_resource(shape, seed):
    rows = thinned(shape(everything()), random.Random(seed)) if seed else shape(everything())
    made = resources(rows, view="basis")
    assert {one["resourceType"] for one in made} >= {"ExplanationOfBenefit"}
    for resource in made:
        assert not {name for name, _ in walked(resource)} & NAMES_OF_MONEY
        for coding in (inner for _, inner in walked(resource) if isinstance(inner, dict)):
            held = AMOUNTS.includes(str(coding.get("system")), str(coding.get("code")))
            assert held is not True, "a category of an amount"


def without_money(resource):
    """Return a financial claim as the Basis view should have it: slow, and by the guide's words."""
    left = {key: value for key, value in resource.items() if key != "total"}
    name, _, version = left["meta"]["profile"][0].partition("|")
    left["meta"] = {**left["meta"], "profile": [f"{name}-Basis|{version}"]}
    if "payment" in left:
        payment = {key: value for key, value in left["payment"].items() if key != "amount"}
        left["payment"] = payment
        if not payment:
            del left["payment"]
    # Notes without a number say who paid what.
    left["processNote"] = [note for note in left.get("processNote", ()) if "number" in note]
    if not left["processNote"]:
        del left["processNote"]
    for part in (left, *left["item"]):
        part["adjudication"] = [
            {key: value for key, value in entry.items() if key != "amount"}
            for entry in part.get("adjudication", [])
            if not is_an_amount(entry)
        ]
        if not part["adjudication"]:
            del part["adjudication"]
    return left


def is_an_amount(entry):
    (coding,) = entry["category"]["coding"]
    return AMOUNTS.includes(coding["system"], coding["code"]) is True


def claims(rows, view):
    return [
        one
        for one in resources(rows, view=view)
        if one["resourceType"] == "ExplanationOfBenefit" and one["use"] == "claim"
    ]


@pytest.mark.parametrize("seed", range(6))
def test_all_else_stays_as_it_is_in_the_financial_view_its_id_too(seed):
    """Where lines have amounts: else the financial view moves what lines say to the header."""
    rows = thinned(everything(), random.Random(seed)) if seed else everything()
    for row in rows["claim_line"]:
        row["amount_submitted"] = "1.00"
    expected = [without_money(one) for one in claims(rows, "financial")]
    assert [*map(ordered, claims(rows, "basis"))] == [*map(ordered, expected)]


def ordered(resource):
    return json.dumps(resource, sort_keys=True, default=str)


def test_reasons_of_institutional_lines_stay_on_the_line_whether_or_not_it_has_amounts():
    """Where they stood would tell whether there were amounts."""
    rows = everything()
    with_amounts, without = claims(rows, "basis"), claims(without_line_amounts(rows), "basis")
    assert [*map(ordered, with_amounts)] == [*map(ordered, without)]
    kinds = {
        (one["type"]["coding"][0]["code"], entry["category"]["coding"][0]["code"])
        for one in without
        for item in one["item"]
        for entry in item["adjudication"]
    }
    assert ("institutional", "adjustmentreason") in kinds
    assert ("institutional", "allowedunits") in kinds


def test_every_other_resource_is_the_same():
    rows = everything()
    financial, basis = (
        [*(one for one in resources(rows, view=view) if "total" not in one and "use" not in one)]
        for view in ("financial", "basis")
    )
    assert len(financial) > 8
    assert financial == basis


def test_a_financial_profile_asks_for_all_that_its_basis_profile_asks_for():
    """So that a view may take away what the one adds, and nothing else."""
    for kind in ("Inpatient-Institutional", "Outpatient-Institutional", "Pharmacy", "Oral"):
        basis = load_profile(f"C4BB-ExplanationOfBenefit-{kind}-Basis")
        financial = load_profile(f"C4BB-ExplanationOfBenefit-{kind}")
        assert financial.base == basis.url
        assert set(basis.by_id) <= set(financial.by_id)
        assert set(basis.invariants) <= set(financial.invariants)
