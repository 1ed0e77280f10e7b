"""Kernels say what the slow and obvious way says, for any column."""

import json
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from etl.columns import numbers
from etl.columns.arrays import join, join_lists, join_runs, text_bytes
from etl.engine.evaluate import escape_json, logical_ids
from etl.mapping.plan import Environment

TEXT = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from('"\\\b\f\n\r\t\x00\x1f'))
COLUMN = st.lists(st.none() | TEXT, max_size=12)
CENTS = st.integers(-(10**15), 10**15)
ENVIRONMENT = Environment(payer="payer", id_key=b"key", crosswalks={}, providers={})


def sliced(values, before):
    """Return a column that begins somewhere within its buffers, as parts of tables do."""
    return pa.array([*["other"] * before, *values], pa.string()).slice(before)


@given(values=COLUMN, before=st.integers(0, 3))
@example(values=["".join(map(chr, range(0x80))), "\u2028\U0001f600é"], before=1)
def test_escaped_is_what_json_writes_between_the_quotes(values, before):
    wanted = [None if v is None else json.dumps(v, ensure_ascii=False)[1:-1] for v in values]
    assert escape_json(sliced(values, before)).to_pylist() == wanted


def test_a_column_that_needs_no_escape_is_not_copied():
    column = pa.array(["plain", "Nguyễn", None])
    assert escape_json(column) is column


@given(values=COLUMN, before=st.integers(0, 3), large=st.booleans())
def test_text_bytes_are_the_bytes_of_all_texts(values, before, large):
    column = sliced(values, before).cast(pa.large_string() if large else pa.string())
    assert text_bytes(column).tobytes() == "".join(v or "" for v in values).encode()


@given(keys=st.lists(st.none() | TEXT, max_size=12), resource=st.sampled_from(["Patient", "X"]))
def test_logical_ids_are_those_of_the_environment(keys, resource):
    wanted = [None if key is None else ENVIRONMENT.logical_id(resource, key) for key in keys]
    assert logical_ids(pa.array(keys, pa.string()), resource, ENVIRONMENT).to_pylist() == wanted


def test_logical_ids_differ_by_type_payer_key_and_secret():
    others = [
        Environment("payer2", b"key", {}, {}).logical_id("Patient", "1"),
        Environment("payer", b"key2", {}, {}).logical_id("Patient", "1"),
        ENVIRONMENT.logical_id("Coverage", "1"),
        ENVIRONMENT.logical_id("Patient", "2"),
        ENVIRONMENT.logical_id("Patient", "1"),
    ]
    assert len(set(others)) == 5


@given(cents=st.lists(CENTS, max_size=12), data=st.data())
def test_money_of_cents_is_the_decimal_with_two_digits(cents, data):
    there = data.draw(st.lists(st.booleans(), min_size=len(cents), max_size=len(cents)))
    got = numbers.format_cents(np.array(cents, dtype=np.int64), np.array(there, dtype=np.bool_))
    wanted = [
        f"{Decimal(c).scaleb(-2):.2f}" if t else None for c, t in zip(cents, there, strict=True)
    ]
    assert got.to_pylist() == wanted


@given(runs=st.lists(st.lists(st.sampled_from(["a", "", "é,", "{}"]), max_size=3), max_size=6))
def test_joined_lists_are_joined_with_commas(runs):
    column = pa.array([text for run in runs for text in run], pa.string())
    counts = np.array([len(run) for run in runs], dtype=np.int64)
    assert join_lists(column, counts, ",").to_pylist() == [",".join(run) for run in runs]


@given(
    runs=st.lists(st.lists(st.sampled_from(["a", "", "é,", None]), max_size=3), max_size=6),
    before=st.lists(st.sampled_from(["b", None]), max_size=2),
)
def test_joined_runs_are_the_texts_of_each_run(runs, before):
    texts = [*before, *(text for run in runs for text in run)]
    column = pa.array(texts, pa.string()).slice(len(before))
    starts = np.cumsum([0, *map(len, runs)])
    joined = join_runs(column, starts)
    joined.validate(full=True)
    assert joined.to_pylist() == ["".join(text or "" for text in run) for run in runs]


@pytest.mark.parametrize("absent_as_empty", [True, False])
@given(left=COLUMN, data=st.data())
def test_pieces_are_put_together_row_by_row(absent_as_empty, left, data):
    right = data.draw(st.lists(st.none() | TEXT, min_size=len(left), max_size=len(left)))
    got = join(
        pa.array(left, pa.string()), "·", pa.array(right, pa.string()),
        absent_as_empty=absent_as_empty,
    )  # fmt: skip
    wanted: list[str | None] = [
        f"{a or ''}·{b or ''}" if absent_as_empty or (a is not None and b is not None) else None
        for a, b in zip(left, right, strict=True)
    ]
    assert got.to_pylist() == wanted
