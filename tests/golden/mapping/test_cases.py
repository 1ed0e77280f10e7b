"""Small extracts and the resources that they become.

Each folder of `cases/` holds rows (`<table>.csv`, beside those of `cases/shared/`), the resources
that they add (`expected.ndjson`; in some `expected-basis.ndjson` too, in the Basis view) and what
the case is for (`reason.txt`). After a change that is meant, `python -m
tests.golden.mapping.test_cases` writes the expected files anew: read the diff.
"""

import json
from pathlib import Path

import pytest

from tests.golden.mapping.comparing import differences
from tests.golden.mapping.rendering import read_rows, rendered

CASES = Path(__file__).parent / "cases"
SHARED = read_rows(CASES / "shared")
NAMES = sorted(path.name for path in CASES.iterdir() if path.name != "shared")


FILES = {"financial": "expected.ndjson", "basis": "expected-basis.ndjson"}
VIEWED = [
    (name, view) for name in NAMES for view, file in FILES.items() if (CASES / name / file).exists()
]


def added(name, view="financial"):
    """Return the JSON of the resources that a case has beside those of the shared rows."""
    rows = dict(SHARED)
    for table, own in read_rows(CASES / name).items():
        rows[table] = [*SHARED.get(table, []), *own]
    known = {text for text, _ in rendered(SHARED, view=view)}
    return [text for text, _ in rendered(rows, view=view) if text not in known]


def by_name(lines):
    """Return resources by type and id; amounts stay the text that they are, to the cent."""
    parsed = [json.loads(line, parse_float=str) for line in lines]
    return {f"{one['resourceType']}/{one['id']}": one for one in parsed}


@pytest.mark.parametrize(("name", "view"), VIEWED)
def test_a_case_becomes_the_resources_that_are_expected(name, view):
    expected = by_name((CASES / name / FILES[view]).read_text("utf-8").splitlines())
    made = by_name(added(name, view))
    assert list(made) == list(expected)
    told = [
        f"{key}: {'expected' if side == 'theirs' else 'made'} {path} {value}"
        for key, resource in expected.items()
        for side, path, value in differences(resource, made[key])
    ]
    assert not told, "\n".join(told)
    assert made == expected, "the order of a list differs"


def test_a_claim_of_each_profile_is_expected_in_the_basis_view():
    profiles = {
        resource["meta"]["profile"][0].rpartition("/")[2]
        for name, view in VIEWED
        if view == "basis"
        for resource in by_name(
            (CASES / name / FILES[view]).read_text("utf-8").splitlines()
        ).values()
    }
    assert len(profiles) == 6
    assert all(
        profile.endswith("-Basis|2.2.0") for profile in profiles - {"pdex-priorauthorization"}
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_case_says_what_it_is_for(name):
    assert len((CASES / name / "reason.txt").read_text("utf-8").splitlines()) == 1


def write():
    """Write every case's expected file anew."""
    for name, view in VIEWED:
        text = "\n".join(added(name, view)) + "\n"
        (CASES / name / FILES[view]).write_text(text, "utf-8")


if __name__ == "__main__":
    write()
