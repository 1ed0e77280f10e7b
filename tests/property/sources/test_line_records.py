"""Lines are cut into records as a slow reader cuts them, however many processes read a file."""

import csv
import io
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from etl.errors import ExtractError
from etl.jobs import ALONE
from etl.sources.extract.opening import open_extract
from etl.sources.files.listed_files import ListedFile, RowForm
from etl.sources.files.stored_files import FolderFiles
from etl.sources.layout.model import Condition, LineForm
from etl.sources.layout.syntax import read_layout
from etl.sources.parsing.delimited import RecordFile, RecordType, read_records
from etl.sources.parsing.spans import Span
from etl.sources.partition.reading import partition_extract
from tests.unit.sources.apart import Apart, split_every
from tests.unit.sources.extracts import all_loaded

FIXED = (
    RecordType("heads", ("k", "x"), LineForm((1, 2), (Condition("k", any_of=frozenset({"h"})),))),
    RecordType(
        "rows",
        ("k", "a", "b"),
        LineForm((1, 3, 2), (Condition("k", any_of=frozenset({"d"})),), short_lines=True),
    ),
)
PARTED = (
    RecordType("heads", ("k", "x"), LineForm((), (Condition("x", any_of=frozenset({"h"})),))),
    RecordType("rows", ("k", "x", "b"), LineForm((), (Condition("x", none_of=frozenset({"h"})),))),
)
line_ends = st.sampled_from(["\n", "\r\n"])
fixed_lines = st.builds(
    str.__add__, st.sampled_from(["h", "D", "d", "d"]), st.text('aé ,"\x1f|', max_size=6)
)
cells = st.text("ah é\x1f", max_size=2) | st.sampled_from(["h", '"a|b"', '"h"', '"a""b"', '5"'])
parted_lines = st.lists(cells, min_size=1, max_size=5).map("|".join)


def slow_fixed(line, kind):
    """The cells of a line, one character after the other; None where it has another length."""
    whole = sum(kind.form.widths)
    if len(line) > whole or (len(line) < whole and not kind.form.short_lines):
        return None
    found, rest = [], line
    for width in kind.form.widths:
        found.append(rest[:width])
        rest = rest[width:]
    return found


def slow_parted(line):
    """The cells of a line by the standard library; None where a quote is left open."""
    if '"' not in line:
        return line.split("|")
    try:
        return next(csv.reader(io.StringIO(line), delimiter="|", strict=True))
    except csv.Error:
        return None


def batches(text, file):
    """Rows and ragged rows by their numbers."""
    with tempfile.TemporaryDirectory() as base:
        path = Path(base) / "x.dat"
        path.write_bytes(text)
        listed = ListedFile("x.dat", FolderFiles(path.parent), "x", "|")
        rows = {}
        ragged = {}
        for batch in read_records(listed, file, span=Span()):
            for row in batch.rows.to_pylist():
                number = row.pop("_row")
                rows[number] = list(row.values())
            ragged |= {row.row: row.text for row in batch.malformed}
        return rows, ragged


@settings(max_examples=150, deadline=None)
@given(st.lists(fixed_lines | st.just("") | st.just("  "), max_size=15), line_ends, st.booleans())
def test_lines_of_fixed_width(lines, end, bom):
    text = ("\ufeff" * (bom and bool(lines)) + "".join(line + end for line in lines)).encode()
    for own, kind in enumerate(FIXED):
        mark = "h" if own == 0 else "d"
        mine = {
            number: line
            for number, line in enumerate(lines, start=1)
            if line.strip() and line[0].lower() == mark
        }
        cut = {number: slow_fixed(line, kind) for number, line in mine.items()}
        rows, ragged = batches(text, RecordFile(FIXED, own, RowForm(has_header=False)))
        assert rows == {number: found for number, found in cut.items() if found is not None}
        assert ragged == {number: mine[number] for number, found in cut.items() if found is None}


@settings(max_examples=150, deadline=None)
@given(st.lists(parted_lines, max_size=15), line_ends)
@example(["a|h", '"x', "a||", 'a|"b'], "\n")
def test_delimited_lines(lines, end):
    text = "".join(line + end for line in lines).encode()
    for own, kind in enumerate(PARTED):
        mine = {}
        for number, line in enumerate(lines, start=1):
            found = slow_parted(line) or []
            is_head = len(found) > 1 and found[1].strip() == "h"
            if line.strip() and is_head == (own == 0):
                mine[number] = line
        cut = {number: slow_parted(line) or [] for number, line in mine.items()}
        rows, ragged = batches(text, RecordFile(PARTED, own, RowForm("|", has_header=False)))
        full = {number: found for number, found in cut.items() if len(found) == len(kind.names)}
        assert rows == {number: found for number, found in full.items() if any(found)}
        assert ragged == {number: mine[number] for number in mine.keys() - full.keys()}


LAYOUT = Path(__file__).with_name("lines.yaml").read_text("utf-8")
record_lines = st.one_of(
    st.builds("c{:02d}M{}".format, st.integers(0, 9), st.integers(0, 3)),
    st.builds("l{:02d}{}".format, st.integers(0, 9), st.integers(0, 5)),
    st.sampled_from(["l0", "c01M1é", "", "  ", "l01\x1f", "l013 "]),
)


def everything(folder, work, runner):
    """All that is read of an extract, or why it is not."""
    try:
        extract = open_extract(folder, [read_layout(LAYOUT, "lines.yaml", {})])
        parts = partition_extract(extract, work, partitions=3, runner=runner, digests=True)
    except ExtractError as error:
        return str(error)
    loaded = [(one.tables, one.findings, one.unread) for one in all_loaded(parts)]
    return parts.facts.rows_read, parts.malformed_rows().to_pylist(), loaded, parts.facts.unowned


@settings(max_examples=20, deadline=None)
@given(st.lists(record_lines, max_size=25), st.integers(20, 100), st.booleans(), line_ends)
def test_spans_of_lines_are_read_as_the_whole(lines, every, has_stray, end):
    stray = ["?"] if has_stray else []
    text = "".join(line + end for line in [*lines, *stray, "e0000"])
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as base:
        split_every(patch, every, every)
        folder = Path(base) / "in"
        folder.mkdir()
        (folder / "people.txt").write_text("".join(f"M{n}C{n}\n" for n in range(4)))
        (folder / "claims.dat").write_bytes(text.encode())
        alone = everything(folder, Path(base) / "alone", ALONE)
        apart = Apart()
        assert everything(folder, Path(base) / "apart", apart) == alone
        assert has_stray or not apart.refused
        assert isinstance(alone, str) == has_stray
