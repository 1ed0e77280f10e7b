"""What a profile asks of a plan: proved, checked in the run, or listed with its reason."""

from dataclasses import replace

import pytest

from etl.errors import MappingError
from etl.mapping import expressions as ex
from etl.mapping.formulas import is_one_of, is_present
from etl.mapping.obligations import obligations
from etl.mapping.plan import CitedMark, JsonConstant, Leaf, ListNode, ObjectNode
from etl.mapping.proof import is_never_true
from etl.mapping.row_tests import BrokenRows, NodeContext
from etl.model.logic import Not, all_of, any_of, negate
from etl.profiles import invariants
from tests.golden.mapping.rendering import mapping_set

A = ex.ColumnOf(0, (), "a", ex.Kind.TEXT, nullable=True)
B = ex.ColumnOf(0, (), "b", ex.Kind.TEXT, nullable=True)
SURE = ex.ColumnOf(0, (), "sure", ex.Kind.TEXT, nullable=False)
FLAG = ex.ColumnOf(0, (), "flag", ex.Kind.FLAG, nullable=False)
WORD = ex.Translation(A, "words", "code")
HERE = CitedMark("mine.yaml", 7)


@pytest.mark.parametrize(
    "formula",
    [
        all_of(is_present(A), negate(is_present(A))),
        negate(is_present(SURE)),
        negate(is_present(ex.FirstOf((A, ex.Constant("x")), ex.Kind.TEXT))),
        all_of(is_present(ex.Concat((A, B))), negate(is_present(B))),
        all_of(is_one_of(A, "x"), is_one_of(A, "y")),
        all_of(is_one_of(A, "x"), negate(is_present(A))),
        all_of(negate(is_one_of(FLAG, "Y")), negate(is_one_of(FLAG, "N"))),
        all_of(is_present(WORD), negate(is_present(A))),
        all_of(ex.IsPresent(A), Not(ex.IsPresent(A))),
        all_of(negate(is_present(ex.Choice(ex.IsPresent(A), A, ex.Constant("x"), ex.Kind.TEXT)))),
        all_of(
            ex.OneOf(A, ("x",), negated=True),
            any_of(is_one_of(A, "x"), negate(is_present(A))),
        ),
    ],
)
def test_what_no_row_can_do_is_proved(formula):
    assert is_never_true(formula)


@pytest.mark.parametrize(
    "formula",
    [
        True,
        is_present(A),
        negate(is_present(A)),
        negate(is_present(ex.FirstOf((A, B), ex.Kind.TEXT))),
        all_of(is_present(A), negate(is_present(ex.Concat((A, B))))),
        all_of(negate(is_one_of(A, "x")), negate(is_one_of(A, "y"))),
        all_of(is_present(A), negate(is_present(WORD))),
        all_of(is_one_of(FLAG, "Y"), negate(is_one_of(A, "Y"))),
        negate(is_present(ex.Choice(ex.IsPresent(A), A, B, ex.Kind.TEXT))),
        ex.OneOf(A, ("x",), negated=True),
    ],
)
def test_what_some_row_can_do_is_not_proved(formula):
    assert not is_never_true(formula)


def test_what_the_whole_mapping_says_of_its_rows_counts():
    assert is_never_true(negate(is_one_of(A, "x", "y")), ex.OneOf(A, ("x",)))


def test_a_list_with_an_entry_of_constants_does_not_keep_alone_what_is_around_it():
    """The entry of constants is there where the one with an expression keeps both alive."""
    of_constants = ObjectNode((("url", JsonConstant('"unknown"', HERE)),), HERE)
    of_a_column = ObjectNode((("valueString", Leaf(A, weak=False, mark=HERE)),), HERE)
    entries = ListNode((of_constants, of_a_column), HERE)
    around = ObjectNode((("url", JsonConstant('"race"', HERE)), ("extension", entries)), HERE)
    listed = NodeContext().inside(around, True).inside(entries, True)
    assert listed.presence == is_present(A)
    assert listed.inside(of_constants, True).presence == is_present(A)
    assert listed.inside(of_a_column, True).presence == is_present(A)


def plan_of(name):
    return next(plan for plan in mapping_set().plans if plan.name == name)


def found(plan):
    return obligations(plan, mapping_set().crosswalks)


def test_every_obligation_is_exactly_one_of_three():
    obligations = [one for plan in mapping_set().plans for one in found(plan)]
    assert len(obligations) > 1000
    for one in obligations:
        said = (bool(one.proved), one.test is not None, bool(one.listed))
        assert sum(said) == 1, one


def test_a_default_proves_and_a_column_leaves_it_to_the_rows():
    oral = {(one.rule, one.kind): one for one in found(plan_of("eob-oral"))}
    assert oral["c4bb.oral.status", "required"].proved
    status = oral["c4bb.oral.adjudication:renderingnetworkstatus", "required"]
    assert isinstance(status.test, BrokenRows)
    assert status.mark.file == "eob-oral.yaml"
    assert oral["dom-6", "invariant"].listed


def test_an_element_that_is_left_out_is_found_in_every_row():
    plan = plan_of("eob-oral")
    members = tuple(one for one in plan.body.members if one[0] != "status")
    spoilt = replace(plan, body=replace(plan.body, members=members))
    (one,) = [one for one in found(spoilt) if one.rule == "c4bb.oral.status"]
    assert one.test == BrokenRows((), True)


def test_an_invariant_that_nobody_can_check_is_a_mistake_of_the_mapping(monkeypatch):
    known = {key: what for key, what in invariants.INVARIANTS.items() if key[0] != "att-1"}
    monkeypatch.setattr(invariants, "INVARIANTS", known)
    plan = plan_of("patient")
    picture = ObjectNode((("data", JsonConstant('"AAAA"', HERE)),), HERE)
    members = (*plan.body.members, ("photo", ListNode((picture,), HERE)))
    with pytest.raises(MappingError, match="att-1") as caught:
        found(replace(plan, body=replace(plan.body, members=members)))
    assert caught.value.error_id == "map-unchecked"
    assert "mine.yaml:7" in str(caught.value)
