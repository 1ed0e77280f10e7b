"""The shared directory: rows that are there, and resources for what claims only name."""

import pyarrow as pa

from etl.engine.unmapped import Mention
from etl.pipeline.partition.directory import check_directory
from etl.pipeline.partition.providers import with_stubs
from etl.rows import table_schema
from tests.unit.pipeline.small_run import cut, definitions, two_members

NPI = "1234567893"


def directory():
    cells = {"organization_id": "B", "name": "There"}
    schema = table_schema("organization")
    row = {field.name: pa.array([cells.get(field.name)], field.type) for field in schema}
    return {
        "organization": pa.table(row, schema=schema),
        "practitioner": table_schema("practitioner").empty_table(),
    }


def rows(table):
    return [{key: cell for key, cell in row.items() if cell} for row in table.to_pylist()]


def test_what_is_only_named_gets_a_row_of_what_is_known():
    made = with_stubs(
        directory(),
        [
            Mention("Practitioner", NPI, payer=False),
            Mention("Organization", "C", payer=True),
            Mention("Organization", "A", payer=False),
        ],
    )
    assert rows(made["practitioner"]) == [{"practitioner_id": NPI, "npi": NPI}]
    assert rows(made["organization"]) == [
        {"organization_id": "A"},
        {"organization_id": "B", "name": "There"},
        {"organization_id": "C", "kind": "payer"},
    ]


def test_one_that_is_named_twice_gets_one_row():
    twice = [Mention("Organization", "A", payer=False), Mention("Organization", "A", payer=True)]
    for order in (twice, twice[::-1]):
        assert rows(with_stubs(directory(), order)["organization"])[0] == {
            "organization_id": "A",
            "kind": "payer",
        }


def test_the_order_of_mentions_does_not_show():
    named = [Mention("Organization", name, payer=False) for name in "DAC"]
    made = [with_stubs(directory(), order)["organization"] for order in (named, named[::-1])]
    assert made[0].equals(made[1])


def test_cells_of_the_directory_without_a_code_are_found(tmp_path):
    extract = two_members()
    extract["organization"] += [
        {"organization_id": "O2", "name": "Two", "naic": "1234", "clia": "9", "kind": "clinic"}
    ]
    _, made = check_directory(cut(extract, tmp_path).directory(), definitions(), as_of=None)
    found = {
        (finding["rule"], finding["table"], finding["column"], finding["row"])
        for words in made.unmapped.values()
        for finding in words.to_pylist()
    }
    assert found == {
        ("misshapen-identifier", "organization", "naic", 3),
        ("misshapen-identifier", "organization", "clia", 3),
        ("unmapped-word", "organization", "kind", 3),
    }
