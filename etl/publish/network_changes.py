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
_READ: Final = (_ROLE, _AFFILIATION, _PLAN)
_NPI: Final = "http://hl7.org/fhir/sid/us-npi"
_PROVIDER: Final = re.compile(rb'"((?:Practitioner|Organization)/[A-Za-z0-9.-]+)"')

Json = Mapping[str, Any]
Places = frozenset[str]
"""References to locations and organizations at which a provider is in a network."""


class NamedResource(msgspec.Struct, frozen=True):
    """A resource as people know it. Fields of this class and the next are those of the JSON.

    Attributes:
        reference: `Type/id`.
        name: its name; the reference where it has none.
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
    """A provider who is in a network, or in networks of a plan, in another way than before.

    Attributes:
        before: the networks that a provider left who joined this one, or the locations and
            organizations that one who stays is not at any more; of a plan, its networks before.
        after: the networks that a provider joined who left this one, or the new locations and
            organizations of one who stays; of a plan, its networks now.
    """

    before: Sequence[NamedResource] = ()
    after: Sequence[NamedResource] = ()


class PlanNetworks(msgspec.Struct, frozen=True):
    """Networks that a plan lost and got."""

    removed: Sequence[NamedResource]
    added: Sequence[NamedResource]


class ProviderChanges(NamedResource, frozen=True):
    """Changes to the providers of one network or plan.

    Attributes:
        networks: how the networks of a plan changed, if they did.
        added: providers who were not in it, with the networks that they left at the same time.
        left: providers who are not in it any more, with the networks that they joined instead.
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
    """Changes to networks and plans; those that did not change are left out.

    Attributes:
        networks: by name.
        plans: by name.
    """

    networks: Sequence[ProviderChanges] = ()
    plans: Sequence[ProviderChanges] = ()


def network_changes(before: Release, after: Release) -> NetworkChanges:
    """Return how networks and plans changed between two releases of a directory.

    Of both releases, the shards that differ are read. Where roles, affiliations or plans among
    them changed, the later release is read once more as a whole, for what else the providers are
    in; nothing else of the earlier one is.

    Raises:
        StoreError: something of the releases is missing or damaged.
    """
    old_names, new_names = set[Name](), set[Name]()
    for change in diff_directory(before, after):
        old_names |= {name for name in (*change.changed, *change.retracted) if name[0] in _READ}
        new_names |= {name for name in (*change.changed, *change.added) if name[0] in _READ}
    if not old_names and not new_names:
        return NetworkChanges()
    old, new = _Side.of(before, old_names), _Side.of(after, new_names)
    # A provider may be in a network by unchanged roles as well: then less changed than these say.
    touched = None if old.plans != new.plans else old.differing(new)
    same = _unchanged(after, new_names, touched)
    old.add(same, touched)
    new.add(same, touched)
    plans = [_of_plan(plan, old, new) for plan in sorted(old.plans.keys() | new.plans.keys())]
    drafts = [draft for draft in (*_of_networks(old, new), *plans) if draft.is_change]
    names = _named(
        (after, before), {reference for draft in drafts for reference in draft.mentioned}
    )
    changes = sorted((draft.made(names) for draft in drafts), key=lambda change: change.sort_key)
    return NetworkChanges(
        [change for change in changes if not change.is_plan],
        [change for change in changes if change.is_plan],
    )


