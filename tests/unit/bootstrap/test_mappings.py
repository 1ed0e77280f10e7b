"""A payer's own files on top of the shipped ones: every mistake of all of them at once."""

from pathlib import Path

import pytest

from etl.bootstrap.definitions import load_definitions
from etl.bootstrap.mappings import read_crosswalks, read_folder, shipped
from etl.bootstrap.settings import read_settings
from etl.errors import MappingError


def test_a_payers_rows_are_laid_over_the_shipped_ones(tmp_path):
    (tmp_path / "crosswalks").mkdir()
    (tmp_path / "crosswalks" / "gender.csv").write_text("source,code\nq,other\n")
    shipped_alone = read_crosswalks([shipped()])["gender"]
    gender = read_crosswalks([shipped(), tmp_path])["gender"]
    assert gender.answer("Q") == "other"
    assert dict(gender.rows) == {**shipped_alone.rows, "q": ("other",)}


def test_a_payers_displays_are_added_and_a_guides_own_stay(tmp_path):
    guide = "http://hl7.org/fhir/us/carin-bb/CodeSystem/C4BBAdjudication"
    icd = "http://hl7.org/fhir/sid/icd-10-cm"
    (tmp_path / "displays").mkdir()
    (tmp_path / "displays" / "own.csv").write_text(
        f"system,code,display\n{icd},Z23,Encounter for immunization\n{guide},discount,Rebate\n"
    )
    settings = read_settings(None, mappings=(tmp_path,))
    crosswalks = load_definitions(settings).crosswalks
    assert crosswalks[f"displays/{icd}"].answer("Z23") == "Encounter for immunization"
    assert crosswalks[f"displays/{guide}"].answer("discount") == "Discount"
    without = read_settings(None, mappings=(tmp_path,), publish={"displays": False})
    assert "displays" not in load_definitions(without).crosswalks


def test_every_mistake_of_all_crosswalks_is_reported_at_once(tmp_path):
    folder = tmp_path / "crosswalks"
    folder.mkdir()
    (folder / "gender.csv").write_text("source,gender\nq,other\n")
    (folder / "relationship.csv").write_text("source,code\nq\nz\n")
    with pytest.raises(MappingError) as raised:
        read_crosswalks([shipped(), tmp_path])
    assert [(each.where, each.error_id) for each in raised.value.every] == [
        (f"{folder}/gender.csv", "crosswalk-header"),
        (f"{folder}/relationship.csv:2", "crosswalk-row"),
        (f"{folder}/relationship.csv:3", "crosswalk-row"),
    ]


def test_every_file_that_cannot_be_read_is_reported_at_once(tmp_path):
    (tmp_path / "rules" / "a.yaml").mkdir(parents=True)
    (tmp_path / "rules" / "b.yaml").write_bytes(b"\xff")
    with pytest.raises(MappingError) as raised:
        read_folder([tmp_path / "nowhere", tmp_path], "rules", "*.yaml")
    assert [(Path(each.where).name, each.error_id) for each in raised.value.every] == [
        ("nowhere", "map-missing-file"),
        ("a.yaml", "map-missing-file"),
        ("b.yaml", "map-encoding"),
    ]


def test_mistakes_in_sensitive_codes_are_reported_beside_those_of_rules(tmp_path):
    (tmp_path / "own" / "rules").mkdir(parents=True)
    (tmp_path / "own" / "rules" / "own.yaml").write_text("- id: x\n")
    (tmp_path / "codes.csv").write_text("system,code\nCPT\nNDX,1\n")
    settings = read_settings(
        None,
        mappings=(tmp_path / "own",),
        claims={"sensitive_codes": tmp_path / "codes.csv"},
    )
    with pytest.raises(MappingError) as raised:
        load_definitions(settings)
    ids = [each.error_id for each in raised.value.every]
    assert ids[:2] == ["config-sensitive-codes"] * 2
    assert ids[2:]
    assert all(error_id.startswith("rule-") for error_id in ids[2:])


def test_a_mistake_in_a_file_of_a_shipped_name_is_placed_in_its_folder(tmp_path):
    (tmp_path / "c4bb").mkdir()
    text = "extends: patient.yaml\nemit: { gender: '{{ member.gendr }}' }\n"
    (tmp_path / "c4bb" / "patient.yaml").write_text(text)
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "acme.yaml").write_text("- id: x\n")
    assert places_of_mistakes(tmp_path) == {
        "acme.yaml:1",
        f"{tmp_path.as_posix()}/c4bb/patient.yaml:2",
    }


@pytest.mark.parametrize(
    ("file", "text", "line"),
    [
        ("layouts/onyx-b.yaml", "layout: onyx-b\ntitle: Another\nrow: {}\n", ":3"),
        ("displays/hl7-and-cms.csv", "system,code,display\nurn:a,b,\n", ":2"),
    ],
)
def test_a_mistake_in_a_layout_or_display_of_a_shipped_name_is_placed_in_its_folder(
    tmp_path, file, text, line
):
    assert (shipped() / file).is_file()
    (tmp_path / file).parent.mkdir()
    (tmp_path / file).write_text(text)
    assert f"{(tmp_path / file).as_posix()}{line}" in places_of_mistakes(tmp_path)


def places_of_mistakes(folder):
    """Return where mistakes are said to be with a folder on top of the shipped ones."""
    with pytest.raises(MappingError) as raised:
        load_definitions(read_settings(None, mappings=(folder,)))
    return {each.where for each in raised.value.every}
