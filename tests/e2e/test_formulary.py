"""A drug formulary from its files to what is served."""

import json

import pytest

from etl.bootstrap.inspections import extract_coverage
from etl.bootstrap.settings import read_settings
from tests.e2e.commands import (
    ANY_CHANGE,
    SAMPLES,
    cpcds,
    current_release,
    done,
    rows_of,
    write_rows,
)
from tests.e2e.test_serving import running

FORMULARY = SAMPLES / "formulary"
DELTAS = {"CPCDS_PUBLISH__DELTAS": "true"}


@pytest.fixture(scope="module")
def target(tmp_path_factory):
    folder = tmp_path_factory.mktemp("formulary") / "target"
    done(cpcds("run", FORMULARY, "--to", folder, **DELTAS))
    return folder


def resources(folder, resource_type):
    lines = (folder / f"{resource_type}.ndjson").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


def write_extract(folder, tables):
    folder.mkdir()
    for name, rows in tables.items():
        headers = list(dict.fromkeys(header for row in rows for header in row))
        write_rows(folder / f"{name}.csv", headers, rows)
    (folder / "manifest.json").write_text('{"as_of": "2026-11-01"}')
    return folder


SMALLEST = {
    "formulary": [{"formulary_id": "F1", "name": "One"}],
    "drug": [{"drug_id": "D1", "rxnorm_code": "314076"}],
    "item": [{"formulary_id": "F1", "drug_id": "D1", "tier": "generic"}],
}
SMALLEST["item"][0]["pharmacy_types"] = "1-month-in-retail"


def test_the_samples_are_clean_and_what_they_become_conforms(tmp_path):
    told = json.loads(done(cpcds("convert", FORMULARY, "--out", tmp_path / "out", "--json")).out)
    fates = {name: table.get("quarantined", 0) for name, table in told["tables"].items()}
    assert len(fates) == 6
    assert set(fates.values()) == {0}
    conformed = cpcds("conform", tmp_path / "out")
    assert conformed.code == 0, conformed.out
    assert " 0 errors" in conformed.out


def test_every_must_support_element_is_in_the_samples():
    coverage = extract_coverage(read_settings(None), FORMULARY, lambda event: None)
    counts = {one.profile: one.resources for one in coverage}
    assert counts == {
        "usdf-Formulary": 4,
        "usdf-PayerInsurancePlan": 4,
        "usdf-InsurancePlanLocation": 2,
        "usdf-FormularyDrug": 10,
        "usdf-FormularyItem": 28,
    }
    elements = [element for one in coverage for element in one.elements]
    assert len(elements) > 50
    assert {element.status for element in elements} == {"produced"}


def test_the_smallest_extract_is_published_with_a_warning_for_each_gap(tmp_path):
    folder = write_extract(tmp_path / "in", SMALLEST)
    told = json.loads(done(cpcds("validate", folder, "--report", tmp_path / "r", "--json")).out)
    assert told["resources"] == {"Basic": 1, "InsurancePlan": 1, "MedicationKnowledge": 1}
    report = json.loads((tmp_path / "r/report/report.json").read_text("utf-8"))
    fired = {rule["rule"] for rule in report["rules"] if rule.get("findings")}
    assert fired == {"formulary-drug-unnamed", "formulary-without-plan"}


def test_costs_of_one_kind_of_pharmacy_are_one_whatever_its_spelling(tmp_path):
    plan = {"plan_id": "P1", "product_type": "qhp", "formulary_ids": "F1"}
    cost = {"plan_id": "P1", "copay": "5", "copay_option": "charge"}
    own = tmp_path / "own" / "crosswalks" / "drug-formulary"
    own.mkdir(parents=True)
    (own / "PharmacyBenefitTypeVS.csv").write_text(
        "source,code,system\nshop,1-month-in-retail,http://hl7.org/fhir/us/davinci-drug-formulary/"
        "CodeSystem/usdf-PharmacyBenefitTypeCS-TEMPORARY-TRIAL-USE\n"
    )
    spelled = [
        ("1-MONTH-IN-RETAIL", "generic"),
        ("shop", "brand"),
        ("1-month-in-retail", "specialty"),
        ("3-month-in-mail", "generic"),
        ("https://payer.example|kiosk", "generic"),
    ]
    costs = [cost | {"pharmacy_type": kind, "tier": tier} for kind, tier in spelled]
    folder = write_extract(tmp_path / "in", SMALLEST | {"plan": [plan], "cost": costs})
    done(cpcds("--mappings", tmp_path / "own", "convert", folder, "--out", tmp_path / "out"))
    made = next(one for one in resources(tmp_path / "out", "InsurancePlan") if "plan" in one)
    found = {
        cost["category"]["coding"][0]["code"]: [
            benefit["type"]["coding"][0]["code"] for benefit in cost["benefit"]
        ]
        for cost in made["plan"][0]["specificCost"]
    }
    assert found == {
        "1-month-in-retail": ["generic", "specialty", "brand"],
        "3-month-in-mail": ["generic"],
        "kiosk": ["generic"],
    }


