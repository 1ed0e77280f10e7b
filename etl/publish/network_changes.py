"""Differences between two releases of a provider directory: networks, plans, and their providers.

A provider is in a network by way of a role (PractitionerRole) or an affiliation
(OrganizationAffiliation) that names it; a plan (InsurancePlan) has the providers of its networks.
Sources: Plan-Net 1.2.0, `PractitionerRole.extension:network`, `OrganizationAffiliation.network`,
`InsurancePlan.network`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from etl.publish.canonical_json import loads
from etl.publish.catalog import CatalogEntry
from etl.publish.diff import Name, diff_directory
from etl.publish.directory_graph import stated_networks
from etl.publish.reader import Release, open_index, read_rows
from etl.storage.parallel import map_concurrently

_ROLE: Final = "PractitionerRole"
_AFFILIATION: Final = "OrganizationAffiliation"
_PLAN: Final = "InsurancePlan"
_TYPES: Final = (_ROLE, _AFFILIATION, _PLAN)
_NPI: Final = "http://hl7.org/fhir/sid/us-npi"
_PROVIDER: Final = re.compile(rb'"((?:Practitioner|Organization)/[A-Za-z0-9.-]+)"')

Json = Mapping[str, Any]
Places = frozenset[str]
"""References to the locations and organizations where a provider is in a network."""


class NamedResource(msgspec.Struct, frozen=True):
    """A resource with its name. Fields of this class and its subclasses are those of the JSON.

    Attributes:
        reference: `Type/id`.
        name: its name; the reference if it has none.
        npi: its NPI, if it has one.
    """

    reference: str
    name: str
    npi: str | msgspec.UnsetType = msgspec.UNSET

    @property
    def sort_key(self) -> tuple[str, str]:
        """Order by name."""
        return self.name, self.reference


class MovedProvider(NamedResource, frozen=True):
    """A provider whose membership in a network or plan changed.

    Attributes:
        before: in a network, the networks left by a provider who joined it, or the locations and
            organizations lost by one who stays; in a plan, the networks lost.
        after: in a network, the networks joined by a provider who left it, or the locations and
            organizations gained by one who stays; in a plan, the networks gained.
    """

    before: Sequence[NamedResource] = ()
    after: Sequence[NamedResource] = ()


class PlanNetworks(msgspec.Struct, frozen=True):
    """Networks that a plan lost and gained."""

    removed: Sequence[NamedResource]
    added: Sequence[NamedResource]


class ProviderChanges(NamedResource, frozen=True):
    """Changes to the providers of one network or plan.

    Attributes:
        networks: changes to the networks of a plan, if there are any.
        added: providers who joined, with the networks that they left at the same time.
        left: providers who left, with the networks that they joined instead.
        moved: providers who stay, at other places or in other networks of the plan.
    """

    networks: PlanNetworks | msgspec.UnsetType = msgspec.UNSET
    added: Sequence[MovedProvider] = ()
    left: Sequence[MovedProvider] = ()
    moved: Sequence[MovedProvider] = ()

    @property
    def is_plan(self) -> bool:
        """Whether it is a plan, not a network."""
        return self.reference.startswith(f"{_PLAN}/")


class NetworkChanges(msgspec.Struct, frozen=True):
    """Changes to networks and plans; unchanged ones are left out.

    Attributes:
        networks: by name.
        plans: by name.
    """

    networks: Sequence[ProviderChanges] = ()
    plans: Sequence[ProviderChanges] = ()


def network_changes(earlier: Release, later: Release) -> NetworkChanges | None:
    """Return how networks and plans changed between two releases; None if they have no networks.

    Only the shards that differ are read. If roles, affiliations or plans in them changed, the whole
    later release is read as well, for the other memberships of the providers.

    Raises:
        StoreError: an object of a release is missing or damaged.
    """
    if "network" not in later.manifest.subject.model.tables:
        return None
    old_keys, new_keys = set[Name](), set[Name]()
    for change in diff_directory(earlier, later):
        old_keys |= {name for name in (*change.changed, *change.retracted) if name[0] in _TYPES}
        new_keys |= {name for name in (*change.changed, *change.added) if name[0] in _TYPES}
    if not old_keys and not new_keys:
        return NetworkChanges()
    old, new = _Memberships.read(earlier, old_keys), _Memberships.read(later, new_keys)
    # Unchanged roles may put a provider in the same network: then its membership did not change.
    providers = None if old.plans != new.plans else old.changed_providers(new)
    unchanged = _read_unchanged(later, new_keys, providers)
    old.merge(unchanged, providers)
    new.merge(unchanged, providers)
    plans = [_draft_plan(plan, old, new) for plan in sorted(old.plans.keys() | new.plans.keys())]
    drafts = [draft for draft in (*_draft_networks(old, new), *plans) if draft.is_change]
    names = _read_names(
        (later, earlier), {reference for draft in drafts for reference in draft.references}
    )
    changes = sorted((draft.resolve(names) for draft in drafts), key=lambda change: change.sort_key)
    return NetworkChanges(
        [change for change in changes if not change.is_plan],
        [change for change in changes if change.is_plan],
    )


@dataclass(slots=True)
class _Memberships:
    """Memberships and plans stated by some resources of one release.

    Attributes:
        members: provider -> network -> places.
        plans: plan -> networks.
    """

    members: dict[str, dict[str, set[str]]] = field(default_factory=dict)
    plans: dict[str, frozenset[str]] = field(default_factory=dict)

    @classmethod
    def read(cls, release: Release, names: AbstractSet[Name]) -> _Memberships:
        """Read the memberships that the named resources state."""
        memberships = cls()
        for resource in _read_resources(release, names):
            memberships.add_resource(resource)
        return memberships

    def add_resource(self, resource: Json) -> None:
        """Add the membership or plan that a resource states."""
        if resource["resourceType"] == _PLAN:
            self.plans[f"{_PLAN}/{resource['id']}"] = frozenset(stated_networks(resource))
            return
        provider, networks, locations = _membership(resource)
        for network in networks if provider else ():
            provider_networks = self.members.setdefault(provider, {})
            provider_networks.setdefault(network, set()).update(locations)

    def changed_providers(self, later: _Memberships) -> set[str]:
        """Return the providers whose memberships differ."""
        old_members, new_members = self.members, later.members
        providers = old_members.keys() | new_members.keys()
        return {name for name in providers if old_members.get(name) != new_members.get(name)}

    def merge(self, unchanged: _Memberships, providers: AbstractSet[str] | None) -> None:
        """Add memberships that both releases have; keep only `providers`, if given."""
        if providers is not None:
            self.members = {
                provider: networks
                for provider, networks in self.members.items()
                if provider in providers
            }
        for provider, networks in unchanged.members.items():
            provider_networks = self.members.setdefault(provider, {})
            for network, locations in networks.items():
                provider_networks.setdefault(network, set()).update(locations)
        self.plans |= unchanged.plans

    def plan_providers(self, plan: str) -> dict[str, frozenset[str]]:
        """Return the providers of a plan -> their networks of the plan."""
        networks = self.plans.get(plan, frozenset())
        common = {provider: networks & places.keys() for provider, places in self.members.items()}
        return {provider: networks for provider, networks in common.items() if networks}


def _membership(resource: Json) -> tuple[str, list[str], list[str]]:
    """Return the provider, the networks and the places of a role or affiliation."""
    networks = [*stated_networks(resource)]
    locations = _references(resource.get("location", ()))
    if resource["resourceType"] == _AFFILIATION:
        organization = _references([resource.get("organization", {})])
        provider = _references([resource.get("participatingOrganization", {})])
        return "".join(provider), networks, locations + organization
    person, group = (
        "".join(_references([resource.get(name, {})])) for name in ("practitioner", "organization")
    )
    return person or group, networks, locations + ([group] if person and group else [])


def _references(values: Iterable[Json]) -> list[str]:
    return [value["reference"] for value in values if "reference" in value]


def _read_resources(release: Release, names: AbstractSet[Name]) -> Iterator[Json]:
    """Yield the named resources of a release in any order; missing ones are left out."""
    by_shard: dict[str, tuple[CatalogEntry, list[Name]]] = {}
    for name in sorted(names):
        entry = release.directory_unit(*name)
        if entry is not None and entry.block is not None:
            by_shard.setdefault(entry.id, (entry, []))[1].append(name)

    def read_shard(shard: tuple[CatalogEntry, list[Name]]) -> list[Json]:
        entry, shard_names = shard
        index = open_index(release.store, entry)
        index.load("ids")
        rows = [row for name in shard_names if (row := index.row_of(*name)) is not None]
        lines = read_rows(release.store, index, rows).values()
        return [loads(line, release.store.name) for line in lines]

    for resources in map_concurrently(release.store, read_shard, by_shard.values()):
        yield from resources


def _read_unchanged(
    release: Release, changed: AbstractSet[Name], providers: AbstractSet[str] | None
) -> _Memberships:
    """Read the memberships of `providers`, or all, and the plans in unchanged resources."""
    encoded = None if providers is None else {provider.encode() for provider in providers}

    def read_shard(entry: CatalogEntry) -> list[Json]:
        index = open_index(release.store, entry)
        index.load("ids")
        rows = [
            row
            for name in _TYPES
            for row in index.types.get(name, ())
            if (name, index.ids[row]) not in changed
        ]
        lines = read_rows(release.store, index, rows)
        plans = index.types.get(_PLAN, ())
        return [
            loads(line, release.store.name)
            for row, line in lines.items()
            if encoded is None or row in plans or not encoded.isdisjoint(_PROVIDER.findall(line))
        ]

    memberships = _Memberships()
    entries = [entry for entry in release.manifest.directory if entry is not None and entry.block]
    for resources in map_concurrently(release.store, read_shard, entries):
        for resource in resources:
            if (
                providers is None
                or resource["resourceType"] == _PLAN
                or _membership(resource)[0] in providers
            ):
                memberships.add_resource(resource)
    return memberships


def _draft_networks(old: _Memberships, new: _Memberships) -> list[_Draft]:
    """Compare the providers of each network."""
    drafts: dict[str, _Draft] = {}
    for provider in sorted(old.members.keys() | new.members.keys()):
        before, after = old.members.get(provider, {}), new.members.get(provider, {})
        left, joined = sorted(before.keys() - after.keys()), sorted(after.keys() - before.keys())
        for network in sorted(before.keys() | after.keys()):
            draft = drafts.setdefault(network, _Draft(network))
            if network in joined:
                draft.joined.append((provider, left, []))
            elif network in left:
                draft.left.append((provider, [], joined))
            elif before[network] != after[network]:
                lost, gained = before[network] - after[network], after[network] - before[network]
                draft.moved.append((provider, sorted(lost), sorted(gained)))
    return list(drafts.values())


def _draft_plan(plan: str, old: _Memberships, new: _Memberships) -> _Draft:
    """Compare the networks of a plan, and its providers in them."""
    before, after = (release.plans.get(plan, frozenset[str]()) for release in (old, new))
    draft = _Draft(plan, networks=(sorted(before - after), sorted(after - before)))
    old_providers, new_providers = old.plan_providers(plan), new.plan_providers(plan)
    for provider in sorted(old_providers.keys() | new_providers.keys()):
        before = old_providers.get(provider, frozenset())
        after = new_providers.get(provider, frozenset())
        moves = draft.moved if before and after else draft.left if before else draft.joined
        if before != after:
            moves.append((provider, sorted(before - after), sorted(after - before)))
    return draft


_Move = tuple[str, list[str], list[str]]
"""A provider, and `before` and `after` of its `MovedProvider`."""


@dataclass(slots=True)
class _Draft:
    """`ProviderChanges` with references instead of names.

    Attributes:
        subject: the network or plan.
    """

    subject: str
    joined: list[_Move] = field(default_factory=list)
    left: list[_Move] = field(default_factory=list)
    moved: list[_Move] = field(default_factory=list)
    networks: tuple[list[str], list[str]] = field(default_factory=lambda: ([], []))

    @property
    def is_change(self) -> bool:
        return bool(self.joined or self.left or self.moved or any(self.networks))

    @property
    def references(self) -> Iterator[str]:
        yield self.subject
        for references in self.networks:
            yield from references
        for provider, before, after in (*self.joined, *self.left, *self.moved):
            yield from (provider, *before, *after)

    def resolve(self, names: Mapping[str, NamedResource]) -> ProviderChanges:
        def resolve_all(references: Iterable[str]) -> list[NamedResource]:
            resources = (names[reference] for reference in references)
            return sorted(resources, key=lambda resource: resource.sort_key)

        def resolve_moves(moves: Iterable[_Move]) -> list[MovedProvider]:
            providers = [
                MovedProvider(
                    **msgspec.structs.asdict(names[provider]),
                    before=resolve_all(before),
                    after=resolve_all(after),
                )
                for provider, before, after in moves
            ]
            return sorted(providers, key=lambda moved: moved.sort_key)

        removed, added = self.networks
        return ProviderChanges(
            **msgspec.structs.asdict(names[self.subject]),
            networks=PlanNetworks(resolve_all(removed), resolve_all(added))
            if removed or added
            else msgspec.UNSET,
            added=resolve_moves(self.joined),
            left=resolve_moves(self.left),
            moved=resolve_moves(self.moved),
        )


def _read_names(releases: Sequence[Release], references: set[str]) -> dict[str, NamedResource]:
    """Read the names of resources, each from the first release that has it."""
    names: dict[str, NamedResource] = {}
    for release in releases:
        missing = {_split(reference) for reference in references if reference not in names}
        for resource in _read_resources(release, missing):
            named = _name_resource(resource)
            names[named.reference] = named
    return {
        reference: names.get(reference, NamedResource(reference, reference))
        for reference in references
    }


def _split(reference: str) -> Name:
    resource_type, _, logical_id = reference.partition("/")
    return resource_type, logical_id


def _name_resource(resource: Json) -> NamedResource:
    reference = f"{resource['resourceType']}/{resource['id']}"
    name = resource.get("name") or reference
    if not isinstance(name, str):  # a person's name is a list
        name = next((part["text"] for part in name if "text" in part), reference)
    identifiers = resource.get("identifier", ())
    npis = (identifier["value"] for identifier in identifiers if identifier.get("system") == _NPI)
    return NamedResource(reference, name, next(npis, msgspec.UNSET))
