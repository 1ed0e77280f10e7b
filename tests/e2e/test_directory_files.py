"""A provider directory's files as a client downloads them, night after night."""

import json
import shutil
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from types import SimpleNamespace

import pytest

from etl.model.data_models import DIRECTORY
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
from tests.e2e.test_directory_publishing import seen
from tests.e2e.test_serving import Running, running
from tests.unit.publish.samples import patient, publish
from tests.waiting import until

DOCUMENTS = ("/directory/$bulk-publish", "/directory/plan-finder/H0009/2025/index.json")
BRAND = {
    "CPCDS_PAYER__NAME": "Acme Health",
    "CPCDS_PORTAL__FILE": str(Path(__file__).parent / "portal-with-brand.toml"),
    "CPCDS_SERVE__BASE_URL": "https://fhir.acme.example",
}


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


def exported(target, folder, **environment):
    return json.loads(done(cpcds("export", target, "--out", folder, "--json", **environment)).out)


@dataclass
class Crawler:
    """A client that knows two documents; asks again only for what changed.

    Attributes:
        server: where they are.
        answers: address -> headers and body.
        fetched: what was downloaded with a body, in order.
        unchanged: what was answered with 304.
    """

    server: Running
    answers: dict[str, tuple[dict[str, str], bytes]] = field(default_factory=dict)
    fetched: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)

    def get(self, url):
        path = url.removeprefix(self.server.base)
        known = {"If-None-Match": self.answers[path][0]["etag"]} if path in self.answers else {}
        status, headers, body = self.server.get(path, None, **known)
        assert status == 200 or (known and status == 304), (path, status)
        if status == 200:
            self.answers[path] = headers, body
        (self.fetched if status == 200 else self.unchanged).append(path)
        return self.answers[path][1]

    def bulk(self):
        """Return the resources of a directory by type and id."""
        files = json.loads(self.get(DOCUMENTS[0]))["output"]
        return by_name(
            json.loads(line) for file in files for line in self.get(file["url"]).splitlines()
        )

    def plans(self):
        """Return the resources of a contract's year by type and id."""
        urls = json.loads(self.get(DOCUMENTS[1]))["provider_urls"]
        bundles = [json.loads(self.get(url)) for url in urls]
        return by_name(entry["resource"] for bundle in bundles for entry in bundle["entry"])


def by_name(resources):
    """Return resources by type and id; fails where one is there twice."""
    names = [(f"{one['resourceType']}/{one['id']}", one) for one in resources]
    assert len(dict(names)) == len(names)
    return dict(names)


@pytest.fixture(scope="module")
def nights(tmp_path_factory):
    """Two releases of a directory that is served; exported and downloaded after each.

    `first` and `second` are what readers saw; `bulk` and `plans` what the crawler had of bulk and
    Plan Finder files after the second, and `fetched` what it downloaded then.
    """
    place = tmp_path_factory.mktemp("files")
    target, folder = place / "target", place / "public"
    ran = [done(cpcds("run", SAMPLES / "directory", "--to", target))]
    first, said = seen(target), [exported(target, folder)]
    with running(target, place) as server:
        crawler = Crawler(server)
        crawler.bulk()
        crawler.plans()
        changed = renamed(SAMPLES / "directory", place / "changed")
        ran.append(done(cpcds("run", changed, "--to", target, **ANY_CHANGE)))
        said.append(exported(target, folder))
        release = current_manifest(target)["release"]
        until(lambda: server.json("/readyz", None)["release"] == release)
        start = len(crawler.fetched)
        yield SimpleNamespace(
            target=target,
            first=first,
            second=seen(target),
            folder=folder,
            server=server,
            crawler=crawler,
            said=said,
            warned=[warnings(called) for called in ran],
            bulk=crawler.bulk(),
            plans=crawler.plans(),
            fetched=crawler.fetched[start:],
        )


def test_a_directory_alone_is_served_to_everyone(nights):
    assert "mode: public" in "".join(nights.server.greeting)
    assert nights.server.get("/directory/Practitioner", None)[0] == 200
    assert nights.server.get("/fhir/metadata", None)[0] == 404


