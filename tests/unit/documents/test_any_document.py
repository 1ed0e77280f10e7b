"""Whatever YAML stands where a layout or rules should be, it is read or refused: no traceback."""

import json

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.errors import MappingError
from etl.quality.rules.book import read_rules
from tests.unit.documents.spoiled import odd_values, places, replaced
from tests.unit.quality.world import crosswalks
from tests.unit.sources.dialects import LAYOUT, layout

RULES = """\
- id: mine
  table: claim_line
  check: outside
  column: service_from_date
  above: [claim]
  start: statement_from_date
  when: { claim.status: { crosswalk: claim_status, answers: [active] }, place_of_service: filled }
  unless: { claim.status: [x, ""] }
  severity: warn
  blanks: true
  says: It is so.
  spoils: Much.
- { id: two, table: claim, check: at-least, columns: amount_eligible, least: 0,
    severity: warn, says: a, spoils: b }
"""
ODD = odd_values(
    st.sampled_from(["", "x", "*", "[", "claim", "member_id", "2024-01-01", "filled", "a <= b"]),
    ["x", "", "column", "lookup", "first_of", "crosswalk", "where", "by"],
)


def spoiled(text, place, value):
    return json.dumps(replaced(yaml.safe_load(text), place, value), default=str, indent=0)


def refused_well(error, file):
    assert error.every
    for one in error.every:
        assert one.where.startswith(file), one
        assert "\n" not in str(one), one


@given(place=st.sampled_from(places(yaml.safe_load(LAYOUT))), value=ODD)
@settings(max_examples=150, deadline=None)
def test_any_layout_is_read_or_refused(place, value):
    try:
        layout(spoiled(LAYOUT, place, value))
    except MappingError as error:
        refused_well(error, "tiny.yaml")


@given(place=st.sampled_from(places(yaml.safe_load(RULES))), value=ODD)
@settings(max_examples=150, deadline=None)
def test_any_rules_are_read_or_refused(place, value):
    try:
        read_rules({"mine.yaml": spoiled(RULES, place, value)}, crosswalks())
    except MappingError as error:
        refused_well(error, "mine.yaml")


def test_the_documents_that_are_changed_have_no_mistakes():
    assert layout(spoiled(LAYOUT, ("title",), "x")).title == "x"
    assert set(read_rules({"mine.yaml": RULES}, crosswalks())) == {"mine", "two"}
