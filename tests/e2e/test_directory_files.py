"""A provider directory's files as a client downloads them from real servers, night after night."""

import json
import shutil
from datetime import UTC, datetime
from functools import partial
from html import unescape
from pathlib import Path
from types import SimpleNamespace

import pytest

from etl.bootstrap import use_cases
from etl.model.data_models import DIRECTORY
from etl.publish.bulk_files import PlanFinderOptions
from etl.publish.manifest import ReleaseFacts
from etl.storage.local import LocalStore
from tests.e2e.commands import (
    ANY_CHANGE,
    SAMPLES,
    columns_of,
    copied,
    cpcds,
    current_manifest,
    done,
    rows_of,
    write_rows,
)
from tests.e2e.directory_crawler import Crawler, by_name, dangling, static_server
from tests.e2e.test_directory_publishing import seen
from tests.e2e.test_serving import running
from tests.unit.publish.samples import patient, publish
from tests.waiting import until

INDEX = "plan-finder/H0009/2025/index.json"
NETWORK = "network-reference"
BRAND = {
    "CPCDS_PAYER__NAME": "Acme Health",
    "CPCDS_PORTAL__FILE": str(Path(__file__).parent / "portal-with-brand.toml"),
    "CPCDS_SERVE__BASE_URL": "https://fhir.acme.example",
}
BRAND_SERVED = {name: value for name, value in BRAND.items() if "BASE_URL" not in name}


@pytest.fixture(scope="module", autouse=True)
def small_files():
    """Make Plan Finder files small, so that there are several."""
    with pytest.MonkeyPatch.context() as patch:
        small = partial(PlanFinderOptions, entries=8, bytes=20_000)
        patch.setattr(use_cases, "PlanFinderOptions", small)
        yield


def renamed(extract, to):
    """Copy an extract in which one practitioner of a senior network has another name."""
    copied(extract, to)
    roles = rows_of(to / "provider_role.csv")
    renamed_id = next(
        role["practitioner_id"] for role in roles if "NW-SENIOR" in role["network_ids"]
    )
    path = to / "practitioner.csv"
    rows = rows_of(path)
    for row in rows:
        if row["practitioner_id"] == renamed_id:
            row["family_name"] = "Newname"
    write_rows(path, columns_of(path), rows)
    as_of = json.loads((extract / "manifest.json").read_bytes())["as_of"]
    (to / "manifest.json").write_text(json.dumps({"as_of": as_of}))
    return to


def warnings(called):
    """Return the warnings that a command printed, that of the public id key apart."""
    lines = [line for line in called.err.splitlines() if line.startswith("warning: ")]
    return [line for line in lines if not line.startswith("warning: logical IDs")]


def wait_past(created):
    """Wait until the next release has a later second: Last-Modified tells none of one second."""
    until(lambda: f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}" > created)


@pytest.fixture(scope="module")
def nights(tmp_path_factory):
    """Two releases of a directory, and a folder that was exported and downloaded after each.

    `first` and `second` are what readers saw; `of_night` what the crawler had of bulk and Plan
    Finder files after the second, and `fetched` what it downloaded then.
    """
    place = tmp_path_factory.mktemp("files")
    target, folder = place / "target", place / "public"
    ran = done(cpcds("run", SAMPLES / "directory", "--to", target))
    first = seen(target)
    said = [json.loads(done(cpcds("export", target, "--out", folder, "--json", **BRAND)).out)]
    crawler = Crawler()
    with static_server(folder) as base:
        crawler.bulk(f"{base}/$bulk-publish")
        crawler.plans(f"{base}/{INDEX}")
        changed = renamed(SAMPLES / "directory", place / "changed")
        wait_past(current_manifest(target)["created"])
        last = done(cpcds("run", changed, "--to", target, **ANY_CHANGE))
        again = done(cpcds("export", target, "--out", folder, "--json", **BRAND))
        said.append(json.loads(again.out))
        start = len(crawler.fetched)
        bulk = by_name(crawler.bulk(f"{base}/$bulk-publish"))
        plans = by_name(crawler.plans(f"{base}/{INDEX}"))
        fetched = [url.removeprefix(base) for url in crawler.fetched[start:]]
    return SimpleNamespace(
        target=target,
        first=first,
        second=seen(target),
        folder=folder,
        crawler=crawler,
        said=(said[0], said[1]),
        warned=(warnings(ran), warnings(last)),
        of_night=(bulk, plans),
        fetched=fetched,
    )


