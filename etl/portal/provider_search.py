"""Provider search for people, by the Provider Directory API's own search."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from statistics import fmean
from typing import Final
from urllib.parse import urlencode

from etl.documents.packaged_toml import read_beside
from etl.errors import StoreError
from etl.gateway.http.responses import FhirError
from etl.gateway.release.release_reader import ReleaseTree
from etl.gateway.search.evaluation import columns_of
from etl.portal.public_search import (
    FoundPage,
    Json,
    Parameters,
    PublicSearch,
    escaped,
    extension_values,
    next_page,
    reference_to,
    resolved,
    resources_in,
)
from etl.publish.public_files import public_pages

PAGE_SIZE: Final = 100
"""Roles of a page: as many as the API gives, since a provider is listed once a page."""
DISTANCES: Final = (5, 10, 25, 50)
"""Miles that a person may choose from."""
NEW_PATIENTS: Final = "newpt"

SPECIALTIES: Final[Mapping[str, str]] = read_beside(__file__, "specialties.toml")
"""Specialties in plain words, by NUCC taxonomy code."""

_ROLE: Final = "PractitionerRole"
_TAXONOMY: Final = "http://nucc.org/provider-taxonomy"
_ZIP: Final = re.compile(r"(\d{5})(?:-?\d{4})?")
_LONGEST: Final = 100
_INCLUDED: Final = ("practitioner", "organization", "location", "network")
_ACCEPTS: Final[Mapping[str, str]] = read_beside(__file__, "accepting_patients.toml")
"""Codes of AcceptingPatientsCS → words."""


@dataclass(frozen=True, slots=True)
class Choices:
    """Lists to choose from, as the served release has them: search value → words, by the words."""

    networks: Mapping[str, str] = field(default_factory=dict)
    specialties: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DoctorQuery:
    """A person's search; fields that were left out are empty.

    Attributes:
        name: beginning of a name of the practitioner.
        specialty: NUCC code.
        network: reference of an Organization.
        near: a ZIP code, or a city, or a city and its state behind a comma.
        within: miles around `near`; empty for that ZIP code or city only.
        new_patients: whether to find only providers who take new patients.
        page: page link of an earlier answer; empty for the first page.
    """

    name: str = ""
    specialty: str = ""
    network: str = ""
    near: str = ""
    within: str = ""
    new_patients: bool = False
    page: str = ""

    @classmethod
    def of(cls, values: Mapping[str, str]) -> DoctorQuery:
        """Return the query of a form's values; what is too long is cut."""
        texts = {
            name: values.get(name, "").strip()[:_LONGEST]
            for name in ("name", "specialty", "network", "near", "within")
        }
        return cls(**texts, new_patients="new" in values, page=values.get("page", ""))

    @property
    def is_empty(self) -> bool:
        """Whether nothing was asked for."""
        return self == DoctorQuery()

    def address(self, page: str = "") -> str:
        """Return the query part of the page's URL, with a page link or without."""
        values = {name: getattr(self, name) for name in ("name", "specialty", "network", "near")}
        values |= {"within": self.within, "new": "yes" if self.new_patients else "", "page": page}
        return urlencode({name: value for name, value in values.items() if value})


@dataclass(frozen=True, slots=True)
class Place:
    """A place of care: its name, address and phone number; empty if unknown."""

    name: str
    address: str
    phone: str


@dataclass(frozen=True, slots=True)
class RoleListing:
    """A provider's role: one network and the places where they practice, in words.

    Attributes:
        network: name; empty for none.
        organization: name; empty if it is the provider's own.
        places: where.
        phone: of the role.
        accepts: whether the provider takes new patients, as a sentence.
        takes_new: whether they certainly are.
        url: of the resource.
    """

    network: str
    organization: str
    places: Sequence[Place]
    phone: str
    accepts: str
    takes_new: bool
    url: str


@dataclass(frozen=True, slots=True)
class ProviderListing:
    """A provider, with the places and networks that match.

    Attributes:
        name: of the practitioner; of the organization if no practitioner is named.
        specialties: of all roles, in words.
        roles: the roles that match, in the order of the search.
    """

    name: str
    specialties: list[str]
    roles: list[RoleListing]


@dataclass(frozen=True, slots=True)
class SearchExample:
    """A search that finds somebody in the served release, for examples.

    Attributes:
        specialty: NUCC code.
        network: reference of an Organization.
        postal_code: five digits.
        position: `latitude|longitude` of a place there; empty where it has none.
    """

    specialty: str
    network: str
    postal_code: str
    position: str


