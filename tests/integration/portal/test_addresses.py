"""E-mail addresses of developers: verified before an account or app may act in production."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope, Session

from etl.auth.mail import Mail, MailNotSent, MailServer, smtp_mailer
from etl.auth.records import AppStatus, InvalidForm, NoSuchAccount
from tests.integration.auth.standing import DRAFT
from tests.integration.portal.conftest import FORM, PASSWORD, browser, link_of
from tests.integration.portal.served import Standing, in_production, stand_up
from tests.ports import free_port


def test_no_app_is_registered_before_the_address_is_confirmed(production: Standing) -> None:
    dana = browser(production).sign_up()
    assert dana.get("/apps/new").headers["location"] == "/profile"
    assert "is not confirmed yet" in dana.get("/profile").text
    answer = dana.send("/apps/new", FORM, page="/profile")
    assert answer.headers["location"] == "/profile"
    with pytest.raises(InvalidForm, match="Confirm your e-mail address"):
        production.portal.apps.register(DRAFT, developer=dana_id(production))
    dana.confirm(production)
    assert "is confirmed" in dana.get("/profile?saved=verified").text
    dana.register()


def dana_id(standing: Standing) -> str:
    return standing.portal.developers.of_email("dana@lens.example").id


def test_in_a_sandbox_apps_are_registered_at_once_and_the_mail_is_shown(sandbox: Standing) -> None:
    dana = browser(sandbox).sign_up()
    dana.register()
    page = dana.send("/profile/verify", {}, page="/profile").text
    assert "dana@lens.example" in page
    assert "/profile/verify/" in page
    developer = sandbox.portal.developers.get(dana_id(sandbox))
    assert developer.verified is None
    mail = sandbox.portal.developers.ask_verification(developer.id)
    assert mail is not None
    dana.send(link_of(mail), {})
    assert sandbox.portal.developers.get(developer.id).verified is not None


def test_the_owner_of_an_address_who_opens_the_link_does_not_confirm_someone_elses_account(
    production: Standing,
) -> None:
    browser(production).sign_up()
    link = link_of(production.sent[-1])
    stranger = browser(production)
    assert stranger.get(link).headers["location"].startswith("/sign-in?next=")
    other = browser(production).sign_up("eve")
    answer = other.send(link, {})
    assert answer.status_code == 400
    assert production.portal.developers.get(dana_id(production)).verified is None


def other(character: str) -> str:
    return "A" if character != "A" else "B"


def test_a_link_is_good_for_a_day_and_only_as_it_was_made(tmp_path: Path) -> None:
    now = [datetime(2026, 1, 1, tzinfo=UTC)]
    standing = stand_up(tmp_path, site=in_production(), clock=lambda: now[0])
    dana = browser(standing).sign_up()
    link = link_of(standing.sent[-1])
    facts, signature = link.rsplit(".", 1)
    # Not the last characters: the spare bits of base64 have several spellings.
    of_another_time = f"{facts[:-4]}{other(facts[-4])}{facts[-3:]}"
    for changed in (
        f"{facts}.{other(signature[0])}{signature[1:]}",
        f"{of_another_time}.{signature}",
    ):
        assert dana.send(changed, {}).status_code == 400
    now[0] += timedelta(hours=24)
    browser_again = browser(standing)
    browser_again.send("/sign-in", {"email": "dana@lens.example", "password": PASSWORD})
    assert browser_again.send(link, {}).status_code == 400
    browser_again.send("/profile/verify", {}, page="/profile")
    browser_again.confirm(standing)
    standing.database.close()


def test_a_new_address_counts_when_its_link_is_opened(production: Standing) -> None:
    dana = browser(production).sign_up().confirm(production)
    changed = {"name": "Dana", "organization": "", "email": "eve@lens.example"}
    assert "on its way to eve@lens.example" in dana.send("/profile", changed).text
    assert production.portal.developers.get(dana_id(production)).verified is not None
    dana.confirm(production, "eve")
    assert production.portal.developers.of_email("eve@lens.example").name == "Dana"
    with pytest.raises(NoSuchAccount):
        production.portal.developers.of_email("dana@lens.example")


def test_an_account_that_nobody_confirmed_gives_way_to_the_owner_of_the_address(
    production: Standing,
) -> None:
    attacker = browser(production).sign_up()
    first = dana_id(production)
    owner = browser(production).sign_up().confirm(production)
    assert dana_id(production) != first
    assert attacker.get("/profile").headers["location"].startswith("/sign-in")
    owner.register()


def test_who_signs_up_with_a_confirmed_address_learns_nothing_and_its_owner_is_told(
    production: Standing,
) -> None:
    dana = browser(production).sign_up().confirm(production)
    dana.register()
    answers = []
    for name in ("eve", "dana"):
        fields = {"name": "X", "email": f"{name}@lens.example", "password": f"{PASSWORD} too"}
        visitor = browser(production)
        visitor.send("/sign-up", fields)
        signed_in = browser(production).send("/sign-in", fields)
        pages = (
            visitor.get("/profile").text,
            visitor.send("/profile/verify", {}, page="/profile").text,
        )
        answers.append(
            (
                signed_in.status_code,
                visitor.get("/apps/new").headers["location"],
                *(without_tokens(page.replace(f"{name}@", "@")) for page in pages),
            )
        )
    assert answers[0] == answers[1]
    assert "You have an account with it already" in production.sent[-1].text
    assert "/profile/verify/" not in production.sent[-1].text
    # The account of whoever confirmed the address is untouched.
    assert dana.get("/apps/new").status_code == 200
    assert production.portal.developers.of_email("dana@lens.example").verified is not None


def test_a_change_to_a_confirmed_address_says_what_any_change_says(production: Standing) -> None:
    browser(production).sign_up().confirm(production)
    eve = browser(production).sign_up("eve").confirm(production, "eve")
    pages = []
    for name in ("zoe", "dana"):
        changed = {"name": "Eve", "organization": "", "email": f"{name}@lens.example"}
        page = eve.send("/profile", changed).text
        pages.append(without_tokens(page.replace(f"{name}@", "@")))
    assert pages[0] == pages[1]
    assert "on its way" in pages[0]


def without_tokens(page: str) -> str:
    """Return a page without what differs each time: tokens of forms, and seconds."""
    return re.sub(r'name="csrf" value="[^"]+"|datetime="[^"]+"', "", page)


def test_an_account_that_nobody_confirmed_stops_no_change_of_address(production: Standing) -> None:
    developers = production.portal.developers
    dana = browser(production).sign_up().confirm(production)
    squatter = browser(production)
    taken = {"name": "Eve", "email": "eve@lens.example", "password": PASSWORD}
    squatter.send("/sign-up", taken)
    changed = {"name": "Dana", "organization": "", "email": "eve@lens.example"}
    assert "on its way to eve@lens.example" in dana.send("/profile", changed).text
    # Until the link is opened nobody has shown to read that mail.
    assert developers.of_email("eve@lens.example").name == "Eve"
    dana.confirm(production, "eve")
    assert developers.of_email("eve@lens.example").name == "Dana"
    assert squatter.get("/profile").headers["location"].startswith("/sign-in")


def test_an_address_that_its_owner_confirmed_stays_the_owners(production: Standing) -> None:
    dana = browser(production).sign_up().confirm(production)
    changed = {"name": "Dana", "organization": "", "email": "eve@lens.example"}
    dana.send("/profile", changed)
    link = link_of(production.sent[-1])
    eve = browser(production)
    eve.send("/sign-up", {"name": "Eve", "email": "eve@lens.example", "password": PASSWORD})
    eve.confirm(production, "eve")
    dana.send(link, {})
    assert production.portal.developers.of_email("eve@lens.example").name == "Eve"
    assert dana.send("/profile", changed, page="/profile").status_code == 200
    assert "You have an account with it already" in production.sent[-1].text


def test_an_account_with_apps_from_before_keeps_its_address_until_an_operator_decides(
    tmp_path: Path,
) -> None:
    sandbox = stand_up(tmp_path)
    browser(sandbox).sign_up().register()
    sandbox.database.close()
    production = stand_up(tmp_path, site=in_production())
    eve = browser(production)
    eve.send("/sign-up", {"name": "Eve", "email": "eve@lens.example", "password": PASSWORD})
    eve.confirm(production, "eve")
    changed = {"name": "Eve", "organization": "", "email": "dana@lens.example"}
    assert eve.send("/profile", changed, page="/profile").status_code == 200
    assert "You have an account with it already" in production.sent[-1].text
    production.database.close()


def test_an_account_with_apps_from_before_is_not_taken_over_by_signing_up(tmp_path: Path) -> None:
    sandbox = stand_up(tmp_path)
    browser(sandbox).sign_up().register()
    sandbox.database.close()
    production = stand_up(tmp_path, site=in_production())
    again = browser(production).send(
        "/sign-up", {"name": "Dana", "email": "dana@lens.example", "password": PASSWORD}
    )
    assert again.status_code == 303
    app = production.portal.apps.of_developer(dana_id(production))[0]
    with pytest.raises(InvalidForm, match="developers verify"):
        production.portal.apps.approve(
            app.client_id, production.portal.apps.get(app.client_id).revision
        )
    production.portal.developers.verify_by_operator("dana@lens.example")
    assert (
        production.portal.apps.approve(
            app.client_id, production.portal.apps.get(app.client_id).revision
        ).status
        is AppStatus.ACTIVE
    )
    production.database.close()


def test_without_a_mail_server_the_profile_says_whom_to_write_to(tmp_path: Path) -> None:
    standing = stand_up(tmp_path, site=in_production(), mailer=no_server)
    dana = browser(standing).sign_up()
    page = dana.send("/profile/verify", {}, page="/profile")
    assert page.status_code == 503
    assert "could not be sent" in page.text
    standing.database.close()


def no_server(mail: Mail) -> None:
    raise MailNotSent


def test_an_account_has_so_many_apps_and_no_more(tmp_path: Path) -> None:
    standing = stand_up(tmp_path, most_apps=2)
    dana = browser(standing).sign_up()
    first, _ = dana.register(name="One")
    dana.register(name="Two")
    answer = dana.send("/apps/new", {**FORM, "name": "Three"})
    assert answer.status_code == 422
    assert "An account can have 2 apps" in answer.text
    dana.send(f"/apps/{first}/delete", {})
    dana.register(name="Three")
    standing.database.close()


SEEN = {
    "name": "Claim Prism",
    "organization": "Prism LLC",
    "description": "Shows more.",
    "website": "https://prism.example",
    "logo_uri": "https://prism.example/logo.svg",
    "policy_uri": "https://prism.example/privacy",
    "terms_uri": "https://prism.example/terms",
}


@pytest.mark.parametrize("name", SEEN)
def test_what_a_member_sees_of_an_app_is_approved_again_when_it_changes(
    production: Standing, name: str
) -> None:
    dana = browser(production).sign_up().confirm(production)
    client_id, _ = dana.register()
    production.portal.apps.approve(client_id, production.portal.apps.get(client_id).revision)
    dana.send(f"/apps/{client_id}/edit", {**FORM, name: SEEN[name]})
    assert production.portal.apps.get(client_id).status is AppStatus.PENDING


def test_who_is_written_to_may_change_without_approval(production: Standing) -> None:
    dana = browser(production).sign_up().confirm(production)
    client_id, _ = dana.register()
    production.portal.apps.approve(client_id, production.portal.apps.get(client_id).revision)
    dana.send(f"/apps/{client_id}/edit", {**FORM, "contact_name": "Sam"})
    assert production.portal.apps.get(client_id).status is AppStatus.ACTIVE


@pytest.mark.parametrize(
    "name", ["Alder Health Plan", "\u0410lder Health Plan", "\u3164", "a\u00adb"]
)
def test_an_app_named_like_the_payer_or_by_nothing_visible_is_refused(
    sandbox: Standing, name: str
) -> None:
    answer = browser(sandbox).sign_up().send("/apps/new", {**FORM, "name": name})
    assert answer.status_code == 422
    assert 'id="name-error"' in answer.text


def test_in_production_no_app_looks_like_that_of_another_account(production: Standing) -> None:
    client_id, _ = browser(production).sign_up().confirm(production).register()
    eve = browser(production).sign_up("eve").confirm(production, "eve")
    assert eve.send("/apps/new", {**FORM, "name": "C1aim Lens"}).status_code == 422
    other, _ = eve.register(name="Claim Prism")
    assert eve.send(f"/apps/{other}/edit", {**FORM, "name": "Claim Lens"}).status_code == 422
    production.portal.apps.delete(client_id)
    eve.send(f"/apps/{other}/edit", {**FORM, "name": "Claim Lens"})
    assert production.portal.apps.get(other).draft.name == "Claim Lens"


@pytest.mark.parametrize(
    "password",
    ["password12345", "qwertyuiop123", "dana@lens.example", "DanaDeveloper", "alderhealthplan"],
)
def test_a_password_that_is_easy_to_guess_is_refused(sandbox: Standing, password: str) -> None:
    answer = browser(sandbox).send(
        "/sign-up",
        {"name": "Dana Developer", "email": "dana@lens.example", "password": password},
    )
    assert answer.status_code == 422
    assert "too easy to guess" in answer.text


SECRET = "of tests"  # noqa: S105 - of tests


class Inbox:
    """What a mail server took."""

    def __init__(self) -> None:
        self.mails: list[Envelope] = []

    async def handle_DATA(self, server: object, session: Session, envelope: Envelope) -> str:
        self.mails.append(envelope)
        return "250 taken"


@contextmanager
def mail_server(port: int, **options: Any) -> Iterator[Inbox]:
    inbox = Inbox()
    controller = Controller(inbox, hostname="127.0.0.1", port=port, **options)
    controller.start()
    try:
        yield inbox
    finally:
        controller.stop()


def server(port: int) -> MailServer:
    return MailServer("127.0.0.1", port, "none", "", "", "portal@alder.example")


def now() -> datetime:
    return datetime(2026, 1, 1, tzinfo=UTC)


def test_a_mail_goes_through_an_smtp_server() -> None:
    port = free_port()
    with mail_server(port) as inbox:
        smtp_mailer(server(port), now)(Mail("dana@lens.example", "Hello", "Ünïcode\n"))
    (mail,) = inbox.mails
    assert isinstance(mail.content, bytes)
    assert mail.rcpt_tos == ["dana@lens.example"]
    assert mail.mail_from == "portal@alder.example"
    assert b"Date: Thu, 01 Jan 2026 00:00:00 +0000" in mail.content
    assert b"Auto-Submitted: auto-generated" in mail.content


def test_the_account_at_the_mail_server_is_used() -> None:
    given: list[bytes] = []

    def check(
        server: object, session: object, envelope: object, mechanism: str, data: object
    ) -> AuthResult:
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


def test_a_mail_server_that_is_not_there_or_speaks_no_tls_sends_nothing() -> None:
    port = free_port()
    with pytest.raises(MailNotSent):
        smtp_mailer(server(port), now)(Mail("a@b.example", "Hello", "x\n"))
    with mail_server(port) as inbox:
        secret = replace(server(port), encryption="starttls")
        with pytest.raises(MailNotSent):
            smtp_mailer(secret, now)(Mail("a@b.example", "Hello", "x\n"))
    assert inbox.mails == []
