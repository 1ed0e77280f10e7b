"""Marked values go through every door, and are then looked for in everything that was written."""

import asyncio
import logging
import re
from datetime import date

import pytest

from etl.auth.apps import IssuedApp
from etl.auth.audit_events import verify_trail
from etl.auth.configuration import DemoDirectory
from etl.auth.records import DemoMember
from etl.auth.yearly_numbers import yearly_numbers
from tests.integration.auth import standing as acting
from tests.integration.auth.standing import PUBLIC, stand_up
from tests.security.auth.test_sign_in_attacks import try_member

NAME = "Markedname Planted"
MEMBER_PASSWORD = "marked-member-password"  # noqa: S105 - planted


def everything_written(folder, log, printed):
    files = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    logged = "\n".join(f"{one.getMessage()} {one.args}" for one in log.records)
    return files + logged.encode() + printed.encode()


def test_no_secret_and_no_name_is_in_database_audit_trail_or_log(tmp_path, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    member = DemoMember("ana", NAME, acting.ANA.patient)
    planted = [NAME, MEMBER_PASSWORD]
    demo = DemoDirectory((member,), MEMBER_PASSWORD)
    with stand_up(tmp_path, demo=demo) as standing, standing.client() as browser:
        services = standing.services
        mail = services.sign_in_links.send("jo@app.example", "a browser", "/apps")
        assert mail is not None
        token = mail.text.partition("/sign-in/")[2].split()[0]
        assert services.sign_in_links.redeem(token, "a browser") is not None
        developer = services.developers.sign_in("jo@app.example")
        planted.append(token)
        planted.append(services.sessions.start("developer", developer.id))
        confidential, public = standing.register(), standing.register(PUBLIC)
        fresh = services.apps.rotate_secret(confidential.app.client_id)
        planted += [str(confidential.secret), str(fresh.secret)]
        page = acting.ask(browser, public.app.client_id)
        acting.sign_in(browser, page, password=f"x{MEMBER_PASSWORD}")
        consent = acting.sign_in(browser, page, password=MEMBER_PASSWORD)
        assert NAME in consent.text
        code = acting.returned(acting.decide(browser, consent))["code"]
        body = acting.redeem(browser, public, code).json()
        again = acting.refresh(browser, public, body["refresh_token"]).json()
        acting.redeem(browser, IssuedApp(fresh.app, "marked-wrong-secret"), code)
        acting.revoke(browser, public, again["access_token"])
        acting.redeem(browser, public, code)
        planted += [code, "marked-wrong-secret", acting.VERIFIER]
        for answer in (body, again):
            planted += [answer["access_token"], answer["refresh_token"]]
        planted += [body["id_token"], *(cookie.value or "" for cookie in browser.cookies.jar)]
        services.delete_expired()
        services.trail.flush()
    written = everything_written(tmp_path, caplog, "".join(capfd.readouterr()))
    assert len(written) > 20_000
    assert len(planted) > 14
    assert [one for one in planted if one and one.encode() in written] == []


def test_an_error_says_nothing_of_what_was_sent(issued, browser):
    for answer in (
        acting.redeem(browser, issued, "marked-code"),
        acting.refresh(browser, issued, "marked-token"),
        acting.redeem(browser, IssuedApp(issued.app, "marked-secret"), "marked-code"),
        acting.ask(browser, issued.app.client_id, redirect_uri="https://marked.example"),
    ):
        assert answer.status_code >= 400
        assert "marked" not in answer.text


def test_values_do_not_print_their_secrets(standing, issued):
    assert str(issued.secret) not in repr(issued)
    assert "of tests only" not in repr(standing.services.configuration)


def test_files_are_for_their_owner_alone(standing):
    standing.register()
    standing.services.trail.flush()
    files = [path for path in standing.folder.rglob("*") if path.is_file()]
    assert len(files) >= 2
    for path in files:
        assert path.stat().st_mode & 0o077 == 0, path.name


def test_a_page_without_resources_does_not_keep_the_members_page_from_showing(
    standing, issued, browser
):
    acting.tokens(browser, issued)
    (consent,) = standing.services.consents.of_patient(acting.ANA.patient)
    read = acting.access(0, consent.id, issued.app.client_id)
    for number, what in enumerate(("_page", "Location", "Organization")):
        seen = read._replace(request=f"r-{number}", what=what, delivered=())
        asyncio.run(standing.services.trail.record(seen))
    page = browser.get(try_member(browser, acting.PASSWORD).headers["location"])
    rows = re.findall(r'data-label="What">([^<]*)</td><td[^>]*>([0-9]+)</td>', page.text)
    assert sorted(rows) == [("Searched, but found nothing", "1"), ("Who cares for you", "2")]


def test_the_members_page_shows_what_was_read(standing, issued, browser):
    acting.tokens(browser, issued)
    (consent,) = standing.services.consents.of_patient(acting.ANA.patient)
    for number in range(3):
        access = acting.access(number, consent.id, issued.app.client_id)
        asyncio.run(standing.services.trail.record(access))
    page = browser.get(try_member(browser, acting.PASSWORD).headers["location"])
    assert "Your claims" in page.text
    assert "March 1, 2026" in page.text
    (day,) = standing.services.consents.history(acting.ANA.patient)
    assert (day.what, day.count, day.app_name) == ("ExplanationOfBenefit", 3, "Claims Compass")
    assert f"{day.last:%H:%M} UTC" in page.text
    numbers = yearly_numbers(standing.services.database, 2026, "", date(2026, 3, 1))
    assert numbers.members == 1


def test_an_access_that_cannot_be_recorded_is_not_answered(standing, monkeypatch):
    def full(*_):
        raise OSError(28, "no space left on device")

    asyncio.run(standing.services.trail.record(acting.access(1, "consent", "client")))
    with monkeypatch.context() as patched:
        patched.setattr("etl.auth.audit.os.write", full)
        with pytest.raises(OSError, match="no space"):
            asyncio.run(standing.services.trail.record(acting.access(2, "consent", "client")))
    asyncio.run(standing.services.trail.record(acting.access(3, "consent", "client")))
    standing.services.trail.flush()
    found = verify_trail((standing.folder / "audit",), standing.services.database)
    assert (found.events, found.problems) == (2, ())


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda lines: [*lines[:2], lines[2].replace(b".0.9", b".0.8"), *lines[3:]], "line 3"),
        (lambda lines: [*lines[:2], *lines[3:]], "line 3"),
        (lambda lines: [*lines[:1], lines[2], lines[1], *lines[3:]], "line 2"),
        (lambda lines: [lines[0], *lines], "line 2"),
        (lambda lines: lines[:-2], "2 events are missing at its end"),
        (lambda lines: [], "5 events are missing at its end"),
        (lambda lines: [*lines, b"nonsense\n"], "line 6 is not an event"),
        (None, "the file is missing"),
    ],
)  # fmt: skip
def test_a_change_of_the_audit_trail_is_noticed(standing, damage, sentence):
    for number in range(5):
        asyncio.run(standing.services.trail.record(acting.access(number, "consent", "client")))
    standing.services.trail.flush()
    folder = standing.folder / "audit"
    (file,) = folder.iterdir()
    before = verify_trail((folder,), standing.services.database)
    assert (before.events, before.problems) == (5, ())
    if callable(damage):
        file.write_bytes(b"".join(damage(file.read_bytes().splitlines(keepends=True))))
    else:
        file.unlink()
    after = verify_trail((folder,), standing.services.database)
    assert any(sentence in problem for problem in after.problems), after.problems


