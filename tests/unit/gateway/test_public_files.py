"""A directory's files and the payer's brand, as the served process has them."""

import asyncio
import hashlib
import json

from etl.bootstrap.setting_groups import PortalSettings
from tests.unit.gateway.calls import called, served
from tests.unit.gateway.trees import LISTED, directory, opened, run, sample_tree

BASE = "https://payer.example/directory"
BRANDS = "/.well-known/user-access-brands.json"


def bulk_files(listed):
    """Return the addresses of the bulk files."""
    page = listed.call("/directory/$bulk-publish", token=None)
    assert (page.status, page.headers["content-type"]) == (200, "application/json")
    return [one["url"].removeprefix("https://payer.example") for one in page.json["output"]]


def test_the_manifest_lists_every_resource_once(listed):
    found = [
        json.loads(line)
        for address in bulk_files(listed)
        for line in listed.call(address, token=None).body.splitlines()
    ]
    names = [f"{one['resourceType']}/{one['id']}" for one in found]
    assert sorted(names) == sorted(directory(LISTED))


def test_links_are_made_of_the_configured_base_and_not_of_the_requests_host(listed):
    page = listed.call("/directory/$bulk-publish", token=None)
    assert b"evil.example" not in page.body
    assert all(one["url"].startswith(f"{BASE}/bulk/") for one in page.json["output"])
    index = listed.call("/directory/plan-finder/H0009/2025/index.json", token=None).json
    assert all(url.startswith(f"{BASE}/plan-finder/") for url in index["provider_urls"])


def test_head_and_conditional_requests_are_answered_as_for_a_static_file(listed):
    address = bulk_files(listed)[0]
    whole = listed.call(address, token=None)
    head = listed.call(address, token=None, method="HEAD")
    assert head.body == b""
    for name in ("content-length", "content-type", "etag", "last-modified", "cache-control"):
        assert head.headers[name] == whole.headers[name]
    assert int(whole.headers["content-length"]) == len(whole.body)
    assert hashlib.sha256(whole.body).hexdigest() in address
    for header, value in (
        (b"if-none-match", whole.headers["etag"]),
        (b"if-none-match", f'"other", {whole.headers["etag"]}'),
        (b"if-modified-since", whole.headers["last-modified"]),
    ):
        got = listed.call(address, (header, value.encode()), token=None)
        assert (got.status, got.body) == (304, b"")
        assert got.headers["etag"] == whole.headers["etag"]
    for header, value in (
        (b"if-none-match", '"other"'),
        (b"if-modified-since", "Thu, 01 Jan 1970 00:00:00 GMT"),
    ):
        assert listed.call(address, (header, value.encode()), token=None).status == 200
    assert listed.call(address, token=None, method="DELETE").status == 405


def test_a_file_is_named_by_its_template_in_the_log(listed):
    listed.call(bulk_files(listed)[0], token=None)
    assert listed.lines()[-1]["route"] == "/directory/bulk/[file]"


def test_where_no_directory_of_the_payer_is_served_there_are_no_files():
    claims = served(opened(sample_tree()))
    assert claims.call("/directory", token=None).status == 404
    for path in ("$bulk-publish", "plan-finder/H0009/2025/index.json", "bulk/x.ndjson"):
        for base in ("/directory", "/fhir"):
            assert claims.call(f"{base}/{path}", token=None).status == 404
    for path in ("metadata", "Organization"):
        assert claims.call(f"/directory/{path}", token=None).status == 404


def test_more_files_at_once_than_memory_is_meant_for_are_refused(listed):
    address = bulk_files(listed)[0].encode()

    async def at_once():
        go = asyncio.Event()
        statuses: list[int] = []

        async def app(scope, receive, send):
            async def slowly(message):
                if message["type"] == "http.response.start":
                    statuses.append(message["status"])
                    if message["status"] == 200:
                        await go.wait()
                await send(message)

            await listed.app(scope, receive, slowly)

        calls = [
            asyncio.create_task(called(app, "GET", address, [], b"", "192.0.2.1"))
            for _ in range(40)
        ]
        while len(statuses) < 40:
            await asyncio.sleep(0)
        go.set()
        await asyncio.gather(*calls)
        return statuses

    statuses = run(at_once())
    assert (statuses.count(200), statuses.count(503)) == (32, 8)
    assert listed.call(address, token=None).status == 200  # those that ended count no more


def branded(folder, brand):
    file = folder / "portal.toml"
    file.write_text(f"[brand]\n{brand}")
    return served(portal=PortalSettings(file=file))


def test_smart_configuration_names_the_brand_that_is_there(tmp_path):
    brand = "website = 'https://www.acme.example/plans'\nupdated = 2026-11-01"
    listed = branded(tmp_path, brand)
    for path in ("/.well-known/smart-configuration", "/fhir/.well-known/smart-configuration"):
        document = listed.call(path, token=None).json
        assert document["user_access_brand_bundle"] == f"https://payer.example{BRANDS}"
        identifier = document["user_access_brand_identifier"]
        bundle = listed.call(BRANDS, token=None)
        (organization,) = (
            one["resource"]
            for one in bundle.json["entry"]
            if one["resource"]["resourceType"] == "Organization"
        )
        assert organization["identifier"] == [identifier]
        assert identifier["value"] == "https://acme.example"
        assert bundle.headers["access-control-allow-origin"] == "*"
    named = {one["reference"] for one in organization["endpoint"]}
    assert named == {
        f"Endpoint/{one['resource']['id']}"
        for one in bundle.json["entry"]
        if one["resource"]["resourceType"] == "Endpoint"
    }


def test_without_a_website_there_is_no_brand(tmp_path):
    listed = branded(tmp_path, "")
    assert listed.call(BRANDS, token=None).status == 404
    document = listed.call("/.well-known/smart-configuration", token=None).json
    assert not [name for name in document if name.startswith("user_access")]


def test_what_is_no_file_of_the_release_is_not_found(listed):
    nothing = "0" * 64
    for path in (
        *(f"bulk/{nothing}.ndjson", f"plan-finder/{nothing}.json", "plan-finder/H1/2025/x"),
        *("plan-finder/H1/2025/index.json", "rows/x", "quarantine/x", "bulk/../x"),
    ):
        assert listed.call(f"/directory/{path}", token=None).status == 404, path