def test_a_client_has_each_resource_once_and_downloads_what_changed_alone(nights):
    assert nights.bulk == nights.second != nights.first
    assert 0 < len(nights.plans) < len(nights.second)
    assert all(nights.second[name] == one for name, one in nights.plans.items())
    # The documents, and the practitioner's file of either kind.
    assert len(nights.fetched) == 4, nights.fetched
    assert set(DOCUMENTS) < set(nights.fetched)
    assert nights.crawler.unchanged
    answers = nights.crawler.answers
    media = {path.rpartition(".")[2]: headers for path, (headers, _) in answers.items()}
    assert media["ndjson"]["content-type"] == "application/fhir+ndjson"
    assert media["json"]["content-type"] == "application/json"
    assert "immutable" in media["ndjson"]["cache-control"]


def test_a_folder_has_the_files_that_are_served_those_of_the_release_before_too(nights):
    assert nights.said[1]["written"] == 2
    assert nights.said[1]["removed"] == 0  # those in the previous release may be being fetched
    listed = nights.server.get("/directory/$bulk-publish", None)[2].decode()
    files = [*nights.folder.glob("bulk/*"), *nights.folder.glob("plan-finder/*.json")]
    assert [path for path in files if path.suffix == ".ndjson" and path.name not in listed]
    for path in files:
        name = path.relative_to(nights.folder).as_posix()
        assert nights.server.get(f"/directory/{name}", None)[2] == path.read_bytes(), name
        assert path.stat().st_mode & 0o777 == 0o644


def test_files_of_the_release_before_go_with_the_next_one(nights, tmp_path):
    folder, target = tmp_path / "public", tmp_path / "target"
    shutil.copytree(nights.folder, folder)
    shutil.copytree(nights.target, target)
    (folder / "robots.txt").write_text("mine")
    done(cpcds("rollback", target, current_manifest(target)["parent"]))
    again = exported(target, folder)
    assert (again["written"], again["removed"]) == (0, 0)  # it named them, and so did the last
    done(cpcds("rollback", target, current_manifest(target)["parent"]))
    assert (folder / "robots.txt").read_text() == "mine"
    assert exported(target, tmp_path / "x")["files"] == nights.said[1]["files"]


def test_a_run_whose_plan_finder_files_lead_to_this_machine_says_what_to_set(nights):
    release = current_manifest(nights.target)["release"]
    report = nights.target / "reports" / release
    note, *others = json.loads((report / "report.json").read_bytes())["notes"]
    assert note.startswith("serve.base_url is not set, so each fullUrl in the Plan Finder files")
    told = [f"warning: {note}"]
    assert nights.warned == [told, [*told, *(f"warning: {other}" for other in others)]]
    assert f'<p class="banner odd">{note}.</p>' in unescape((report / "index.html").read_text())


def test_a_release_is_made_again_with_the_full_urls_that_it_was_made_with(nights):
    """An audit may take place long after the server has moved to another URL."""
    first = current_manifest(nights.target)["parent"]
    command = ("verify", nights.target, "--release", first, "--rebuild", SAMPLES / "directory")
    moved = {"CPCDS_SERVE__BASE_URL": "https://fhir.acme.example"}
    assert "identical bit for bit" in done(cpcds(*command, **moved)).out


def test_the_brand_is_what_the_configuration_says_and_goes_with_it(nights, tmp_path):
    path = tmp_path / ".well-known/user-access-brands.json"
    exported(nights.target, tmp_path, **BRAND)
    expected = (Path(__file__).parent / "user-access-brands.json").read_text()
    assert json.loads(path.read_bytes()) == json.loads(expected)
    exported(nights.target, tmp_path)
    assert not path.exists()


def test_a_wrong_brand_is_said_before_anything_is_written(nights, tmp_path):
    file = tmp_path / "portal.toml"
    file.write_text("[brand]\nwebsite = 'https://acme.example'\n")
    environment = {"CPCDS_PORTAL__FILE": str(file)}
    called = cpcds("export", nights.target, "--out", tmp_path / "x", **environment)
    assert called.code == 3
    assert f"{file}: brand: a website needs `updated`" in called.err
    assert not (tmp_path / "x").exists()


def test_no_folder_is_made_of_nothing_of_claims_or_of_a_directory_without_files(tmp_path):
    for name, sentence in (
        ("nothing", "nothing has been published yet"),
        ("claims", "contains claims"),
        ("directory", "publish.bulk = true"),
    ):
        target = tmp_path / name
        target.mkdir()
        if name == "claims":
            publish(LocalStore(target), [patient("ann", 2)])
        if name == "directory":
            publish(LocalStore(target), [], facts=ReleaseFacts("full", mapping=DIRECTORY.stated))
        called = cpcds("export", target, "--out", tmp_path / "x")
        assert (called.code, sentence in called.sentence) == (2, True), called.sentence
    assert not (tmp_path / "x").exists()
