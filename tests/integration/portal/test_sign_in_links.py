"""Sign-in links: forwarded, replayed, prefetched, late, forged, guessed at, and sent in floods."""

from datetime import UTC, datetime, timedelta

from etl.auth.mail import MailNotSent
from tests.integration.portal.conftest import browser
from tests.integration.portal.served import PRODUCTION


def test_a_forwarded_link_is_of_no_use_in_another_browser(production):
    dana, eve = browser(production), browser(production)
    link = dana.ask_link(production)
    assert eve.send(link, {}).status_code == 400
    assert eve.get("/profile").status_code == 303
    assert dana.send(link, {}).status_code == 303  # it was not used up


def test_a_link_works_once(production):
    dana = browser(production)
    link = dana.ask_link(production)
    assert dana.send(link, {}).status_code == 303
    dana.send("/sign-out", {}, page="/profile")
    again = dana.send(link, {})
    assert again.status_code == 400
    assert "This link was already used" in again.text
    assert dana.get("/profile").status_code == 303


def test_a_scanner_that_fetches_links_does_not_use_them_up(production):
    dana, scanner = browser(production), browser(production)
    link = dana.ask_link(production)
    for _ in range(3):
        assert scanner.get(link).status_code == 200
        assert scanner.client.head(link).status_code == 200
        assert scanner.client.post(link).status_code == 403
    assert production.services.developers.all() == ()
    assert dana.send(link, {}).status_code == 303


def test_a_link_is_good_for_fifteen_minutes_and_only_as_it_was_made(stand):
    moment = [datetime(2026, 1, 1, tzinfo=UTC)]
    standing = stand(site=PRODUCTION, clock=lambda: moment[0])
    dana = browser(standing)
    link = dana.ask_link(standing)
    moment[0] += timedelta(minutes=15)
    assert dana.send(link, {}).status_code == 400
    fresh = dana.ask_link(standing)
    for forged in (fresh[:-1], f"{fresh}x", fresh.replace("/sign-in/", "/sign-in/x")):
        assert dana.send(forged, {}).status_code == 400
    moment[0] += timedelta(minutes=14)
    assert dana.send(fresh, {}).status_code == 303


def test_nobody_learns_which_addresses_have_an_account(production):
    browser(production).sign_in(production)
    pages = set()
    for name in ("dana", "nobody"):
        visitor = browser(production)
        answer = visitor.send("/sign-in", {"email": f"{name}@lens.example"})
        pages.add((answer.status_code, answer.text))
    assert len(pages) == 1
    assert [mail.to for mail in production.sent[1:]] == ["dana@lens.example", "nobody@lens.example"]


def test_a_mailbox_gets_a_few_links_an_hour_whoever_asks(production):
    answers = [
        browser(production).send("/sign-in", {"email": email})
        for email in ["dana@lens.example", "DANA@lens.example "] * 3
    ]
    assert [one.status_code for one in answers] == [200] * 5 + [429]
    assert int(answers[-1].headers["retry-after"]) > 0
    assert len(production.sent) == 5
    other = browser(production).send("/sign-in", {"email": "eve@lens.example"})
    assert other.status_code == 200


def test_an_address_asks_for_twenty_links_an_hour_and_no_more(production):
    visitor = browser(production)
    answers = [
        visitor.send("/sign-in", {"email": f"x{number}@lens.example"}) for number in range(21)
    ]
    assert {one.status_code for one in answers[:20]} == {200}
    assert answers[20].status_code == 429
    assert len(production.sent) == 20


def test_a_new_session_is_started_with_each_sign_in(production):
    dana = browser(production)
    name = "__Host-cpcds-developer"
    dana.client.cookies.set(name, "chosen-by-the-attacker", domain="api.example")
    dana.sign_in(production)
    assert "chosen-by-the-attacker" not in [
        cookie.value for cookie in dana.client.cookies.jar if cookie.name == name
    ]


def test_only_a_sandbox_shows_the_link_on_the_page(production, sandbox):
    assert "/sign-in/" in browser(sandbox).send("/sign-in", {"email": "a@b.example"}).text
    assert "/sign-in/" not in browser(production).send("/sign-in", {"email": "a@b.example"}).text


def test_a_mail_that_could_not_be_sent_is_told(stand):
    def refuse(mail):
        raise MailNotSent

    standing = stand(site=PRODUCTION, mailer=refuse)
    answer = browser(standing).send("/sign-in", {"email": "dana@lens.example"})
    assert answer.status_code == 503
    assert "could not be sent" in answer.text
