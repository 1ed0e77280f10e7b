"""A client of a provider directory's files: it knows the guide and `provider_urls`, and no more."""

import json
import urllib.request
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urljoin

Json = dict[str, Any]
ORDER = (
    *("InsurancePlan", "Organization", "Practitioner"),
    *("PractitionerRole", "Location", "OrganizationAffiliation"),
)


@dataclass
class Crawler:
    """Downloads what documents list; each address once, and again only where it changed.

    Attributes:
        fetched: addresses that were downloaded with a body, in order.
        unchanged: addresses that were answered with 304.
    """

    fetched: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    _known: dict[str, tuple[dict[str, str], bytes]] = field(default_factory=dict)

    def get(self, url: str) -> bytes:
        """Return what is at an address; what was downloaded before is asked for conditionally."""
        before = self._known.get(url)
        headers = {} if before is None else {"If-None-Match": before[0]["etag"]}
        request = urllib.request.Request(url, headers=headers)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=20) as got:  # noqa: S310
                fields = {name.lower(): value for name, value in got.headers.items()}
                self._known[url] = fields, got.read()
                self.fetched.append(url)
        except HTTPError as error:
            with error:
                if error.code != HTTPStatus.NOT_MODIFIED:
                    raise
                self.unchanged.append(url)
        return self._known[url][1]

    def headers(self, url: str) -> dict[str, str]:
        """Return the headers with which an address was downloaded; names in lower case."""
        return self._known[url][0]

    def bulk(self, root: str) -> list[Json]:
        """Return the resources of a directory; checks what the manifest states of its files."""
        manifest = json.loads(self.get(root))
        assert manifest["requiresAccessToken"] is False
        assert (manifest["deleted"], manifest["error"]) == ([], [])
        assert "#" not in json.dumps(manifest)
        found: list[Json] = []
        for file in manifest["output"]:
            body = self.get(urljoin(root, file["url"]))
            lines = [json.loads(line) for line in body.splitlines()]
            assert {one["resourceType"] for one in lines} == {file["type"]}
            assert (len(lines), len(body)) == (file["count"], file["fileSize"])
            found += lines
        return found

    def plans(self, index: str) -> list[Json]:
        """Return the resources of a contract's year; checks the form and order of the files."""
        found: list[Json] = []
        types: list[str] = []
        for url in json.loads(self.get(index))["provider_urls"]:
            bundle = json.loads(self.get(urljoin(index, url)))
            assert (bundle["resourceType"], bundle["type"]) == ("Bundle", "collection")
            resources = [entry["resource"] for entry in bundle["entry"]]
            assert all(
                entry["fullUrl"].endswith(f"/{name_of(entry['resource'])}")
                for entry in bundle["entry"]
            )
            (kind,) = {one["resourceType"] for one in resources}
            types.append(kind)
            found += resources
        assert types == sorted(types, key=ORDER.index)
        return found


def name_of(resource: Json) -> str:
    """Return type and id."""
    return f"{resource['resourceType']}/{resource['id']}"


def by_name(resources: list[Json]) -> dict[str, Json]:
    """Return resources by type and id; fails where one is there twice."""
    found = {name_of(one): one for one in resources}
    assert len(found) == len(resources)
    return found
