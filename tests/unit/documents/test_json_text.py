"""JSON text: the values that the standard library reads, with line and column of each."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.documents.json_text import read_json
from etl.errors import UsageError

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


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "a.json:1:1: not JSON: expecting value"),
        ('{"a": 1,}', "a.json:1:9: not JSON: a key in double quotes is missing"),
        ('{"a" 1}', "a.json:1:6: not JSON: a colon is missing"),
        ('{"a": 1\n "b": 2}', "a.json:2:2: not JSON: a comma or } is missing"),
        ("[1 2]", "a.json:1:4: not JSON: a comma or ] is missing"),
        ("[1]\n]", "a.json:2:1: not JSON: something follows the end of the document"),
        ("1" * 5000, "a.json:1:1: not JSON: a number is too long"),
        ("[" * 60, "a.json:1:51: nested too deep"),
        ('{"a": 1,\n "a": 2}', "a.json:2:2: key 'a' appears twice; remove one of them"),
    ],
)
def test_a_mistake_has_its_line_and_column(text, said):
    with pytest.raises(UsageError) as raised:
        read_json(text, "a.json")
    assert str(raised.value).startswith(said)
