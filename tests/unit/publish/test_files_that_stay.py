"""Files of a directory that a night takes over, because they would be made of the same."""

import random
from collections import Counter
from dataclasses import dataclass, replace

import deflate
import pytest

from etl.jobs import ALONE
from etl.publish import directory_files
from etl.publish.bulk import ParallelReading, with_bulk
from etl.publish.bulk_pages import write_pages
from etl.publish.directory_files import FILE_INPUTS, all_files
from etl.publish.history import rollback
from etl.publish.kept_objects import json_kind
from etl.publish.reader import Release, open_current
from etl.publish.release import commit
from etl.publish.verify import verify
from tests.memory_store import MemoryStore
from tests.unit.publish import samples
from tests.unit.publish.samples import flip, lose, resource, stage
from tests.unit.publish.test_directory_files import (
    BASE,
    DAYS,
    OF_DIRECTORY,
    limited,
    many,
    plan,
    role,
)

FILES = limited(20)
FOLDERS = ("bulk/", "plan-finder/")


class CountingStore(samples.CountingStore):
    """Notes which keys are written, and how many bytes are read of ranges alone."""

    def get(self, key):
        return MemoryStore.get(self, key)


@pytest.fixture
def store():
    return CountingStore()


@dataclass(frozen=True)
class Night:
    """A release, and what its files took.

    Attributes:
        release: the release.
        rendered: size of each file that was compressed.
        puts: objects that were put for the files, by folder.
        reads: bytes of blocks that were read for files beside the one reading of all shards.
    """

    release: Release
    rendered: list[int]
    puts: Counter[str]
    reads: int


def night(store, resources, day, options=FILES, *, reuses=True):
    base = open_current(store)
    manifest = stage(store, [], base, directory=list(resources), now=DAYS[day], facts=OF_DIRECTORY)
    rendered = []

    def compressed(text, level):
        rendered.append(len(text))
        return compress(text, level)

    compress = deflate.gzip_compress
    store.writes.clear()
    store.reads.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deflate, "gzip_compress", compressed)
        reading = ParallelReading(ALONE, lambda: store, reuses=reuses)
        manifest = with_bulk(store, base, manifest, options, reading)
    puts = Counter(key.partition("/")[0] for key in store.writes)
    reads = sum(size for _, size in store.reads)
    commit(store, manifest, base)
    write_pages(store, options)
    return Night(Release(store, manifest), rendered, puts, reads)


def published(release):
    """Return what a manifest says of its files, and the bytes of each."""
    files = all_files(release.manifest.bulk)
    assert files
    return release.manifest.bulk, {file["key"]: release.store.get(file["key"]) for file in files}


def made_anew(nights):
    """Return the files of the last of some nights, none of which takes over any."""
    store = CountingStore()
    for day, (resources, options) in enumerate(nights):
        last = night(store, resources, day, options, reuses=False)
    return published(last.release)


def test_a_night_with_one_practitioner_changed_makes_his_files_and_what_all_share(store):
    first = night(store, many(300), 0)
    second = night(store, many(300, changed=17), 1)
    # His bulk file, and a file that contracts share or have of their own; the list of inputs.
    assert len(first.rendered) == first.puts["bulk"] + first.puts["plan-finder"] > 60
    assert second.puts == {"bulk": 1, "plan-finder": second.puts["plan-finder"], "memory": 1}
    assert 1 <= second.puts["plan-finder"] <= 2
    assert len(second.rendered) == second.puts["bulk"] + second.puts["plan-finder"]
    assert sum(second.rendered) * 20 < sum(first.rendered)
    assert second.reads * 5 < first.reads
    nights = [(many(300), FILES), (many(300, changed=17), FILES)]
    assert published(second.release) == made_anew(nights)
    assert verify(second.release).ok


def test_a_night_without_a_change_makes_no_file(store):
    night(store, many(100), 0)
    second = night(store, many(100), 1)
    assert (second.rendered, second.puts, second.reads) == ([], {"memory": 1}, 0)


def test_contracts_that_share_networks_share_files_that_are_made_once():
    resources = [*many(60), plan("twin", "H8-001-000", "2027", "wide")]
    first = night(CountingStore(), resources, 0)
    lists = {one["contract"]: one["files"] for one in first.release.manifest.bulk["planFinder"]}
    twins = [[file["content"] for file in lists[contract]] for contract in ("H8", "H9")]
    assert len(set(twins[0]) & set(twins[1])) > 5
    assert len(first.rendered) == len(
        {one["key"] for one in all_files(first.release.manifest.bulk)}
    )


OTHER_FORMS = {
    "base": replace(FILES, plan_finder=replace(FILES.plan_finder, fhir_base=f"{BASE}/v2")),
    "entries": limited(5),
    "bytes": limited(20, 3_000),
}


