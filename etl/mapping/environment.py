"""External dependencies of a plan when it runs: ids, crosswalks, the provider directory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from etl.model import logical_ids
from etl.model.crosswalks import Crosswalk

ProviderType: TypeAlias = Literal["Organization", "Practitioner"]


@dataclass(frozen=True, slots=True)
class Provider:
    """The directory's resource of an id.

    Attributes:
        resource: FHIR type.
        key: its business key: organization_id or practitioner_id.
    """

    resource: ProviderType
    key: str


@dataclass(frozen=True, slots=True)
class Environment:
    """Values that are the same for every row of a run.

    Attributes:
        payer: the payer's id; part of every logical id.
        id_key: key of the hash behind logical ids, at most 64 bytes. Not printed.
        crosswalks: by name.
        providers: organization_id, practitioner_id or NPI -> all that the directory holds under it.
    """

    payer: str
    id_key: bytes
    crosswalks: Mapping[str, Crosswalk]
    providers: Mapping[str, tuple[Provider, ...]]

    def __repr__(self) -> str:
        return f"Environment(payer={self.payer!r})"

    def salt(self, resource: str) -> bytes:
        """Return what goes before the business key of a resource type when it is hashed."""
        return logical_ids.salt(self.payer, resource)

    def logical_id(self, resource: str, key: str) -> str:
        """Return the logical id of the resource of that type and business key."""
        return logical_ids.logical_id(self.payer, self.id_key, resource, key)

    def provider(self, key: str, resource: ProviderType, *, only: bool) -> Provider:
        """Return the provider that a claim means by an id or NPI.

        Args:
            key: what the claim says.
            resource: the type that is meant where the directory holds nothing under the id.
            only: the type is meant whatever the directory holds.
        """
        providers = self.providers.get(key, ())
        meant = next((candidate for candidate in providers if candidate.resource == resource), None)
        if meant is not None:
            return meant
        return Provider(resource, key) if only or not providers else providers[0]
