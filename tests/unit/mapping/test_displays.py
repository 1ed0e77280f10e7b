"""Codings get the displays that are known for their codes; nothing else does."""

import json

import pytest

from etl.errors import MappingError
from etl.mapping.library import compile_set
from etl.mapping.static_values import UNKNOWN, static_value
from etl.model.crosswalks import display_crosswalks, read_displays
from tests.given.tables import read_tables, table
from tests.unit.mapping.mappings import CROSSWALKS, FRAGMENTS, PATIENT, PAYER, SET

DISPLAYS = read_tables(__file__)["displays"]


def members(entry, displays=DISPLAYS):
    """Return what is known of an entry of Patient.extension before any row is read."""
    known = display_crosswalks(read_displays(displays, "d.csv")) if displays else {}
    texts = {
        "set.yaml": json.dumps(SET),
        "fragments.yaml": FRAGMENTS,
        "m.yaml": PATIENT + f"  extension: [ {{ url: u, valueX: {entry} }} ]\n",
    }
    (plan,) = compile_set(texts, {**CROSSWALKS, **known}, PAYER).plans
    ((_, node),) = plan.body.members
    return static_value(node)[0]["valueX"]


@pytest.mark.parametrize(*table(__file__, "codings"))
def test_a_coding_is_given_the_display_of_its_code(entry, display):
    expected = UNKNOWN if display == "unknown" else display
    assert members(entry).get("display") == expected
    assert "display" not in members(entry.replace(", display: Mine", ""), displays="")


@pytest.mark.parametrize(*table(__file__, "wrong_files"))
def test_a_display_file_with_a_mistake_is_refused_with_its_line(text, place):
    with pytest.raises(MappingError) as caught:
        read_displays(text, "d.csv")
    assert caught.value.where == place
