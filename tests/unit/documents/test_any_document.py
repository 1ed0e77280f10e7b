"""Whatever YAML stands where a layout or rules should be, it is read or refused: no traceback."""

from __future__ import annotations

import copy
import json
from typing import Any, Final

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.errors import MappingError
from etl.quality.rules.book import read_rules
from tests.unit.quality.world import crosswalks
from tests.unit.sources.dialects import LAYOUT, layout

RULES: Final = """\
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
ODD: Final = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 10**20)
    | st.floats(allow_nan=False)
    | st.sampled_from(["", "x", "*", "[", "claim", "member_id", "2024-01-01", "filled", "a <= b"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["x", "", "column", "lookup", "first_of", "crosswalk", "where", "by"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=4,
)


def places(value: Any, before: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    return [before, *(place for key, one in items for place in places(one, (*before, key)))]


def replaced(document: Any, place: tuple[Any, ...], value: Any) -> str:
    if not place:
        return json.dumps(value)
    document = copy.deepcopy(document)
    at = document
    for key in place[:-1]:
        at = at[key]
    at[place[-1]] = value
    return json.dumps(document, default=str, indent=0)


def refused_well(error: MappingError, file: str) -> None:
    assert error.every
    for one in error.every:
        assert one.where.startswith(file), one
        assert "\n" not in str(one), one


@given(place=st.sampled_from(places(yaml.safe_load(LAYOUT))), value=ODD)
@settings(max_examples=150, deadline=None)
def test_any_layout_is_read_or_refused(place: tuple[Any, ...], value: Any) -> None:
    try:
        layout(replaced(yaml.safe_load(LAYOUT), place, value))
    except MappingError as error:
        refused_well(error, "tiny.yaml")


@given(place=st.sampled_from(places(yaml.safe_load(RULES))), value=ODD)
@settings(max_examples=150, deadline=None)
def test_any_rules_are_read_or_refused(place: tuple[Any, ...], value: Any) -> None:
    try:
        read_rules({"mine.yaml": replaced(yaml.safe_load(RULES), place, value)}, crosswalks())
    except MappingError as error:
        refused_well(error, "mine.yaml")


def test_the_documents_that_are_changed_have_no_mistakes() -> None:
    assert layout(replaced(yaml.safe_load(LAYOUT), ("title",), "x")).title == "x"
    assert set(read_rules({"mine.yaml": RULES}, crosswalks())) == {"mine", "two"}