@dataclass(slots=True)
class _Side:
    """Memberships and plans that some resources of one release state.

    Attributes:
        members: provider -> network -> places.
        plans: plan -> networks.
    """

    members: dict[str, dict[str, set[str]]] = field(default_factory=dict)
    plans: dict[str, frozenset[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, release: Release, names: AbstractSet[Name]) -> _Side:
        """Return what resources of these names say."""
        side = cls()
        for resource in _read(release, names):
            side.take(resource)
        return side

    def take(self, resource: Json) -> None:
        """Add what a resource says."""
        if resource["resourceType"] == _PLAN:
            self.plans[f"{_PLAN}/{resource['id']}"] = frozenset(stated_networks(resource))
            return
        provider, networks, places = _membership(resource)
        for network in networks if provider else ():
            of_provider = self.members.setdefault(provider, {})
            of_provider.setdefault(network, set()).update(places)

    def differing(self, other: _Side) -> set[str]:
        """Return the providers whose memberships differ."""
        before, after = self.members, other.members
        providers = before.keys() | after.keys()
        return {name for name in providers if before.get(name) != after.get(name)}

    def add(self, same: _Side, touched: AbstractSet[str] | None) -> None:
        """Add what both releases say, and drop providers that are the same in both."""
        if touched is not None:
            self.members = {
                provider: networks
                for provider, networks in self.members.items()
                if provider in touched
            }
        for provider, networks in same.members.items():
            of_provider = self.members.setdefault(provider, {})
            for network, places in networks.items():
                of_provider.setdefault(network, set()).update(places)
        self.plans |= same.plans

    def of_plan(self, plan: str) -> dict[str, frozenset[str]]:
        """Return the providers of a plan: provider -> networks of the plan that it is in."""
        networks = self.plans.get(plan, frozenset())
        shared = {provider: networks & there.keys() for provider, there in self.members.items()}
        return {provider: of_both for provider, of_both in shared.items() if of_both}


def _membership(resource: Json) -> tuple[str, list[str], list[str]]:
    """Return the provider, the networks and the places of a role or affiliation."""
    networks = [*stated_networks(resource)]
    places = _references(resource.get("location", ()))
    if resource["resourceType"] == _AFFILIATION:
        grants = _references([resource.get("organization", {})])
        provider = _references([resource.get("participatingOrganization", {})])
        return "".join(provider), networks, places + grants
    person, group = (
        "".join(_references([resource.get(name, {})])) for name in ("practitioner", "organization")
    )
    return person or group, networks, places + ([group] if person and group else [])


def _references(values: Iterable[Json]) -> list[str]:
    return [value["reference"] for value in values if "reference" in value]


def _read(release: Release, names: AbstractSet[Name]) -> Iterator[Json]:
    """Yield resources by name, in no order; those that the release has not are left out."""
    by_shard: dict[str, tuple[CatalogEntry, list[Name]]] = {}
    for name in sorted(names):
        unit = release.directory_unit(*name)
        if unit is not None and unit.block is not None:
            by_shard.setdefault(unit.id, (unit, []))[1].append(name)

    def resources_of(shard: tuple[CatalogEntry, list[Name]]) -> list[Json]:
        index = open_index(release.store, shard[0])
        index.load("ids")
        rows = [row for name in shard[1] if (row := index.row_of(*name)) is not None]
        lines = read_rows(release.store, index, rows).values()
        return [loads(line, release.store.name) for line in lines]

    for resources in map_concurrently(release.store, resources_of, by_shard.values()):
        yield from resources


def _unchanged(
    release: Release, changed: AbstractSet[Name], touched: AbstractSet[str] | None
) -> _Side:
    """Return what the other resources of a release say of some providers, or of all, and plans."""
    wanted = None if touched is None else {provider.encode() for provider in touched}

    def resources_of(unit: CatalogEntry) -> list[Json]:
        index = open_index(release.store, unit)
        index.load("ids")
        rows = [
            row
            for name in _READ
            for row in index.types.get(name, ())
            if (name, index.ids[row]) not in changed
        ]
        lines = read_rows(release.store, index, rows)
        plans = index.types.get(_PLAN, ())
        return [
            loads(line, release.store.name)
            for row, line in lines.items()
            if wanted is None or row in plans or not wanted.isdisjoint(_PROVIDER.findall(line))
        ]

    side = _Side()
    units = [unit for unit in release.manifest.directory if unit is not None and unit.block]
    for resources in map_concurrently(release.store, resources_of, units):
        for resource in resources:
            if (
                touched is None
                or resource["resourceType"] == _PLAN
                or _membership(resource)[0] in touched
            ):
                side.take(resource)
    return side


def _of_networks(old: _Side, new: _Side) -> list[_Draft]:
    drafts: dict[str, _Draft] = {}
    for provider in sorted(old.members.keys() | new.members.keys()):
        was, now = old.members.get(provider, {}), new.members.get(provider, {})
        gone, come = sorted(was.keys() - now.keys()), sorted(now.keys() - was.keys())
        for network in sorted(was.keys() | now.keys()):
            draft = drafts.setdefault(network, _Draft(network))
            if network in come:
                draft.joined.append((provider, gone, []))
            elif network in gone:
                draft.left.append((provider, [], come))
            elif was[network] != now[network]:
                places = sorted(was[network] - now[network]), sorted(now[network] - was[network])
                draft.moved.append((provider, *places))
    return list(drafts.values())


def _of_plan(plan: str, old: _Side, new: _Side) -> _Draft:
    before, after = (side.plans.get(plan, frozenset[str]()) for side in (old, new))
    draft = _Draft(plan, networks=(sorted(before - after), sorted(after - before)))
    was, now = old.of_plan(plan), new.of_plan(plan)
    for provider in sorted(was.keys() | now.keys()):
        left, came = was.get(provider, frozenset()), now.get(provider, frozenset())
        moves = draft.moved if left and came else draft.left if left else draft.joined
        if left != came:
            moves.append((provider, sorted(left - came), sorted(came - left)))
    return draft


_Move = tuple[str, list[str], list[str]]


@dataclass(slots=True)
class _Draft:
    """`ProviderChanges` by references."""

    of: str
    joined: list[_Move] = field(default_factory=list)
    left: list[_Move] = field(default_factory=list)
    moved: list[_Move] = field(default_factory=list)
    networks: tuple[list[str], list[str]] = field(default_factory=lambda: ([], []))

    @property
    def is_change(self) -> bool:
        return bool(self.joined or self.left or self.moved or any(self.networks))

    @property
    def mentioned(self) -> Iterator[str]:
        yield self.of
        for references in self.networks:
            yield from references
        for provider, before, after in (*self.joined, *self.left, *self.moved):
            yield from (provider, *before, *after)

    def made(self, names: Mapping[str, NamedResource]) -> ProviderChanges:
        def all_of(references: Iterable[str]) -> list[NamedResource]:
            named = (names[reference] for reference in references)
            return sorted(named, key=lambda resource: resource.sort_key)

        def moves(drafted: Iterable[_Move]) -> list[MovedProvider]:
            providers = [
                MovedProvider(
                    **msgspec.structs.asdict(names[provider]),
                    before=all_of(before),
                    after=all_of(after),
                )
                for provider, before, after in drafted
            ]
            return sorted(providers, key=lambda moved: moved.sort_key)

        removed, added = self.networks
        return ProviderChanges(
            **msgspec.structs.asdict(names[self.of]),
            networks=PlanNetworks(all_of(removed), all_of(added))
            if removed or added
            else msgspec.UNSET,
            added=moves(self.joined),
            left=moves(self.left),
            moved=moves(self.moved),
        )


def _named(releases: Sequence[Release], references: AbstractSet[str]) -> dict[str, NamedResource]:
    """Return the names of resources, each from the first release that has it."""
    names: dict[str, NamedResource] = {}
    for release in releases:
        missing = {_split(reference) for reference in references if reference not in names}
        for resource in _read(release, missing):
            named = _named_resource(resource)
            names[named.reference] = named
    return {
        reference: names.get(reference, NamedResource(reference, reference))
        for reference in references
    }


def _split(reference: str) -> Name:
    kind, _, logical_id = reference.partition("/")
    return kind, logical_id


def _named_resource(resource: Json) -> NamedResource:
    reference = f"{resource['resourceType']}/{resource['id']}"
    name = resource.get("name") or reference
    if not isinstance(name, str):  # a person's
        name = next((part["text"] for part in name if "text" in part), reference)
    identifiers = resource.get("identifier", ())
    npis = (each["value"] for each in identifiers if each.get("system") == _NPI)
    return NamedResource(reference, name, next(npis, msgspec.UNSET))
