import pytest

from etl.smart import scopes
from tests.given.tables import read_tables, table


@pytest.mark.parametrize(*table(__file__, "readable"))
def test_v1_and_v2_scopes_that_read_are_understood(text, level, resource_type, interactions):
    assert scopes.parse(text) == scopes.ResourceScope(text, level, resource_type, interactions)


@pytest.mark.parametrize("text", read_tables(__file__)["refused"])
def test_what_writes_filters_or_is_malformed_is_never_granted(text):
    assert scopes.parse(text) is None
    assert scopes.grantable([text]) == ()


def test_what_can_be_granted_keeps_its_order():
    asked = ("openid", "patient/*.rs", "launch/patient", "nonsense")
    assert scopes.grantable(asked) == ("openid", "patient/*.rs", "launch/patient")


def test_reading_and_searching_are_opened_apart():
    granted = ("launch/patient", "patient/Coverage.s", "patient/Patient.r")
    assert scopes.allows(granted, "Coverage", "s")
    assert not scopes.allows(granted, "Coverage", "r")
    assert scopes.allows(granted, "Patient", "r")
    assert not scopes.allows(granted, "ExplanationOfBenefit", "s")
    assert not scopes.allows((), "Patient", "r")
