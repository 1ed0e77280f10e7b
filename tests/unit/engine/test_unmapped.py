"""Words that a crosswalk knows and has no code for: found where that shows in what is published."""

from functools import cache

import pytest

from etl.bootstrap.mappings import read_crosswalks, read_folder, shipped
from etl.engine.directory_rows import directory_rows
from etl.engine.partition_columns import Partition
from etl.engine.render import render
from etl.engine.unmapped import UNMAPPED, WITHOUT_CODE, findings
from etl.mapping.library import compile_set
from etl.mapping.plan import Environment
from etl.model.crosswalks import read_crosswalk
from etl.model.data_models import DIRECTORY
from tests.given.tables import table
from tests.golden.mapping.rendering import ID_KEY, PAYER
from tests.unit.engine.rows import prepared
from tests.unit.quality.world import tables

CLAIM = {
    "claim_id": "C1",
    "member_id": "M1",
    "coverage_id": "V1",
    "payer_id": "P1",
    "statement_from_date": "2024-01-02",
    "adjudication_date": "2024-01-09",
}
OWN = {
    "care_team_role_pharmacy": "scribe,,,\nprescribing,prescribing,urn:roles,1\n",
    "relationship": "friend,\nself,self\n",
    "telecom_use": "beeper,\nhome,home\n",
}
"""A payer's own words, those without a code among them."""


@cache
def crosswalks():
    known = dict(read_crosswalks([shipped()]))
    for name, lines in OWN.items():
        header = ",".join(("source", *known[name].columns))
        known[name] = known[name].overlaid(read_crosswalk(f"{header}\n{lines}", name, file=name))
    return known


@cache
def mappings():
    texts = read_folder([shipped()], "c4bb", "*.yaml").texts
    payer = {**PAYER, "default_network_status": "innetwork"}
    return compile_set(texts, crosswalks(), payer)


def findings_of(plans, partition, known):
    """Yield the findings of plans as rows."""
    environment = Environment("golden", ID_KEY, known, {})
    for plan in plans:
        rendering = render(plan, partition, environment)
        list(rendering)
        for told in findings(rendering.values).values():
            yield from told.to_pylist()


def found(rule, **rows):
    """Return the columns, with their tables, that a rule finds in rows."""
    rows = {"claim": [], "claim_line": []} | rows
    claims = [CLAIM | row for row in rows["claim"]]
    lines = [
        {"claim_id": "C1", "service_from_date": "2024-01-02"} | row for row in rows["claim_line"]
    ]
    partition = Partition(prepared(None, **rows | {"claim": claims, "claim_line": lines}))
    return {
        f"{finding['table']}.{finding['column']}"
        for finding in findings_of(mappings().plans, partition, crosswalks())
        if finding["rule"] == rule
    }


@pytest.mark.parametrize(*table(__file__, "words"))
def test_a_word_without_a_code_is_found_where_that_shows(rows, without_code, unknown):
    assert found(WITHOUT_CODE, **rows) == set(without_code)
    assert found(UNMAPPED, **rows) == set(unknown)


def test_a_word_of_a_derived_row_is_found_in_the_cell_that_it_is_from():
    known = read_crosswalks([shipped()], DIRECTORY)
    texts = read_folder([shipped()], "plan-net", "*.yaml").texts
    payer = {"directory_id_system": "https://payer.example/ids"}
    rows = {
        "directory_practitioner": [
            {"practitioner_id": "D1", "family_name": "Doe", "languages": "en;es"}
            | {"language_proficiency": "30;good"}
        ],
        "provider_role": [
            {"role_id": "R1", "network_ids": "N1;N2", "accepts_new_patients": "newpt"},
            {"role_id": "R2", "network_ids": "N1", "accepts_new_patients": "maybe"},
        ],
        "provider_role_network": [
            {"role_id": "R1", "network_id": "N2", "accepts_new_patients": "perhaps"}
        ],
    }
    partition = Partition(directory_rows(tables(rows, DIRECTORY.tables)))
    plans = compile_set(texts, known, payer, view="financial").plans
    assert {
        (finding["table"], finding["row"], finding["column"])
        for finding in findings_of(plans, partition, known)
    } == {
        ("directory_practitioner", 2, "language_proficiency"),
        ("provider_role", 3, "accepts_new_patients"),
        ("provider_role_network", 2, "accepts_new_patients"),
    }
