"""Members are compared across partitions, however these are cut."""

import pyarrow as pa
import pytest

from etl.columns.places import NO_SOURCES
from etl.quality.checks.members import differing_members, member_hashes
from tests.given.tables import table
from tests.unit.quality.world import standard_book, tables

WHOLE = {"family_name": "Doe", "given_name": "Jan", "birth_date": "1980-05-06", "gender": "F"}


def found(rows, partitions):
    """Return rule, row and column of what is found in rows that are dealt to partitions."""
    whole = [
        {k: v for k, v in ({"address_line": f"{at} Elm St"} | WHOLE | row).items() if v}
        for at, row in enumerate(rows)
    ]
    members = tables({"member": whole})["member"]
    parts = [
        members.filter(pa.array([at % partitions == part for at in range(len(rows))]))
        for part in range(partitions)
    ]
    book = standard_book()
    hashes = [member_hashes(part, NO_SOURCES, book) for part in parts]
    findings = differing_members(hashes, book).to_pylist()
    return {(row["rule"], row["row"] - 2, row["column"]) for row in findings}


@pytest.mark.parametrize("partitions", [1, 2, 3])
@pytest.mark.parametrize(*table(__file__, "cases"))
def test_members_that_contradict_each_other_are_told(rows, told, partitions):
    assert found(rows, partitions) == {
        (rule, at, column) for rule, column, *at_rows in told for at in at_rows
    }
