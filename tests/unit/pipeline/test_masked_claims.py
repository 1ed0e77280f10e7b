"""What is published of a claim that has a sensitive code in any row, however it is spelled."""

import json
import re
from dataclasses import replace
from functools import cache
from random import Random

import pytest

from etl.bootstrap.settings import Settings
from etl.model.sensitive_codes import read_sensitive
from etl.pipeline.partition.mapping import PartitionContext, check_and_map
from etl.pipeline.partition.providers import providers_of
from etl.rows import no_findings
from etl.sources.partition.partitions import Loaded
from tests.e2e.commands import same_definitions
from tests.given.tables import read_tables
from tests.unit.quality.world import KeysInMemory, tables, world

DATA = read_tables(__file__)
LISTED = "system,code\n" + "\n".join(f"{system},{code}" for system, code in DATA["listed"])
CANARY = "Canary"
CASES = {kind: tuple(row.values() for row in DATA[kind]) for kind in ("sensitive", "benign")}
SPELLED = ("F10.20", "F1020", "H0020", "H00.20", "90834", "00054017625", "HZ2ZZZZ")


def key_of(name):
    return "prior_auth_id" if name.startswith("prior_auth") else "claim_id"


def given(cases):
    """Return a world of claims with texts in every place, one for each case: header, table, cells.

    The cells are those of the claim or its line, or of one more row.
    """
    of = {**world(), **DATA["more"]}
    of["claim_note"] = [{"claim_id": f"K{n}", "sequence": "1", "text": CANARY} for n in range(6)]
    of["claim_line"] = [{**row, "service_text": CANARY} for row in of["claim_line"]]
    of["claim_other_payer"] = [*of["claim_other_payer"], *DATA["other_payers"]]
    made = {name: [] if "claim" in name or "auth" in name else of[name] for name in of}
    for number, (header, name, cells) in enumerate(cases):
        is_changed = name in {"claim", "claim_line", "prior_auth_line"}
        for table in made:
            for row in of[table]:
                if row.get(key_of(table)) == header:
                    changes = cells if table == name and is_changed else {}
                    made[table].append({**row, **changes, key_of(table): f"{header}-{number}"})
        if not is_changed:
            numbers = {"sequence": "9", key_of(name): f"{header}-{number}"}
            line = {"line_number": "1"} if name == "claim_ingredient" else {}
            made[name].append({**numbers, **line, **cells})
    return made


def publish(of, listed=LISTED):
    """Return each claim's and prior authorization's number and resource."""
    codes = read_sensitive(listed, "codes.csv")
    definitions = replace(same_definitions(Settings()), sensitive=codes)
    loaded = Loaded(tables(of), no_findings(), (), {}, {})
    context = PartitionContext(definitions, providers_of(tables({}), definitions), None)
    _, _, mapped = check_and_map(context, loaded, KeysInMemory())
    bodies = [
        body
        for plan, runs, _ in mapped.plan_resources
        if plan.resource == "ExplanationOfBenefit"
        for run in runs
        for body in run.bodies.to_pylist()
    ]
    return {re.search(r'"value":"([AK]\d-\d+)"', body)[1]: body for body in bodies}


@cache
def published(kind, listed=LISTED):
    return publish(given(CASES[kind]), listed)


def ids(kind):
    return [f"{header} {name} {cells}" for header, name, cells in CASES[kind]]


@pytest.mark.parametrize("number", range(len(CASES["sensitive"])), ids=ids("sensitive"))
def test_a_sensitive_code_anywhere_in_a_claim_takes_its_texts(number):
    header, _, cells = CASES["sensitive"][number]
    body = published("sensitive").get(f"{header}-{number}", "")
    words = [*SPELLED, *(cell for cell in cells.values() if len(cell) > 2)]
    assert not [word for word in (CANARY, *words) if json.dumps(word)[1:-1] in body]
    assert body or header in {"K0", "K2", "K5"}  # whose profile may require the code
    assert CANARY in published("sensitive", "system,code\n").get(f"{header}-{number}", CANARY)


def test_claims_without_a_listed_code_are_published_unchanged():
    expected = published("benign", "system,code\n")
    assert len(expected) == len(CASES["benign"])
    for number, (header, name, cells) in enumerate(CASES["benign"]):
        key = f"{header}-{number}"
        assert published("benign")[key] == expected[key], (name, cells)


def test_a_row_that_a_newer_one_replaces_masks_nothing():
    of = given([("K1", "claim_diagnosis", {"code": "F10.20", "last_updated": "2024-01-01"})])
    newer = {"code": "E11.9", "last_updated": "2024-02-01"}
    of["claim_diagnosis"].append({**of["claim_diagnosis"][-1], **newer})
    assert CANARY in publish(of)["K1-0"]


def test_other_payers_stay_apart_without_their_names():
    (body,) = publish(given([("K2", "claim_diagnosis", {"code": "F10.20"})])).values()
    assert re.findall(r'"coverage":{"display":"(.*?)"}', body) == [
        "masked 1",
        "masked 2",
        "masked 4",
    ]


def spell(code, chance):
    """Return another spelling of an ICD-10-CM or HCPCS code, as bad sources have them."""
    points = ["", ".", " ", "-", "\u200b", "..", ",", "_", "\u2011"]
    text = code[:3] + chance.choice(points) + code[3:]
    text = chance.choice([text, text.lower(), f" {text} ", f"{text}.", f"({text})", f"{text}/HQ"])
    text = chance.choice([text, text.translate({at: at + 0xFEE0 for at in range(0x30, 0x5B)})])
    return chance.choice([text, f"{text};I10", f"I10 {text}", f"ICD10:{text}", f"{text} alcohol"])


def test_any_spelling_masks_the_claim_and_no_other_code_does():
    """Compare with the code that was spelled, in columns for codes."""
    chance, cases, expected = Random(0), [], []
    for _ in range(400):
        code = chance.choice(["F1020", "F1021", "F1199", "F1299", "H0020", "H0031", "E1165"])
        name, column = chance.choice(
            [("claim_diagnosis", "code"), ("claim_line", "service_code"), ("claim", "drg_code")]
        )
        cases.append(("K1", name, {column: spell(code, chance)}))
        expected.append(code in {"F1020", "F1199", "H0020"})
    bodies = publish(given(cases))
    assert len(bodies) == len(cases)
    for number, (case, is_masked) in enumerate(zip(cases, expected, strict=True)):
        assert (CANARY not in bodies[f"K1-{number}"]) == is_masked, case
