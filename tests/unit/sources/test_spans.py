"""Files that several processes read: where they are cut, and what happens where that was wrong."""

from itertools import pairwise

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from etl.errors import ExtractError
from etl.jobs import ALONE
from etl.sources.extract.opening import open_extract
from etl.sources.files.listed_files import FileProgress
from etl.sources.parsing import delimited
from etl.sources.partition.partition_rows import split_files
from etl.sources.partition.reading import partition_extract
from tests.unit.sources.apart import Apart, split_every
from tests.unit.sources.extracts import MEMBER, rows_of, write_extract

HEADER = ",".join(MEMBER) + "\n"


@pytest.fixture(autouse=True)
def _small_spans(monkeypatch):
    split_every(monkeypatch, 200, 100)


def members(rows):
    """Some rows that are alike."""
    return "".join(f"M{number:03d},Ng,1970-01-01,F\n" for number in range(rows))


def read(base, text, events=None):
    """Read an extract with a member file as several processes would."""
    folder = write_extract(base / "in")
    (folder / "member.csv").write_text(HEADER + text)
    apart = Apart()
    emit = (lambda event: None) if events is None else events.append
    parts = partition_extract(
        open_extract(folder, ()), base / "work", partitions=2, runner=apart, emit=emit
    )
    return parts, apart


def spans_of(apart, name):
    """What was to be read of a file."""
    return [part.span for job in apart.jobs for part in job.parts if part.file.name == name]


def test_a_large_file_is_read_in_spans_of_rows(tmp_path):
    text = members(30)
    parts, apart = read(tmp_path, text)
    spans = spans_of(apart, "member.csv")
    assert len(spans) == 4
    assert (spans[0].start, spans[0].first_row, spans[-1].end) == (0, 1, None)
    for one, other in pairwise(spans):
        assert (one.end, one.next_row) == (other.start, other.first_row)
        assert (HEADER + text).splitlines(keepends=True)[other.first_row - 1 :] == (HEADER + text)[
            other.start :
        ].splitlines(keepends=True)
    assert not apart.refused
    assert len(rows_of(parts, "member")) == 30
    assert member_rows(parts) == {f"M{number:03d}": number + 2 for number in range(30)}


def member_rows(parts):
    """Return the row number of each member."""
    return {
        row["member_id"]: row["_row"]
        for index in range(2)
        for row in parts.load(index).tables["member"].to_pylist()
    }


def parquet_extract(base, rows, size):
    """Write an extract with a member file of row groups of some rows."""
    folder = write_extract(base / "in")
    (folder / "member.csv").unlink(missing_ok=True)
    columns = {name: [cell] * rows for name, cell in MEMBER.items()}
    columns["member_id"] = [f"M{number:03d}" for number in range(rows)]
    pq.write_table(pa.table(columns), folder / "member.parquet", row_group_size=size)
    return folder


def test_a_large_parquet_file_is_read_in_row_groups(tmp_path, monkeypatch):
    monkeypatch.setattr("etl.sources.files.listed_files.SPLIT_BYTES", 600)
    apart = Apart()
    extract = open_extract(parquet_extract(tmp_path, 30, 4), ())
    parts = partition_extract(extract, tmp_path / "work", partitions=2, runner=apart)
    spans = spans_of(apart, "member.parquet")
    assert len(spans) > 2
    assert not apart.refused
    assert member_rows(parts) == {f"M{number:03d}": number + 2 for number in range(30)}
    # Another file in its place is read as a whole: it is cut elsewhere.
    parquet_extract(tmp_path, 33, 5)
    parts = partition_extract(extract, tmp_path / "again", partitions=2, runner=apart)
    assert [refused.error for refused in apart.refused].count(None) >= 1
    assert parts.facts.rows_read["member.parquet"] == 33


