"""`$everything?_since=…`: an app that sends `meta.lastUpdated` back misses nothing."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from etl.gateway.http.responses import FhirError
from etl.gateway.supported_fhir import TYPES
from etl.publish.block import PatientResources, Resource
from etl.publish.history import rollback
from etl.publish.prune import prune
from etl.publish.reader import open_current, open_release
from tests.memory_store import MemoryStore
from tests.unit.gateway.trees import ALL, BASE, bundle, grant, link, opened, refused, run, walk
from tests.unit.publish.samples import logical_id, publish, resource

EOB = "ExplanationOfBenefit"
ANN = logical_id("ann")
BOB = logical_id("bob")
START = datetime(2026, 1, 1, tzinfo=UTC)
LONG_AGO = "2019-05-05T00:00:00Z"


def day(number):
    return f"{START + timedelta(days=number):%Y-%m-%dT%H:%M:%SZ}"


def claim(name, *, provider="clinic", amount=1):
    """Return a claim that the payer stamped years ago, whenever it is published."""
    reference = f"Organization/{logical_id(provider)}"
    return resource(
        EOB,
        name,
        last_updated=LONG_AGO,
        search={"provider": [reference], "service-date": ["2019-05-01"]},
        provider={"reference": reference},
        payment={"amount": {"value": amount}},
    )


def of(member, claims):
    return PatientResources(logical_id(member), [resource("Patient", member), *claims])


def organizations(*names, words="as ever"):
    return [resource("Organization", name, name=f"{name}, {words}") for name in names]


def night(store, number, *claims, bob=None, directory=("clinic",), words="as ever"):
    """Publish a release in which Ann has some claims, and Bob others."""
    held = [claim(one) if isinstance(one, str) else one for one in claims]
    members = [of("ann", held), *([] if bob is None else [of("bob", bob)])]
    return publish(
        store, members, directory=organizations(*directory, words=words), now=day(number)
    )


class App:
    """An app's copy of a member's data, kept right by sending `meta.lastUpdated` back."""

    def __init__(self, made, patient=ANN, scopes=ALL):
        self.made = made
        self.who = grant(patient, scopes)
        self.copy: dict[str, dict[str, Any]] = {}
        self.later: list[tuple[str, str]] = []
        self.taken: list[str] = []
        self.dropped: list[str] = []
        self.is_whole = False

    def visit(self):
        """Fetch what is new, page by page, and drop what is gone."""
        service = self.made.service
        answer = service.everything(
            self.who, self.who.patient, [*self.later, ("_count", "2")], base=BASE
        )
        self.taken, self.dropped, self.is_whole = [], [], False
        for page in walk(service, self.who, answer):
            for entry in page.get("entry", []):
                self._take(entry)
        if self.is_whole:
            self.copy = {name: self.copy[name] for name in self.taken}
        self.later = [pair for pair in self.later if pair[0] != "_since"]
        self.later.append(("_since", page["meta"]["lastUpdated"]))

    def _take(self, entry):
        one = entry["resource"]
        if entry["search"]["mode"] != "outcome":
            name = f"{one['resourceType']}/{one['id']}"
            self.copy[name] = one
            self.taken.append(name)
        else:
            for issue in one["issue"]:
                if issue["code"] == "deleted":
                    self.copy.pop(issue["details"]["text"], None)
                    self.dropped.append(issue["details"]["text"])
                if issue["code"] == "incomplete":
                    self.is_whole = True

    def own(self):
        return {name: one for name, one in self.copy.items() if not shared(name)}


def shared(name):
    return TYPES[name.partition("/")[0]].shared


def fresh(made, patient=ANN, scopes=ALL):
    app = App(made, patient, scopes)
    app.visit()
    return app


def refreshed(made):
    run(made.releases.refresh())


@pytest.mark.parametrize("seed", range(5))
def test_an_app_that_polls_through_ten_releases_has_what_one_that_begins_anew_has(seed):
    """Back-dated claims, changes, retractions, claims that move, a rollback, a changing payer."""
    dice = random.Random(seed)
    store, made = MemoryStore(), None
    apps: list[tuple[int, App]] = []
    held: dict[str, Resource] = {"claim-0": claim("claim-0")}
    first = ""
    for number in range(10):
        for at in range(dice.randint(0, 3)):
            name = f"claim-{number}-{at}"
            held[name] = claim(name, provider=dice.choice(["clinic", "lab", "surgery"]))
        for name in dice.sample(sorted(held), min(len(held) - 1, dice.randint(0, 2))):
            if dice.random() < 0.5:
                del held[name]
            else:
                held[name] = claim(name, amount=dice.randint(2, 99))
        if number == 6:
            rollback(store, open_release(store, first), day(number))
        else:
            moved = [claim("wanderer")]
            release = night(
                store,
                number,
                *[*held.values(), *(moved if number % 2 else [])],
                bob=[] if number % 2 else moved,
                directory=("clinic", "lab", "surgery", "payer"),
                words=f"since night {number // 3}",
            )
            first = first or release.id
        if made is None:
            made = opened(store)
            apps = [(every, App(made)) for every in (1, 2, 3, 5)]
        refreshed(made)
        truth = fresh(made)
        for every, app in apps:
            if number % every == 0:
                app.visit()
                assert app.own() == truth.own(), (number, every)
                assert {n: one for n, one in app.copy.items() if n in truth.copy} == truth.copy
    assert len(truth.own()) > 3


def test_what_is_gone_is_named_once_and_what_is_elsewhere_is_not_told():
    store = MemoryStore()
    bobs = [claim("three")]
    others = (claim("two", provider="lab"), claim("four", provider="surgery"))
    night(store, 0, "one", *others, bob=bobs, directory=("clinic", "lab", "surgery"))
    made = opened(store)
    ann, bob = fresh(made), fresh(made, BOB)
    night(store, 1, "one", bob=bobs, directory=("clinic", "surgery"))
    refreshed(made)
    ann.visit()
    bob.visit()
    assert (ann.taken, bob.taken, bob.dropped) == ([], [], [])
    gone = {f"{EOB}/{logical_id('two')}", f"{EOB}/{logical_id('four')}"}
    assert set(ann.dropped) == {*gone, f"Organization/{logical_id('lab')}"}
    ann.visit()
    assert ann.dropped == []


def test_changes_keep_to_the_types_and_dates_that_were_asked_for():
    store = MemoryStore()
    night(store, 0, "one")
    made = opened(store)
    app = App(made)
    app.later = [("_type", "Patient"), ("start", "2019-01-01")]
    app.visit()
    assert dict(app.later).keys() == {"_type", "start", "_since"}
    night(store, 1, "one", "two")
    refreshed(made)
    app.visit()
    assert app.taken == []


def test_an_app_whose_release_was_pruned_gets_everything_and_is_told_so():
    store = MemoryStore()
    for number in range(3):
        night(store, number, f"claim-{number}")
        if number == 0:
            app = fresh(opened(store))
    prune(store, lambda: START + timedelta(days=400), keep=1)
    app.made = opened(store)
    app.visit()
    assert app.is_whole
    assert app.own() == fresh(app.made).own()


def test_releases_stamped_in_the_same_second_are_all_compared():
    store = MemoryStore()
    night(store, 0, "first")
    night(store, 1, "passing")
    app = fresh(opened(store))
    night(store, 1, "third")
    night(store, 2, "first")
    app.made = opened(store)
    app.visit()
    assert app.own() == fresh(app.made).own()


def test_an_app_that_meets_a_server_with_an_older_release_catches_up():
    store = MemoryStore()
    night(store, 0, "one", "gone")
    behind = opened(store)
    night(store, 1, claim("one", amount=2), "two")
    ahead = opened(store)
    app = fresh(ahead)
    for made in (behind, ahead):
        app.made = made
        app.visit()
    assert app.own() == fresh(ahead).own()


def test_an_instant_misses_nothing_that_was_published_after_it_whatever_its_stamp():
    """A run is stamped at its start: what was asked in between has to come again."""
    store = MemoryStore()
    for number in range(5):
        night(store, number, *(f"claim-{one}" for one in range(number + 1)))
    made = opened(store)
    app = App(made)
    for instant, least in (
        ("2026-01-04T00:00:01Z", 3),
        ("2026-01-05T00:00:01Z", 4),
        ("2026-01-04T12:00:00Z", 4),
    ):
        app.later = [("_since", instant)]
        app.visit()
        assert {f"{EOB}/{logical_id(f'claim-{one}')}" for one in range(least, 5)} <= set(app.taken)
        assert len(app.taken) < 5


@pytest.mark.parametrize("seed", range(5))
def test_an_app_that_sends_instants_of_its_own_clock_misses_nothing(seed):
    chance = random.Random(seed)
    store = MemoryStore()
    held: dict[str, int] = {}
    app: App | None = None
    for number in range(10):
        for name in map(str, range(5)):
            if chance.random() < 0.4:
                held[name] = chance.randrange(2)
            elif chance.random() < 0.3:
                held.pop(name, None)
        night(store, number, *(claim(name, amount=amount) for name, amount in held.items()))
        if chance.random() < 0.2 and (base := open_current(store).release) is not None:
            parent = base.manifest.parent
            if parent is not None:
                rollback(store, open_release(store, parent), day(number)[:-9] + "03:00:00Z")
        made = opened(store)
        if app is None:
            app = fresh(made)
        elif chance.random() < 0.6:
            app.made = made
            app.visit()
            assert app.own() == fresh(made).own()
        else:
            continue
        app.later = [("_since", day(number)[:-9] + "06:00:00Z")]


def test_an_instant_before_all_that_is_kept_gives_everything_and_says_so():
    store = MemoryStore()
    night(store, 0, "one", "two")
    night(store, 1, "one")
    made = opened(store)
    since = [("_since", "2001-01-01T00:00:00Z")]
    found = bundle(run(made.service.everything(grant(ANN), ANN, since, base=BASE)))
    assert len([one for one in found["entry"] if one["search"]["mode"] == "match"]) == 2
    issues = found["entry"][-1]["resource"]["issue"]
    assert [one["code"] for one in issues] == ["deleted", "incomplete"]
    assert issues[0]["details"]["text"] == f"{EOB}/{logical_id('two')}"
    assert "oldest release that is kept" in issues[1]["diagnostics"]


def test_a_page_after_a_prune_is_410_where_there_is_nothing_left_to_compare_with():
    """Its offset would count in other answers than the first page's."""
    store = MemoryStore()
    for number in range(4):
        night(store, number, *(f"claim-{one}" for one in range(4 * number)))
    for instant, status in ((day(1), 410), ("2001-01-01T00:00:00Z", 200)):
        made = opened(store)
        asked = [("_since", instant), ("_count", "2")]
        first = bundle(run(made.service.everything(grant(ANN), ANN, asked, base=BASE)))
        prune(store, lambda: START + timedelta(days=400), keep=1)
        following = opened(store).service.page(grant(ANN), link(first, "next"), base=BASE)
        if status == 200:
            assert len(bundle(run(following))["entry"]) == 2
        else:
            refusal = refused(following)
            assert (refusal.status, refusal.code) == (status, "link-expired")


