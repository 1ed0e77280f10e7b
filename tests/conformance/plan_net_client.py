"""An app that knows the Plan-Net guide and a base URL, and nothing of this project.

It sends what ONC's Inferno sends, with values found in what the server gave before, and looks at
the answers as Inferno does, but for what is better here: a resource with several references matches
by any of them (Inferno looks at the first), a chain takes its value from a resource that is
referred to (Inferno takes the first that it came across), and all pages are looked at.
"""

from collections.abc import Sequence

import httpx2

from tests.conformance.plan_net_elements import (
    GUIDE,
    Json,
    elements,
    name_of,
    parameter,
    sent_values,
    type_codes,
)

PAGES = 20
"""Pages that are read of one search."""
ACCEPT = {"accept": "application/fhir+json"}


class PlanNetClient:
    """A client of one directory, with every resource that its searches gave.

    Attributes:
        version: of the guide that the server's resources claim.
        pools: name of a group → its resources.
    """

    def __init__(self, base: str, version: str, http: httpx2.Client) -> None:
        self.version = version
        self._base, self._http = base, http
        self.pools = {group["name"]: self._gather(group) for group in GUIDE["groups"]}

    def _gather(self, group: Json) -> list[Json]:
        gathered, _ = self.search(group["type"], ("_count", "200"))
        if group["type"] != "Organization":
            return gathered
        networks = group["name"] == "Network"
        return [resource for resource in gathered if ("ntwk" in type_codes(resource)) is networks]

    def document(self, path: str) -> Json:
        """Return the resource that a GET answers."""
        url = path if path.startswith("http") else f"{self._base}/{path}"
        return resource_of(self._http.get(url, headers=ACCEPT))

    def post(self, path: str, form: dict[str, str]) -> Json:
        """Return the resource that a form's POST answers."""
        return resource_of(self._http.post(f"{self._base}/{path}", data=form, headers=ACCEPT))

    def search(self, type_: str, *pairs: tuple[str, str]) -> tuple[list[Json], list[Json]]:
        """Return what a search finds on all pages, at most `PAGES`, and what comes with it."""
        matches, included = [], []
        url = f"{type_}?{httpx2.QueryParams(pairs)}"
        for _ in range(PAGES):
            bundle = self.document(url)
            assert (bundle["resourceType"], bundle["type"]) == ("Bundle", "searchset"), url
            for entry in bundle.get("entry", []):
                if entry["search"]["mode"] == "match":
                    assert entry["resource"]["resourceType"] == type_, url
                    matches.append(entry["resource"])
                elif entry["search"]["mode"] == "include":
                    included.append(entry["resource"])
            following = [link["url"] for link in bundle["link"] if link["relation"] == "next"]
            if not following:
                break
            url = following[0]
        return matches, included

    def found(self, type_: str, *pairs: tuple[str, str]) -> list[Json]:
        """Return what a search finds, which has to be something."""
        matches, _ = self.search(type_, *pairs)
        assert matches, f"{type_}?{httpx2.QueryParams(pairs)} finds nothing"
        return matches

    def names(self, group: Json) -> set[str]:
        return {name_of(resource) for resource in self.pools[group["name"]]}

    def of_type(self, type_: str) -> list[Json]:
        groups = [group["name"] for group in GUIDE["groups"] if group["type"] == type_]
        return [resource for name in groups for resource in self.pools[name]]

    def resolve(self, reference: str) -> Json:
        known = {name_of(one): one for one in self.of_type(reference.partition("/")[0])}
        return known.get(reference) or self.document(reference)


def resource_of(answer: httpx2.Response) -> Json:
    assert answer.status_code == 200, answer.text
    assert "json" in answer.headers["content-type"]
    document: Json = answer.json()
    assert "resourceType" in document
    return document


def value_of(resources: Sequence[Json], type_: str, name: str) -> tuple[str, str]:
    """Return a value of a parameter that some resource has; and the same with its system."""
    kind, paths = parameter(type_, name)
    values = [
        value
        for resource in resources
        for path in paths
        for element in elements(resource, path)
        for value in sent_values(kind, element)
    ]
    assert values, f"no {type_} has a {name}"
    return values[0]
