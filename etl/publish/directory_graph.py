"""References between the resources of a provider directory, and the plans of its contracts."""

from __future__ import annotations

import hashlib
import re
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from etl.publish.block import REFERENCE
from etl.publish.canonical_json import JSON, loads

PLAN_FINDER_TYPES: Final = (
    *("InsurancePlan", "Organization", "Practitioner"),
    *("PractitionerRole", "Location", "OrganizationAffiliation"),
)
"""Types of Plan Finder files, in the order in which an index lists them."""
MA_PLAN_ID: Final = "http://cms.gov/medicare/ma-plan-id"
"""System of `contract-plan-segment` (Plan-Net 1.2.0, InsurancePlan.identifier:MA-PLAN-ID)."""
NAME_HASH_BITS: Final = 64
"""Bits of a name hash that are compared."""
HASH_BYTES: Final = 16
"""Stored bytes of the SHA-256 of a resource's JSON."""

_NETWORK: Final = (
    "http://hl7.org/fhir/us/davinci-pdex-plan-net/StructureDefinition/network-reference"
)
"""Extension of a PractitionerRole: the network that the role is in."""
_CONTRACT: Final = re.compile(r"([A-Za-z0-9]{1,16})-")
_YEAR: Final = re.compile(r"\d{4}(?=-|$)")


@dataclass(frozen=True, slots=True)
class ContractPlans:
    """The plans of one contract in one year.

    Attributes:
        plans: numbers of its InsurancePlans.
        networks: numbers of the Organizations that are their networks.
    """

    plans: set[int] = field(default_factory=set)
    networks: set[int] = field(default_factory=set)


class DirectoryGraph:
    """References between the resources of a directory, by number.

    Attributes:
        names: `Type/id` by number.
        name_hashes: the first 64 bits of each name's SHA-256; 0 for a missing resource.
        sizes: bytes of each as JSON; 0 for a missing resource.
        plans: contract and year → its plans.
    """

    def __init__(self) -> None:
        self.names: list[bytes] = []
        self.name_hashes = array("Q")
        self.sizes = array("L")
        self.plans: dict[tuple[str, str], ContractPlans] = {}
        self._numbers: dict[bytes, int] = {}
        self._hashes = bytearray()
        self._networks_by_role: dict[int, tuple[int, ...]] = {}
        self._by_type: dict[str, array[int]] = {}
        self._targets = array("L")
        self._starts = array("L")
        self._ends = array("L")

    def add(self, reference: bytes, name_hash: bytes, line: bytes) -> int:
        """Add a resource and its references to the graph; return its number.

        Args:
            reference: `Type/id`; each resource once, in order of the name hash.
            name_hash: SHA-256 of the reference.
            line: the resource as JSON.
        """
        number = self._number_of(reference)
        self.name_hashes[number] = int.from_bytes(name_hash[: NAME_HASH_BITS // 8])
        self.sizes[number] = len(line)
        digest = hashlib.sha256(line).digest()[:HASH_BYTES]
        self._hashes[number * HASH_BYTES : (number + 1) * HASH_BYTES] = digest
        self._starts[number] = len(self._targets)
        references = set(REFERENCE.findall(line))
        if references <= self._numbers.keys():  # most resources: saves a call per reference
            self._targets.extend(map(self._numbers.__getitem__, references))
        else:
            self._targets.extend(map(self._number_of, references))
        self._ends[number] = len(self._targets)
        resource_type = reference[: reference.index(b"/")].decode()
        type_numbers = self._by_type.get(resource_type)
        if type_numbers is None:
            type_numbers = self._by_type[resource_type] = array("L")
        type_numbers.append(number)
        match resource_type:
            case "InsurancePlan":
                plan = loads(line, "a plan")
                for key in contract_years(plan):
                    plans = self.plans.setdefault(key, ContractPlans())
                    plans.plans.add(number)
                    plans.networks.update(self._network_numbers(plan))
            case "PractitionerRole" | "OrganizationAffiliation":
                self._networks_by_role[number] = tuple(self._network_numbers(loads(line, "a role")))
            case _:
                pass
        return number

    def _network_numbers(self, resource: JSON) -> Iterator[int]:
        return (self._number_of(reference.encode()) for reference in stated_networks(resource))

    def _number_of(self, reference: bytes) -> int:
        """Return the number of a reference; number it if it is new."""
        number = self._numbers.get(reference)
        if number is None:
            number = self._numbers[reference] = len(self.names)
            self.names.append(reference)
            self._hashes += bytes(HASH_BYTES)
            for column in (self.name_hashes, self.sizes, self._starts, self._ends):
                column.append(0)
        return number

    @property
    def types(self) -> Iterable[str]:
        """Types of the resources."""
        return self._by_type.keys()

    def of_type(self, resource_type: str) -> array[int]:
        """Return the resources of a type, ordered by name hash."""
        return self._by_type.get(resource_type, array("L"))

    def content_hashes(self, numbers: Iterable[int]) -> bytes:
        """Return the content hashes of some resources, concatenated."""
        hashes = self._hashes
        return b"".join(
            [hashes[number * HASH_BYTES : (number + 1) * HASH_BYTES] for number in numbers]
        )

    def of_plans(self, plans: ContractPlans) -> bytearray:
        """Flag, by number, the resources of plans: networks, their roles, and their targets.

        Roles and affiliations belong to the networks that they state. Their references are followed
        through the types of Plan Finder files.
        """
        selected, followed = bytearray(len(self.names)), bytearray(len(self.names))
        for resource_type in PLAN_FINDER_TYPES:
            for number in self.of_type(resource_type):
                followed[number] = 1
        network_roles = (
            number
            for number, stated_numbers in self._networks_by_role.items()
            if not plans.networks.isdisjoint(stated_numbers)
        )
        pending = [*plans.plans, *plans.networks, *network_roles]
        while pending:
            number = pending.pop()
            if followed[number] and not selected[number]:
                selected[number] = 1
                pending.extend(self._targets[self._starts[number] : self._ends[number]])
        return selected


def contract_years(plan: JSON) -> list[tuple[str, str]]:
    """Return contract and year of an InsurancePlan's Medicare Advantage identifiers.

    The year comes from the identifier's period, or else from the start of the plan.
    Identifiers without a contract or a year are left out.
    """
    years = []
    for identifier in plan.get("identifier", ()):
        contract_match = _CONTRACT.match(identifier.get("value", ""))
        period = identifier.get("period") or plan.get("period") or {}
        year_match = _YEAR.match(period.get("start", ""))
        if identifier.get("system") == MA_PLAN_ID and contract_match and year_match:
            years.append((contract_match[1], year_match[0]))
    return years


def stated_networks(resource: JSON) -> Iterator[str]:
    """Yield the networks that a resource states: `Organization/id`.

    They are those of an InsurancePlan and its plans, of an OrganizationAffiliation, or the one
    of a PractitionerRole. A network that patients must come from is not included.
    """
    for element in (resource, *resource.get("plan", ())):
        for network in element.get("network", ()):
            if "reference" in network:
                yield network["reference"]
    for extension in resource.get("extension", ()):
        if extension["url"] == _NETWORK and "reference" in extension.get("valueReference", {}):
            yield extension["valueReference"]["reference"]
