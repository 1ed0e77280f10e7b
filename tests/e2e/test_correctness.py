"""What is published says what the source says: accepted by judges, complete, to the cent."""

import json
import re
from collections import defaultdict
from decimal import Decimal
from importlib import import_module

import pytest

from etl.synth import Spec, write_extract
from tests.e2e.commands import (
    SAMPLES,
    converted,
    cpcds,
    done,
    published,
    rows_of,
)


@pytest.fixture(scope="session")
def resources(ndjson):
    return converted(ndjson)


@pytest.fixture(scope="session")
def eobs(resources):
    """The claims of the samples by their numbers."""
    found = [one for one in resources if one.get("use") == "claim"]
    return {one["identifier"][0]["value"]: one for one in found}


# -- judges ------------------------------------------------------------------------------------


def accepted(path, every):
    """Have fhir.resources (R4B) read every n-th resource of each kind; return how many."""
    count = 0
    for file in sorted(path.glob("*.ndjson")):
        model = getattr(import_module(f"fhir.resources.R4B.{file.stem.lower()}"), file.stem)
        for line in file.read_text(encoding="utf-8").splitlines()[::every]:
            model.model_validate_json(line)
            count += 1
    return count


@pytest.mark.parametrize("every", [25, pytest.param(1, marks=pytest.mark.slow)])
def test_fhir_resources_accepts_resources_of_every_type(ndjson, every):
    assert accepted(ndjson, every) >= len(converted(ndjson)) // every > 40


def test_no_line_of_ndjson_holds_what_python_calls_a_line_end(ndjson):
    """A line separator within a name would split a resource for readers who use splitlines."""
    files = sorted(ndjson.glob("*.ndjson"))
    assert "Patient.ndjson" in {file.name for file in files}
    for file in files:
        text = file.read_bytes().decode()
        assert text.endswith("\n")
        assert all(line.startswith("{") and line.endswith("}") for line in text.split("\n")[:-1])


def codings_of(value):
    """Yield every coding inside a value."""
    if isinstance(value, list):
        for entry in value:
            yield from codings_of(entry)
    elif isinstance(value, dict):
        if value.keys() >= {"system", "code"} and not value.keys() & {"value", "unit"}:
            yield value
        for member in value.values():
            yield from codings_of(member)


def test_every_resource_of_the_samples_conforms_to_the_guide(ndjson):
    called = done(cpcds("conform", ndjson, "--json"))
    report = json.loads(called.out)
    assert report["errors"] == 0
    assert sum(report["resources"].values()) == len(converted(ndjson))


# -- references --------------------------------------------------------------------------------


def references(node):
    match node:
        case dict():
            for key, value in node.items():
                if key == "reference" and isinstance(value, str):
                    yield value
                else:
                    yield from references(value)
        case list():
            for value in node:
                yield from references(value)
        case _:
            return


def unresolved(resources):
    """Return the references to what is neither among the resources nor contained."""
    found = list(resources)
    there = {f"{one['resourceType']}/{one['id']}" for one in found}
    missing = set()
    for one in found:
        inside = {f"#{each['id']}" for each in one.get("contained", ())}
        missing |= set(references(one)) - there - inside
    return missing


def test_every_reference_resolves_within_what_was_converted(resources):
    assert sum(1 for one in resources for _ in references(one)) > 2_000
    assert unresolved(resources) == set()


@pytest.mark.slow
def test_every_reference_resolves_within_the_published_tree(tmp_path):
    write_extract(tmp_path / "faulty", Spec(members=6, seed=11, fault_rate=0.7))
    done(cpcds("run", tmp_path / "faulty", "--to", tmp_path / "tree", "--workers", "1"))
    found = published(tmp_path / "tree")
    assert len(found) > 50
    assert unresolved(found) == set()


def test_no_member_id_is_in_a_reference_or_id(resources):
    members = {row["member_id"] for row in rows_of(SAMPLES / "member.csv")}
    assert members
    assert resources
    for one in resources:
        for text in (one["id"], *references(one)):
            assert not any(member in text for member in members)
            assert re.fullmatch(r"([A-Za-z]+/)?[a-z2-7]{32}|#.+", text)


# -- money -------------------------------------------------------------------------------------


def cents(cell):
    """Return an amount as JSON shows it: with both cents."""
    return f"{Decimal(cell):.2f}"


def amounts_of(row):
    """Return the amounts that a row of a file states, by category."""
    return {
        column.removeprefix("amount_"): cell
        for column, cell in row.items()
        if column.startswith("amount_") and cell
    }


def stated(parts):
    """Return the amounts of adjudications or totals, by category; texts as they are in the JSON."""
    found: dict[str, list[str]] = defaultdict(list)
    for part in parts:
        value = part.get("amount", {}).get("value")
        if value is not None:
            found[part["category"]["coding"][0]["code"]].append(str(value))
    return dict(found)


def by_claim(table):
    found: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in rows_of(SAMPLES / f"{table}.csv"):
        found[row["claim_id"]].append(row)
    return found


def expected_totals(claim, lines, others):
    """Return a claim's totals: what is stated for it as a whole, else the sums of its lines."""
    own = [row for row in others if not row["line_number"]]
    whole = sums_of(own) | {key: Decimal(cell) for key, cell in amounts_of(claim).items()}
    of_lines = sums_of([row for row in others if row["line_number"]]) | sums_of(lines)
    return {key: f"{value:.2f}" for key, value in (whole or of_lines).items()}


def sums_of(rows):
    """Return the exact sum of the rows that state an amount, by category."""
    sums: dict[str, Decimal] = {}
    for row in rows:
        for category, cell in amounts_of(row).items():
            sums[category] = sums.get(category, Decimal(0)) + Decimal(cell)
    return sums


def test_totals_and_payments_are_the_sources_to_the_cent(eobs):
    lines, others = by_claim("claim_line"), by_claim("claim_other_payer")
    looked_at = 0
    claims = rows_of(SAMPLES / "claim.csv")
    assert sorted(eobs) == sorted(claim["claim_id"] for claim in claims)
    for claim in claims:
        name = claim["claim_id"]
        eob = eobs[name]
        want = expected_totals(claim, lines[name], others[name])
        assert {key: [value] for key, value in want.items()} == stated(eob["total"]), name
        looked_at += len(want)
        paid = eob.get("payment", {}).get("amount", {}).get("value")
        assert (cents(claim["payment_amount"]) if claim["payment_amount"] else None) == (
            None if paid is None else str(paid)
        ), name
    assert looked_at > 3_000


def test_no_number_of_the_output_was_ever_binary(ndjson):
    """An amount that went through a float would show it: 0.1 + 0.2 is 0.30000000000000004."""
    numbers = [
        number
        for file in ndjson.glob("*.ndjson")
        for number in re.findall(r'"value":(-?[\d.eE+-]+),"currency"', file.read_text())
    ]
    assert len(numbers) > 5_000
    assert [text for text in numbers if not re.fullmatch(r"-?(0|[1-9]\d*)\.\d\d", text)] == []