def test_a_client_has_each_resource_once_from_a_static_server(nights):
    bulk, _ = nights.of_night
    assert bulk == nights.second
    assert bulk != nights.first


def test_a_contracts_files_are_closed_and_have_what_belongs_to_its_networks(nights):
    _, plans = nights.of_night
    assert dangling(plans) == set()
    contract = [
        one
        for one in nights.second.values()
        if one["resourceType"] == "InsurancePlan" and "H0009" in json.dumps(one)
    ]
    assert contract
    networks = {network["reference"] for one in contract for network in one["network"]}

    def belongs(one):
        extensions = [each for each in one.get("extension", ()) if each["url"].endswith(NETWORK)]
        named = [*one.get("network", ()), *(each["valueReference"] for each in extensions)]
        return any(each["reference"] in networks for each in named)

    everything = json.dumps(list(plans.values()))
    for kind in ("PractitionerRole", "OrganizationAffiliation"):
        expected = {
            name
            for name, one in nights.second.items()
            if one["resourceType"] == kind and belongs(one)
        }
        found = {name for name in plans if name.startswith(f"{kind}/")}
        assert expected
        assert expected <= found
        # A phone number may lead by way of a role in another network.
        assert all(f'"reference": "{name}"' in everything for name in found - expected)
    assert {name for name in plans if name.startswith("InsurancePlan/")} == {
        f"InsurancePlan/{one['id']}" for one in contract
    }
    assert all(plans[name] == nights.second[name] for name in plans)
    assert len(plans) < len(nights.second)


def test_a_night_downloads_the_documents_and_the_files_of_what_changed(nights):
    assert len(nights.fetched) == 4, nights.fetched
    documents = [path for path in nights.fetched if path in ("/$bulk-publish", f"/{INDEX}")]
    assert len(documents) == 2
    assert len(nights.crawler.unchanged) > 10  # Last-Modified is what Python's server has
    assert nights.said[1]["written"] == 2
    assert nights.said[1]["removed"] == 0  # those in the previous release may be being fetched


def test_files_are_small_and_public_and_those_before_go_with_the_next_release(nights, tmp_path):
    files = list((nights.folder / "plan-finder").glob("*.json"))
    assert len(files) > 12
    for path in files:
        assert path.stat().st_size <= 20_000
        assert len(json.loads(path.read_bytes())["entry"]) <= 8
        assert path.stat().st_mode & 0o777 == 0o644
    folder, target = tmp_path / "public", tmp_path / "target"
    shutil.copytree(nights.folder, folder)
    shutil.copytree(nights.target, target)
    (folder / "robots.txt").write_text("mine")
    done(cpcds("rollback", target, current_manifest(target)["parent"]))
    again = json.loads(done(cpcds("export", target, "--out", folder, "--json")).out)
    assert (again["written"], again["removed"]) == (0, 0)  # it named them, and so did the last
    done(cpcds("rollback", target, current_manifest(target)["parent"]))
    assert (folder / "robots.txt").read_text() == "mine"
    fresh = json.loads(done(cpcds("export", target, "--out", tmp_path / "x", "--json")).out)
    assert fresh["files"] == nights.said[1]["files"]


def test_a_run_whose_plan_finder_files_lead_to_this_machine_says_what_to_set(nights):
    release = current_manifest(nights.target)["release"]
    report = nights.target / "reports" / release
    (note,) = json.loads((report / "report.json").read_bytes())["notes"]
    assert note.startswith("serve.base_url is not set, so each fullUrl in the Plan Finder files")
    assert "http://127.0.0.1:8000/directory" in note
    assert "CPCDS_SERVE__BASE_URL" in note
    assert nights.warned == ([f"warning: {note}"],) * 2
    assert f'<p class="banner odd">{note}.</p>' in unescape((report / "index.html").read_text())
    entry = json.loads(next((nights.folder / "plan-finder").glob("*.json")).read_bytes())["entry"][
        0
    ]
    assert entry["fullUrl"].startswith("http://127.0.0.1:8000/directory/")


