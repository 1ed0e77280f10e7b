"""Searches of public data for people, by the public API's own search."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Generic, TypeVar

from etl.errors import StoreError
from etl.gateway.http.responses import FhirError
from etl.gateway.release.served_releases import Releases
from etl.gateway.service import Service
from etl.smart.grants import Grant

Json = Mapping[str, Any]
Parameters = list[tuple[str, str]]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class FoundPage(Generic[T]):
    """One page of what a search finds.

    Attributes:
        found: in the order of the search.
        total: number of matches on all pages; None if it is not known.
        following: page link of the next page; empty for none.
        problem: one sentence if nothing could be searched.
    """

    found: Sequence[T] = ()
    total: int | None = None
    following: str = ""
    problem: str = ""


@dataclass
class PublicSearch:
    """Searches public data of the payer as the public API does.

    Attributes:
        service: answers the API.
        releases: the releases that it answers from.
        base: FHIR base URL of the API.
    """

    service: Service
    releases: Releases
    base: str
    _grant: Grant = field(init=False)

    def __post_init__(self) -> None:
        scopes = tuple(f"patient/{kind.name}.rs" for kind in self.service.kinds())
        self._grant = Grant("", "public", scopes, "", datetime.max.replace(tzinfo=UTC))

    async def search(self, resource_type: str, parameters: Parameters) -> Json:
        """Return the first page of a search."""
        answer = await self.service.search(
            self._grant, resource_type, parameters, base=self.base, strict=True
        )
        return _bundle(answer.body)

    async def page(self, cursor: str) -> Json:
        """Return another page, by the end of its link."""
        return _bundle((await self.service.page(self._grant, cursor, base=self.base)).body)

    async def answered(
        self, answer: Awaitable[FoundPage[T]], *, is_later_page: bool
    ) -> FoundPage[T]:
        """Return an answer, or the problem in a sentence.

        Args:
            answer: searches.
            is_later_page: whether a page link was given, which can have expired.
        """
        try:
            return await answer
        except FhirError as refusal:
            if is_later_page:
                return FoundPage(problem="These pages have expired. Please search again.")
            return FoundPage(problem=f"This cannot be searched: {refusal.diagnostics}.")
        except StoreError:
            return FoundPage(problem="This cannot be read right now. Please try again.")

    async def every(self, resource_type: str, parameters: Parameters) -> AsyncIterator[Json]:
        """Yield the matches on all pages of a search."""
        bundle = await self.search(resource_type, [*parameters, ("_count", "100")])
        while True:
            for resource in resources_in(bundle, "match"):
                yield resource
            cursor = next_page(bundle)
            if not cursor:
                return
            bundle = await self.page(cursor)


def _bundle(body: bytes) -> Json:
    bundle: Json = json.loads(body, parse_float=Decimal)
    return bundle


def next_page(bundle: Json) -> str:
    """Return the end of the link to the next page; empty for none."""
    links = {link["relation"]: link["url"] for link in bundle["link"]}
    return str(links.get("next", "")).rpartition("/_page/")[2]


def resources_in(bundle: Json, mode: str) -> list[Json]:
    """Return the resources of a Bundle that matched, or that were included."""
    return [
        entry["resource"]
        for entry in bundle.get("entry", ())
        if entry.get("search", {}).get("mode") == mode
    ]


def reference_to(resource: Json) -> str:
    """Return `Type/id`."""
    return f"{resource['resourceType']}/{resource['id']}"


def included_in(bundle: Json) -> dict[str, Json]:
    """Return the included resources of a Bundle by `Type/id`."""
    return {reference_to(resource): resource for resource in resources_in(bundle, "include")}


def resolved(included: Mapping[str, Json], *references: Json) -> list[Json]:
    """Return the included resources that references name."""
    names = [reference.get("reference", "") for reference in references]
    return [included[name] for name in names if name in included]


def extension_values(resource: Json, name: str, value: str) -> list[Any]:
    """Return the values of the extensions whose URL ends with a name."""
    return [
        extension[value]
        for extension in resource.get("extension", ())
        if extension["url"].endswith(f"/{name}") and value in extension
    ]


def escaped(text: str) -> str:
    """Return a search value whose separators stand for themselves (FHIR R4 3.1.1.4.2)."""
    return re.sub(r"([\\,|$])", r"\\\1", text)
