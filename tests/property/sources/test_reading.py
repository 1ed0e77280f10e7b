"""What is written in any of the formats is what is read, whoever wrote it and however it is cut."""

import csv
import gzip
import io
import re
import shutil
import tempfile
from contextlib import contextmanager
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from etl.columns.numbers import to_cents
from etl.errors import ExtractError
from etl.model.canonical_tables import CLAIMS_TABLES as TABLES
from etl.sources.files.listed_files import ListedFile, RowForm
from etl.sources.files.stored_files import FolderFiles
from etl.sources.parsing.delimited import read_batches
from tests.unit.sources.extracts import (
    CLAIM,
    COVERAGE,
    LINE,
    MEMBER,
    all_loaded,
    read,
    write_extract,
    write_table,
)

COLUMNS = ("member_id", "family_name", "birth_date", "gender", "city", "email")
odd_cells = ["", " ", '"', '""', ",", "|", "\n", "\r\n", "a\nb", " x ", "\u00a0Ng\t", "007"]
cells = st.text(
    st.characters(codec="utf-8", exclude_characters="\0"), max_size=12
) | st.sampled_from([*odd_cells, "1e5", "19700101", "NA"])
tables = st.lists(st.tuples(*[cells] * len(COLUMNS)), min_size=1, max_size=30)


@contextmanager
def folders():
    """An extract and a work folder that go away; hypothesis runs a test many times."""
    base = Path(tempfile.mkdtemp())
    try:
        yield write_extract(base / "in"), base / "work"
    finally:
        shutil.rmtree(base)


def quoted(rows, delimiter, line_end, every):
    """Write rows as RFC 4180 has it, quoting where one must, and wherever `every` says."""
    text = io.StringIO()
    for at, row in enumerate(rows):
        written = []
        for number, cell in enumerate(row):
            must = any(mark in cell for mark in ('"', "\n", "\r", delimiter))
            may = every[(at + number) % len(every)]
            written.append('"' + cell.replace('"', '""') + '"' if must or may else cell)
        text.write(delimiter.join(written) + line_end)
    return text.getvalue()


def canonical(rows):
    """The slow and obvious answer: trim, leave out what is empty, number the rows."""
    found = []
    for number, row in enumerate(rows, start=2):
        if not any(row):
            continue
        filled = {name: cell.strip() for name, cell in zip(COLUMNS, row, strict=True)}
        found.append({name: cell for name, cell in filled.items() if cell} | {"_row": str(number)})
    return sorted(found, key=lambda row: int(row["_row"]))


def members(folder, work, count):
    """What was read, in the order of the rows."""
    found = []
    for loaded in all_loaded(read(folder, work, count)):
        for row in loaded.tables["member"].to_pylist():
            filled = {name: str(cell) for name, cell in row.items() if cell is not None}
            filled.pop("_file")
            found.append(filled)
    return sorted(found, key=lambda row: int(row["_row"]))


@settings(max_examples=25, deadline=None)
@given(
    rows=tables,
    delimiter=st.sampled_from([",", "|", "\t"]),
    line_end=st.sampled_from(["\n", "\r\n"]),
    every=st.lists(st.booleans(), min_size=1, max_size=4),
    packed=st.booleans(),
    bom=st.booleans(),
    count=st.integers(1, 4),
)
def test_what_is_written_by_rfc_4180_is_read(rows, delimiter, line_end, every, packed, bom, count):
    text = quoted([COLUMNS, *rows], delimiter, line_end, every)
    content = (b"\xef\xbb\xbf" if bom else b"") + text.encode()
    ending = {",": "csv", "|": "psv", "\t": "tsv"}[delimiter]
    with folders() as (folder, work):
        (folder / "member.csv").unlink()
        name = f"member.{ending}" + (".gz" if packed else "")
        (folder / name).write_bytes(gzip.compress(content) if packed else content)
        if any(map(any, rows)):
            # A first cell of blanks alone in an unquoted row of one cell cannot occur here: there
            # are six columns.
            assert members(folder, work, count) == canonical(rows)


@settings(max_examples=25, deadline=None)
@given(rows=tables.filter(lambda rows: any(map(any, rows))), count=st.integers(1, 3))
def test_a_parquet_file_of_the_same_cells_gives_the_same_rows(rows, count):
    columns = {
        name: pa.array([row[at] or None for row in rows], pa.string())
        for at, name in enumerate(COLUMNS)
    }
    with folders() as (folder, work):
        (folder / "member.csv").unlink()
        pq.write_table(pa.table(columns), folder / "member.parquet")
        assert members(folder, work, count) == canonical(rows)


def looks_like_rows(row):
    """Return whether each line of a row would be a row of three cells if it began none."""
    text = ",".join(cell if re.search(r"[\r\n]", cell) else "" for cell in row)
    lines = re.split(r"\r\n|\n|\r", text)
    return len(lines) > 1 and {line.count(",") for line in lines} == {2}


plain_rows = st.integers(2, 6).flatmap(
    lambda width: st.lists(
        st.lists(st.text("a1 .", max_size=3), min_size=width, max_size=width), min_size=2
    )
)


@settings(max_examples=100, deadline=None)
@given(rows=plain_rows, data=st.data())
def test_rows_never_become_one_without_a_word(rows, data):
    """A stray quote begins a cell, and one of a later row (an inch mark) ends another."""
    first = data.draw(st.integers(0, len(rows) - 2))
    second = data.draw(st.integers(first + 1, len(rows) - 1))
    columns = st.integers(0, len(rows[0]) - 1)
    opening, closing = data.draw(columns), data.draw(columns)
    rows[first][opening] = f'"{rows[first][opening]}'
    rows[second][closing] += '"'
    header = [f"h{number}" for number, _ in enumerate(rows[0])]
    with tempfile.TemporaryDirectory() as base:
        path = Path(base) / "x.csv"
        path.write_text("".join(",".join(row) + "\n" for row in [header, *rows]))
        listed = ListedFile("x.csv", FolderFiles(path.parent), "x", ",")
        with pytest.raises(ExtractError, match=rf"row {first + 2} has .* contains other rows"):
            list(read_batches(listed, tuple(header), RowForm(",")))