def test_a_release_is_made_again_with_the_full_urls_that_it_was_made_with(nights):
    """An audit may take place long after the server has moved to another URL."""
    first = current_manifest(nights.target)["parent"]
    command = ("verify", nights.target, "--release", first, "--rebuild", SAMPLES / "directory")
    moved = {"CPCDS_SERVE__BASE_URL": "https://fhir.acme.example"}
    assert "identical bit for bit" in done(cpcds(*command, **moved)).out


def test_the_brand_is_what_the_configuration_says(nights):
    bundle = json.loads((nights.folder / ".well-known/user-access-brands.json").read_bytes())
    assert bundle == json.loads((Path(__file__).parent / "user-access-brands.json").read_text())


def test_a_brand_that_is_configured_no_longer_goes(nights, tmp_path):
    path = tmp_path / ".well-known/user-access-brands.json"
    done(cpcds("export", nights.target, "--out", tmp_path, **BRAND))
    assert path.is_file()
    done(cpcds("export", nights.target, "--out", tmp_path))
    assert not path.exists()


def test_a_wrong_brand_is_said_before_anything_is_written(nights, tmp_path):
    file = tmp_path / "portal.toml"
    file.write_text("[brand]\nwebsite = 'https://acme.example'\n")
    environment = {"CPCDS_PORTAL__FILE": str(file)}
    called = cpcds("export", nights.target, "--out", tmp_path / "x", **environment)
    assert called.code == 3
    assert f"{file}: brand: a website needs `updated`" in called.err
    assert not (tmp_path / "x").exists()


def test_no_folder_is_made_of_claims_or_of_nothing(tmp_path):
    target, out = tmp_path / "claims", tmp_path / "x"
    target.mkdir()
    called = cpcds("export", target, "--out", out)
    assert (called.code, called.sentence) == (2, f"{target}: nothing has been published yet")
    publish(LocalStore(target), [patient("ann", 2)])
    called = cpcds("export", target, "--out", out)
    assert called.code == 2
    assert called.sentence.startswith(f"{target} contains claims")
    assert not out.exists()


def test_a_directory_without_files_says_what_to_do(tmp_path):
    target = tmp_path / "target"
    publish(LocalStore(target), [], facts=ReleaseFacts("full", mapping=DIRECTORY.stated))
    called = cpcds("export", target, "--out", tmp_path / "x")
    assert called.code == 2
    assert "publish.bulk = true" in called.sentence


@pytest.fixture(scope="module")
def served(nights, tmp_path_factory):
    """The target of both nights, served."""
    with running(nights.target, tmp_path_factory.mktemp("served"), **BRAND_SERVED) as server:
        yield server


def test_a_client_has_the_same_from_the_gateway(nights, served):
    crawler = Crawler()
    root, index = (f"{served.base}/directory/{path}" for path in ("$bulk-publish", INDEX))
    assert by_name(crawler.bulk(root)) == nights.second
    assert by_name(crawler.plans(index)) == nights.of_night[1]
    media = {url.rpartition(".")[2]: crawler.headers(url) for url in crawler.fetched}
    assert media["ndjson"]["content-type"] == "application/fhir+ndjson"
    assert media["json"]["content-type"] == "application/json"
    assert "immutable" in media["ndjson"]["cache-control"]
    before = list(crawler.fetched)
    crawler.bulk(root)
    crawler.plans(index)
    assert crawler.fetched == before  # all else is answered with 304
    assert sorted(crawler.unchanged) == sorted(before)


def test_files_of_the_release_before_are_there_and_no_others(nights, served):
    listed = {url["url"] for url in served.json("/directory/$bulk-publish", None)["output"]}
    files = {f"{served.base}/directory/bulk/{one.name}" for one in nights.folder.glob("bulk/*")}
    assert files - listed  # the practitioner's of the first night
    assert all(served.get(url.removeprefix(served.base), None)[0] == 200 for url in files)
    nothing = "0" * 64
    paths = (
        *(f"bulk/{nothing}.ndjson", f"plan-finder/{nothing}.json", "plan-finder/H1/2025/x"),
        *("plan-finder/H1/2025/index.json", "rows/x", "quarantine/x", "bulk/../x"),
    )
    for path in paths:
        assert served.get(f"/directory/{path}", None)[0] == 404, path
    assert served.get("/directory/$bulk-publish", "any token")[0] == 200
