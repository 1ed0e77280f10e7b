"""Numbers of a year that anybody may read: nothing small is in them, or follows from them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.errors import UsageError
from etl.reports.public_numbers import post_numbers, public_api_use


def numbers(members, more_than_once, **apps):
    return {
        "year": 2026,
        "members": members,
        "more_than_once": more_than_once,
        "several_apps": 3,
        "apps": [{"app": name, "members": count} for name, count in apps.items()],
        "programs": None,
    }


def test_small_numbers_are_withheld_with_those_that_they_follow_from():
    public = public_api_use(numbers(200, 195, Compass=190, Lens=9, Atlas=20), 10)
    assert public["members"] == 200
    assert public["more_than_once"] is None  # five members less than all
    shown = {row["app"]: row["members"] for row in public["apps"]}
    assert shown == {"Compass": 190, "Lens": None, "Atlas": None}
    assert "several_apps" not in public
    assert public["small_cells"] == 10


def test_a_payer_may_withhold_nothing():
    public = public_api_use(numbers(2, 1, Compass=2), 0)
    assert (public["members"], public["more_than_once"]) == (2, 1)
    assert public["apps"] == [{"app": "Compass", "members": 2}]


@given(st.lists(st.integers(1, 40), max_size=4), st.integers(0, 40))
def test_no_small_number_is_shown_or_left_alone(counts, more_than_once):
    members = max(sum(counts), more_than_once)
    apps = {f"app {at}": count for at, count in enumerate(counts)}
    public = public_api_use(numbers(members, more_than_once, **apps), 10)
    shown = [public["members"], public["more_than_once"], *(r["members"] for r in public["apps"])]
    assert not any(number in range(1, 11) for number in shown)
    if None not in (public["members"], public["more_than_once"]):
        assert members - more_than_once not in range(1, 11)
    if public["members"] is not None:
        assert [row["members"] for row in public["apps"]].count(None) != 1 or len(counts) == 1


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 40)), max_size=4))
def test_no_small_number_of_a_program_is_shown_or_left_alone(counts):
    programs = [
        {"program": "ma", "contract_id": f"H{at}", "members": all_of, "more_than_once": repeated}
        for at, (all_of, most) in enumerate(counts)
        for repeated in [min(all_of, most)]
    ]
    total = sum(members for members, _ in counts)
    document = numbers(total, 0) | {"programs": programs}
    shown = public_api_use(document, 10)["programs"]
    assert len(shown) == len(programs)
    for row in shown:
        assert not {row["members"], row["more_than_once"]} & set(range(1, 11))
        if None not in (row["members"], row["more_than_once"]):
            assert row["members"] - row["more_than_once"] not in range(1, 11)
    assert [row["members"] for row in shown].count(None) != 1 or len(counts) == 1


def test_numbers_are_posted_into_the_folder_of_the_setting(tmp_path):
    assert post_numbers(tmp_path, "api-use-2026", {"year": 2026}, "year\n2026\n").is_file()
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "api-use-2026.csv",
        "api-use-2026.json",
    ]
    assert json.loads((tmp_path / "api-use-2026.json").read_text()) == {"year": 2026}


@pytest.mark.parametrize("is_set", [True, False])
def test_without_a_folder_nothing_is_posted(tmp_path, is_set):
    folder = tmp_path / "nowhere" if is_set else None
    with pytest.raises(UsageError, match="cannot be written" if is_set else "portal.reports"):
        post_numbers(folder, "api-use-2026", {}, "")