def test_a_plan_loses_what_is_not_published_and_goes_if_nothing_is_left(tmp_path):
    plan = {"product_type": "qhp", "formulary_ids": "F1;F9"}
    cost = {"pharmacy_type": "1-month-in-retail", "tier": "generic", "copay": "5"}
    plans = [plan | {"plan_id": name} for name in ("KEPT", "FREE", "LOST")]
    plans[2]["formulary_ids"] = "F9"
    option = {"copay_option": "charge"}
    costs = [cost | option | {"plan_id": "KEPT"}, cost | {"plan_id": "FREE"}]
    costs.append(cost | option | {"plan_id": "LOST"})
    folder = write_extract(tmp_path / "in", SMALLEST | {"plan": plans, "cost": costs})
    done(cpcds("validate", folder, "--report", tmp_path / "r"))
    report = json.loads((tmp_path / "r/report/report.json").read_text("utf-8"))
    fired = {rule["rule"]: rule["findings"] for rule in report["rules"] if rule.get("findings")}
    assert {name: count for name, count in fired.items() if "plan" in name or "copay" in name} == {
        "formulary-plan-formulary": 1,
        "formulary-plan-cost": 1,
        "formulary-plan-without-formulary": 1,
        "formulary-copay-without-option": 1,
    }
    assert report["resources"]["InsurancePlan"] == 2


def test_a_release_is_verified_and_the_next_night_changes_what_changed(target, tmp_path):
    assert "no problems found" in done(cpcds("verify", target)).out
    rows = {"item": [{"formulary_id": "FRM-CHOICE", "drug_id": "91000000", "record_action": "D"}]}
    delta = write_extract(tmp_path / "delta", rows)
    (delta / "manifest.json").write_text('{"kind": "delta", "as_of": "2026-01-01"}')
    ran = cpcds("run", delta, "--to", target, **ANY_CHANGE, **DELTAS)
    assert ran.code == 0, ran.err
    assert "retracted: resources 1, Basic 1" in ran.out + ran.err
    assert "no problems found" in done(cpcds("verify", target)).out


def test_no_record_ties_a_reader_to_a_drug(target, tmp_path):
    with running(target, tmp_path) as server:
        assert "mode: public" in "".join(server.greeting)
        found = json.loads(server.get("/formulary/Basic?_include=Basic:subject", None)[2])
        ids = [entry["resource"]["id"] for entry in found["entry"]]
        words = ["amarixol", "lisinopril", "314076", "203.0.113.9", "some-browser", *ids]
        headers = {"X-Forwarded-For": "203.0.113.9", "User-Agent": "some-browser"}
        paths = [
            "Basic?subject:MedicationKnowledge.drug-name=amarixol&_include=Basic:subject",
            "MedicationKnowledge?drug-name:contains=lisinopril",
            "MedicationKnowledge?code=314076",
            "InsurancePlan?name=lisinopril",
            "Basic?unknown=lisinopril",
            "Basic/lisinopril",
            *(f"Basic?_id={key}" for key in ids),
            *(
                f"{entry['resource']['resourceType']}/{entry['resource']['id']}"
                for entry in found["entry"]
            ),
        ]
        for number in range(50):
            server.get(f"/formulary/{paths[number % len(paths)]}", None, **headers)
        metrics = server.get("/metrics", None)[2].decode()
    log = server.log.read_text()
    assert len(log.splitlines()) >= 51
    assert "formulary" in log
    assert "Basic" in metrics
    for word in (*words, "127.0.0.1"):
        assert word not in log
        assert word not in metrics


SEARCHES = {
    "InsurancePlan?type=DRUGPOL": 4,
    "InsurancePlan?coverage-type=DRUGPOL": 4,
    "InsurancePlan?identifier=http://cms.gov/medicare/ma-plan-id|H0000-001-000": 1,
    "InsurancePlan?status=draft": 1,
    "InsurancePlan?name=larkspur senior": 3,
    "InsurancePlan?coverage-area.address-state=MA": 4,
    "InsurancePlan?formulary-coverage:InsurancePlan.name=bayberry": 1,
    "MedicationKnowledge?drug-name=AMARIXOL": 2,
    "MedicationKnowledge?drug-name:contains=capsule": 2,
    "MedicationKnowledge?drug-name:exact=Calmora": 1,
    "MedicationKnowledge?code=91000000": 1,
    "MedicationKnowledge?doseform=90000002": 2,
    "MedicationKnowledge?status=active": 10,
    "Location?address-city:missing=true": 1,
    "Location?address=us": 1,
    "Basic?code=formulary-item": 28,
    "Basic?formulary:InsurancePlan.name=bayberry&drug-tier=generic": 5,
    "Basic?subject:MedicationKnowledge.code=91000000": 3,
    "Basic?pharmacy-benefit-type=3-month-in-mail": 12,
    "Basic?period=gt2026-01-01": 4,
    "Basic?status=active,draft": 28,
    "InsurancePlan?_has:Basic:formulary:subject.drug-name=calmora": 3,
}


