"""Parameters of rules: each is held to its meaning, and a mistake is named by its line."""

import dataclasses
from typing import Annotated, Literal, get_args, get_origin, get_type_hints

import pytest

from etl.documents.models import LISTED, NOT_EMPTY, Check
from etl.errors import MappingError
from etl.quality.rules.kinds import KINDS
from tests.given.tables import table
from tests.unit.quality.test_rule_files import load


@pytest.mark.parametrize(*table(__file__, "parameters"))
def test_a_mistake_in_a_parameter_is_named_by_its_line(rule, told):
    text = f"# mine\n- {{id: mine, {rule}, severity: reject-claim, says: It is., spoils: Much.}}\n"
    with pytest.raises(MappingError) as caught:
        load(text)
    assert caught.value.where == "mine.yaml:2"
    assert caught.value.error_id in ("rule-value", "rule-column", "rule-key")
    assert told in str(caught.value)


FREE = {"values", "becomes", "start", "end", "in_force", "against", "filled"}
"""Texts that are held to something beside their own meaning, or may be any."""


def has_meaning(hint):
    """Tell whether a parameter's type says more than that it is text."""
    if get_origin(hint) is Annotated:
        of, *checks = get_args(hint)
        named = [one for one in checks if isinstance(one, Check) and one is not NOT_EMPTY]
        return bool([one for one in named if one is not LISTED]) or has_meaning(of)
    if get_origin(hint) is tuple:
        return has_meaning(get_args(hint)[0])
    return hint in (bool, int) or get_origin(hint) is Literal


def test_every_parameter_of_every_kind_has_a_meaning():
    assert "required" in KINDS
    for kind in KINDS.values():
        hints = get_type_hints(kind, include_extras=True)
        for parameter in dataclasses.fields(kind):
            assert has_meaning(hints[parameter.name]) != (parameter.name in FREE), parameter.name


@pytest.mark.parametrize(*table(__file__, "beside_the_kind"))
def test_what_a_rule_says_beside_its_kind_is_held_to_its_meaning(rule, told):
    text = f"# mine\n- {{id: mine, {rule}, severity: warn, says: It is., spoils: Much.}}\n"
    with pytest.raises(MappingError) as caught:
        load(text)
    assert caught.value.where == "mine.yaml:2"
    assert told in str(caught.value)


@pytest.mark.parametrize(*table(__file__, "no_lists"))
def test_what_is_no_list_of_rules_is_refused(text, where, told):
    with pytest.raises(MappingError) as caught:
        load(text)
    assert any(one.where == where and told in str(one) for one in caught.value.every)
