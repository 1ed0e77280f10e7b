"""`cpcds explain`: what it says of a resource can be looked up in the extract's files."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.commands import Called, cpcds, done, published, rows_of

EOB = "ExplanationOfBenefit"


@pytest.fixture(scope="module")
def target(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("explained")
    done(cpcds("run", small, "--to", folder, "--workers", "1"))
    return folder


def explained(target: Path, resource: dict[str, Any], *more: str | Path) -> dict[str, Any]:
    name = f"{resource['resourceType']}/{resource['id']}"
    found: dict[str, Any] = json.loads(done(cpcds("explain", target, name, *more, "--json")).out)
    return found


def one_of_each_type(target: Path) -> list[dict[str, Any]]:
    return list({one["resourceType"]: one for one in published(target)}.values())


def test_every_cell_named_is_in_its_file_at_its_row(target: Path, small: Path) -> None:
    looked_up = 0
    for resource in one_of_each_type(target):
        found = explained(target, resource, "--extract", small)
        assert found["agrees"] is True
        for origin in found["origins"]:
            for cell in origin["cells"]:
                if not cell["derived"] and cell["column"] != "value":
                    row = rows_of(small / cell["file"])[cell["row"] - 2]  # the header is row 1
                    assert row[cell["column"]] == cell["value"], origin
                    looked_up += 1
    assert looked_up > 100


def test_a_path_narrows_it_down_to_one_amount_and_its_line(target: Path, small: Path) -> None:
    eob = next(one for one in published(target) if one["resourceType"] == EOB)
    found = explained(target, eob, "item[0].sequence", "--extract", small)
    [origin] = found["origins"]
    assert origin["json"] == str(eob["item"][0]["sequence"])
    assert 36 in origin["map_ids"]
    assert [cell["column"] for cell in origin["cells"]] == ["line_number"]
    text = done(cpcds("explain", target, f"{EOB}/{eob['id']}", "item[0].sequence",
                      "--extract", small)).out  # fmt: skip
    assert "the published resource holds just this" in text
    assert "claim_line.line_number = " in text


def test_where_rows_are_kept_the_target_alone_is_enough(small: Path, tmp_path: Path) -> None:
    kept = {"CPCDS_PUBLISH__DELTAS": "true"}
    done(cpcds("run", small, "--to", tmp_path / "kept", "--workers", "1", **kept))
    eob = next(one for one in published(tmp_path / "kept") if one["resourceType"] == EOB)
    assert explained(tmp_path / "kept", eob)["agrees"] is True


def refused(called: Called) -> str:
    assert called.code == 2
    return called.sentence


def test_what_cannot_be_explained_is_said_in_a_sentence(
    target: Path, small: Path, tmp_path: Path
) -> None:
    eob = next(one for one in published(target) if one["resourceType"] == EOB)
    name = f"{EOB}/{eob['id']}"
    other = tmp_path / "other"
    done(cpcds("synth", "--members", "2", "--seed", "9", "--out", other))
    assert "is not the extract that release" in refused(
        cpcds("explain", target, name, "--extract", other)
    )
    assert "were not kept" in refused(cpcds("explain", target, name))
    assert "no accepted row" in refused(
        cpcds("explain", target, f"{EOB}/{'a' * 32}", "--extract", small)
    )
    assert "no mapping makes a Claim" in refused(
        cpcds("explain", target, "Claim/x", "--extract", small)
    )
    assert "names no resource" in refused(cpcds("explain", target, EOB, "--extract", small))
    assert "has no element" in refused(
        cpcds("explain", target, name, "item[99]", "--extract", small)
    )
