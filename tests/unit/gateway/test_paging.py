"""Page links: pinned to a release, sealed, bound to member and app."""

import base64
from datetime import UTC, datetime

import pytest

from etl.errors import UsageError
from etl.gateway.bundle.paging import Position, Sealer
from etl.gateway.http.responses import FhirError
from etl.publish.history import rollback
from etl.publish.prune import prune
from etl.publish.reader import open_current
from tests.memory_store import MemoryStore
from tests.unit.gateway.trees import (
    BASE,
    KEY,
    NOW,
    bundle,
    busiest,
    grant,
    ids,
    link,
    opened,
    refused,
    run,
    sample_tree,
    walk,
)
from tests.unit.publish.samples import logical_id, patient, publish

EOB = "ExplanationOfBenefit"
ANN = logical_id("ann")
POSITION = Position("search", EOB, (("patient", "x"),), 10, "release", "digest")


def first(made, query="", who=ANN):
    pairs = [one.partition("=")[::2] for one in query.split("&") if one]
    return bundle(run(made.service.search(grant(who), EOB, pairs, base=BASE, strict=True)))


def walked(made, meanwhile=lambda _: None):
    """Return all matches of all pages; something happens between them."""
    found = first(made)
    seen = ids(found)
    pages = 1
    while cursor := link(found, "next"):
        meanwhile(pages)
        found = bundle(run(made.service.page(grant(ANN), cursor, base=BASE)))
        seen += ids(found)
        pages += 1
    return seen


def page_refused(made, cursor, **of):
    return refused(made.service.page(grant(**{"patient": ANN, **of}), cursor, base=BASE))


def publish_on(store, claims, day):
    """Publish a release of November in which Ann has so many claims."""
    now = f"2026-11-{day}T00:00:00Z"
    publish(store, [patient("ann", claims)], base=open_current(store), now=now)


def two_releases():
    store = MemoryStore()
    publish(store, [patient("ann", 35), patient("bob", 2)])
    return store, opened(store)


def test_each_claim_is_on_one_page_though_releases_come_and_go_between_them():
    store, made = two_releases()
    release = open_current(store).release
    assert release is not None
    expected = walked(made)
    assert len(set(expected)) == 35

    def meanwhile(page):
        if page == 2:
            rollback(store, release, "2026-11-26T00:00:00Z")
        else:
            publish_on(store, 60 if page == 1 else 1, 24 + page)
        assert run(made.releases.refresh())

    assert walked(made, meanwhile) == expected
    assert first(made)["total"] == 1


def test_another_worker_that_never_saw_the_release_goes_on_from_it():
    store, made = two_releases()
    expected = walked(made)
    cursor = link(first(made), "next")
    assert cursor
    publish_on(store, 60, 25)
    found = bundle(run(opened(store).service.page(grant(ANN), cursor, base=BASE)))
    assert ids(found) == expected[10:20]


def test_a_link_of_a_pruned_release_is_refused_clearly():
    store, made = two_releases()
    cursor = link(first(made), "next")
    assert cursor
    for day in (25, 26):
        publish_on(store, 60, day)
    prune(store, lambda: datetime(2027, 1, 1, tzinfo=UTC), keep=1)
    run(made.releases.refresh())
    for workers in (made, opened(store, page_size=10)):
        said = page_refused(workers, cursor)
        assert (said.status, said.code) == (410, "link-expired")
        assert "search again" in said.diagnostics


def test_links_lead_back_and_to_the_first_page():
    _, made = two_releases()
    start = first(made)
    second = bundle(run(made.service.page(grant(ANN), link(start, "next") or "", base=BASE)))
    assert [one["relation"] for one in second["link"]] == ["self", "first", "previous", "next"]
    for relation in ("first", "previous"):
        cursor = link(second, relation) or ""
        again = bundle(run(made.service.page(grant(ANN), cursor, base=BASE)))
        assert again["entry"] == start["entry"]
        assert again["total"] == start["total"]
    same = bundle(run(made.service.page(grant(ANN), link(second, "self") or "", base=BASE)))
    assert same["entry"] == second["entry"]


def test_a_page_is_shaped_as_the_first_was():
    made = opened(sample_tree())
    query = "_count=4&_sort=-_lastUpdated&_elements=total&_include=ExplanationOfBenefit:patient"
    start = first(made, query, busiest())
    cursor = link(start, "next") or ""
    second = bundle(run(made.service.page(grant(busiest()), cursor, base=BASE)))
    assert len(ids(second)) == 4
    assert ids(second, "include") == [f"Patient/{busiest()}"]
    assert "item" not in second["entry"][0]["resource"]
    whole = first(made, "_count=8&_sort=-_lastUpdated", busiest())
    assert ids(start) + ids(second) == ids(whole)


