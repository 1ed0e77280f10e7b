"""What layers of rows say together, beside a history that is told one row at a time."""

import io
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.model.canonical_tables import CLAIMS_TABLES as TABLES
from etl.model.canonical_tables import HEADERS, LINES
from etl.pipeline.deltas.layers import Layer
from etl.pipeline.deltas.merge import write_merged_extract
from etl.publish.kept_objects import ObjectRef
from etl.publish.reader import Tree
from tests.memory_store import MemoryStore

MEMBERS = ("m1", "m2")
NUMBERS = ("c1", "c2", "c3")
TEXTS = {"member": "family_name", **dict.fromkeys(HEADERS, "status")}
"""Table -> a column of text; lines have another."""


@dataclass(frozen=True)
class Told:
    """One row of a delta: at a time, a table's row is there (with a text), or gone."""

    time: int
    table: str
    key: tuple[str, ...]
    member: str
    text: str
    gone: bool

    @property
    def row(self):
        row = dict.fromkeys(TABLES[self.table].names)
        row |= dict(zip(TABLES[self.table].key, self.key, strict=True))
        row["last_updated"] = f"2026-01-01T00:{self.time:02d}:00Z"
        row["record_action"] = "D" if self.gone else "A"
        if self.table in HEADERS:
            row["member_id"] = self.member
        if not self.gone:
            row[TEXTS.get(self.table, "service_text")] = self.text
        return row


def told(time, header):
    """Draw what happens at a time."""
    text, gone = st.sampled_from("xyz"), st.booleans()
    member = st.sampled_from(MEMBERS)
    one_of_all = st.one_of(
        st.tuples(st.just("member"), st.tuples(member)),
        st.tuples(st.just(header), st.tuples(st.sampled_from(NUMBERS))),
        st.tuples(
            st.just(LINES[header]), st.tuples(st.sampled_from(NUMBERS), st.sampled_from("12"))
        ),
    )
    return st.builds(
        lambda what, member, text, gone: Told(time, what[0], what[1], member, text, gone),
        one_of_all,
        member,
        text,
        gone,
    )


@st.composite
def histories(draw, header):
    """Draw events of members and of a header and its lines, one at each time."""
    return [draw(told(time, header)) for time in range(draw(st.integers(1, 14)))]


def replayed(history):
    """Return what is there in the end, doing one thing after the other."""
    there = {}
    owners = {}
    for one in history:
        at = (one.table, one.key)
        lost = [at]
        if one.gone and one.table == "member":
            numbers = {number for number, member in owners.items() if (member,) == one.key}
            lost += [key for key in there if key[0] != "member" and key[1][0] in numbers]
            for number in numbers:
                del owners[number]
        if one.gone and one.table in HEADERS:
            line = LINES[one.table]
            lost += [key for key in there if key[0] == line and key[1][0] == one.key[0]]
            owners.pop(one.key[0], None)
        if one.gone:
            for key in lost:
                there.pop(key, None)
        else:
            there[at] = one.text
            if one.table in HEADERS:
                owners[one.key[0]] = one.member
    return there


def stored(store, name, rows):
    """Store rows of a table as a layer's object, and return its reference."""
    schema = pa.schema([pa.field(each, pa.string()) for each in TABLES[name].names])
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema), buffer)
    data = buffer.getvalue()
    digest = sha256(data).hexdigest()
    store.put(f"rows/{digest}.parquet", data)
    return ObjectRef(f"rows/{digest}.parquet", digest, len(data))


def merged(layers, header):
    """Return what layers of rows of members and of a header and its lines say together."""
    store = MemoryStore()
    written = []
    for number, layer in enumerate(layers):
        tables = {}
        for name in ("member", header, LINES[header]):
            rows = [one.row for one in layer if one.table == name]
            if rows:
                tables[name] = stored(store, name, rows)
        written.append(Layer("delta" if number else "full", "2026-01-01T00:00:00Z", tables))
    found = {}
    with TemporaryDirectory() as folder:
        write_merged_extract(Tree(store), written, Path(folder), None, None)
        for name in ("member", header, LINES[header]):
            path = Path(folder) / f"{name}.parquet"
            if not path.exists():  # an optional table that no layer has rows of
                continue
            for row in pq.read_table(path).to_pylist():
                assert row["record_action"] is None
                key = (name, tuple(row[each] for each in TABLES[name].key))
                assert key not in found
                found[key] = row[TEXTS.get(name, "service_text")]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("header", HEADERS)
@given(st.data())
def test_any_split_and_order_of_a_history_ends_where_the_history_does(header, data):
    history = data.draw(histories(header))
    expected = replayed(history)
    order = data.draw(st.permutations(history))
    cuts = sorted(data.draw(st.sets(st.integers(0, len(order)), max_size=4)))
    edges = [0, *cuts, len(order)]
    layers = [order[start:end] for start, end in pairwise(edges)]
    assert merged([[], *layers], header) == expected
    again = data.draw(st.integers(0, len(layers) - 1))
    assert merged([[], *layers, layers[again]], header) == expected


def test_an_unknown_record_action_is_kept_for_the_rules(tmp_path):
    store = MemoryStore()
    actions = ["A", " u", "d", "DELETE", None]
    rows = [{"member_id": str(number), "record_action": a} for number, a in enumerate(actions)]
    layer = Layer("full", "2026-01-01T00:00:00Z", {"member": stored(store, "member", rows)})
    write_merged_extract(Tree(store), [layer], tmp_path)
    kept = pq.read_table(tmp_path / "member.parquet", columns=["member_id", "record_action"])
    expected = ["DELETE" if action == "DELETE" else None for action in actions]
    assert kept.column("record_action").to_pylist() == expected


@pytest.mark.parametrize("header", HEADERS)
def test_a_header_that_was_deleted_is_nobodys_when_its_member_is_deleted(header):
    history = [
        Told(0, header, ("c1",), "m1", "y", gone=True),
        Told(1, LINES[header], ("c1", "1"), "m2", "y", gone=False),
        Told(2, "member", ("m1",), "m2", "x", gone=True),
    ]
    expected = {(LINES[header], ("c1", "1")): "y"}
    assert merged([[], history], header) == replayed(history) == expected


@pytest.mark.parametrize("header", HEADERS)
def test_a_header_that_went_with_its_member_does_not_go_again(header):
    history = [
        Told(0, header, ("c1",), "m1", "x", gone=False),
        Told(1, "member", ("m1",), "m1", "x", gone=True),
        Told(2, LINES[header], ("c1", "1"), "m1", "x", gone=False),
        Told(3, "member", ("m1",), "m1", "x", gone=True),
    ]
    expected = {(LINES[header], ("c1", "1")): "x"}
    assert merged([[], history], header) == replayed(history) == expected
