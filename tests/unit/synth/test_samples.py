"""`cpcds_samples/` is what the generator writes, and what its README says."""

from collections import Counter

from etl.model.canonical_tables import CLAIM_TYPES
from etl.model.canonical_tables import CLAIMS_TABLES as TABLES
from etl.synth.samples import write_samples
from tests.e2e.commands import SAMPLES
from tests.unit.synth.written import hashes, plain, read

ROWS = plain(read(SAMPLES))


def test_the_samples_are_what_the_generator_writes_byte_for_byte(tmp_path):
    write_samples(tmp_path)

    written = {name: digest for name, digest in hashes(SAMPLES).items() if name != "README.md"}
    assert written == hashes(tmp_path)
    for name in ("faulty", "directory"):
        assert hashes(SAMPLES / name) == hashes(tmp_path / name)


def test_they_hold_every_column_and_every_type_of_claim():
    for table in TABLES.values():
        for column in table.names:
            assert any(column in row for row in ROWS[table.name]), f"{table.name}.{column}"
    assert {row["claim_type"] for row in ROWS["claim"]} == set(CLAIM_TYPES)
    assert len(ROWS["member"]) >= 25
    assert len(ROWS["claim"]) >= 300
    assert Counter(row["member_id"] for row in ROWS["claim"]).most_common(1)[0][1] >= 200
