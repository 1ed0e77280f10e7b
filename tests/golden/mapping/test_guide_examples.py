"""The facts of the guide's examples, mapped, are the guide's examples."""

from __future__ import annotations

import csv
import json
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest

from etl.mapping.environment import Environment
from tests.golden.mapping.comparing import differences
from tests.golden.mapping.rendering import ID_KEY, exact, read_rows, resources

HERE: Final = Path(__file__).parents[1] / "guide-examples"
GUIDE: Final = Path(__file__).parents[4] / "shared" / "ig" / "examples"
PAYER: Final = {
    "member_id_system": "https://www.example.com/fhir/memberidentifier",
    "unique_member_id_system": "https://www.example.com/fhir/iniquememberidentifier",
    "claim_id_system": "https://www.example.com/fhir/EOBIdentifier",
}
PATIENTS: Final = {"1234-234-1243-12345678901": "Patient1", "88800933501": "Patient2"}
SHARED: Final = read_rows(HERE / "shared")
KEYS: Final = (
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
def names() -> dict[str, str]:
    """Return the guide's reference for each of ours."""
    environment = Environment("golden", ID_KEY, {}, {})
    found = {
        f"Patient/{environment.logical_id('Patient', key)}": f"Patient/{name}"
        for key, name in PATIENTS.items()
    }
    for table, resource, column in KEYS:
        for row in SHARED[table]:
            ours = f"{resource}/{environment.logical_id(resource, row[column])}"
            found[ours] = f"{resource}/{row[column]}"
    return found


def plain(value: Any) -> Any:
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


def without_numbers(resource: Any) -> Any:
    """Return a claim whose lines have the information that they point to, not its number."""
    told: dict[int, str] = {}
    for entry in resource.get("supportingInfo", []):
        number = entry.pop("sequence")
        told[number] = json.dumps(entry, sort_keys=True, default=str)
    for item in resource.get("item", []):
        if "informationSequence" in item:
            item["informationSequence"] = [
                told.get(number, "nothing") for number in item["informationSequence"]
            ]
    return resource


def file_of(name: str, resource: str, view: str) -> str:
    """Return the name of the guide's file; its Basis claims have names of their own."""
    if view == "basis":
        return f"{resource}-BB-{name}-nonfinancial"
    return name.replace("/", "-") if "/" in name else f"{resource}-{name}"


def example(name: str) -> Any:
    return exact((GUIDE / f"{name}.json").read_text("utf-8"))


def ours(view: str) -> dict[str, Any]:
    """Return our resources by the name of the guide's example; in a view, its claims alone."""
    found: dict[str, Any] = {}
    for resource in resources(SHARED, PAYER, view):
        name = names().get(f"{resource['resourceType']}/{resource['id']}")
        if name is not None:
            found[name] = resource
    for folder in sorted(HERE.iterdir()):
        if not folder.is_dir() or folder.name == "shared":
            continue
        rows = {**SHARED, **read_rows(folder)}
        rows["coverage"] = [*SHARED["coverage"], *read_rows(folder).get("coverage", [])]
        for resource in resources(rows, PAYER, view):
            if resource["resourceType"] in {"ExplanationOfBenefit", "RelatedPerson"}:
                found[folder.name] = resource
    if view == "financial":
        return found
    return {
        name: resource
        for name, resource in found.items()
        if resource["resourceType"] == "ExplanationOfBenefit"
    }


@pytest.mark.parametrize(
    ("view", "list_of", "count"),
    [
        ("financial", "differences.csv", 11 + 2 + 4 + 10 + 5),
        ("basis", "differences-basis.csv", 10),
    ],
)
def test_our_resources_differ_from_the_guides_examples_in_what_is_listed_only(
    view: str, list_of: str, count: int
) -> None:
    with (HERE / list_of).open(newline="", encoding="utf-8") as file:
        listed = {
            (row["example"], row["side"], row["path"]): int(row["leaves"])
            for row in csv.DictReader(file)
        }
    found: Counter[tuple[str, str, str]] = Counter()
    unlisted: list[str] = []
    made = ours(view)
    assert len(made) == count
    for name, resource in made.items():
        theirs = example(file_of(name, resource["resourceType"], view))
        pair = (without_numbers(plain(one)) for one in (theirs, resource))
        for side, path, value in differences(*pair):
            for known in listed:
                if known[:2] == (name, side) and f"{path}.".startswith(f"{known[2]}."):
                    found[known] += 1
                    break
            else:
                unlisted.append(f"{name} {side} {path} {value}")
    assert not unlisted, "\n".join(unlisted)
    assert dict(found) == listed
