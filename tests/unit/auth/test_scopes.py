"""What is granted of what is asked for, and what a member leaves of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.auth import scopes
from etl.auth.configuration import AuthConfiguration
from etl.auth.endpoints import smart_configuration
from etl.auth.records import DATA_KINDS, RESOURCE_TYPES
from etl.smart import scopes as smart
from etl.web.texts import PageTexts
from tests.given.tables import read_tables

TYPES = st.sampled_from(["*", *RESOURCE_TYPES])
RESOURCE = st.builds(
    lambda level, name, letters: f"{level}/{name}.{letters}",
    st.sampled_from(["patient", "user"]),
    TYPES,
    st.sampled_from(["read", "rs", "r", "s"]),
)
SCOPES = st.lists(st.one_of(RESOURCE, st.sampled_from(smart.PLAIN)), max_size=6)


def opened(granted):
    """The slow and obvious way: every pair of type and interaction that the scopes open."""
    return {
        (name, letter)
        for name in RESOURCE_TYPES
        for letter in ("r", "s")
        if smart.allows(granted, name, letter)
    }


@given(SCOPES, SCOPES)
def test_nothing_is_granted_that_was_not_both_asked_for_and_registered(asked, registered):
    try:
        granted = scopes.grant_scopes(asked, registered)
    except scopes.ScopeRefused:
        return
    assert opened(granted) <= opened(tuple(asked)) & opened(tuple(registered))
    plain = {one for one in granted if one in smart.PLAIN}
    assert plain == set(asked) & set(registered) & set(smart.PLAIN)


@given(SCOPES)
def test_an_app_gets_all_that_it_is_registered_for(registered):
    if opened(tuple(registered)):
        granted = scopes.grant_scopes(registered, registered)
        assert granted == tuple(dict.fromkeys(registered))


@given(SCOPES, SCOPES)
def test_granting_twice_is_granting_once(asked, registered):
    try:
        granted = scopes.grant_scopes(asked, registered)
    except scopes.ScopeRefused:
        return
    assert scopes.grant_scopes(granted, registered) == granted


@given(SCOPES, st.sets(st.sampled_from(RESOURCE_TYPES)), st.booleans(), st.booleans())
def test_a_member_can_only_narrow(asked, types, identity, long_lived):
    kept = scopes.narrow_scopes(asked, types, identity=identity, long_lived=long_lived)
    assert opened(kept) == {pair for pair in opened(tuple(asked)) if pair[0] in types}
    assert ("openid" in kept) == (identity and "openid" in asked)
    assert scopes.is_long_lived(kept) == (long_lived and scopes.is_long_lived(asked))


@given(SCOPES, SCOPES)
def test_a_refresh_is_covered_only_by_what_was_granted(granted, asked):
    if not scopes.excess_scopes(granted, asked):
        assert opened(tuple(asked)) <= opened(tuple(granted))
        assert set(asked) & set(smart.PLAIN) <= set(granted)
        assert levels(asked) <= levels(granted)


def levels(texts):
    return {scope.level for scope in map(smart.parse, texts) if scope is not None}


@pytest.mark.parametrize(("granted", "asked"), [("patient", "user"), ("user", "patient")])
def test_a_refresh_keeps_the_level_that_was_granted(granted, asked):
    excess = scopes.excess_scopes((f"{granted}/*.rs",), (f"{asked}/Coverage.r", "patient/*.write"))
    assert excess == (
        f"{asked}/Coverage.r was not granted; patient/*.write would write (.read and .rs do not)"
    )
    assert not scopes.excess_scopes((f"{granted}/*.rs",), (f"{granted}/Coverage.r",))


def test_with_every_type_ticked_the_scope_stays_as_it_was_asked_for():
    assert scopes.narrow_scopes(
        ("launch/patient", "patient/*.read"), RESOURCE_TYPES, identity=True, long_lived=True
    ) == ("launch/patient", "patient/*.read")


def test_a_wildcard_is_narrowed_in_the_version_that_was_asked_for():
    def cut(text):
        return scopes.narrow_scopes((text,), ("Coverage",), identity=False, long_lived=False)

    assert cut("patient/*.read") == ("patient/Coverage.read",)
    assert cut("user/*.s") == ("user/Coverage.s",)


def test_a_wildcard_beyond_the_registration_becomes_the_types_registered():
    assert scopes.grant_scopes(
        ("patient/*.rs",), ("patient/Coverage.read", "patient/Patient.r")
    ) == ("patient/Coverage.rs",)


@pytest.mark.parametrize("text", ["profile", "email", "phone", "address"])
def test_identity_scopes_without_data_here_are_left_out_not_refused(text):
    assert scopes.grant_scopes((text, "patient/*.rs"), ("patient/*.rs",)) == ("patient/*.rs",)


NEVER = read_tables(__file__)["never"]


@pytest.mark.parametrize(("text", "why"), NEVER)
def test_what_can_never_be_granted_is_left_out_and_the_rest_granted(text, why):
    assert scopes.grant_scopes((text, "patient/*.rs"), ("patient/*.rs",)) == ("patient/*.rs",)
    with pytest.raises(scopes.ScopeRefused) as caught:
        scopes.grant_scopes((text, "openid"), ("patient/*.rs", "openid"))
    assert f"{text} {why}" in str(caught.value)


def test_an_error_says_of_each_scope_why_it_was_left_out():
    with pytest.raises(scopes.ScopeRefused) as caught:
        scopes.grant_scopes(("patient/Patient.rs", "nonsense"), ("patient/Coverage.rs",))
    assert str(caught.value) == (
        "No remaining scope gives access to data: patient/Patient.rs is not among those that the "
        "app registered; nonsense is unknown."
    )
    with pytest.raises(scopes.ScopeRefused, match="No scope gives access to data: ask for"):
        scopes.grant_scopes(("openid",), ("patient/Coverage.rs",))


@given(st.text(max_size=100))
def test_an_error_holds_what_an_error_description_may_hold_and_no_more(text):
    for said in (scopes.problem(text), scopes.excess_scopes(("patient/*.rs",), (text,))):
        assert said.isascii()
        assert '"' not in said
        assert "\\" not in said
        assert len(said) < 250


def test_every_type_belongs_to_one_kind_of_data():
    kinds = [scopes.data_kinds([name]) for name in RESOURCE_TYPES]
    assert all(len(kind) == 1 for kind in kinds)
    assert {kind for (kind,) in kinds} == set(DATA_KINDS)


def test_the_capabilities_are_those_that_carin_blue_button_testers_look_for():
    """Source: ONC Inferno's kit "CARIN for Blue Button" 0.16.0."""
    looked_for = (
        *("client-confidential-symmetric", "client-public", "context-standalone-patient"),
        *("launch-standalone", "permission-offline", "permission-patient", "permission-user"),
    )
    configuration = AuthConfiguration("https://payer.example", PageTexts("Payer"), bytes(32))
    told = smart_configuration(configuration)["capabilities"]
    assert {*looked_for, "sso-openid-connect"} <= set(told)