@pytest.mark.parametrize("place", range(0, 200, 7))
def test_no_character_of_a_link_can_be_changed(place):
    _, made = two_releases()
    cursor = link(first(made), "next") or ""
    place = place % len(cursor)
    for character in "A_-z9=.":
        if cursor[place] != character:
            said = page_refused(made, cursor[:place] + character + cursor[place + 1 :])
            assert (said.status, said.code) == (400, "link-invalid")


def test_the_last_character_has_one_spelling():
    sealer = Sealer([KEY], 60, lambda: NOW)
    for length in range(4):
        made = sealer.seal(Position("search", EOB, (("a", "x" * length),), 1, "r", "d"), grant(ANN))
        alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
        assert made[-1] in alphabet
        for one in alphabet.replace(made[-1], ""):
            with pytest.raises(FhirError):
                sealer.open(made[:-1] + one, grant(ANN))


@pytest.mark.parametrize("cursor", ["", "A", "AAAA", "=", "é", "x" * 20_000, "a/b", "..", "\x00"])
def test_what_is_no_link_is_refused(cursor):
    _, made = two_releases()
    assert page_refused(made, cursor).status == 400


def test_a_link_is_of_no_use_to_another_member_or_app():
    _, made = two_releases()
    cursor = link(first(made), "next") or ""
    for other in ({"patient": logical_id("bob")}, {"client": "another"}):
        assert page_refused(made, cursor, **other).status == 400


def test_a_link_does_not_outlive_its_scopes():
    _, made = two_releases()
    cursor = link(first(made), "next") or ""
    assert page_refused(made, cursor, scopes=("patient/Coverage.rs",)).status == 403


def test_a_link_shows_nothing_of_what_was_asked():
    made = opened(sample_tree())
    claim = "Zx9claimnumber"
    found = first(made, f"identifier:not={claim}&service-date=ge1900-01-02", busiest())
    cursor = link(found, "next") or ""
    raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    for text in (claim, "1900-01-02", busiest(), "identifier", EOB):
        assert text not in cursor
        assert text.encode() not in raw
        assert base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode() not in cursor


def test_one_question_keeps_one_link_for_a_while():
    _, made = two_releases()
    assert link(first(made), "next") == link(first(made), "next")


def test_a_link_ends():
    now = [NOW]
    sealer = Sealer([KEY], 3600, lambda: now[0])
    cursor = sealer.seal(POSITION, grant(ANN))
    now[0] += 3599
    assert sealer.open(cursor, grant(ANN)) == POSITION
    now[0] += 3602
    with pytest.raises(FhirError) as caught:
        sealer.open(cursor, grant(ANN))
    assert (caught.value.status, caught.value.code) == (410, "link-expired")


def test_keys_can_be_changed_without_breaking_links():
    old, new = b"o" * 32, b"n" * 32
    cursor = Sealer([old], 60, lambda: NOW).seal(POSITION, grant(ANN))
    assert Sealer([new, old], 60, lambda: NOW).open(cursor, grant(ANN)) == POSITION
    with pytest.raises(FhirError):
        Sealer([new], 60, lambda: NOW).open(cursor, grant(ANN))


@pytest.mark.parametrize("keys", [[], [b"short"], [KEY, b"short"]])
def test_a_short_key_is_refused(keys):
    with pytest.raises(UsageError, match="32 bytes"):
        Sealer(keys, 60, lambda: NOW)


def test_a_long_question_makes_a_short_link():
    sealer = Sealer([KEY], 60, lambda: NOW)
    many = Position("search", EOB, (("_id", ",".join(["abcdefgh"] * 500)),), 0, "r", "d")
    cursor = sealer.seal(many, grant(ANN))
    assert len(cursor) < 1_000
    assert sealer.open(cursor, grant(ANN)) == many


def test_an_etag_lasts_no_longer_than_the_links_of_its_answer():
    """Else a client would be told that it has the answer already, with links that have ended."""
    store, _ = two_releases()
    now = [NOW]
    made = opened(store, clock=lambda: now[0], cursor_seconds=3600)

    def etag(who):
        return run(made.service.search(grant(who), EOB, [], base=BASE, strict=True)).etag

    paged, whole = etag(ANN), etag(logical_id("bob"))
    assert etag(ANN) == paged
    now[0] += 7200
    assert etag(ANN) != paged
    assert etag(logical_id("bob")) == whole


@pytest.mark.parametrize(("claims", "pages"), [(0, 1), (1, 1), (10, 1), (11, 2), (20, 2), (21, 3)])
def test_no_page_is_empty_but_an_only_one(claims, pages):
    store = MemoryStore()
    publish(store, [patient("ann", claims)])
    service = opened(store).service
    answer = service.search(grant(ANN), EOB, [], base=BASE, strict=True)
    sizes = [len(ids(page)) for page in walk(service, grant(ANN), answer)]
    assert len(sizes) == pages
    assert sum(sizes) == claims
    assert all(sizes[1:])
