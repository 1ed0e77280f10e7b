"""Crosswalk files: how they are read, and every mistake of one with its line."""

import pickle

import pytest

from etl.errors import MappingError
from etl.model.crosswalks import read_crosswalk
from tests.given.tables import table


def test_comments_blanks_and_quoted_cells_are_read_as_csv_has_them():
    text = (
        '\ufeff# "ours\r\n\r\nsource,code , display\r\n'
        ' M , male,"a, ""man""\r\nso"\r\n  # x\r\nf,,\r\n'
    )
    crosswalk = read_crosswalk(text, "sex", file="sex.csv")
    assert crosswalk.columns == ("code", "display")
    assert crosswalk.answer("m", "display") == 'a, "man"\r\nso'
    assert crosswalk.knows("F")
    assert crosswalk.answer("f") is None


def test_a_cell_without_an_end_is_refused():
    with pytest.raises(MappingError, match=r"^sex\.csv:2: .*not CSV"):
        read_crosswalk(f"source,code\nm,{'x' * 200_000}\n", "sex", file="sex.csv")


@pytest.mark.parametrize(*table(__file__, "mistakes"))
def test_what_is_no_crosswalk_is_refused_with_its_line(text, where, error_id, said):
    with pytest.raises(MappingError) as raised:
        read_crosswalk(text, "sex", file="sex.csv")
    assert (raised.value.where, raised.value.error_id) == (where, error_id)
    assert said in str(raised.value)


def test_every_mistake_is_reported_in_the_order_of_lines():
    text = 'source,code\nm,male\nM,man\n"a\nb",c\nf\nx,y,z\nu,unknown\nu,\n'
    with pytest.raises(MappingError) as raised:
        read_crosswalk(text, "sex", file="sex.csv")
    assert [(each.where, each.error_id) for each in raised.value.every] == [
        ("sex.csv:3", "crosswalk-duplicate"),
        ("sex.csv:6", "crosswalk-row"),
        ("sex.csv:7", "crosswalk-row"),
        ("sex.csv:9", "crosswalk-duplicate"),
    ]
    assert "source 'M' appears twice" in str(raised.value)


def test_a_crosswalk_with_an_overlay_can_be_sent_to_another_process():
    ours, theirs = (
        read_crosswalk(f"source,code\n{word},{code}\n", "sex", file="sex.csv")
        for word, code in (("m", "male"), ("f", "female"))
    )
    crosswalk = ours.overlaid(theirs)
    sent = pickle.loads(pickle.dumps(crosswalk))  # noqa: S301 - it was written a line ago
    assert sent == crosswalk
    assert sent.marks == crosswalk.marks
    assert (sent.answer("M"), sent.answer("f")) == ("male", "female")
