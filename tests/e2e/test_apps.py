"""`cpcds apps`, `developers`, `auth` and `audit`, as an operator types them."""

import json

import pytest
from click.testing import CliRunner

from etl.bootstrap import auth
from etl.bootstrap.settings import read_settings
from etl.cli import main
from tests.given.drafts import draft_like
from tests.integration.auth.test_registration import METADATA


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CPCDS_AUTH__MODE", "sandbox")


def cpcds(*words, code=0, typed=""):
    done = CliRunner().invoke(main, list(words), input=typed)
    assert done.exit_code == code, done.output
    return done


def registered(tmp_path, *options):
    file = tmp_path / "app.json"
    file.write_text(json.dumps(METADATA))
    return json.loads(cpcds("apps", "register", str(file), "--json", *options).output)


def test_an_app_is_registered_shown_stopped_and_deleted(tmp_path, monkeypatch):
    assert "no apps" in cpcds("apps", "list").output
    made = registered(tmp_path, "--client-id", "compass", "--plain")
    assert made["client_id"] == "compass"
    assert len(made["client_secret"]) > 40
    assert "Claims Compass" in cpcds("apps", "list").output
    shown = json.loads(cpcds("apps", "show", "compass", "--json").output)
    assert (shown["status"], shown["plain"], shown["origin"]) == ("active", True, "operator")
    assert made["client_secret"] not in json.dumps(shown)
    fresh = json.loads(cpcds("apps", "rotate-secret", "compass", "--json").output)
    assert fresh["client_secret"] != made["client_secret"]
    assert "disabled" in cpcds("apps", "disable", "compass").output
    assert json.loads(cpcds("apps", "list", "--status", "active", "--json").output) == []
    assert "active" in cpcds("apps", "enable", "compass").output
    assert "members" in cpcds("apps", "usage", "--year", "2026").output
    assert "members whose data went to an app: 0" in cpcds("report", "cms", "--year", "2026").output
    members = tmp_path / "members.csv"
    by_program = ("report", "cms", "--year", "2026", "--members", str(members))
    members.write_text("member_id,program\nM1,ma\n")
    assert "lacks the column contract_id" in cpcds(*by_program, code=2).output
    members.write_text("member_id,program,contract_id\nM1,ma,H1\n,ma,H1\n")
    assert "line 3: member_id is empty" in cpcds(*by_program, code=2).output
    members.write_text("member_id,program,contract_id\nM1,ma,H1\n")
    assert json.loads(cpcds(*by_program, "--json").output)["programs"] == []
    assert "portal.reports" in cpcds("report", "cms", "--year", "2016", "--post", code=2).output
    assert "not over" in cpcds("report", "cms", "--year", "9999", "--post", code=2).output
    monkeypatch.setenv("CPCDS_PORTAL__REPORTS", str(tmp_path))
    assert "/api-use-2016" in cpcds("report", "cms", "--year", "2016", "--post").output
    assert json.loads((tmp_path / "api-use-2016.json").read_text())["members"] == 0
    cpcds("apps", "delete", "compass", "--yes")
    cpcds("apps", "show", "compass", code=2)


def test_in_production_an_app_is_approved(tmp_path, monkeypatch):
    monkeypatch.setenv("CPCDS_AUTH__MODE", "production")
    cpcds("apps", "list", code=3)  # the public id key
    monkeypatch.setenv("CPCDS_ID_KEY", "a key of this payer's own, and long enough")
    registered(tmp_path, "--client-id", "compass")
    assert cpcds("apps", "approve", "compass", code=1, typed="n\n").output.endswith("Aborted!\n")
    asked = cpcds("apps", "approve", "compass", typed="y\n").output
    assert "https://app.example/callback" in asked
    assert "is active" in asked


def test_an_app_that_changed_since_it_was_looked_at_is_not_approved(tmp_path, monkeypatch):
    monkeypatch.setenv("CPCDS_AUTH__MODE", "production")
    monkeypatch.setenv("CPCDS_ID_KEY", "a key of this payer's own, and long enough")
    registered(tmp_path, "--client-id", "compass")
    seen = json.loads(cpcds("apps", "show", "compass", "--json").output)["revision"]
    with auth.services(read_settings(None)) as services:
        draft = services.apps.get("compass").draft
        worse = draft_like(draft, redirect_uris=("https://elsewhere.example/done",))
        services.apps.edit("compass", worse)
    refused = cpcds("apps", "approve", "compass", "--revision", seen, code=2).output
    assert "Look at it again: cpcds apps show compass" in refused
    assert json.loads(cpcds("apps", "show", "compass", "--json").output)["status"] == "pending"
    now = json.loads(cpcds("apps", "show", "compass", "--json").output)["revision"]
    assert now != seen
    assert "is active" in cpcds("apps", "approve", "compass", "--revision", now).output


def test_where_no_server_is_configured_none_is_made_up(tmp_path, monkeypatch):
    monkeypatch.delenv("CPCDS_AUTH__MODE")
    for words in (
        *(("apps", "list"), ("auth", "rotate-keys"), ("developers", "list")),
        *(("auth", "migrate"), ("audit", "verify")),
    ):
        assert "CPCDS_AUTH__MODE" in cpcds(*words, code=3).output
    assert list(tmp_path.glob("**/cpcds-*")) == []


@pytest.mark.parametrize("content", ["{", "[]", '{"client_name": 7}', "{}"])
def test_metadata_that_cannot_be_taken_are_said_in_a_sentence(tmp_path, content):
    (tmp_path / "app.json").write_text(content)
    done = cpcds("apps", "register", "app.json", code=2)
    assert "Traceback" not in done.output


def test_the_audit_trail_is_checked_where_there_is_one(tmp_path):
    assert "auth.audit" in cpcds("audit", "verify", code=2).output
    registered(tmp_path)
    assert "no event was changed" in cpcds("audit", "verify").output
    (file,) = (tmp_path / "cpcds-audit").iterdir()
    file.write_bytes(file.read_bytes().replace(b"operator", b"0perator", 1))
    found = cpcds("audit", "verify", code=4)
    assert "line 1 was changed" in found.output
    assert json.loads(cpcds("audit", "verify", "--json", code=4).stdout)["problems"]


def test_tables_and_keys_are_looked_after():
    assert "version 0004" in cpcds("auth", "migrate").output
    assert "new keys" in cpcds("auth", "rotate-keys").output


def test_accounts_of_developers_are_listed():
    assert "no accounts" in cpcds("developers", "list").output
    with auth.services(read_settings(None)) as services:
        services.developers.sign_in("dana@lens.example")
    (account,) = json.loads(cpcds("developers", "list", "--json").output)
    assert (account["email"], account["apps"]) == ("dana@lens.example", 0)
