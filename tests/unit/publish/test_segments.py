"""Columns of a whole directory: made of the indexes of its shards, and of those alone."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from unittest.mock import patch

import pytest

from etl.errors import StoreError
from etl.publish import directory as publishing
from etl.publish.damaged_objects import open_checked
from etl.publish.directory import write_directory
from etl.publish.manifest import ReleaseFacts
from etl.publish.prune import prune
from etl.publish.reader import Release, open_current
from etl.publish.release import assemble, commit
from etl.publish.segments import KEYS, Segment, reference_key
from etl.publish.verify import verify
from tests.memory_store import MemoryStore
from tests.unit.publish.samples import LATER, NOW, flip, logical_id, lose, objects, resource

PLACES = 300


def place(number, city=""):
    return resource(
        "Location",
        f"place-{number}",
        search={
            "address-city": [city or f"City {number % 7}", "Everywhere"],
            "organization": [f"Organization/{logical_id(str(number % 5))}"],
        },
    )


def publish(store, places, now=NOW, base=None):
    """Publish a directory of shards of two resources."""
    base = base or open_current(store)
    with patch.object(publishing, "DIRECTORY_TARGET", 2):
        written = write_directory(
            store, base.release, list(places), now, lost=base.lost_objects, columns=True
        )
    facts = ReleaseFacts("full", mapping={"model": "directory"})
    manifest = assemble(store, base, [], written, facts, now)
    commit(store, manifest, base)
    return Release(store, manifest)


def entries(release):
    return [entry for entry in release.manifest.segments if entry is not None]


def rows(release, parameter):
    """Return the pairs of a value of a parameter and the key of the Location that has it."""
    found = set()
    for entry in entries(release):
        data = release.store.get(entry.key)
        segment = Segment("it", data[: entry.head], entry.bytes)

        def section(name, data=data, segment=segment):
            start, length = segment.section_span(name) or (0, 0)
            return data[start : start + length]

        keys = segment.keys("Location", section(f"Location/{KEYS}"))
        column = segment.column(f"Location/{parameter}", section(f"Location/{parameter}"))
        assert list(column.codes) == sorted(column.codes)
        pairs = zip(column.codes, column.rows, strict=True)
        found |= {(column.values[code], keys[row]) for code, row in pairs}
    return found


def read_all(release):
    return [rows(release, name) for name in ("address-city", "organization", "_lastUpdated")]


def names(numbers):
    ids = {number: logical_id(f"place-{number}") for number in numbers}
    return {number: reference_key(f"Location/{one}") for number, one in ids.items()}


def test_a_segment_has_every_value_of_every_row():
    release = publish(MemoryStore(), map(place, range(PLACES)))
    assert len(entries(release)) > 3
    of = names(range(PLACES))
    cities = {(f"City {number % 7}", of[number]) for number in range(PLACES)}
    assert rows(release, "address-city") == cities | {("Everywhere", key) for key in of.values()}
    assert rows(release, "organization") == {
        (reference_key(f"Organization/{logical_id(str(number % 5))}"), of[number])
        for number in range(PLACES)
    }
    assert {key for _, key in rows(release, "_lastUpdated")} == set(of.values())


def test_texts_that_look_like_references_stay_texts():
    texts = {"type:text": ["Location/Ward"], "address-city": ["Medical/Surgical"]}
    release = publish(MemoryStore(), [resource("Location", "place-1", search=texts)])
    assert rows(release, "type:text") == {("Location/Ward", names([1])[1])}
    assert rows(release, "address-city") == {("Medical/Surgical", names([1])[1])}


def test_a_night_writes_the_segments_of_what_changed_alone(store):
    first = publish(store, map(place, range(PLACES)))
    changed = [place(number, "New" if number == 7 else "") for number in range(PLACES)]
    second = publish(store, changed, LATER)
    kept = set(entries(first)) & set(entries(second))
    assert len(kept) == len(entries(first)) - 1
    assert ("New", names([7])[7]) in rows(second, "address-city")


def test_the_same_directory_has_the_same_segments_whatever_its_order_and_past(store):
    straight = publish(MemoryStore(), map(place, range(PLACES)))
    publish(store, map(place, range(PLACES - 1)))
    later = publish(store, map(place, reversed(range(PLACES))), NOW)
    assert rows(later, "address-city") == rows(straight, "address-city")
    again = publish(MemoryStore(), map(place, reversed(range(PLACES))))
    assert entries(again) == entries(straight)


def test_verify_makes_segments_again_and_compares(store):
    release = publish(store, map(place, range(PLACES)))
    assert verify(release).ok
    one, other = entries(release)[:2]
    swapped = [other, one, *entries(release)[2:]]
    wrong = Release(store, replace(release.manifest, segments=swapped))
    assert {problem.key for problem in verify(wrong).problems} == {one.key, other.key}
    flip(store, one.key)
    assert [problem.key for problem in verify(release).problems] == [one.key]


@pytest.mark.parametrize("damage", [lose, flip])
def test_a_lost_segment_is_made_again(store, damage):
    release = publish(store, map(place, range(PLACES)))
    before = objects(store)
    key = entries(release)[1].key
    damage(store, key)
    base = open_checked(store, repair=damage is flip)
    assert base.lost_objects.segments == {key}
    again = publish(store, map(place, range(PLACES)), LATER, base)
    assert entries(again) == entries(release)
    assert store.get(key) == before[key]


def test_prune_keeps_the_segments_of_what_stays_and_takes_the_others(store):
    first = publish(store, map(place, range(PLACES)))
    changed = [place(number, "New" if number == 7 else "") for number in range(PLACES)]
    second = publish(store, changed, LATER)
    (old,) = set(entries(first)) - set(entries(second))
    prune(store, lambda: datetime(2027, 1, 1, tzinfo=UTC), keep=1, grace=timedelta())
    there = {entry.key for entry in store.list("directory/")}
    assert old.key not in there
    assert {entry.key for entry in entries(second)} <= there


def test_damage_anywhere_in_a_segment_is_noticed(store):
    release = publish(store, map(place, range(20)))
    (entry,) = entries(release)
    data = store.get(entry.key)
    for at in range(0, len(data), 13):
        store.put(entry.key, data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(StoreError):
            read_all(release)
    store.put(entry.key, data)
    assert all(read_all(release))


def test_another_segment_is_not_taken_for_the_one_that_the_manifest_names(store):
    before = entries(publish(store, map(place, range(PLACES))))[0]
    now = entries(publish(store, [place(number, "New") for number in range(PLACES)], LATER))[0]
    assert before.key != now.key
    data = store.get(before.key)
    Segment("it", data[: before.head], before.bytes)
    with pytest.raises(StoreError, match="another segment than the manifest names"):
        Segment("it", data[: before.head], now.bytes)
