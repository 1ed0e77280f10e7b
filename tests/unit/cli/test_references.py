"""References that the program prints: rules, settings, columns of the canonical tables."""

import json

import pytest

from etl.bootstrap.settings import setting_names
from etl.cli.references import column_meanings
from etl.model.data_models import DATA_MODELS
from tests.e2e.commands import invoke


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
    assert "allowed\n    A cell fails" in invoke("rules", "--checks").stdout


def test_a_word_that_no_rule_or_setting_has_is_refused():
    assert invoke("rules", "no-such-rule").exit_code == 2
    assert invoke("settings", "no_such_setting").exit_code == 2


def test_settings_tell_default_and_meaning_and_no_secret():
    shown = invoke("settings").stdout
    assert all(f"\n{name}" in f"\n{shown}" for name in setting_names())
    assert 'payer.id = "demo"\n    The payer\'s id' in shown
    assert "public key of the demonstration" not in shown
    listed = json.loads(invoke("settings", "limits.", "--json").stdout)
    assert {"name", "default", "description"} == set(listed[0])


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
