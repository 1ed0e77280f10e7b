"""Settings: flags beat the environment, that beats the file; and no secret is ever shown."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from etl.bootstrap.settings import DEMO_ID_KEY, Settings, read_settings
from etl.bootstrap.wiring import load_definitions
from etl.errors import MappingError


@pytest.fixture(autouse=True)
def _nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_flags_beat_the_environment_which_beats_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_settings(None).target == "output"
    Path("cpcds.toml").write_text("target = 'file'\nlayout = 'file'\n[payer]\nname = 'File'\n")
    assert read_settings(None).target == "file"
    monkeypatch.setenv("CPCDS_TARGET", "environment")
    monkeypatch.setenv("CPCDS_LAYOUT", "environment")
    found = read_settings(None, target="flag", layout=None)
    assert (found.target, found.layout, found.payer.name) == ("flag", "environment", "File")


def test_a_part_set_by_environment_leaves_the_rest_of_it_to_the_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path("cpcds.toml").write_text("[payer]\nname = 'File'\nid = 'file'\n")
    monkeypatch.setenv("CPCDS_PAYER__ID", "environment")
    found = read_settings(None)
    assert (found.payer.name, found.payer.id) == ("File", "environment")


def test_a_named_file_is_read_instead_of_the_one_in_this_folder(tmp_path: Path) -> None:
    Path("cpcds.toml").write_text("target = 'here'")
    (tmp_path / "other.toml").write_text("target = 'other'")
    assert read_settings(tmp_path / "other.toml").target == "other"


def test_settings_can_be_sent_to_another_process() -> None:
    Path("cpcds.toml").write_text("target = 'file'\n[run]\nworkers = 3\n")
    found = read_settings(None)
    there: Settings = pickle.loads(pickle.dumps(found))  # noqa: S301 - our own
    assert there == found
    assert there.with_workers(2).run.workers == 2


def test_the_same_settings_give_tools_of_the_same_fingerprint() -> None:
    first, again = (load_definitions(read_settings(None)) for _ in range(2))
    assert first.fingerprint == again.fingerprint


@pytest.mark.parametrize(
    "toml",
    [
        "id_key = 'another'",
        "[payer]\nname = 'Another'",
        "[rules.severities]\nnpi = 'reject-row'",
    ],
)
def test_whatever_changes_the_output_changes_the_fingerprint(toml: str) -> None:
    before = load_definitions(read_settings(None)).fingerprint
    Path("cpcds.toml").write_text(toml)
    assert load_definitions(read_settings(None)).fingerprint != before


def test_what_does_not_change_the_output_does_not_change_the_fingerprint() -> None:
    before = load_definitions(read_settings(None)).fingerprint
    Path("cpcds.toml").write_text("target = 'x'\n[run]\nworkers = 7\npartition_rows = 5\n")
    assert load_definitions(read_settings(None)).fingerprint == before


def test_the_id_key_is_not_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CPCDS_ID_KEY", "a-secret-of-ours")
    found = read_settings(None)
    assert not found.is_demo_key
    definitions = load_definitions(found)
    for text in (
        repr(found),
        str(found),
        found.model_dump_json(),
        repr(definitions),
        definitions.fingerprint,
    ):
        assert "a-secret-of-ours" not in text


def test_a_wrong_secret_is_not_printed_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CPCDS_ID_KEY", "s3cret" * 20)
    with pytest.raises(MappingError) as told:
        load_definitions(read_settings(None))
    assert "s3cret" not in str(told.value)
    assert told.value.where == "CPCDS_ID_KEY"


def test_the_public_key_is_known_as_such() -> None:
    assert read_settings(None).is_demo_key
    assert "public" in DEMO_ID_KEY


def test_a_variable_that_is_no_setting_is_named_with_the_nearest_that_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CPCDS_TARGTE", "x")
    with pytest.raises(MappingError, match="did you mean 'CPCDS_TARGET'") as told:
        read_settings(None)
    assert (told.value.where, told.value.error_id) == ("CPCDS_TARGTE", "config-unknown-setting")
    monkeypatch.delenv("CPCDS_TARGTE")
    monkeypatch.setenv("CPCDS_PAYER_ID", "x")
    with pytest.raises(MappingError, match="did you mean 'CPCDS_PAYER__ID'"):
        read_settings(None)
    monkeypatch.delenv("CPCDS_PAYER_ID")
    monkeypatch.setenv("CPCDS_LAYOUT__NAME", "x")
    with pytest.raises(MappingError, match="no setting 'CPCDS_LAYOUT__NAME'"):
        read_settings(None)


def test_parts_and_tables_may_be_given_by_variables_as_json(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CPCDS_PAYER", '{"id": "acme"}')
    monkeypatch.setenv("CPCDS_LIMITS__FINDINGS", '{"npi": 3}')
    found = read_settings(None)
    assert (found.payer.id, found.limits.findings) == ("acme", {"npi": 3})


def test_every_mistake_of_a_configuration_is_told_at_once_with_its_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path("cpcds.toml").write_text(
        "# ours\n"
        "targte = 'x'\n"
        "\n"
        "[limits]\n"
        "# a share\n"
        "rejected_claims = 2\n"
        "\n"
        "[[serve.development_tokens]]\n"
        "token = 'a'\n"
        "patient = 'p'\n"
        "[[serve.development_tokens]]\n"
        "token = 'b'\n"
    )
    monkeypatch.setenv("CPCDS_RUN__WORKERS", "-1")
    monkeypatch.setenv("CPCDS_PAYR__ID", "x")
    with pytest.raises(MappingError) as told:
        read_settings(None, store={"concurrency": 0})
    assert sorted((one.where, one.error_id) for one in told.value.every) == [
        ("CPCDS_PAYR__ID", "config-unknown-setting"),
        ("CPCDS_RUN__WORKERS", "config-value"),
        ("cpcds.toml:11", "config-value"),
        ("cpcds.toml:2", "config-unknown-setting"),
        ("cpcds.toml:6", "config-value"),
        ("the command line", "config-value"),
    ]


def test_what_is_no_toml_is_told_with_its_line_and_beside_what_else_is_wrong(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path("cpcds.toml").write_text("target = 'x'\n[payer]\nid = \n")
    monkeypatch.setenv("CPCDS_TARGTE", "x")
    with pytest.raises(MappingError) as told:
        read_settings(None)
    assert [one.where for one in told.value.every] == ["CPCDS_TARGTE", "cpcds.toml:3"]