@settings(max_examples=100, deadline=None)
@given(
    rows=st.lists(st.lists(cells, min_size=1, max_size=4), max_size=25),
    block=st.integers(200, 400),
    quoting=st.booleans(),
    extra=st.integers(0, 2),
    header=st.booleans(),
)
@example(rows=[["", "", "", "x"]], block=200, quoting=True, extra=1, header=False)
def test_row_numbers_agree_with_a_plain_reader(rows, block, quoting, extra, header):
    """Extra cells, ragged and blank rows among others, at every place of a block's end."""
    if not quoting:
        rows = [["".join(c for c in cell if c not in '",\r\n') for cell in row] for row in rows]
    if extra:
        # Whether a cell contains other rows is asked of rows as wide as the first one.
        rows = [[re.sub(r"[\r\n]", "", cell) for cell in row] for row in rows]
    form = RowForm(",", quoting, header, extra)
    text = "a,b,c\n" * header + quoted(
        [tuple(row) for row in rows], ",", "\n", [False, True] if quoting else [False]
    )
    with tempfile.TemporaryDirectory() as base, pytest.MonkeyPatch.context() as patch:
        patch.setattr("etl.sources.parsing.delimited.BLOCK_BYTES", block)
        path = Path(base) / "x.csv"
        path.write_bytes(text.encode())
        listed = ListedFile("x.csv", FolderFiles(path.parent), "x", ",")
        whole, ragged = {}, []
        batches = read_batches(listed, ("a", "b", "c"), form)
        if any(map(looks_like_rows, rows)):
            with pytest.raises(ExtractError, match="contains other rows"):
                list(batches)
            return
        for batch in batches:
            ragged += [row.row for row in batch.malformed]
            for row in batch.rows.to_pylist():
                whole[row["_row"]] = (row["a"], row["b"], row["c"])
    expected = {}
    bad = []
    stream = io.StringIO(text, newline="")
    plain = csv.reader(stream) if quoting else csv.reader(stream, quoting=csv.QUOTE_NONE)
    for number, row in enumerate(plain, start=1):
        if (number == 1 and header) or not any(row):
            # A row of one quoted, empty cell is as blank as an empty line.
            continue
        if 3 <= len(row) <= 3 + extra:
            # What is left of a row that had something in its extra cells alone is as good as blank.
            expected |= {number: tuple(row[:3])} if any(row[:3]) else {}
        elif "".join(row).strip() or len(row) > 1:
            bad.append(number)
    assert whole == expected
    assert [number for number in ragged if number in bad] == bad


claims = st.lists(
    st.tuples(st.integers(0, 9), st.integers(0, 4), st.integers(1, 12)), min_size=1, max_size=40
)


@settings(max_examples=15, deadline=None)
@given(facts=claims, seed=st.randoms(use_true_random=False), count=st.integers(2, 9))
def test_neither_the_cut_nor_the_order_of_rows_shows_in_what_is_read(facts, seed, count):
    """Orphans and duplicates included: the union of all partitions is the same rows."""
    some = {
        "member": [{**MEMBER, "member_id": f"M{who}"} for who in range(3)],
        "claim": [
            {**CLAIM, "claim_id": f"CL{claim}", "member_id": f"M{who}" if who else ""}
            for claim, who, _ in facts
        ],
        "claim_line": [
            {**LINE, "claim_id": f"CL{claim + who}", "line_number": str(line)}
            for claim, who, line in facts
        ],
        "coverage": [COVERAGE],
    }
    shuffled = {name: seed.sample(rows, len(rows)) for name, rows in some.items()}
    with folders() as (folder, work):
        for name, rows in some.items():
            write_table(folder, name, rows)
        one = union(folder, work, 1)
        for name, rows in shuffled.items():
            write_table(folder, name, rows)
        many = union(folder, work, count)
    assert one == many
    assert len(one["claim"]) == len(one["claim_line"]) == len(facts)


def union(folder, work, count):
    """Rows of all partitions without their places, sorted."""
    found = {name: [] for name in TABLES}
    for loaded in all_loaded(read(folder, work, count)):
        for name, table in loaded.tables.items():
            rows = table.drop_columns(["_file", "_row"]).to_pylist()
            found[name] += [str(row) for row in rows]
    return {name: sorted(rows) for name, rows in found.items()}


decimals = st.decimals(-(10**12), 10**12, allow_nan=False, allow_infinity=False, places=5)
floats = st.floats(allow_nan=False, allow_infinity=False)


@given(
    st.lists(st.none() | decimals.map(str) | floats.map(repr) | st.text(max_size=6), max_size=20)
)
@example(["0E+999", "-0.0", "1e15", "1e16", "9" * 40, "0.005", "0.015"])
def test_rounding_agrees_with_exact_arithmetic(texts):
    values, rounded = to_cents(pa.array(texts, pa.string()))
    for text, value, lost in zip(texts, values.to_pylist(), rounded.tolist(), strict=True):
        if text is None or value is None:
            assert value is None
            continue
        if value == text:
            assert not lost
            continue
        exact = Decimal(text)
        assert Decimal(value) == exact.quantize(Decimal("0.01"), rounding=ROUND_HALF_EVEN)
        assert lost == (Decimal(value) != exact)
        assert len(value.partition(".")[2]) == 2
