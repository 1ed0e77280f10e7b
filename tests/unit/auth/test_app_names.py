"""Names of apps that members can tell apart."""

import pytest

from etl.auth.app_names import has_invisible, imitates, is_taken, skeleton

PAYER = "Alder Health Plan"


@pytest.mark.parametrize(
    "name",
    [
        "\u3164", "Claim\u00adLens", "Claim\u200bLens", "\u2800", "Claim\u00a0Lens", "a\u202eb",
        "\u115fLens", "Lens\ufeff", "Lens\ue000", "Lens\x00", "Claim\u2003Lens",
    ],
)  # fmt: skip
def test_what_is_not_seen_is_found(name):
    assert has_invisible(name)


@pytest.mark.parametrize(
    "name", ["Claim Lens", "Åse's Claims", "健康記録", "Здоровье", "Heart ❤️ 2"]
)
def test_names_of_any_script_are_seen(name):
    assert not has_invisible(name)


@pytest.mark.parametrize(
    "name",
    [
        PAYER, "alder health plan", "AlderHealthPlan", "Alder-Health-Plan Official",
        "\u0391lder Health Plan", "\u0410ld\u0435r H\u0435\u0430lth Pl\u0430n", "A1der Hea1th P1an",
        "Älder Health Plan", "\uff21lder Health Plan", "My Alder Health Plan claims",
    ],
)  # fmt: skip
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