@dataclass
class ProviderSearch(PublicSearch):
    """Searches a directory of the payer.

    Attributes:
        cadence: ISO 8601 duration between releases.
    """

    cadence: str
    _choices: tuple[str, Choices] = ("", Choices())
    _example: tuple[str, SearchExample | None] = ("", None)

    def published(self) -> datetime | None:
        """Return when the served release was published; None before the first."""
        created = self.releases.served.created
        return None if created is None else datetime.fromisoformat(created).astimezone(UTC)

    def files(self) -> list[tuple[str, str]]:
        """Return title and URL of the served release's lists of files: bulk, and Plan Finder's."""
        try:
            manifest = self.releases.current().manifest
        except StoreError:
            return []
        paths = public_pages(manifest, self.base, self.cadence)
        return [(_file_title(path), f"{self.base}/{path}") for path in paths]

    async def choices(self) -> Choices:
        """Return the networks and specialties of the served release; empty before the first."""
        try:
            tree = self.releases.current()
            if self._choices[0] != tree.id:
                choices = Choices(await self._networks(), await self._specialties(tree))
                self._choices = (tree.id, choices)
        except (StoreError, FhirError):  # nothing yet, or no such columns
            return Choices()
        return self._choices[1]

    async def example(self) -> SearchExample | None:
        """Return a search that finds a provider who takes new patients; None if nobody does.

        It is for skin, where the directory has that specialty.
        """
        try:
            tree = self.releases.current()
            if self._example[0] != tree.id:
                self._example = (tree.id, await self._find_example())
        except (StoreError, FhirError):
            return None
        return self._example[1]

    async def find(self, query: DoctorQuery) -> FoundPage[ProviderListing]:
        """Return a page of the providers that match a query, or the problem in a sentence."""
        return await self.answered(self._find(query), is_later_page=bool(query.page))

    async def _find(self, query: DoctorQuery) -> FoundPage[ProviderListing]:
        if query.page:
            return self._results(await self.page(query.page))
        parameters = await self._parameters(query)
        if isinstance(parameters, str):
            return FoundPage(problem=parameters)
        return self._results(await self.search(_ROLE, parameters))

    # Parameters

    async def _parameters(self, query: DoctorQuery) -> Parameters | str:
        """Return the FHIR search parameters of a query, or its problem in a sentence."""
        parameters: Parameters = []
        if query.name:
            parameters += [("practitioner.name", escaped(word)) for word in query.name.split()]
        if query.specialty:
            parameters.append(("specialty", escaped(query.specialty)))
        if query.network:
            parameters.append(("network", escaped(query.network)))
        if query.new_patients:
            parameters.append(("new-patients", NEW_PATIENTS))
        if query.near:
            conditions = _near_conditions(query.near)
            if query.within:
                position = await self._position(conditions)
                if position is None:
                    return f"The directory has no location in {query.near}."
                is_offered = query.within in map(str, DISTANCES)
                miles = query.within if is_offered else DISTANCES[-1]
                parameters.append(("location.near", f"{position}|{miles}|[mi_us]"))
            else:
                parameters += [(f"location.{name}", value) for name, value in conditions]
        parameters += [("_include", f"{_ROLE}:{name}") for name in _INCLUDED]
        return [*parameters, ("_count", str(PAGE_SIZE))]

    async def _position(self, conditions: Parameters) -> str | None:
        """Return the center of the directory's locations in a ZIP or city: `latitude|longitude`."""
        bundle = await self.search("Location", [*conditions, ("_count", "50")])
        locations = resources_in(bundle, "match")
        positions = [location["position"] for location in locations if "position" in location]
        if not positions:
            return None
        latitude = fmean(float(position["latitude"]) for position in positions)
        longitude = fmean(float(position["longitude"]) for position in positions)
        return f"{latitude:.4f}|{longitude:.4f}"

    # Answers

    def _results(self, bundle: Json) -> FoundPage[ProviderListing]:
        included = {
            reference_to(resource): resource for resource in resources_in(bundle, "include")
        }
        providers: dict[str, ProviderListing] = {}
        for role in resources_in(bundle, "match"):
            provider = (role.get("practitioner") or role.get("organization") or {}).get("reference")
            listing = providers.setdefault(
                provider or reference_to(role),
                ProviderListing(_provider_name(role, included), [], []),
            )
            listing.roles.append(self._role_listing(role, included, listing.name))
            specialties = dict.fromkeys((*listing.specialties, *_specialties(role)))
            listing.specialties[:] = specialties
        found = tuple(providers.values())
        return FoundPage(found, bundle.get("total"), next_page(bundle))

    def _role_listing(self, role: Json, included: Mapping[str, Json], name: str) -> RoleListing:
        networks = resolved(
            included, *extension_values(role, "network-reference", "valueReference")
        )
        organizations = resolved(included, role.get("organization", {}))
        accepts = _accepted_patients(role)
        return RoleListing(
            network=next((network["name"] for network in networks), ""),
            organization=next((o["name"] for o in organizations if o["name"] != name), ""),
            places=[_to_place(place) for place in resolved(included, *role.get("location", ()))],
            phone=_phone_number(role),
            accepts=_ACCEPTS.get(accepts, "Please ask whether this provider takes new patients"),
            takes_new=accepts == NEW_PATIENTS,
            url=f"{self.base}/{reference_to(role)}",
        )

    # What a release has

    async def _networks(self) -> dict[str, str]:
        networks = {
            reference_to(network): network["name"]
            async for network in self.every("Organization", [("type", "ntwk")])
        }
        return _sort_by_words(networks)

    async def _specialties(self, tree: ReleaseTree) -> dict[str, str]:
        columns = await columns_of(tree, [(_ROLE, "specialty")])
        codes = {
            str(value).rpartition("|")[2]
            for column in columns.column(_ROLE, "specialty")
            for value in column.column.values
        }
        return _sort_by_words({code: SPECIALTIES.get(code, code) for code in codes if code})

    async def _find_example(self) -> SearchExample | None:
        specialties = (await self.choices()).specialties
        codes = sorted(specialties, key=lambda code: code != "207N00000X")
        for specialty in codes:
            parameters = [("specialty", specialty), ("new-patients", NEW_PATIENTS)]
            parameters += [("_include", f"{_ROLE}:location"), ("_count", "50")]
            bundle = await self.search(_ROLE, parameters)
            places = {
                reference_to(resource): resource for resource in resources_in(bundle, "include")
            }
            for role in resources_in(bundle, "match"):
                networks = extension_values(role, "network-reference", "valueReference")
                for reference in role.get("location", ()):
                    place = places.get(reference.get("reference", ""), {})
                    postal_code: str = place.get("address", {}).get("postalCode", "")
                    if networks and postal_code:
                        network: str = networks[0]["reference"]
                        point: Json = place.get("position", {})
                        position = f"{point['latitude']}|{point['longitude']}" if point else ""
                        return SearchExample(specialty, network, postal_code[:5], position)
        return None


