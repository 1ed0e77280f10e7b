"""Files of a provider directory for everybody: what is in which, and what a night changes."""

import gzip
import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from etl.model.data_models import DIRECTORY
from etl.publish.bulk import with_bulk
from etl.publish.bulk_files import BulkOptions, PlanFinderOptions
from etl.publish.bulk_pages import ROOT, page_key, write_pages
from etl.publish.directory_files import all_files, full_url_base
from etl.publish.directory_graph import PLAN_FINDER_TYPES, contract_years
from etl.publish.manifest import ReleaseFacts
from etl.publish.prune import prune
from etl.publish.public_files import public_files, public_pages
from etl.publish.reader import open_current
from etl.publish.release import commit
from etl.publish.verify import verify
from tests.given.tables import read_tables, table
from tests.memory_store import MemoryStore
from tests.unit.publish.samples import logical_id, patient, publish_with_bulk, resource, stage

OF_DIRECTORY = ReleaseFacts("full", mapping=DIRECTORY.stated)
DAYS = [f"2026-12-{day:02}T02:00:00Z" for day in range(1, 29)]
BASE = "https://acme.example/directory"
LOCAL = PlanFinderOptions(is_stated=False)
OPTIONS = BulkOptions(plan_finder=PlanFinderOptions(fhir_base=BASE))
PLAN_NET = "http://hl7.org/fhir/us/davinci-pdex-plan-net/StructureDefinition/"
NETWORK = f"{PLAN_NET}network-reference"
MA_PLAN = "http://cms.gov/medicare/ma-plan-id"


def named(kind, key):
    return {"reference": f"{kind}/{logical_id(key)}"}


def in_network(key):
    return [{"url": NETWORK, "valueReference": named("Organization", key)}]


def plan(key, value, year, *networks):
    return resource(
        "InsurancePlan",
        key,
        identifier=[{"system": MA_PLAN, "value": value, "period": {"start": year}}],
        ownedBy=named("Organization", "payer"),
        network=[named("Organization", network) for network in networks],
    )


def role(key, who, network, **more):
    return resource(
        "PractitionerRole",
        key,
        extension=in_network(network),
        practitioner=named("Practitioner", who),
        **more,
    )


SMALL = (
    resource("Organization", "payer", name="Acme"),
    resource("Organization", "wide", name="Wide network", partOf=named("Organization", "payer")),
    resource("Organization", "slim", name="Slim network", partOf=named("Organization", "payer")),
    plan("senior-wide", "H1234-001-000", "2027", "wide"),
    plan("senior-slim", "H1234-002-000", "2027", "slim"),
    plan("senior-before", "H1234-001-000", "2026", "slim"),
    plan("other-contract", "H9-001-000", "2027", "wide"),
    resource("InsurancePlan", "marketplace", network=[named("Organization", "wide")]),
    resource("Practitioner", "doe", name=[{"family": "Doe"}]),
    resource("Practitioner", "roe", name=[{"family": "Roe"}]),
    resource("Practitioner", "poe", name=[{"family": "Poe"}]),
    role("doe-wide", "doe", "wide", location=[named("Location", "ward")]),
    role("doe-slim", "doe", "slim"),
    role("roe-wide", "roe", "wide", endpoint=[named("Endpoint", "mail")]),
    resource(
        "PractitionerRole",
        "poe-nowhere",
        practitioner=named("Practitioner", "poe"),
        # Takes patients of that network, and is not in it.
        extension=[
            {
                "url": f"{PLAN_NET}newpatients",
                "extension": [
                    {"url": "fromNetwork", "valueReference": named("Organization", "wide")}
                ],
            }
        ],
    ),
    resource("Organization", "hospital", name="Hospital"),
    resource("Organization", "club", name="Of no network"),
    resource(
        "OrganizationAffiliation",
        "hospital-slim",
        network=[named("Organization", "slim")],
        participatingOrganization=named("Organization", "hospital"),
    ),
    resource("Location", "ward", partOf=named("Location", "campus")),
    resource("Location", "campus", managingOrganization=named("Organization", "hospital")),
    resource("Location", "elsewhere"),
    resource("Endpoint", "mail", name="Mail"),
)
KEYS = {
    logical_id(key): key
    for key in (
        *("payer", "wide", "slim", "senior-wide", "senior-slim", "senior-before"),
        *("other-contract", "marketplace", "doe", "roe", "poe", "doe-wide", "doe-slim"),
        *("roe-wide", "poe-nowhere", "hospital", "club", "hospital-slim", "ward", "campus"),
        *("elsewhere", "mail"),
    )
}


def publish(store, resources, day=0, options=OPTIONS):
    return publish_with_bulk(
        store, [], DAYS[day], options, directory=list(resources), facts=OF_DIRECTORY
    )


def text(release, path):
    file = public_files(release.manifest)[path]
    data = gzip.decompress(release.store.get(file.key))
    assert len(data) == file.size
    return data.decode()


