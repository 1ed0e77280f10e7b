"""The guide's own examples: taken apart into rows by this file, they become themselves again."""

import base64
import json
import tarfile
from collections import Counter

import pytest

from tests.e2e.commands import ROOT, cpcds, done, write_rows

PACKAGE = ROOT.parent / "shared/ig/packages/hl7.fhir.us.davinci-drug-formulary-2.0.1.tgz"
USDF = "http://hl7.org/fhir/us/davinci-drug-formulary/StructureDefinition/usdf-"
CONTACTS = {"MARKETING": "marketing", "SUMMARY": "summary", "FORMULARY": "formulary"}
FLAGS = {
    "PriorAuthorization": "prior_authorization",
    "PriorAuthorizationNewStartsOnly": "prior_authorization_new_starts",
    "StepTherapyLimit": "step_therapy",
    "StepTherapyLimitNewStartsOnly": "step_therapy_new_starts",
    "QuantityLimit": "quantity_limit",
}

pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(not PACKAGE.is_file(), reason="the guide is not beside the project"),
]


@pytest.fixture(scope="module")
def examples():
    with tarfile.open(PACKAGE) as archive:
        texts = [
            archive.extractfile(member).read()
            for member in archive
            if member.name.startswith("package/example/") and "GraphDefinition" not in member.name
        ]
    resources = [json.loads(text) for text in texts if len(text) < 1_000_000]
    return {f"{one['resourceType']}/{one['id']}": one for one in resources}


def code_of(concept):
    return concept["coding"][0]["code"]


def key_of(reference):
    return reference["reference"].rpartition("/")[2]


def period_of(resource):
    period = resource.get("period", {})
    return {"start_date": period.get("start", ""), "end_date": period.get("end", "")}


def formulary_row(one):
    stated = {"name": one["name"], "status": one["status"]}
    return {"formulary_id": one["id"], **stated, **period_of(one)}


def plan_row(one, areas):
    listed = [key_of(entry["valueReference"]) for entry in one["coverage"][0]["extension"]]
    row = {
        "plan_id": one["id"],
        "name": one["name"],
        "status": one["status"],
        "product_type": code_of(one["type"][0]),
        "formulary_ids": ";".join(listed),
        "area_ids": ";".join(key_of(area) for area in one["coverageArea"] if key_of(area) in areas),
        **period_of(one),
    }
    for contact in one["contact"]:
        kind = CONTACTS.get(code_of(contact["purpose"]))
        if kind:
            row[f"{kind}_name"] = contact["name"]["text"]
        for telecom in contact["telecom"]:
            row[f"{kind}_url" if kind else telecom["system"]] = telecom["value"]
    return row


def cost_rows(one):
    for kind in one["plan"][0]["specificCost"]:
        for benefit in kind["benefit"]:
            row = {
                "plan_id": one["id"],
                "pharmacy_type": code_of(kind["category"]),
                "tier": code_of(benefit["type"]),
            }
            for cost in benefit["cost"]:
                name = code_of(cost["type"])
                row[name] = str(cost["value"]["value"])
                row[f"{name}_option"] = code_of(cost["qualifiers"][0])
            yield row


def drug_row(one):
    drug, *groups = one["code"]["coding"]
    row = {"drug_id": one["id"], "rxnorm_code": drug["code"], "name": drug["display"]}
    row |= {"status": one["status"], "synonyms": ";".join(one.get("synonym", ()))}
    for group in groups:
        row |= {"form_group_code": group["code"], "form_group_name": group["display"]}
    for form in one.get("doseForm", {}).get("coding", ()):
        row |= {"dose_form_code": form["code"], "dose_form_name": form["display"]}
    return row


def item_row(one):
    row = {"drug_id": key_of(one["subject"]), "pharmacy_types": ""}
    for extension in one["extension"]:
        name = extension["url"].removeprefix(USDF).removesuffix("-extension")
        if name in FLAGS:
            row[FLAGS[name]] = "Y" if extension["valueBoolean"] else "N"
        elif name == "FormularyReference":
            row["formulary_id"] = key_of(extension["valueReference"])
        elif name == "PharmacyBenefitType":
            row["pharmacy_types"] += f";{code_of(extension['valueCodeableConcept'])}"
        elif name == "DrugTierID":
            row["tier"] = code_of(extension["valueCodeableConcept"])
        elif name == "AvailabilityStatus":
            row["status"] = extension["valueCode"]
        elif name == "AvailabilityPeriod":
            row |= period_of({"period": extension["valuePeriod"]})
        elif name == "AdditionalCoverageInformation":
            row["information"] = extension["valueMarkdown"]
        else:
            row |= limit_of({part["url"]: part for part in extension["extension"]})
    return row


