"""The search for drugs by people, held to what the API answers and to the rows of the samples."""

from decimal import Decimal

import pytest
from httpx2 import Client
from playwright.sync_api import expect

from etl.portal import drug_search
from tests.e2e.commands import SAMPLES, rows_of

ROWS = {path.stem: rows_of(path) for path in (SAMPLES / "formulary").glob("*.csv")}
DRUGS = {row["drug_id"]: row for row in ROWS["drug"]}


def search(page, plan, drug):
    page.goto("/find-a-drug")
    expect(page.get_by_role("status")).to_have_count(0)  # nothing was asked for
    page.get_by_label("Plan").select_option(label=plan)
    page.get_by_label("Drug", exact=True).fill(drug)
    page.get_by_role("button", name="Search").click()


def items_of(plan, word):
    """Return the rows of a plan's items whose drug has a word in its names."""
    formularies = next(row for row in ROWS["plan"] if row["name"] == plan)["formulary_ids"]
    return [
        (DRUGS[row["drug_id"]], row)
        for row in ROWS["item"]
        if row["formulary_id"] in formularies.split(";")
        and word in " ".join(DRUGS[row["drug_id"]][name] for name in ("name", "synonyms"))
    ]


def test_a_person_sees_what_the_rows_say(scriptless):
    page = scriptless
    search(page, "Larkspur Senior Basic", "Calmora")
    [(drug, item)] = items_of("Larkspur Senior Basic", "Calmora")
    expect(page.get_by_role("status")).to_have_text("1 drug found.")
    card = page.locator(".listings li")
    expect(card.get_by_role("heading")).to_have_text(drug["name"])
    needed = {"Y": "Yes", "N": "No"}[item["prior_authorization"]]
    fact = card.locator(".facts div", has_text="Prior authorization")
    expect(fact.locator("dd")).to_have_text(needed)
    costs = [
        row
        for row in ROWS["cost"]
        if (row["plan_id"], row["tier"]) == ("PLN-SENIOR-1", item["tier"])
    ]
    assert costs
    for row in costs:
        price = f"${Decimal(row['copay']):.2f}" if row["copay"] else f"{row['coinsurance']} %"
        expect(card).to_contain_text(price)
    card.get_by_role("link", name="As FHIR").click()
    assert "usdf-FormularyItem" in page.content()


@pytest.mark.parametrize("word", ["MG", "tablet", "cream", "nothing at all"])
@pytest.mark.parametrize("plan", ["Larkspur Marketplace", "Bayberry State Care"])
def test_a_person_finds_what_the_api_finds(scriptless, sandbox, plan, word):
    search(scriptless, plan, word)
    names = scriptless.locator(".listings h3").all_inner_texts()
    with Client(base_url=f"{sandbox.base}/formulary/") as api:
        [entry] = api.get("InsurancePlan", params={"name": plan}).json()["entry"]
        formularies = ",".join(
            extension["valueReference"]["reference"]
            for extension in entry["resource"]["coverage"][0]["extension"]
        )
        conditions = [("formulary", formularies), ("_include", "Basic:subject"), ("_count", "100")]
        name = "subject:MedicationKnowledge.drug-name:contains"
        conditions += [(name, each) for each in word.split()]
        bundle = api.get("Basic", params=conditions).json()
    assert len(names) == bundle["total"]
    drugs = [
        entry["resource"]["code"]["coding"][0]["display"]
        for entry in bundle.get("entry", ())
        if entry["search"]["mode"] == "include"
    ]
    assert set(names) == set(drugs)
    assert scriptless.locator(".listings li", has_text="Not in force: draft").count() == sum(
        item["formulary_id"] == "FRM-NEXT" for _, item in items_of(plan, word)
    ) or word in ("tablet", "cream")


def test_drugs_are_paged_and_an_old_page_says_so(page, monkeypatch):
    monkeypatch.setattr(drug_search, "_PAGE_SIZE", "3")
    search(page, "Larkspur Marketplace", "MG")
    seen = page.locator(".listings h3").all_inner_texts()
    while page.get_by_role("link", name="Next page").count():
        page.get_by_role("link", name="Next page").click()
        seen += page.locator(".listings h3").all_inner_texts()
    assert len(seen) == len(items_of("Larkspur Marketplace", "MG")) > 3
    page.goto(page.url[:-8])
    expect(page.get_by_role("alert")).to_contain_text("These pages have expired")


@pytest.mark.parametrize("query", ["plan=InsurancePlan/x&drug=a", "drug=a", "plan=InsurancePlan/x"])
def test_an_incomplete_question_is_answered_with_what_to_do(page, query):
    page.goto(f"/find-a-drug?{query}")
    expect(page.get_by_role("alert")).to_have_text(
        "Please choose a plan, and enter the name of a drug."
    )