def _file_title(path: str) -> str:
    """Return what a list of files is, from its path (docs/directory.md)."""
    parts = path.split("/")
    if len(parts) != 4:
        return "Everything as NDJSON: Bulk Publish manifest"
    return f"Plan Finder files: contract {parts[1]}, plan year {parts[2]}"


def _sort_by_words(choices: dict[str, str]) -> dict[str, str]:
    return dict(sorted(choices.items(), key=lambda choice: choice[1]))


def _near_conditions(near: str) -> Parameters:
    """Return the conditions of a ZIP code, a city, or a city and its state."""
    if zip_code := _ZIP.fullmatch(near):
        return [("address-postalcode", zip_code[1])]
    city, _, state = (part.strip() for part in near.partition(","))
    conditions = [("address-city", escaped(city))] if city else []
    return [*conditions, ("address-state", escaped(state))] if state else conditions


def _provider_name(role: Json, included: Mapping[str, Json]) -> str:
    people = map(_person, resolved(included, role.get("practitioner", {})))
    organizations = (o["name"] for o in resolved(included, role.get("organization", {})))
    return next(people, "") or next(organizations, "") or "Name not published"


def _person(practitioner: Json) -> str:
    name: Json = next(iter(practitioner.get("name", ())), {})
    parts = (*name.get("prefix", ()), *name.get("given", ()), name.get("family", ""))
    text: str = name.get("text", "") or " ".join(filter(None, parts))
    return text


def _accepted_patients(role: Json) -> str:
    for extension in role.get("extension", ()):
        if extension["url"].endswith("/newpatients"):
            for part in extension.get("extension", ()):
                for coding in part.get("valueCodeableConcept", {}).get("coding", ()):
                    code: str = coding.get("code", "")
                    return code
    return ""


def _specialties(role: Json) -> Iterator[str]:
    for concept in role.get("specialty", ()):
        codings: Iterable[Json] = concept.get("coding", ())
        nucc_names = [
            SPECIALTIES[coding["code"]]
            for coding in codings
            if coding.get("system") == _TAXONOMY and coding.get("code") in SPECIALTIES
        ]
        displays = [coding.get("display") or coding.get("code", "") for coding in codings]
        text = next(iter(nucc_names), "") or concept.get("text", "") or next(iter(displays), "")
        if text:
            yield text


def _to_place(location: Json) -> Place:
    address = location.get("address", {})
    parts = (*address.get("line", ()), address.get("city", ""), address.get("state", ""))
    text = address.get("text", "") or ", ".join(filter(None, parts))
    return Place(location.get("name", ""), text, _phone_number(location))


def _phone_number(resource: Json) -> str:
    numbers = (
        telecom for telecom in resource.get("telecom", ()) if telecom.get("system") == "phone"
    )
    number: str = next((telecom["value"] for telecom in numbers if "value" in telecom), "")
    return number
