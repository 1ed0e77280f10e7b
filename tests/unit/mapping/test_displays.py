"""Codings get the displays that are known for their codes; nothing else does."""

import json

import pytest

from etl.errors import MappingError
from etl.mapping.library import compile_set
from etl.mapping.static_values import UNKNOWN, static_value
from etl.model.crosswalks import display_crosswalks, read_displays
from tests.unit.mapping.mappings import CROSSWALKS, FRAGMENTS, PATIENT, PAYER, SET

DISPLAYS = """\
# A comment.
system,code,display
urn:colors,RED,Red
urn:shapes,round,"Round, as a ball"
"""


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


@pytest.mark.parametrize(
    ("entry", "display"),
    [
        ("{ system: 'urn:colors', code: RED }", "Red"),
        ("{ system: 'urn:shapes', code: round, version: '1' }", "Round, as a ball"),
        ("{ system: 'urn:colors', code: '{{ member.gender }}' }", UNKNOWN),
        ("{ system: '{{ member.language }}', code: RED }", UNKNOWN),
        ("{ system: 'urn:colors', code: RED, display: Mine }", "Mine"),
        ("{ system: 'urn:colors', code: BLUE }", None),
        ("{ system: 'urn:others', code: RED }", None),
        ("{ system: 'urn:others', code: '{{ member.gender }}' }", None),
        ("{ system: \"{{ member.gender | translate('gender', 'system') }}\", code: RED }", None),
        ("{ system: 'urn:colors', code: RED, value: '1' }", None),
        ("{ system: 'urn:colors' }", None),
    ],
)
def test_a_coding_is_given_the_display_of_its_code(entry, display):
    assert members(entry).get("display") is display or members(entry)["display"] == display
    assert "display" not in members(entry.replace(", display: Mine", ""), displays="")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("system,code\na,b\n", "d.csv:1"),
        ("system,code,display\na,b,\n", "d.csv:2"),
        ("system,code,display\na,b,c\na,b,d\n", "d.csv:3"),
    ],
)
def test_a_display_file_with_a_mistake_is_refused_with_its_line(text, place):
    with pytest.raises(MappingError) as caught:
        read_displays(text, "d.csv")
    assert caught.value.where == place
