"""The facts of the guide's examples are mapped to the guide's examples."""

import csv
import json
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from etl.mapping.plan import Environment
from tests.golden.mapping.comparing import differences
from tests.golden.mapping.rendering import ID_KEY, exact, read_rows, resources

HERE = Path(__file__).parents[1] / "guide-examples"
GUIDE = Path(__file__).parents[4] / "shared" / "ig" / "examples"
PAYER = {
    "member_id_system": "https://www.example.com/fhir/memberidentifier",
    "unique_member_id_system": "https://www.example.com/fhir/iniquememberidentifier",
    "claim_id_system": "https://www.example.com/fhir/EOBIdentifier",
}
OF_A_FOLDER = {"ExplanationOfBenefit", "RelatedPerson"}
"""Types of which each example's folder makes one of its own."""
PATIENTS = {"1234-234-1243-12345678901": "Patient1", "88800933501": "Patient2"}
SHARED = read_rows(HERE / "shared")
KEYS = (
    ("coverage", "Coverage", "coverage_id"),
    ("organization", "Organization", "organization_id"),
    ("practitioner", "Practitioner", "practitioner_id"),
)


pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(
        not GUIDE.is_dir(), reason="the guide's examples are not beside the project"
    ),
]


@cache
def names():
    """Return the guide's reference for each of ours."""
    logical_id = Environment("golden", ID_KEY, {}, {}).logical_id
    found = {
        f"Patient/{logical_id('Patient', key)}": f"Patient/{PATIENTS[key]}" for key in PATIENTS
    }
    for table, resource, column in KEYS:
        for row in SHARED[table]:
            ours = f"{resource}/{logical_id(resource, row[column])}"
            found[ours] = f"{resource}/{row[column]}"
    return found


def plain(value):
    """Return a value without displays and narrative, with the guide's references."""
    match value:
        case dict():
            return {
                key: plain(inner)
                for key, inner in value.items()
                if key not in {"display", "id"} and not (key == "text" and "div" in inner)
            }
        case list():
            return [plain(inner) for inner in value]
        case str():
            return names().get(value, value)
        case _:
            return value


def without_numbers(resource):
    """Return a claim whose lines have the information that they point to, not its number."""
    told = {}
    for entry in resource.get("supportingInfo", []):
        number = entry.pop("sequence")
        told[number] = json.dumps(entry, sort_keys=True, default=str)
    for item in resource.get("item", []):
        if "informationSequence" in item:
            item["informationSequence"] = [
                told.get(number, "nothing") for number in item["informationSequence"]
            ]
    return resource


def file_of(name, resource, view):
    """Return the name of the guide's file; its Basis claims have names of their own."""
    if view == "basis":
        return f"{resource}-BB-{name}-nonfinancial"
    return name.replace("/", "-") if "/" in name else f"{resource}-{name}"


def ours(view):
    """Return our resources by the name of the guide's example; in a view, its claims alone."""
    found = {}
    for resource in resources(SHARED, PAYER, view):
        name = names().get(f"{resource['resourceType']}/{resource['id']}")
        if name is not None:
            found[name] = resource
    for folder in sorted(
        path for path in HERE.iterdir() if path.is_dir() and path.name != "shared"
    ):
        mine = read_rows(folder)
        coverage = [*SHARED["coverage"], *mine.get("coverage", [])]
        for resource in resources({**SHARED, **mine, "coverage": coverage}, PAYER, view):
            if resource["resourceType"] in OF_A_FOLDER:
                found[folder.name] = resource
    if view == "financial":
        return found
    return {
        name: resource
        for name, resource in found.items()
        if resource["resourceType"] == "ExplanationOfBenefit"
    }


def compared(made, listed, view):
    """Return how often each listed difference was found, and those that are not listed."""
    found = Counter()
    unlisted = []
    for name, resource in made.items():
        path = GUIDE / f"{file_of(name, resource['resourceType'], view)}.json"
        theirs = exact(path.read_text("utf-8"))
        pair = (without_numbers(plain(one)) for one in (theirs, resource))
        for side, path, value in differences(*pair):
            for known in listed:
                if known[:2] == (name, side) and f"{path}.".startswith(f"{known[2]}."):
                    found[known] += 1
                    break
            else:
                unlisted.append(f"{name} {side} {path} {value}")
    return found, unlisted


def listed_in(name):
    with (HERE / name).open(newline="", encoding="utf-8") as file:
        return {
            (row["example"], row["side"], row["path"]): int(row["leaves"])
            for row in csv.DictReader(file)
        }


@pytest.mark.parametrize(
    ("view", "list_of", "count"),
    [
        ("financial", "differences.csv", 11 + 2 + 4 + 10 + 5),
        ("basis", "differences-basis.csv", 10),
    ],
)
def test_our_resources_differ_from_the_guides_examples_in_what_is_listed_only(view, list_of, count):
    listed = listed_in(list_of)
    made = ours(view)
    assert len(made) == count
    found, unlisted = compared(made, listed, view)
    assert not unlisted, "\n".join(unlisted)
    assert dict(found) == listed


def test_what_is_added_to_the_examples_is_a_payers_id_and_amounts_stated_for_the_claim():
    """A claim's amounts are those of its header and its total; the examples have some in one."""
    listed = listed_in("differences.csv")
    added = {
        (name, path)
        for name, side, path in listed
        if side == "ours" and (name, "theirs", path) not in listed
    }
    assert added == {
        ("Organization/Payer2", "identifier"),
        ("EOBInpatient2", "adjudication"),
        ("EOBOutpatient1", "adjudication"),
        ("EOBInpatient2", "item.servicedDate"),  # for servicedPeriod
    }