def listed(release):
    """Return type and keys of the resources of each Plan Finder file, by contract and year."""
    found = {}
    for path, page in public_pages(release.manifest, "", "P1D").items():
        if path != ROOT:
            files = []
            for url in json.loads(page.body)["provider_urls"]:
                bundle = json.loads(text(release, url.replace("../../", "plan-finder/")))
                assert (bundle["resourceType"], bundle["type"]) == ("Bundle", "collection")
                resources = [entry["resource"] for entry in bundle["entry"]]
                assert len({one["resourceType"] for one in resources}) == 1
                names = sorted(KEYS[one["id"]] for one in resources)
                files.append((resources[0]["resourceType"], names))
            found[path.removeprefix("plan-finder/").removesuffix("/index.json")] = files
    return found


def test_a_contracts_year_has_its_plans_their_networks_and_what_belongs_to_these():
    found = listed(publish(MemoryStore(), SMALL))
    contracts = read_tables(__file__)["contracts"]
    assert found == {name: [*files.items()] for name, files in contracts.items()}


def test_a_plan_finder_file_is_a_bundle_that_a_person_can_read():
    release = publish(MemoryStore(), SMALL)
    (page,) = (
        page
        for path, page in public_pages(release.manifest, BASE, "P1D").items()
        if path == "plan-finder/H9/2027/index.json"
    )
    url = json.loads(page.body)["provider_urls"][0]
    assert url.startswith(f"{BASE}/plan-finder/")
    lines = text(release, url.removeprefix(f"{BASE}/")).split("\n")
    key = logical_id("other-contract")
    assert lines[0] == '{"resourceType":"Bundle","type":"collection","entry":['
    assert lines[1].startswith(
        f'{{"fullUrl":"{BASE}/InsurancePlan/{key}",'
        f'"resource":{{"resourceType":"InsurancePlan","id":"{key}"'
    )
    assert lines[2:] == ["]}", ""]


def test_the_base_of_full_urls_is_read_off_a_releases_plan_finder_files(store):
    release = publish(store, SMALL)
    assert full_url_base(release) == BASE
    key = release.manifest.bulk["planFinder"][0]["files"][0]["key"]
    store.delete([key])
    assert full_url_base(release) is None


def test_the_manifest_of_bulk_publish_has_every_list_and_no_link(store):
    release = publish(store, SMALL)
    page = public_pages(release.manifest, "", "P1D")[ROOT]
    plain = re.sub(r"[0-9a-f]{64}", "…", page.body.decode())
    assert json.loads(plain) == {
        "manifestType": "http://hl7.org/fhir/uv/bulkdata/StructureDefinition/BulkPublishManifest",
        "transactionTime": DAYS[0],
        "updateCadence": "P1D",
        "requiresAccessToken": False,
        "output": [
            {"type": kind, "url": "bulk/….ndjson", "count": count, "fileSize": size}
            for (kind, count), size in zip(
                (
                    *(("Organization", 5), ("Practitioner", 3), ("PractitionerRole", 4)),
                    *(("Location", 3), ("Endpoint", 1), ("InsurancePlan", 5)),
                    ("OrganizationAffiliation", 1),
                ),
                (one["fileSize"] for one in json.loads(plain)["output"]),
                strict=True,
            )
        ],
        "deleted": [],
        "error": [],
    }
    in_tree = json.loads(store.get(ROOT))
    assert "link" not in in_tree
    assert all(store.get(one["url"]) for one in in_tree["output"])
    assert not [entry.key for entry in store.list("publish/")]


def many(count, changed=None):
    people = [
        resource("Practitioner", f"p{number}", name=[{"family": "X" * (40 + number % 7)}])
        for number in range(count)
        if number != changed
    ]
    if changed is not None:
        people.append(resource("Practitioner", f"p{changed}", name=[{"family": "Changed"}]))
    roles = [role(f"r{number}", f"p{number}", "wide") for number in range(count)]
    head = [one for one in SMALL if one.type in ("Organization", "InsurancePlan")]
    return [*head, *people, *roles]


def limited(entries=10_000, size=20_000_000):
    return BulkOptions(
        directory_entries=entries,
        directory_bytes=size,
        plan_finder=PlanFinderOptions(fhir_base=BASE, entries=entries, bytes=size),
    )


@pytest.mark.parametrize(("entries", "size"), [(7, 20_000_000), (10_000, 4_000), (7, 2_500)])
def test_no_file_is_larger_than_its_limits_and_each_resource_is_in_one(entries, size):
    release = publish(MemoryStore(), many(150), options=limited(entries, size))
    finder = {
        (one["contract"], one["year"]): one["files"] for one in release.manifest.bulk["planFinder"]
    }
    bulk = release.manifest.bulk["snapshot"]["output"]
    for files in (bulk, finder["H9", "2027"]):
        assert len(files) > 20
        for file in files:
            assert file["count"] <= entries
            assert file["size"] <= size
    ids = [
        json.loads(line)["id"]
        for path in public_files(release.manifest)
        if path.startswith("bulk/")
        for line in text(release, path).splitlines()
    ]
    assert len(ids) == len(set(ids)) == sum(release.manifest.counts["resources"].values())
    in_bundles = [
        entry["resource"]["id"]
        for file in finder["H9", "2027"]
        for entry in json.loads(text(release, f"plan-finder/{file['content']}.json"))["entry"]
    ]
    assert len(in_bundles) == len(set(in_bundles)) == 150 + 150 + 2 + 1
    kinds = [file["type"] for file in finder["H9", "2027"]]
    assert kinds == sorted(kinds, key=PLAN_FINDER_TYPES.index)


