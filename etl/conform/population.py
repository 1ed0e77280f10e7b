"""Checks across resources: references, ids, and the member that a coverage is about.

Every distinct reference is followed once. It is reported where it was first met, so that a whole
population is checked in memory that grows with its resources' ids, not with its bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from etl.conform.findings import ConformFinding, fixed_rule
from etl.conform.json_elements import entries, is_local, target_of


@dataclass(frozen=True, slots=True)
class Occurrence:
    """The place of a first occurrence."""

    file: str
    line: int | None
    path: str
    profile: str

    def finding(self, rule_id: str) -> ConformFinding:
        """Return the finding of a fixed rule at this place."""
        rule = fixed_rule(rule_id)
        return ConformFinding(
            self.file, self.line, self.path, self.profile, rule.id, rule.severity, rule.text
        )


@dataclass(slots=True)
class Population:
    """All resources of a check, as far as they relate to each other.

    Attributes:
        known: `Type/id` of every resource, and fullUrls of Bundle entries.
        types: FHIR types that occur.
        wanted: reference -> where it was met first, for those not known when met.
        beneficiaries: `Coverage/id` -> reference of its beneficiary.
        payors: `Coverage/id` -> reference of its first payor.
        covered: (coverage, patient) of every EOB -> where it was met first.
        paid: (focal coverage, insurer) of every EOB -> where it was met first.
    """

    known: set[str] = field(default_factory=set)
    types: set[str] = field(default_factory=set)
    wanted: dict[str, Occurrence] = field(default_factory=dict)
    beneficiaries: dict[str, str] = field(default_factory=dict)
    payors: dict[str, str] = field(default_factory=dict)
    covered: dict[tuple[str, str], Occurrence] = field(default_factory=dict)
    paid: dict[tuple[str, str], Occurrence] = field(default_factory=dict)

    def add(
        self,
        resource: dict[str, Any],
        references: tuple[str, ...],
        place: Occurrence,
        url: str = "",
    ) -> Iterator[ConformFinding]:
        """Add one resource; yield the findings about its id.

        Args:
            resource: of a type that is checked.
            references: the literal references that it holds.
            place: of the resource; its path is the resource's own.
            url: the fullUrl of its Bundle entry, or empty.
        """
        kind = resource["resourceType"]
        self.types.add(kind)
        if url:
            self.known.add(url)
        logical_id = resource.get("id")
        if type(logical_id) is str:
            key = f"{kind}/{logical_id}"
            if key in self.known:
                yield place.finding("id-duplicate")
            self.known.add(key)
            if kind == "Coverage":
                self._add_coverage(key, resource)
        if kind == "ExplanationOfBenefit":
            self._add_claim(resource, place)
        for reference in references:
            wanted = followed(reference)
            if wanted and wanted not in self.known and wanted not in self.wanted:
                path = path_of(resource, reference)
                location = f"{place.path}.{path}" if path else place.path
                self.wanted[wanted] = Occurrence(place.file, place.line, location, place.profile)

    def _add_coverage(self, key: str, coverage: dict[str, Any]) -> None:
        for beneficiary in entries(coverage, "beneficiary"):
            if target := _target(beneficiary):
                self.beneficiaries[key] = target
        for payor in list(entries(coverage, "payor"))[:1]:
            if target := _target(payor):
                self.payors[key] = target

    def _add_claim(self, claim: dict[str, Any], place: Occurrence) -> None:
        patient, insurer = _target(claim.get("patient")), _target(claim.get("insurer"))
        for index, insurance in enumerate(entries(claim, "insurance")):
            coverage = _target(insurance.get("coverage")) if type(insurance) is dict else None
            if coverage is None:
                continue
            location = f"{place.path}.insurance[{index}].coverage"
            here = Occurrence(place.file, place.line, location, place.profile)
            if patient is not None:
                self.covered.setdefault((coverage, patient), here)
            if insurer is not None and insurance.get("focal") is True:
                self.paid.setdefault((coverage, insurer), here)

    def findings(self, *, whole: bool) -> Iterator[ConformFinding]:
        """Yield the findings across resources, once all have been added.

        Args:
            whole: the input is all there is, so that every relative reference must resolve; if
                not, only references to types that occur in it are checked.
        """
        for reference, place in self.wanted.items():
            target = target_of(reference)
            kind = target[0] if target else ""
            if reference not in self.known and (whole or not kind or kind in self.types):
                yield place.finding("reference-unresolved")
        for (coverage, patient), place in self.covered.items():
            if self.beneficiaries.get(coverage, patient) != patient:
                yield place.finding("patient-not-beneficiary")
        for (coverage, insurer), place in self.paid.items():
            if self.payors.get(coverage, insurer) != insurer:
                yield place.finding("focal-payor")


def followed(reference: str) -> str | None:
    """Return what must be known for a reference to resolve; None where that is outside the check.

    A relative reference must name a resource of the population, an urn an entry of a Bundle. A
    reference with a server's address may point anywhere.
    """
    if reference.startswith("urn:"):
        return reference
    target = target_of(reference)
    if target is None or "://" in reference:
        return None
    return f"{target[0]}/{target[1]}"


def _target(reference: Any) -> str | None:
    """Return what a Reference points to within the population, or None."""
    text = reference.get("reference") if type(reference) is dict else None
    return followed(text) if type(text) is str and not is_local(text) else None


def path_of(value: Any, reference: str) -> str:
    """Return the FHIRPath, below a resource, of the first Reference that is written so."""
    if type(value) is dict:
        if value.get("reference") == reference:
            return "reference"
        for name, inner in value.items():
            parts = enumerate(inner) if type(inner) is list else [(None, inner)]
            for index, part in parts:
                path_below = path_of(part, reference)
                if path_below:
                    location = name if index is None else f"{name}[{index}]"
                    return f"{location}.{path_below}"
    return ""
