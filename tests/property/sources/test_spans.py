"""An extract that several processes read, in spans of files, is the one that one process reads."""

import tempfile
from contextlib import contextmanager
from operator import itemgetter
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from etl.errors import ExtractError
from etl.jobs import ALONE
from etl.publish.target import Target
from etl.sources.extract.opening import open_extract
from etl.sources.files.listed_files import ignore
from etl.sources.partition.reading import FolderReceiver, partition_extract, read_rows
from etl.spark.id_files import IdFiles
from etl.spark.shuffled_rows import ShuffleReceiver
from etl.spark.staging import Staging
from etl.storage.port import StoreOptions
from tests.contract.executor.frames import Session, whole
from tests.unit.sources.apart import Apart, split_every
from tests.unit.sources.extracts import CLAIM, MEMBER

COUNT = 3
TEXTS = [
    "plain",
    "Ng",
    "",
    '"a, b"',
    '"two\nlines"',
    '"two\r\nlines"',
    '""',
    '"say ""hi"""',
    "one\rtwo",
    'a 5" pipe',
    "too,many",
]
OPEN = '"never closed'


def everything(folder, work, runner):
    """All that can be known of an extract that was read, or why it was not."""

    def read(extract):
        return partition_extract(extract, work, partitions=COUNT, digests=True, runner=runner)

    found = known(folder, read)
    left = sorted(path.suffix for path in work.iterdir() if path.suffix != ".rows")
    return found if isinstance(found, str) else (found, left)


def shuffled(folder, work):
    """All that can be known of an extract that went through a shuffle, or why it was not read."""

    def read(extract):
        ids = IdFiles(Staging(Target(str(work / "target"), StoreOptions())), 4)
        receiver = ShuffleReceiver(Session(), FolderReceiver(work, COUNT), COUNT, ids)
        return whole(read_rows(extract, receiver, partitions=COUNT, digests=True, emit=ignore))

    return known(folder, read)


def known(folder, read):
    """All that can be known of what a function reads, or why it did not."""
    try:
        parts = read(open_extract(folder, ()))
    except ExtractError as error:
        return str(error)
    assert parts.keys.lookup_ids is None
    keys = [
        {table: hashes.tolist() for table, hashes in ids.items()}
        for ids in (parts.keys.ids, parts.keys.shared_ids, {"sharers": parts.keys.sharers})
    ]
    loaded = [*(parts.load(index) for index in range(COUNT)), parts.directory()]
    return (
        parts.facts.rows_read,
        keys,
        parts.facts.findings.to_pylist(),
        parts.malformed_rows().to_pylist(),
        [(one.tables, one.findings, one.unread) for one in loaded],
        parts.facts.unowned,
        [written(parts.raw_rows(index)) for index in range(COUNT + 1)],
        {
            name: sorted(marks.to_pylist(), key=itemgetter("_file", "_row"))
            for name, marks in parts.marks(range(COUNT)).items()
        },
    )


def written(rows):
    """Rows as a file has them: what is not there is empty."""
    return {
        name: [{header: cell or "" for header, cell in row.items()} for row in table.to_pylist()]
        for name, table in rows.items()
    }


def lines(form, header, ids):
    """Text of a file, with rows that are fine, ragged, blank, or end in the middle of a cell."""
    row = st.builds(
        lambda one, other, text, end: form.format(one, other, text) + end,
        st.integers(0, ids),
        st.integers(0, 3),
        st.sampled_from(TEXTS),
        st.sampled_from(["\n", "\n", "\r\n"]),
    ) | st.sampled_from(["\n", "  \n"])
    last = st.sampled_from(["", "", form.format(0, 0, "end"), form.format(0, 0, OPEN)])
    return st.builds(
        lambda rows, end: header + "\n" + "".join(rows) + end,
        st.lists(row, min_size=1, max_size=20),
        last,
    )


members = lines("M{0},{2},1970-01-0{1},F", ",".join(MEMBER), 4)
claims = lines(
    "CL{0},professional,M{1},C1,P1,2024-01-05,2024-01-09,{2}",
    ",".join([*CLAIM, "patient_account_number"]),
    9,
)
claim_lines = lines(
    "CL{0},{1},2024-01-05,{2}", "claim_id,line_number,service_from_date,place_of_service", 9
)


@settings(max_examples=40, deadline=None)
@given(members, claims, claim_lines, st.integers(20, 300), st.booleans())
def test_what_is_read_in_spans_is_what_is_read_as_a_whole(member, claim, line, every, in_parts):
    with written_extract(member, claim, line, every, in_parts) as (folder, base):
        alone = everything(folder, base / "alone", ALONE)
        assert everything(folder, base / "apart", Apart()) == alone


PERSON = "M0,plain,1970-01-00,F\n"
BILLED = "CL0,professional,M0,C1,P1,2024-01-05,2024-01-09,"
MALFORMED_TWICE = (
    ",".join(MEMBER) + "\n" + 5 * PERSON + "M0,too,many,1970-01-00,F\n",
    ",".join([*CLAIM, "patient_account_number"]) + f"\n{4 * (BILLED + 'plain' + chr(10))}"
    f"{BILLED}one\rtwo\n",
    "claim_id,line_number,service_from_date,place_of_service\n",
)
"""Members, claims, and claim lines: rows that cannot be read are in two files."""


@settings(max_examples=25, deadline=None)
@given(members, claims, claim_lines, st.integers(20, 300), st.booleans())
@example(*MALFORMED_TWICE, 20, False)
def test_what_went_through_a_shuffle_is_what_is_read_as_a_whole(
    member, claim, line, every, in_parts
):
    with written_extract(member, claim, line, every, in_parts) as (folder, base):
        alone = everything(folder, base / "alone", ALONE)
        found = shuffled(folder, base / "shuffled")
        assert found == (alone if isinstance(alone, str) else alone[0])


@contextmanager
def written_extract(member, claim, line, every, in_parts):
    """Give an extract that is cut at every so many bytes, and a folder."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as base:
        split_every(patch, every, every)
        folder = Path(base) / "in"
        folder.mkdir()
        (folder / "member.csv").write_bytes(("\ufeff" + member + "M0,Ng,1970-01-01,F\n").encode())
        (folder / "coverage.csv").write_text("coverage_id,member_id,relationship,payer_id\n")
        (folder / "claim.csv").write_bytes(claim.encode())
        for name in ["claim_line-1", "claim_line-2"] if in_parts else ["claim_line"]:
            (folder / f"{name}.csv").write_bytes(line.encode())
        yield folder, Path(base)
