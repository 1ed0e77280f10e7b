"""The page of all reports is made of the reports that are there, and of releases that there are."""

import json
import logging
from datetime import datetime
from functools import cache

import pytest

from etl.bootstrap.tree_pages import refresh_nights_page
from etl.errors import CommitConflict, StoreError
from etl.publish.canonical_json import sha256
from etl.publish.history import find_release, rollback
from etl.publish.kept_objects import ObjectRef
from etl.publish.object_keys import NIGHTS_PAGE
from etl.publish.prune import prune
from etl.publish.reader import open_current
from etl.publish.release import commit
from etl.publish.run_reports import report_of
from etl.reports.document import report_document, report_json
from etl.reports.earlier_reports import NIGHTS
from tests.memory_store import MemoryStore
from tests.unit.publish.samples import objects, patient, stage
from tests.unit.reports.test_report import report

LAST = "2026-12-28T02:00:00Z"


@cache
def facts():
    return report_document(report())


def put_report(store, run, when, **changes):
    key = f"reports/{run}/report.json"
    data = report_json({**facts(), "run": run, "release": run, "when": when, **changes})
    store.put(key, data)
    return ObjectRef(key, sha256(data), len(data))


def night(store, number, *, dies=False, **changes):
    """Publish a release with its report; one that dies has got as far as the report."""
    when = f"2026-{10 + number // 28:02}-{1 + number % 28:02}T02:00:00Z"
    base = open_current(store)
    staged = stage(store, [patient("anna", 1 + number)], base, now=when)
    named = put_report(store, staged.release, when, **changes)
    if not dies:
        commit(store, staged.with_reports([named]), base)
    return staged


def page(store):
    refresh_nights_page(store)
    return objects(store)[NIGHTS_PAGE].decode()


def test_every_night_is_on_the_page_the_newest_first(store):
    ids = [night(store, number).release for number in range(3)]
    stopped = "20261004T020000Z-0badc0de"
    put_report(store, stopped, "2026-10-04T02:00:00Z", release=None)
    text = page(store)
    places = [text.index(f'href="{run}/index.html"') for run in (stopped, *ids[::-1])]
    assert places == sorted(places)
    assert text.count("✓ published") == 3


def test_an_attempt_that_died_before_its_commit_is_no_night(store):
    first = night(store, 0)
    dead = night(store, 1, dies=True)
    later = night(store, 2)
    text = page(store)
    assert dead.release not in text
    assert first.release in text
    assert later.release in text


def test_a_rollback_is_a_night_without_a_report(store):
    first = night(store, 0)
    night(store, 1)
    rollback(store, find_release(store, first.release), LAST)
    text = page(store)
    assert f"rolled back</span> to <code>{first.release}" in text


def test_the_page_stays_when_reports_are_pruned_and_leads_to_none_that_is_gone(store):
    ids = [night(store, number).release for number in range(3)]
    assert ids[0] in page(store)
    prune(store, lambda: datetime.fromisoformat(LAST), keep=1)
    assert NIGHTS_PAGE in objects(store)
    text = page(store)
    assert ids[2] in text
    assert ids[0] not in text


def test_older_reports_are_links(store):
    ids = [night(store, number).release for number in range(NIGHTS + 2)]
    text = page(store)
    assert text.count("✓ published") == NIGHTS
    older = text.partition("Older reports")[2]
    assert all(f'href="{run}/index.html"' in older for run in ids[:2])


def test_a_damaged_report_is_left_out(store):
    ids = [night(store, number).release for number in range(2)]
    store.swap(
        f"reports/{ids[1]}/report.json", b"{", store.read(f"reports/{ids[1]}/report.json").tag
    )
    text = page(store)
    assert ids[0] in text
    assert ids[1] not in text


def test_the_same_reports_give_the_same_page_and_it_is_not_written_again(store):
    night(store, 0)
    first = page(store)
    tag = store.read(NIGHTS_PAGE).tag
    assert page(store) == first
    assert store.read(NIGHTS_PAGE).tag == tag


class Refuses(MemoryStore):
    """Refuses to write the page of all reports, as often as it is told to."""

    times = 99
    error: type[StoreError] = CommitConflict

    def swap(self, key, data, expected):
        if key == NIGHTS_PAGE and self.times:
            self.times -= 1
            raise self.error("refused")
        return super().swap(key, data, expected)


def test_a_page_that_another_run_wrote_meanwhile_is_made_again():
    store = Refuses()
    store.times = 2
    release = night(store, 0).release
    assert release in page(store)


@pytest.mark.parametrize("error", [StoreError, CommitConflict])
def test_a_page_that_cannot_be_written_harms_no_run(error, caplog):
    store = Refuses()
    store.error = error
    night(store, 0)
    with caplog.at_level(logging.WARNING):
        refresh_nights_page(store)
    assert "the page of all reports is not up to date" in caplog.text
    assert NIGHTS_PAGE not in objects(store)


def test_a_release_comes_with_its_report(store):
    first = night(store, 0)
    assert report_of(open_current(store).release) == {
        **facts(),
        "run": first.release,
        "release": first.release,
        "when": "2026-10-01T02:00:00Z",
    }


def test_a_rollback_is_compared_with_the_report_of_what_it_went_back_to(store):
    first = night(store, 0)
    night(store, 1)
    rollback(store, find_release(store, first.release), LAST)
    assert report_of(open_current(store).release)["run"] == first.release


@pytest.mark.parametrize("damage", ["gone", "damaged"])
def test_a_report_of_the_release_before_that_cannot_be_read_is_none(store, damage):
    key = f"reports/{night(store, 0).release}/report.json"
    if damage == "gone":
        store.delete([key])
    else:
        store.swap(key, json.dumps(facts()).encode(), store.read(key).tag)
    assert report_of(open_current(store).release) is None