def test_each_search_parameter_finds_what_the_rows_say(target, tmp_path):
    assert cpcds("verify", target).code == 0
    full = tmp_path / "target"
    done(cpcds("run", FORMULARY, "--to", full))
    with running(full, tmp_path) as server:
        for query, count in SEARCHES.items():
            path = f"/formulary/{query.replace(' ', '%20').replace('|', '%7C')}"
            status, _, body = server.get(path, None)
            assert status == 200, (query, body)
            assert (query, json.loads(body)["total"]) == (query, count)


def test_an_element_is_traced_to_its_row_from_the_rows_that_are_kept_or_from_the_extract(
    target, tmp_path
):
    full = tmp_path / "target"
    done(cpcds("run", FORMULARY, "--to", full, **DELTAS))
    done(cpcds("convert", FORMULARY, "--out", tmp_path / "out"))
    plan = next(one for one in resources(tmp_path / "out", "InsurancePlan") if "plan" in one)
    kind = plan["plan"][0]["specificCost"][0]
    copay = kind["benefit"][0]["cost"][0]["value"]["value"]
    path = "plan[0].specificCost[0].benefit[0].cost[0].value.value"
    wanted = {"plan_id": plan["identifier"][0]["value"], "tier": "generic"}
    wanted["pharmacy_type"] = kind["category"]["coding"][0]["code"]
    costs = rows_of(FORMULARY / "cost.csv")
    number = next(place for place, row in enumerate(costs, 2) if wanted.items() <= row.items())
    for given in ((), ("--extract", FORMULARY)):
        told = done(cpcds("explain", full, f"InsurancePlan/{plan['id']}", path, *given)).out
        assert "the published resource is the same" in told
        assert f"cost.csv row {number}, formulary_cost.copay = {copay:.2f}" in told
    told = done(cpcds("explain", full, "--row", f"cost.csv:{number}")).out
    assert f"InsurancePlan/{plan['id']}" in told
    assert "formulary_cost" in told


def test_everyone_may_fetch_all_of_it_as_files(tmp_path):
    target = tmp_path / "target"
    done(cpcds("run", FORMULARY, "--to", target))
    told = json.loads(done(cpcds("export", target, "--out", tmp_path / "public", "--json")).out)
    assert told["written"] == 4
    with running(target, tmp_path) as server:
        manifest = json.loads(server.get("/formulary/$bulk-publish", None)[2])
        types = [entry["type"] for entry in manifest["output"]]
        assert sorted(types) == ["Basic", "InsurancePlan", "Location", "MedicationKnowledge"]
        paths = [entry["url"].removeprefix(server.base) for entry in manifest["output"]]
        served = [server.get(path, None)[2] for path in paths]
    exported = [path.read_bytes() for path in (tmp_path / "public/bulk").iterdir()]
    assert sorted(served) == sorted(exported)
    assert sum(len(text.splitlines()) for text in served) == 48
    assert not list((tmp_path / "public").glob("plan-finder*"))  # files of directories alone


def test_a_night_is_planned_compared_and_rolled_back(tmp_path):
    target, night = tmp_path / "target", tmp_path / "night"
    done(cpcds("run", FORMULARY, "--to", target))
    first = current_release(target)
    rows = {path.stem: rows_of(path) for path in FORMULARY.glob("*.csv")}
    authorized = {"N": "Y", "Y": "N"}[rows["item"][0]["prior_authorization"]]
    rows["item"][0] |= {"prior_authorization": authorized}
    rows["cost"] = rows["cost"][:-1]
    write_extract(night, rows)
    page = tmp_path / "plan.html"
    planned = json.loads(
        done(cpcds("run", night, "--to", target, "--dry-run", "--html", page, "--json")).out
    )
    changed = {name: counts["changed"] for name, counts in planned["resources"].items()}
    assert {name: count for name, count in changed.items() if count} == {
        "Basic": 1,
        "InsurancePlan": 1,
    }
    assert "directory" not in page.read_text("utf-8")
    done(cpcds("run", night, "--to", target))
    told = done(cpcds("diff", target, first, current_release(target))).out
    assert "changed: resources 2, Basic 1, InsurancePlan 1" in told
    done(cpcds("rollback", target, first))
    assert "no problems found" in done(cpcds("verify", target)).out
