"""Names of apps that members can tell apart."""

import pytest

from etl.auth.app_names import has_invisible, imitates, is_taken, skeleton
from tests.given.tables import read_tables

PAYER = "Alder Health Plan"


@pytest.mark.parametrize("name", read_tables(__file__)["invisible"])
def test_what_is_not_seen_is_found(name):
    assert has_invisible(name)


@pytest.mark.parametrize(
    "name", ["Claim Lens", "Åse's Claims", "健康記録", "Здоровье", "Heart ❤️ 2"]
)
def test_names_of_any_script_are_seen(name):
    assert not has_invisible(name)


@pytest.mark.parametrize("name", read_tables(__file__)["imitating"])
def test_a_name_that_looks_like_the_payers_imitates_it(name):
    assert imitates(name, PAYER)


@pytest.mark.parametrize("name", ["Claim Lens", "Elder Health", "Plan Health Alder"])
def test_another_name_does_not(name):
    assert not imitates(name, PAYER)


def test_a_payer_with_a_very_short_name_is_not_found_in_every_app():
    assert not imitates("Claims of mine", "AIM")


def test_two_names_that_look_alike_are_one():
    assert is_taken("Cla1m  Lens", ["Other", "Claim Lens"])
    assert is_taken("Pharrnacy", ["Pharmacy"])
    assert not is_taken("Claim Lens 2", ["Claim Lens"])


def test_a_skeleton_is_its_own_skeleton():
    for name in (PAYER, "Cl\u0430im 10", "健康記録"):
        assert skeleton(skeleton(name)) == skeleton(name)
