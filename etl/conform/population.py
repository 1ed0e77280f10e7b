"""Checks across resources: references, ids, and the member that a coverage is about.

Every distinct reference is followed once and reported at its first occurrence, so memory grows with
the number of resource IDs, not with the size of the population.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from etl.conform.findings import ConformFinding, fixed_rule
from etl.conform.json_elements import entries, is_local, target_of


@dataclass(frozen=True, slots=True)
class Occurrence:
    """The first occurrence of a reference or resource."""

    file: str
    line: int | None
    path: str
    profile: str

    def finding(self, rule_id: str) -> ConformFinding:
        """Return the finding of a fixed rule at this position."""
        rule = fixed_rule(rule_id)
        return ConformFinding(
            self.file, self.line, self.path, self.profile, rule.id, rule.severity, rule.text
        )


@dataclass(slots=True)
class Population:
    """All resources of a check, as far as they relate to each other.

    Attributes:
        known_references: `Type/id` of all resources, and fullUrls of Bundle entries.
        types: FHIR types that occur.
        unresolved_references: reference -> first occurrence, if its target was unknown then.
        beneficiaries: `Coverage/id` -> reference of its beneficiary.
        payors: `Coverage/id` -> reference of its first payor.
        covered_patients: (coverage, patient) of every EOB -> first occurrence; one is enough.
        coverage_insurers: (focal coverage, insurer) of every EOB -> first occurrence.
    """

    known_references: set[str] = field(default_factory=set)
    types: set[str] = field(default_factory=set)
    unresolved_references: dict[str, Occurrence] = field(default_factory=dict)
    beneficiaries: dict[str, str] = field(default_factory=dict)
    payors: dict[str, str] = field(default_factory=dict)
    covered_patients: dict[tuple[str, str], Occurrence] = field(default_factory=dict)
    coverage_insurers: dict[tuple[str, str], Occurrence] = field(default_factory=dict)

    def add(
        self,
        resource: dict[str, Any],
        references: tuple[str, ...],
        occurrence: Occurrence,
        full_url: str = "",
    ) -> Iterator[ConformFinding]:
        """Add one resource; yield the findings about its id.

        Args:
            resource: a resource of a checked type.
            references: the literal references that it holds.
            occurrence: the resource's position; its path is the resource's own.
            full_url: the fullUrl of its Bundle entry, or empty.
        """
        resource_type = resource["resourceType"]
        self.types.add(resource_type)
        if full_url:
            self.known_references.add(full_url)
        logical_id = resource.get("id")
        if type(logical_id) is str:
            key = f"{resource_type}/{logical_id}"
            if key in self.known_references:
                yield occurrence.finding("id-duplicate")
            self.known_references.add(key)
            if resource_type == "Coverage":
                self._add_coverage(key, resource)
        if resource_type == "ExplanationOfBenefit":
            self._add_claim(resource, occurrence)
        for reference in references:
            target = resolvable_target(reference)
            if (
                target
                and target not in self.known_references
                and target not in self.unresolved_references
            ):
                path = path_of(resource, reference)
                location = f"{occurrence.path}.{path}" if path else occurrence.path
                self.unresolved_references[target] = Occurrence(
                    occurrence.file, occurrence.line, location, occurrence.profile
                )

    def _add_coverage(self, key: str, coverage: dict[str, Any]) -> None:
        for beneficiary in entries(coverage, "beneficiary"):
            if target := _population_target(beneficiary):
                self.beneficiaries[key] = target
        for payor in list(entries(coverage, "payor"))[:1]:
            if target := _population_target(payor):
                self.payors[key] = target

    def _add_claim(self, claim: dict[str, Any], occurrence: Occurrence) -> None:
        patient, insurer = (
            _population_target(claim.get("patient")),
            _population_target(claim.get("insurer")),
        )
        for index, insurance in enumerate(entries(claim, "insurance")):
            coverage = (
                _population_target(insurance.get("coverage")) if type(insurance) is dict else None
            )
            if coverage is None:
                continue
            location = f"{occurrence.path}.insurance[{index}].coverage"
            coverage_occurrence = Occurrence(
                occurrence.file, occurrence.line, location, occurrence.profile
            )
            if patient is not None:
                self.covered_patients.setdefault((coverage, patient), coverage_occurrence)
            if insurer is not None and insurance.get("focal") is True:
                self.coverage_insurers.setdefault((coverage, insurer), coverage_occurrence)

    def findings(self, *, is_complete: bool) -> Iterator[ConformFinding]:
        """Yield the findings across resources, once all have been added.

        Args:
            is_complete: the input has all resources, so every relative reference must resolve;
                otherwise only references to types that occur in it are checked.
        """
        for reference, occurrence in self.unresolved_references.items():
            target = target_of(reference)
            resource_type = target[0] if target else ""
            if reference not in self.known_references and (
                is_complete or not resource_type or resource_type in self.types
            ):
                yield occurrence.finding("reference-unresolved")
        for (coverage, patient), occurrence in self.covered_patients.items():
            if self.beneficiaries.get(coverage, patient) != patient:
                yield occurrence.finding("patient-not-beneficiary")
        for (coverage, insurer), occurrence in self.coverage_insurers.items():
            if self.payors.get(coverage, insurer) != insurer:
                yield occurrence.finding("focal-payor")


def resolvable_target(reference: str) -> str | None:
    """Return the resource or entry that a reference needs; None if it isn't checked.

    A relative reference must name a resource of the population, an urn an entry of a Bundle. A
    reference with a server's address may point anywhere.
    """
    if reference.startswith("urn:"):
        return reference
    target = target_of(reference)
    if target is None or "://" in reference:
        return None
    return f"{target[0]}/{target[1]}"


def _population_target(reference: Any) -> str | None:
    """Return a Reference's target within the population, or None."""
    text = reference.get("reference") if type(reference) is dict else None
    return resolvable_target(text) if type(text) is str and not is_local(text) else None


def path_of(value: Any, reference: str) -> str:
    """Return the FHIRPath of the first Reference with a text, relative to the resource."""
    if type(value) is dict:
        if value.get("reference") == reference:
            return "reference"
        for name, inner in value.items():
            parts = enumerate(inner) if type(inner) is list else [(None, inner)]
            for index, list_item in parts:
                path_below = path_of(list_item, reference)
                if path_below:
                    location = name if index is None else f"{name}[{index}]"
                    return f"{location}.{path_below}"
    return ""
