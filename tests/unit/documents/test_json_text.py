"""JSON text: the values that the standard library reads, with line and column of each."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.documents.json_text import read_json
from etl.errors import UsageError
from tests.given.tables import table

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(VALUES, st.sampled_from([None, 0, 2, "\t"]))
def test_every_document_is_read_as_the_standard_library_reads_it(value, indent):
    text = json.dumps(value, indent=indent)
    assert read_json(f" {text}\n", "a.json") == json.loads(text)


@given(st.text(alphabet='{}[]:,"1a \\\n-.eE+tru', max_size=12))
def test_every_text_that_the_standard_library_refuses_is_refused(text):
    try:
        expected = json.loads(text)
    except ValueError:
        with pytest.raises(UsageError, match=r"^a\.json:[1-9][0-9]*:[1-9][0-9]*: not JSON: "):
            read_json(text, "a.json")
        return
    try:
        assert read_json(text, "a.json") == expected
    except UsageError as error:
        assert "appears twice" in str(error)  # noqa: PT017 - the one thing that it allows


def test_every_key_and_entry_has_its_line_and_column():
    document = read_json('{\n  "a": [1,\n   {"b": 2}],\n  "c": 3}', "a.json")
    assert {key: str(mark) for key, mark in document.marks.items()} == {
        "a": "a.json:2:3",
        "c": "a.json:4:3",
    }
    assert [str(mark) for mark in document["a"].marks] == ["a.json:2:9", "a.json:3:4"]
    assert str(document["a"][1].marks["b"]) == "a.json:3:5"
    assert str(document.mark) == "a.json:1:1"


def test_a_number_of_thousands_of_digits_is_refused():
    with pytest.raises(UsageError, match=r"^a\.json:1:1: not JSON: a number is too long"):
        read_json("1" * 5000, "a.json")


@pytest.mark.parametrize(*table(__file__, "mistakes"))
def test_a_mistake_has_its_line_and_column(text, said):
    with pytest.raises(UsageError) as raised:
        read_json(text, "a.json")
    assert str(raised.value).startswith(said)
