"""What reading holds in memory does not follow the number of members."""

import tracemalloc

import pyarrow as pa
import pytest

from etl.sources.extract.opening import open_extract
from etl.sources.partition.reading import partition_extract
from tests.unit.sources import extracts
from tests.unit.sources.extracts import CLAIM, LINE, MEMBER, headers_of

FEW = 40_000
MANY = 160_000


def write(folder, members):
    """Write an extract of members with two claims of one line each, and a coverage each."""
    ids = [f"M{number:07}" for number in range(members)]
    claims = [f"CL{number:08}" for number in range(2 * members)]
    rows = {
        "member": ({**MEMBER, "member_id": one} for one in ids),
        "coverage": ({"coverage_id": f"C{one}", "member_id": one} for one in ids),
        "claim": (
            {**CLAIM, "claim_id": one, "member_id": ids[at // 2]} for at, one in enumerate(claims)
        ),
        "claim_line": ({**LINE, "claim_id": one} for one in claims),
    }
    folder.mkdir()
    for table, of_table in rows.items():
        all_rows = list(of_table)
        (folder / f"{table}.csv").write_text(
            extracts.delimited(all_rows, headers_of(all_rows[:1], table)), encoding="utf-8"
        )
    return folder


@pytest.mark.slow
def test_memory_of_reading_does_not_grow_with_the_number_of_members(tmp_path, monkeypatch):
    # Buffers so small that even the few fill them: Arrow's parser reads 32 blocks ahead.
    monkeypatch.setattr("etl.sources.parsing.delimited.BLOCK_BYTES", 1 << 15)
    monkeypatch.setattr("etl.sources.partition.ids._MAX_PENDING", 1 << 14)
    monkeypatch.setattr("etl.sources.partition.row_files.BUFFER_BYTES", 1 << 18)

    def peak(members):
        """Return the most that Python and numpy held, and the most that Arrow did, in bytes."""
        extract = open_extract(write(tmp_path / f"in{members}", members), ())
        arrow = 0

        def look(_):
            nonlocal arrow
            arrow = max(arrow, pa.total_allocated_bytes())

        tracemalloc.start()
        parts = partition_extract(
            extract, tmp_path / f"work{members}", partitions=4, digests=True, emit=look
        )
        traced = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert len(parts.keys.ids["member"]) == members
        assert len(parts.keys.ids["claim"]) == 2 * members
        return traced, arrow

    peak(100)  # what is loaded once
    few, many = peak(FEW), peak(MANY)
    assert many[0] - few[0] < 10 * (MANY - FEW), "more than 10 bytes for each further member"
    assert many[1] - few[1] < 1 << 20, "rows wait while rows of other tables are read"
