"""References that the program prints: rules, settings, columns of the canonical tables."""

import json
import re
from pathlib import Path

import pytest

from etl.bootstrap.settings import Settings, read_settings, setting_names
from etl.cli.references import value_of
from etl.model.canonical_tables import column_meanings
from etl.model.data_models import DATA_MODELS
from tests.e2e.commands import invoke


@pytest.mark.slow
def test_rules_tell_what_they_look_for_with_the_payers_severity(monkeypatch):
    monkeypatch.setenv("CPCDS_RULES__SEVERITIES", '{"npi": "reject-row"}')
    listed = json.loads(invoke("rules", "--json").stdout)
    assert len(listed) > 300
    (npi,) = [rule for rule in listed if rule["id"] == "npi"]
    assert (npi["severity"], npi["default"], npi["blanks"]) == ("reject-row", "warn", True)
    shown = invoke("rules", "claim-of-two").stdout
    assert "claim-of-two-members\n    reject-claim · firm" in shown
    assert "reject-row (by rules.severities; warn by default)" in invoke("rules", "npi").stdout


def test_obligations_of_profiles_are_listed_if_asked_for():
    assert "c4bb." not in invoke("rules").stdout
    assert "c4bb.oral.item.sequence" in invoke("rules", "c4bb.oral.item").stdout


def test_checks_tell_their_parameters():
    assert "allowed\n    A filled cell is not" in invoke("rules", "--checks").stdout


def test_a_word_that_no_rule_or_setting_has_is_refused():
    assert invoke("rules", "no-such-rule").exit_code == 2
    assert invoke("settings", "no_such_setting").exit_code == 2


def test_settings_tell_default_and_meaning_and_no_secret():
    shown = invoke("settings").stdout
    assert all(f"\n{name}" in f"\n{shown}" for name in setting_names())
    assert 'payer.id = "demo"\n    ID of the payer' in shown
    assert "public key of the demonstration" not in shown
    listed = json.loads(invoke("settings", "limits.", "--json").stdout)
    assert {"name", "value", "set_by", "default", "description"} == set(listed[0])


def test_settings_tell_what_is_set_and_where(tmp_path, monkeypatch):
    file = tmp_path / "cpcds.toml"
    file.write_text('target = "there"\n[payer]\nid = "acme"\n', "utf-8")
    monkeypatch.setenv("CPCDS_SERVE__PORT", "8000")
    monkeypatch.setenv("CPCDS_ID_KEY", "a key that is long enough for a payer")
    listed = json.loads(invoke("--config", file, "settings", "--json").stdout)
    is_set = {each["name"]: (each["value"], each["set_by"]) for each in listed if each["set_by"]}
    assert is_set == {
        "target": ("there", f"{file}:1"),
        "payer.id": ("acme", f"{file}:3"),
        "serve.port": (8000, "CPCDS_SERVE__PORT"),
        "id_key": (None, "CPCDS_ID_KEY"),
    }


def test_settings_are_listed_beside_a_mistake_in_them(tmp_path):
    file = tmp_path / "cpcds.toml"
    file.write_text('tarqet = "there"\n', "utf-8")
    called = invoke("--config", file, "settings", "target")
    assert called.exit_code == 3
    assert 'target = "output"\n' in called.stdout
    assert "did you mean 'target'" in called.stderr


def test_init_writes_every_setting_with_its_default_and_overwrites_nothing(tmp_path):
    assert invoke("init", tmp_path).exit_code == 0
    file = tmp_path / "cpcds.toml"
    text = file.read_text("utf-8")
    assert [line for line in text.splitlines() if line and line[0] not in "#["] == [
        'mappings = ["own"]'
    ]
    given = re.sub(r"^# (\w+ = .+)$", r"\1", text, flags=re.MULTILINE)
    file.write_text(given, "utf-8")
    settings, defaults = read_settings(file), Settings.model_construct()
    for name in setting_names():
        expected = (Path("own"),) if name == "mappings" else value_of(defaults, name)
        assert value_of(settings, name) == expected
    assert (tmp_path / "own").is_dir()
    again = invoke("init", tmp_path)
    assert (again.exit_code, file.read_text("utf-8")) == (2, given)
    assert f"{file} already exists" in again.stderr


@pytest.mark.parametrize("model", DATA_MODELS, ids=lambda model: model.name)
def test_a_canonical_layout_shows_every_table_and_column(model):
    shown = invoke("layouts", "show", model.layout).stdout
    for table in model.tables.values():
        (section,) = [
            part for part in shown.split("\n\n") if part.startswith(f"{table.file_name}: ")
        ][:1]
        assert [line.split()[0] for line in section.splitlines()[1:]] == list(table.names)


@pytest.mark.parametrize("model", DATA_MODELS, ids=lambda model: model.name)
def test_meanings_are_of_columns_that_exist(model):
    columns = {table.file_name: set(table.names) for table in model.tables.values()}
    columns["shared"] = set().union(*columns.values())
    meanings = column_meanings()[model.layout]
    assert {
        (table, name)
        for table, names in meanings.items()
        for name in names
        if name not in columns[table]
    } == set()