def limit_of(parts):
    rolling = parts["Rolling"]["valueTiming"]["repeat"]
    supply = parts["DaysSupply"]["valueTiming"]["repeat"]
    return {
        "limit_amount": rolling["count"],
        "limit_days": rolling["period"],
        "daily_maximum": parts["MaximumDaily"]["valueQuantity"]["value"],
        "supply_count": supply["count"],
        "supply_days": supply["period"],
        "supply_within_days": supply["boundsDuration"]["value"],
    }


def area_row(one):
    outline = base64.b64decode(one["extension"][0]["valueAttachment"]["data"]).decode()
    name = one.get("name") or one["id"]
    address = {"state": one["address"]["state"], "country": one["address"]["country"]}
    return {"area_id": one["id"], "name": name, "region_geojson": outline, **address}


def write_extract(folder, examples):
    by_type = {}
    for one in examples.values():
        by_type.setdefault(one["resourceType"], []).append(one)
    plans = [one for one in by_type["InsurancePlan"] if "plan" in one]
    areas = [area_row(one) for one in by_type["Location"]]
    known = {row["area_id"] for row in areas}
    tables = {
        "formulary": [formulary_row(one) for one in by_type["InsurancePlan"] if one not in plans],
        "plan": [plan_row(one, known) for one in plans],
        "cost": [row for one in plans for row in cost_rows(one)],
        "area": areas,
        "drug": [drug_row(one) for one in by_type["MedicationKnowledge"]],
        "item": [item_row(one) for one in by_type["Basic"]],
    }
    folder.mkdir()
    for name, rows in tables.items():
        headers = list(dict.fromkeys(header for row in rows for header in row))
        write_rows(folder / f"{name}.csv", headers, rows)
    (folder / "manifest.json").write_text('{"as_of": "2021-09-01"}')


LEFT_OUT = ("id", "meta", "text", "identifier", "display", "unit", "contentType", "title")
"""What rows don't decide, or what the examples have in another form."""
PHARMACY = ".plan.specificCost.category."
"""One example repeats the kind of pharmacy for each tier, so these leaves are counted once."""


def counted(resource, examples_of):
    """Count the leaves of a resource, its references by the ids of the examples."""
    counts = Counter(leaves(resource, examples_of))
    return Counter({leaf: 1 if leaf[0].startswith(PHARMACY) else counts[leaf] for leaf in counts})


def leaves(value, examples_of, path=""):
    match value:
        case dict():
            for name, part in value.items():
                if name not in LEFT_OUT:
                    yield from leaves(part, examples_of, f"{path}.{name}")
        case list():
            for part in value:
                yield from leaves(part, examples_of, path)
        case _ if path.endswith(".reference"):
            yield path, examples_of.get(value, value)
        case _:
            yield path, str(value)


def id_of_example(one):
    """Return the id of the example that a resource is made of."""
    match one["resourceType"]:
        case "InsurancePlan":
            return one["identifier"][0]["value"]
        case "MedicationKnowledge":
            number = one["code"]["coding"][0]["code"]
            return f"FormularyDrug-{'1541228' if number == '753532' else number}"
        case "Location":
            return OUTLINED
        case _:
            return one["id"]


OUTLINED = "StateOfCTLocation"
"""The other example of a Location, the United States, is larger than a row may be."""
NATION = (".coverageArea.reference", "Location/UnitedStatesLocation")


def test_each_example_becomes_itself_again(examples, tmp_path):
    write_extract(tmp_path / "in", examples)
    done(cpcds("convert", tmp_path / "in", "--out", tmp_path / "out"))
    made = [
        json.loads(line)
        for path in sorted((tmp_path / "out").glob("*.ndjson"))
        for line in path.read_text("utf-8").splitlines()
    ]
    own = {
        f"{one['resourceType']}/{one['id']}": f"{one['resourceType']}/{id_of_example(one)}"
        for one in made
    }
    assert len(made) == len(examples) == 21
    wanted = [counted(one, {}) for one in examples.values()]
    for one in wanted:
        del one[NATION]
    found = [counted(one, own) for one in made]
    assert [sorted(one) for one in wanted if one not in found] == []
    assert sum(one.total() for one in wanted) > 700
    conformed = cpcds("conform", tmp_path / "out")
    assert " 0 errors" in conformed.out, conformed.out
