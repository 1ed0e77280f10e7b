"""Search values that no search finds are mistakes of a mapping."""

import pytest

from etl.mapping.profile_checks import find_search_problems
from tests.given.tables import table
from tests.unit.mapping.mappings import PATIENT, compiled

TYPES = {"identifier": "token", "organization": "reference", "family": "string"}


@pytest.mark.parametrize(*table(__file__, "forms"))
def test_a_parameter_is_one_of_the_api_and_tokens_and_references_have_their_form(search, lines):
    (plan,) = compiled(f"{PATIENT}search:\n  {search}\n").plans
    found = list(find_search_problems(plan, TYPES))
    assert [one.where for one in found] == [f"m.yaml:{line}" for line in lines]
    assert all(one.error_id == "map-search" for one in found)
