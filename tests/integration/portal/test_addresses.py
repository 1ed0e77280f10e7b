"""Apps of an account: how many, when they are approved again, their names; and mail."""

from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

from etl.auth.mail import Mail, MailNotSent, MailServer, smtp_mailer
from etl.auth.records import AppStatus
from tests.given.tables import table
from tests.integration.portal.conftest import FORM, browser
from tests.ports import free_port


def test_an_account_has_so_many_apps_and_no_more(stand):
    standing = stand(most_apps=2)
    dana = browser(standing).sign_in(standing)
    first, _ = dana.register(name="One")
    dana.register(name="Two")
    answer = dana.send("/apps/new", {**FORM, "name": "Three"})
    assert answer.status_code == 422
    assert "An account can have 2 apps" in answer.text
    dana.send(f"/apps/{first}/delete", {})
    dana.register(name="Three")


@pytest.mark.parametrize(*table(__file__, "edits"))
def test_what_a_member_sees_of_an_app_is_approved_again(production, field, value, status):
    dana = browser(production).sign_in(production)
    client_id, _ = dana.register()
    apps = production.services.apps
    apps.approve(client_id, apps.get(client_id).revision)
    dana.send(f"/apps/{client_id}/edit", {**FORM, field: value})
    assert apps.get(client_id).status is AppStatus(status)


@pytest.mark.parametrize(
    "name", ["Alder Health Plan", "\u0410lder Health Plan", "\u3164", "a\u00adb"]
)
def test_an_app_named_like_the_payer_or_by_nothing_visible_is_refused(sandbox, name):
    answer = browser(sandbox).sign_in(sandbox).send("/apps/new", {**FORM, "name": name})
    assert answer.status_code == 422
    assert 'id="name-error"' in answer.text


def test_in_production_no_app_looks_like_that_of_another_account(production):
    client_id, _ = browser(production).sign_in(production).register()
    eve = browser(production).sign_in(production, "eve")
    assert eve.send("/apps/new", {**FORM, "name": "C1aim Lens"}).status_code == 422
    other, _ = eve.register(name="Claim Prism")
    assert eve.send(f"/apps/{other}/edit", {**FORM, "name": "Claim Lens"}).status_code == 422
    production.services.apps.delete(client_id)
    eve.send(f"/apps/{other}/edit", {**FORM, "name": "Claim Lens"})
    assert production.services.apps.get(other).draft.name == "Claim Lens"


SECRET = "of tests"  # noqa: S105 - of tests


class Inbox:
    """What a mail server took."""

    def __init__(self):
        self.mails = []

    async def handle_DATA(self, server, session, envelope):
        self.mails.append(envelope)
        return "250 taken"


@contextmanager
def mail_server(port, **options):
    inbox = Inbox()
    controller = Controller(inbox, hostname="127.0.0.1", port=port, **options)
    controller.start()
    try:
        yield inbox
    finally:
        controller.stop()


def server(port):
    return MailServer("127.0.0.1", port, "none", "", "", "portal@alder.example")


@pytest.mark.parametrize(*table(__file__, "mail_servers"))
def test_a_mail_server_is_one_url(url, expected):
    assert MailServer.of(url, "a@b.example") == MailServer(*expected, "a@b.example")


def now():
    return datetime(2026, 1, 1, tzinfo=UTC)


def test_a_mail_goes_through_an_smtp_server():
    port = free_port()
    with mail_server(port) as inbox:
        smtp_mailer(server(port), now)(Mail("dana@lens.example", "Hello", "Ünïcode\n"))
    (mail,) = inbox.mails
    assert mail.rcpt_tos == ["dana@lens.example"]
    assert mail.mail_from == "portal@alder.example"
    assert b"Date: Thu, 01 Jan 2026 00:00:00 +0000" in mail.content
    assert b"Auto-Submitted: auto-generated" in mail.content


def test_the_account_at_the_mail_server_is_used():
    given = []

    def check(server, session, envelope, mechanism, data):
        given.append(getattr(data, "password", b""))
        known = getattr(data, "login", b"") == b"portal"
        return AuthResult(success=known, handled=known)  # not handled: the server refuses

    port = free_port()
    with mail_server(port, authenticator=check, auth_require_tls=False) as inbox:
        known = replace(server(port), user="portal", password=SECRET)
        smtp_mailer(known, now)(Mail("dana@lens.example", "Hello", "text\n"))
        with pytest.raises(MailNotSent):
            smtp_mailer(replace(known, user="other"), now)(Mail("a@b.example", "Hello", "x\n"))
    assert len(inbox.mails) == 1
    assert given[0] == SECRET.encode()


def test_a_mail_server_that_is_not_there_or_speaks_no_tls_sends_nothing():
    port = free_port()
    with pytest.raises(MailNotSent):
        smtp_mailer(server(port), now)(Mail("a@b.example", "Hello", "x\n"))
    with mail_server(port) as inbox:
        secret = replace(server(port), encryption="starttls")
        with pytest.raises(MailNotSent):
            smtp_mailer(secret, now)(Mail("a@b.example", "Hello", "x\n"))
    assert inbox.mails == []