def test_line_ends_in_quoted_cells_are_no_ends_of_rows(tmp_path):
    text = "".join(f'M{number:03d},"Ng\nNg\nNg",1970-01-01,F\n' for number in range(30))
    parts, apart = read(tmp_path, text)
    assert len(spans_of(apart, "member.csv")) >= 4
    assert not apart.refused
    assert [row["family_name"] for row in rows_of(parts, "member")] == ["Ng\nNg\nNg"] * 30


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (  # after an inch mark, what is inside of cells looks like what is outside of them
            'M900,5" Ng,1970-01-01,F\n'
            + members(6)
            + "".join(f'M{number:03d},"a\nb",1970-01-01,F\n' for number in range(6, 30)),
            {'5" Ng', "Ng", "a\nb"},
        ),
        # what is no line end to who looks for cuts is the end of a row
        (members(30).replace("\n", "\r", 1), {"Ng"}),
    ],
    ids=["inch-mark", "carriage-return"],
)
def test_a_file_that_was_cut_in_the_wrong_places_is_read_as_a_whole(text, names, tmp_path):
    events = []
    parts, apart = read(tmp_path, text, events)
    assert [refused.error for refused in apart.refused].count(None) >= 1
    rows = rows_of(parts, "member")
    assert len({row["member_id"] for row in rows}) == len(rows) == text.count("M")
    assert {row["family_name"] for row in rows} == names
    left = list((tmp_path / "work").glob("member.*.rows"))
    assert len(left) == 1  # nothing of the spans
    last = {event.file: event for event in events if isinstance(event, FileProgress)}["member.csv"]
    assert (last.bytes_read, last.rows) == (last.bytes, len(rows))


def test_a_quoted_cell_that_swallows_rows_of_a_span_is_told_as_one_process_would(tmp_path):
    swallowing = 'M900,"Ng,1970-01-01,F\n' + members(2) + 'M901,"Ng",1970-01-01,F\n'
    with pytest.raises(
        ExtractError, match="a quoted cell of row 22 continues after its closing quote"
    ):
        read(tmp_path, members(20) + swallowing + members(30))


def test_how_far_a_file_was_read_is_told_span_by_span(tmp_path):
    events = []
    text = members(30)
    read(tmp_path, text, events)
    told = [
        (e.bytes_read, e.rows)
        for e in events
        if isinstance(e, FileProgress) and e.file == "member.csv"
    ]
    assert told == sorted(told)
    assert len(told) == 4
    assert told[-1] == (len(HEADER + text), 30)


def test_small_files_of_a_table_are_read_together(folder):
    (folder / "member.csv").unlink()
    for number in range(9):
        (folder / f"member-{number}.csv").write_text(HEADER + members(2))
    files = [file for file in open_extract(folder, ()).files if file.table == "member"]
    jobs = [[part.file.name for part in parts] for parts in split_files(files, 200)]
    assert [name for job in jobs for name in job] == [file.name for file in files]
    assert [len(job) for job in jobs] == [3, 3, 3]


def test_a_job_lists_no_other_place_where_its_file_can_be_split(folder):
    """With all of them in each, jobs would grow with the square of a file."""
    (folder / "member.csv").write_text(HEADER + members(40))
    (file,) = [file for file in open_extract(folder, ()).files if file.table == "member"]
    jobs = list(split_files([file], 200))
    assert len(jobs) == len(file.split_points) + 1 > 3
    assert {part.file.split_points for job in jobs for part in job} == {()}


@pytest.mark.parametrize("apart", [True, False])
@pytest.mark.parametrize("left", [0, 1, 20])
def test_rows_that_were_there_when_a_file_was_hashed_and_are_not_read_are_missed(
    folder, tmp_path, left, apart
):
    (folder / "member.csv").write_text(HEADER + members(40))
    extract = open_extract(folder, ())
    (folder / "member.csv").write_text(HEADER + members(left))
    with pytest.raises(ExtractError, match=r"member\.csv was changed after it was hashed"):
        partition_extract(
            extract, tmp_path / "work", partitions=2, runner=Apart() if apart else ALONE
        )


def test_a_parser_that_loses_rows_is_found_out_by_the_other_counts(folder, tmp_path, monkeypatch):
    (folder / "member.csv").write_text(HEADER + members(40))
    extract = open_extract(folder, ())
    batches = delimited._parse

    def losing(*given):
        last, swallowing = yield from batches(*given)
        return (last or 0) - 1, swallowing

    monkeypatch.setattr(delimited, "_parse", losing)
    with pytest.raises(ExtractError, match=r"rows were read .* found a different number"):
        partition_extract(extract, tmp_path / "work", partitions=2)


@pytest.mark.parametrize("text", ['"a\nb",x,y,z\n', 'a 5" pipe,x,y,z\n', "a\rb,x,y,z\n", "\n\n"])
@pytest.mark.parametrize("end", ["", "\n", "\r"])
def test_rows_that_are_hard_to_count_are_no_error(folder, tmp_path, text, end):
    (folder / "member.csv").write_text(HEADER + members(3) + text + "M9,Ng,1970-01-01,F" + end)
    cut = partition_extract(open_extract(folder, ()), tmp_path / "work", partitions=2)
    assert cut.facts.rows_read["member.csv"] >= 4