def test_a_member_who_was_retracted_is_410_and_one_who_never_was_404():
    store = MemoryStore()
    publish(store, [of("ann", [claim("one")]), of("bob", [])], now=day(0))
    made = opened(store)
    app = fresh(made)
    publish(store, [of("bob", [])], now=day(1))
    refreshed(made)
    with pytest.raises(FhirError) as caught:
        app.visit()
    assert (caught.value.status, caught.value.code) == (410, "resource-deleted")
    with pytest.raises(FhirError) as caught:
        fresh(made, logical_id("nobody"))
    assert caught.value.status == 404


def test_a_poll_that_finds_nothing_reads_no_line_and_little_else():
    store = MemoryStore()
    for number in range(2):
        night(store, number, *(f"claim-{one}" for one in range(number + 30)))
    made = opened(store)
    app = fresh(made)
    app.visit()
    before = made.counts()["reads"]
    app.visit()
    assert made.counts()["reads"] == before


@pytest.mark.parametrize("damage", [b"", None])
@pytest.mark.parametrize("what", ["catalog", "patient"])
def test_after_a_rollback_from_a_damaged_release_an_app_gets_everything(what, damage):
    store = MemoryStore()
    first = night(store, 0, "one", "two", bob=[claim("hers")])
    second = night(store, 2, "two", "three", bob=[claim("hers")])
    ann, bob = App(opened(store)), App(opened(store), BOB)
    ann.visit(), bob.visit()
    assert f"{EOB}/{logical_id('three')}" in ann.copy
    kept = {ref.key for _, ref in first.objects()}
    for key in [ref.key for role, ref in second.objects() if role == what]:
        if key not in kept:
            store.delete([key]) if damage is None else store.put(key, damage)
    rollback(store, first, day(4))
    ann.made = bob.made = opened(store)
    ann.visit(), bob.visit()
    whole = App(opened(store))
    whole.visit()
    assert ann.is_whole
    assert ann.own() == whole.own()
    assert bob.is_whole == (what == "catalog")  # the index of her own is intact
    ann.visit()
    assert (ann.taken, ann.dropped, ann.is_whole) == ([], [], False)


def test_a_manifest_that_was_changed_is_not_believed():
    store = MemoryStore()
    first = night(store, 0, "one")
    publish(store, [of("ann", [])], now=day(1))
    data = store.get(first.manifest.key)
    spoilt = MemoryStore()
    for entry in store.list():
        spoilt.put(entry.key, store.get(entry.key))
    spoilt.put(first.manifest.key, data.replace(b'"patients":1', b'"patients":2'))
    assert open_current(spoilt).release is not None
    made = opened(spoilt)
    with pytest.raises(Exception, match="damaged"):
        run(made.service.everything(grant(ANN), ANN, [("_since", day(0))], base=BASE))