@pytest.mark.parametrize("name", OTHER_FORMS)
def test_with_other_settings_files_are_made_anew(name):
    store, options = CountingStore(), OTHER_FORMS[name]
    night(store, many(100), 0)
    second = night(store, many(100), 1, options)
    anew = {"base": second.puts["plan-finder"], "entries": 25, "bytes": 25}[name]
    assert len(second.rendered) >= anew > 10
    assert published(second.release) == made_anew([(many(100), FILES), (many(100), options)])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("_GZIP_LEVEL", 2),
        ("version", lambda _: "another"),
        ("FILE_INPUTS", json_kind(".files", directory_files.FileInputs, (99,))),
        ("BULK", "other/"),
    ],
)
def test_with_another_program_files_are_made_anew(store, name, value, monkeypatch):
    first = night(store, many(100), 0)
    monkeypatch.setattr(directory_files, name, value)
    second = night(store, many(100), 1)
    only_bulk = len(first.release.manifest.bulk["snapshot"]["output"])
    assert len(second.rendered) == (only_bulk if name == "BULK" else len(first.rendered))


@pytest.mark.parametrize("head", ["head", "between", "tail"])
def test_with_another_form_of_bundles_they_are_made_anew(head, monkeypatch):
    store, bundle = CountingStore(), directory_files._bundle_form
    night(store, many(100), 0)
    monkeypatch.setattr(
        directory_files,
        "_bundle_form",
        lambda options: replace(bundle(options), **{head: getattr(bundle(options), head) + b" "}),
    )
    second = night(store, many(100), 1)
    assert len(second.rendered) == second.puts["plan-finder"] > 10
    assert second.puts["bulk"] == 0


def test_a_resource_that_is_the_same_but_for_its_time_is_in_another_file(store):
    stamped = [one._replace(last_updated="2026-01-01T00:00:00Z") for one in many(60)]
    night(store, stamped, 0)
    stamped[5] = stamped[5]._replace(last_updated="2026-01-02T00:00:00Z")
    second = night(store, stamped, 1)
    assert second.puts["bulk"] == 1
    assert verify(second.release).ok


@pytest.mark.parametrize("damage", [lose, flip])
def test_a_file_that_is_lost_is_made_again(store, damage):
    first = night(store, many(100), 0).release
    lost = [
        next(key for key in sorted(published(first)[1]) if key.startswith(folder))
        for folder in FOLDERS
    ]
    for key in lost:
        damage(store, key)
    assert not verify(first).ok
    second = night(store, many(100), 1)
    assert second.puts == {"bulk": 1, "plan-finder": 1, "memory": 1}
    assert verify(second.release).ok


@pytest.mark.parametrize("damage", [lose, flip])
def test_without_the_list_of_inputs_all_files_are_made_anew(store, damage):
    first = night(store, many(100), 0)
    (named,) = filter(FILE_INPUTS.matches, first.release.manifest.facts.reports)
    damage(store, named.key)
    assert [problem.key for problem in verify(first.release).problems] == [named.key]
    second = night(store, many(100), 1)
    assert len(second.rendered) == len(first.rendered)
    assert verify(second.release).ok


def test_a_rollback_takes_over_what_both_releases_have_and_a_night_after_it_goes_on(store):
    first = night(store, many(100), 0).release
    night(store, many(100, changed=3), 1)
    back = Release(store, rollback(store, first, DAYS[2], FILES))
    assert len([*filter(FILE_INPUTS.matches, back.manifest.facts.reports)]) == 1
    assert published(back)[1] == published(first)[1]
    last = night(store, many(100), 3)
    assert last.rendered == []
    assert verify(last.release).ok


@pytest.mark.parametrize("seed", range(6))
def test_any_history_of_nights_gives_the_files_that_are_made_anew(store, seed):
    dice = random.Random(seed)
    people = {f"p{number}": 0 for number in range(40)}
    nights = []
    for _ in range(4):
        for _ in range(dice.randrange(4)):
            match dice.randrange(3):
                case 0:
                    people[dice.choice([*people])] += 1
                case 1:
                    people.pop(dice.choice([*people]))
                case _:
                    people[f"n{dice.randrange(999)}"] = 0
        named = [
            resource("Practitioner", key, name=[{"family": f"Doe{changes}"}])
            for key, changes in people.items()
        ]
        networks = ("wide", "slim", "none")
        roles = [role(f"r{key}", key, networks[len(key) % 3]) for key in people]
        head = [one for one in many(0) if one.type in ("Organization", "InsurancePlan")]
        resources = [*head, *named, *roles]
        dice.shuffle(resources)
        nights.append((resources, dice.choice([FILES, FILES, limited(7)])))
    for day, (resources, options) in enumerate(nights):
        last = night(store, resources, day, options)
    assert published(last.release) == made_anew(nights)