def test_a_resource_larger_than_the_limit_is_alone_in_its_file():
    large = resource("Practitioner", "large", text="X" * 5000)
    release = publish(MemoryStore(), [*many(20), large], options=limited(size=3_000))
    (file,) = (one for one in all_files(release.manifest.bulk) if one["size"] > 3_000)
    assert file["count"] == 1


def test_files_that_stay_keep_their_time_and_lists_tell_when_a_file_of_theirs_changed(store):
    first = publish(store, many(300), options=limited(20))
    second = publish(store, many(300, changed=17), 1, limited(20))
    times = {one["content"]: one["modified"] for one in all_files(second.manifest.bulk)}
    before = {one["content"] for one in all_files(first.manifest.bulk)}
    assert {times[name] for name in times.keys() & before} == {DAYS[0]}
    assert {times[name] for name in times.keys() - before} == {DAYS[1]}
    lists = {one["year"]: one["modified"] for one in second.manifest.bulk["planFinder"]}
    assert lists == {"2026": DAYS[0], "2027": DAYS[1]}


def test_files_follow_from_the_resources_and_not_from_their_order_or_history():
    fresh, grown = MemoryStore(), MemoryStore()
    publish(grown, many(3), options=limited(20))
    publish(grown, many(900), 1, limited(20))
    later = publish(grown, many(100), 2, limited(20))
    alone = publish(fresh, reversed(many(100)), 2, limited(20))
    assert (
        later.manifest.directory_bits != alone.manifest.directory_bits
    )  # shards are cut otherwise

    def ids_by_file(release):
        paths = [path for path in public_files(release.manifest) if path.startswith("bulk/")]
        files = [text(release, path).splitlines() for path in paths]
        return sorted([json.loads(line)["id"] for line in lines] for lines in files)

    assert ids_by_file(later) == ids_by_file(alone)


def test_verify_reads_the_files_and_prune_deletes_those_that_no_release_names(store):
    publish(store, many(50), options=limited(20))
    second = publish(store, many(60), 1, limited(20))
    assert verify(second).ok
    prune(
        store,
        lambda: datetime(2030, 1, 1, tzinfo=UTC),
        keep=1,
        grace=timedelta(0),
    )
    named_now = {file.key for file in public_files(second.manifest).values()}
    there = {entry.key for name in ("bulk/", "plan-finder/") for entry in store.list(name)}
    assert there == named_now
    assert verify(second).ok
    lost = next(key for key in named_now if key.startswith("plan-finder/"))
    store.delete([lost])
    assert [problem.key for problem in verify(second).problems] == [lost]


def test_a_chain_that_an_earlier_version_began_is_closed(store):
    for day in (0, 1):  # as an earlier version did: a snapshot, then increments
        base = open_current(store)
        manifest = stage(store, [], base, directory=many(10 + day), now=DAYS[day])
        manifest = with_bulk(store, base, manifest, OPTIONS)
        parent = base.release.manifest if base.release is not None else None
        commit(store, replace(manifest, facts=OF_DIRECTORY).named(parent), base)
        write_pages(store, OPTIONS)
    before = open_current(store).release
    assert json.loads(store.get(page_key(before.id)))["link"][0]["url"] == "#pending"
    release = publish(store, many(12), 2)
    assert json.loads(store.get(page_key(before.id)))["link"][0]["url"] == "#closed"
    assert json.loads(store.get(ROOT))["transactionTime"] == DAYS[2]
    assert verify(release).ok


def test_claims_have_no_public_files(store):
    base = open_current(store)
    manifest = with_bulk(store, base, stage(store, [patient("ann", 2)], base), OPTIONS)
    assert manifest.bulk["snapshot"]["output"]
    assert public_files(manifest) == {}
    assert public_pages(manifest, BASE, "P1D") == {}


@pytest.mark.parametrize(*table(__file__, "plans"))
def test_contract_and_year_of_a_plan(plan_of, expected):
    default = {"identifier": [{"system": MA_PLAN, "value": "H1234-001-000"}]}
    assert [[*found] for found in contract_years({**default, **plan_of})] == expected


def test_a_base_that_no_setting_states_is_noted_where_there_are_plan_finder_files():
    files = {"planFinder": [{"contract": "H1234", "year": "2027", "files": []}]}
    assert LOCAL.fhir_base in LOCAL.note(files)
    assert PlanFinderOptions().note(files) == ""
    without = [{}, {"planFinder": []}, {"snapshot": None, "increments": []}]
    for bulk in without:
        assert LOCAL.note(bulk) == ""
