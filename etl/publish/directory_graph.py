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
PLACE_BITS: Final = 64
"""Bits of a place that are compared."""
MARK: Final = 16
"""Bytes of a mark: the beginning of the SHA-256 of a resource's JSON."""

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
        places: the first 64 bits of each one's place; 0 where there is no such resource.
        sizes: bytes of each as JSON; 0 where there is no such resource.
        plans: contract and year → its plans.
    """

    def __init__(self) -> None:
        self.names: list[bytes] = []
        self.places = array("Q")
        self.sizes = array("L")
        self.plans: dict[tuple[str, str], ContractPlans] = {}
        self._numbers: dict[bytes, int] = {}
        self._marks = bytearray()
        self._in_networks: dict[int, tuple[int, ...]] = {}
        self._by_type: dict[str, array[int]] = {}
        self._targets = array("L")
        self._begins = array("L")
        self._ends = array("L")

    def add(self, name: bytes, place: bytes, line: bytes) -> int:
        """Note a resource with all that it refers to; return its number.

        Args:
            name: `Type/id`; each once, in order of place.
            place: SHA-256 of it.
            line: the resource as JSON.
        """
        number = self._number(name)
        self.places[number] = int.from_bytes(place[: PLACE_BITS // 8])
        self.sizes[number] = len(line)
        self._marks[number * MARK : (number + 1) * MARK] = hashlib.sha256(line).digest()[:MARK]
        self._begins[number] = len(self._targets)
        references = set(REFERENCE.findall(line))
        if references <= self._numbers.keys():  # the most: without a call for each
            self._targets.extend(map(self._numbers.__getitem__, references))
        else:
            self._targets.extend(map(self._number, references))
        self._ends[number] = len(self._targets)
        kind = name[: name.index(b"/")].decode()
        of_type = self._by_type.get(kind)
        if of_type is None:
            of_type = self._by_type[kind] = array("L")
        of_type.append(number)
        match kind:
            case "InsurancePlan":
                plan = loads(line, "a plan")
                for key in contract_years(plan):
                    plans = self.plans.setdefault(key, ContractPlans())
                    plans.plans.add(number)
                    plans.networks.update(self._networks(plan))
            case "PractitionerRole" | "OrganizationAffiliation":
                self._in_networks[number] = tuple(self._networks(loads(line, "a role")))
            case _:
                pass
        return number

    def _networks(self, resource: JSON) -> Iterator[int]:
        return (self._number(name.encode()) for name in stated_networks(resource))

    def _number(self, name: bytes) -> int:
        number = self._numbers.get(name)
        if number is None:
            number = self._numbers[name] = len(self.names)
            self.names.append(name)
            self._marks += bytes(MARK)
            for column in (self.places, self.sizes, self._begins, self._ends):
                column.append(0)
        return number

    @property
    def types(self) -> Iterable[str]:
        """The types that there are resources of."""
        return self._by_type.keys()

    def of_type(self, kind: str) -> array[int]:
        """Return the resources of a type, ordered by place."""
        return self._by_type.get(kind, array("L"))

    def marks(self, numbers: Iterable[int]) -> bytes:
        """Return the marks of some resources, one after the other."""
        marks = self._marks
        return b"".join([marks[number * MARK : (number + 1) * MARK] for number in numbers])

    def of_plans(self, plans: ContractPlans) -> bytearray:
        """Return flags by number: plans, their networks, what belongs to these, and what it names.

        Roles and affiliations belong to the networks that they state. What they name is followed
        through the types of Plan Finder files.
        """
        chosen, followed = bytearray(len(self.names)), bytearray(len(self.names))
        for kind in PLAN_FINDER_TYPES:
            for number in self.of_type(kind):
                followed[number] = 1
        members = (
            number
            for number, stated in self._in_networks.items()
            if not plans.networks.isdisjoint(stated)
        )
        waiting = [*plans.plans, *plans.networks, *members]
        while waiting:
            number = waiting.pop()
            if followed[number] and not chosen[number]:
                chosen[number] = 1
                waiting.extend(self._targets[self._begins[number] : self._ends[number]])
        return chosen


def contract_years(plan: JSON) -> list[tuple[str, str]]:
    """Return contract and year of each Medicare Advantage identifier of an InsurancePlan.

    The year is that of the identifier's period; without one, that in which the plan begins.
    Identifiers without a contract or a year are left out.
    """
    years = []
    for identifier in plan.get("identifier", ()):
        contract = _CONTRACT.match(identifier.get("value", ""))
        period = identifier.get("period") or plan.get("period") or {}
        year = _YEAR.match(period.get("start", ""))
        if identifier.get("system") == MA_PLAN_ID and contract and year:
            years.append((contract[1], year[0]))
    return years


def stated_networks(resource: JSON) -> Iterator[str]:
    """Yield the networks that a resource states: `Organization/id`.

    They are those of an InsurancePlan and of its plans, of an OrganizationAffiliation, or the one
    of a PractitionerRole; a network that patients have to come from is none.
    """
    for part in (resource, *resource.get("plan", ())):
        for network in part.get("network", ()):
            if "reference" in network:
                yield network["reference"]
    for extension in resource.get("extension", ()):
        if extension["url"] == _NETWORK and "reference" in extension.get("valueReference", {}):
            yield extension["valueReference"]["reference"]
