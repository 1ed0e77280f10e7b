"""Whatever YAML is found where a mapping should be, it compiles or is refused: no traceback."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from etl.errors import MappingError
from tests.given.tables import read_tables
from tests.unit.documents.spoiled import odd_values, places, replaced
from tests.unit.mapping.mappings import FRAGMENTS, SET, compiled

_MAPPING = read_tables(__file__)["mapping"]
_ODD = odd_values(
    st.sampled_from(["", "x", "{{", "}}", "$", "$NPI", "{{ member }}", "m.yaml", "set.yaml"])
    | st.sampled_from(["{{ member.gender | default }}", "{{ [1] }}", "{{ {} }}", "{{ 'a' is b }}"])
    | st.sampled_from(["{{ member.gender is present('x') }}", "{{ x.y() }}", "{{ 1 in 1 }}"])
    | st.sampled_from(["{{ first_of(member.gender, b=1) }}", "{{ member.gender | code(*a) }}"])
    | st.text(max_size=8).map(lambda text: "{{ " + text + " }}"),
    ["x", "include", "with", "for", "each", "emit", "when", "extends"],
)


@settings(max_examples=400, deadline=None)
@given(place=st.sampled_from(places(_MAPPING)), value=_ODD)
def test_any_mapping_compiles_or_is_refused(place, value):
    _compiles_or_is_refused({"m.yaml": json.dumps(replaced(_MAPPING, place, value))})


@settings(max_examples=200, deadline=None)
@given(place=st.sampled_from(places(SET)), value=_ODD)
def test_any_set_compiles_or_is_refused(place, value):
    _compiles_or_is_refused({"set.yaml": json.dumps(replaced(SET, place, value))})


@settings(max_examples=100, deadline=None)
@given(name=st.sampled_from(["plain", "listed"]), value=_ODD)
def test_any_fragment_compiles_or_is_refused(name, value):
    fragments = {"plain": {"family": "x"}, "listed": [{"family": "x"}], name: value}
    _compiles_or_is_refused({"fragments.yaml": json.dumps(fragments)})


def _compiles_or_is_refused(texts):
    refused: MappingError | None = None
    try:
        compiled(json.dumps(_MAPPING), {"fragments.yaml": FRAGMENTS, **texts})
    except MappingError as error:
        refused = error
    if refused is not None:
        assert refused.every
        for mistake in refused.every:
            assert mistake.where.split(":")[0] in {"set.yaml", "m.yaml", "fragments.yaml", "m"}
            assert str(mistake).isprintable()


def test_the_mapping_that_is_spoiled_is_right_itself():
    assert len(compiled(json.dumps(_MAPPING)).plans) == 1