def test_a_file_that_the_server_never_wrote_is_noticed(standing):
    asyncio.run(standing.services.trail.record(acting.access(1, "consent", "client")))
    standing.services.trail.flush()
    folder = standing.folder / "audit"
    (file,) = folder.iterdir()
    (folder / "audit-20260101T000000Z-1-aaaaaaaaaaaa.ndjson").write_bytes(b"")
    found = verify_trail((folder,), standing.services.database)
    assert any("never reported" in problem for problem in found.problems)
    file.rename(folder / "audit-20260101T000000Z-1-bbbbbbbbbbbb.ndjson")
    assert verify_trail((folder,), None).problems


def test_every_change_of_a_grant_leaves_an_event(standing, browser):
    issued = standing.register(PUBLIC)
    body = acting.tokens(browser, issued)
    acting.refresh(browser, issued, body["refresh_token"])
    acting.refresh(browser, issued, body["refresh_token"])
    (file,) = (standing.folder / "audit").iterdir()
    text = file.read_text()
    for action in (
        "app-registered", "member-sign-in", "consent-given", "code-issued", "token-issued",
        "token-refreshed", "refresh-replayed", "consent-revoked",
    ):  # fmt: skip
        assert f'"code":"{action}"' in text, action


def test_events_are_fhir(standing, browser):
    audit = pytest.importorskip("fhir.resources.R4B.auditevent")
    issued = standing.register()
    acting.tokens(browser, issued)
    search = acting.access(1, "consent", "client")
    for access in (search, search._replace(query="")):
        asyncio.run(standing.services.trail.record(access))
    (file,) = (standing.folder / "audit").iterdir()
    lines = file.read_bytes().splitlines()
    assert len(lines) > 4
    for line in lines:
        event = audit.AuditEvent.model_validate_json(line)
        for entity in event.entity or ():
            assert not (entity.name and entity.query), "invariant sev-1"
        assert b'""' not in line, "no value of FHIR is empty"
