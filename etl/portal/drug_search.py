"""Drug search for people, by the Drug Formulary API's own search."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final
from urllib.parse import urlencode

from etl.documents.packaged_toml import read_beside
from etl.errors import StoreError
from etl.gateway.http.responses import FhirError
from etl.portal.public_search import (
    FoundPage,
    Json,
    Parameters,
    PublicSearch,
    escaped,
    extension_values,
    included_in,
    next_page,
    reference_to,
    resolved,
    resources_in,
)

_ITEM: Final = "Basic"
_PLAN: Final = "InsurancePlan"
_LONGEST: Final = 100
_PAGE_SIZE: Final = "50"
_OPTIONS: Final[Mapping[str, str]] = read_beside(__file__, "cost_share.toml")


@dataclass(frozen=True, slots=True)
class DrugQuery:
    """A person's search; fields that were left out are empty.

    Attributes:
        plan: reference of a plan or formulary.
        drug: words in the drug's name.
        page: page link of an earlier answer; empty for the first page.
    """

    plan: str = ""
    drug: str = ""
    page: str = ""

    @classmethod
    def of(cls, values: Mapping[str, str]) -> DrugQuery:
        """Return the query of a form's values; what is too long is cut."""
        plan, drug = (values.get(name, "").strip()[:_LONGEST] for name in ("plan", "drug"))
        return cls(plan, drug, values.get("page", ""))

    @property
    def is_empty(self) -> bool:
        """Whether nothing was asked for."""
        return not (self.plan or self.drug)

    def address(self, page: str = "") -> str:
        """Return the query part of the page's URL, with a page link or without."""
        values = {"plan": self.plan, "drug": self.drug, "page": page}
        return urlencode({name: value for name, value in values.items() if value})


@dataclass(frozen=True, slots=True)
class DrugListing:
    """A drug in a formulary, in words.

    Attributes:
        name: of the drug.
        formulary: name of the formulary.
        status: such as `draft`, of the item or its formulary; empty if both are active.
        tier: its tier.
        rules: what applies before the plan pays -> whether it does.
        pharmacies: where it is covered.
        costs: kind of pharmacy, and what members pay there.
        information: anything else.
        url: of the resource.
    """

    name: str
    formulary: str
    status: str
    tier: str
    rules: Mapping[str, str]
    pharmacies: Sequence[str]
    costs: Sequence[tuple[str, str]]
    information: str
    url: str


@dataclass
class DrugSearch(PublicSearch):
    """Searches drug formularies of the payer."""

    _plans: tuple[str, Mapping[str, str]] = ("", {})

    async def plans(self) -> Mapping[str, str]:
        """Return the names of plans by reference; of formularies if there are no plans."""
        try:
            tree = self.releases.current()
            if self._plans[0] != tree.id:
                names = await self._names("coverage-type") or await self._names("type")
                self._plans = (tree.id, dict(sorted(names.items(), key=lambda plan: plan[1])))
        except (StoreError, FhirError):  # nothing was published yet
            return {}
        return self._plans[1]

    async def _names(self, parameter: str) -> dict[str, str]:
        found = self.every(_PLAN, [(parameter, "DRUGPOL")])
        return {
            reference_to(plan): plan.get("name") or plan["identifier"][0]["value"]
            async for plan in found
        }

    async def find(self, query: DrugQuery) -> FoundPage[DrugListing]:
        """Return a page of the drugs that match a query, or the problem in a sentence."""
        return await self.answered(self._find(query), is_later_page=bool(query.page))

    async def _find(self, query: DrugQuery) -> FoundPage[DrugListing]:
        plan = await self._plan(query.plan)
        if plan is None or not query.drug:
            return FoundPage(problem="Please choose a plan, and enter the name of a drug.")
        if query.page:
            bundle = await self.page(query.page)
        else:
            bundle = await self.search(_ITEM, _parameters(plan, query.drug))
        included = included_in(bundle)
        drugs = [self._listing(item, plan, included) for item in resources_in(bundle, "match")]
        return FoundPage(drugs, bundle.get("total"), next_page(bundle))

    async def _plan(self, reference: str) -> Json | None:
        if reference not in await self.plans():
            return None
        bundle = await self.search(_PLAN, [("_id", reference.rpartition("/")[2])])
        return next(iter(resources_in(bundle, "match")), None)

    def _listing(self, item: Json, plan: Json, included: Mapping[str, Json]) -> DrugListing:
        drugs = resolved(included, item["subject"])
        formularies = resolved(included, *_values(item, "FormularyReference", "valueReference"))
        tier: Json = next(iter(_values(item, "DrugTierID", "valueCodeableConcept")), {})
        statuses = [*_values(item, "AvailabilityStatus", "valueCode")]
        statuses += [formulary["status"] for formulary in formularies]
        information = _values(item, "AdditionalCoverageInformation", "valueMarkdown")
        limits = _values(item, "QuantityLimit", "valueBoolean")
        return DrugListing(
            name=next((_words(drug["code"]) for drug in drugs), "Name not published"),
            formulary=next((formulary.get("name", "") for formulary in formularies), ""),
            status=next((status for status in statuses if status != "active"), ""),
            tier=_words(tier),
            rules={
                "Prior authorization": _needed(item, "PriorAuthorization"),
                "Step therapy": _needed(item, "StepTherapyLimit"),
                "Quantity limit": _limit(item) or _answer(limits, "Yes", "No"),
            },
            pharmacies=[
                _words(kind)
                for kind in _values(item, "PharmacyBenefitType", "valueCodeableConcept")
            ],
            costs=list(_costs(plan, tier)),
            information=next(iter(information), ""),
            url=f"{self.base}/{reference_to(item)}",
        )


def _parameters(plan: Json, drug: str) -> Parameters:
    """Return the FHIR search parameters for a drug in the formularies of a plan."""
    references = [
        value["reference"]
        for coverage in plan.get("coverage", ())
        for value in _values(coverage, "FormularyReference", "valueReference")
    ]
    formularies = ",".join(references or [reference_to(plan)])
    name = "subject:MedicationKnowledge.drug-name:contains"
    return [
        ("formulary", formularies),
        *((name, escaped(word)) for word in drug.split()),
        ("_include", f"{_ITEM}:subject"),
        ("_include", f"{_ITEM}:formulary"),
        ("_count", _PAGE_SIZE),
    ]


def _values(resource: Json, name: str, value: str) -> list:  # type: ignore[type-arg]
    return extension_values(resource, f"usdf-{name}-extension", value)


def _words(concept: Json) -> str:
    """Return the name of a concept's first code, or the code."""
    coding: Json = next(iter(concept.get("coding", ())), {})
    return str(coding.get("display") or coding.get("code", ""))


def _answer(flags: Sequence[bool], yes: str, no: str) -> str:
    return (yes if flags[0] else no) if flags else "Not stated"


def _needed(item: Json, name: str) -> str:
    only_starts = _values(item, f"{name}NewStartsOnly", "valueBoolean")
    yes = "Yes, if you start to take the drug" if only_starts[:1] == [True] else "Yes"
    return _answer(_values(item, name, "valueBoolean"), yes, "No")


def _limit(item: Json) -> str:
    """Return the details of a quantity limit; empty if there are none."""
    parts = {
        part["url"]: part
        for extension in item.get("extension", ())
        if extension["url"].endswith("/usdf-QuantityLimitDetail-extension")
        for part in extension["extension"]
    }
    texts = [parts["Description"]["valueString"]] if "Description" in parts else []
    if "Rolling" in parts:
        repeat = parts["Rolling"]["valueTiming"]["repeat"]
        texts.append(f"{repeat['count']} in {repeat['period']} days")
    if "MaximumDaily" in parts:
        texts.append(f"{parts['MaximumDaily']['valueQuantity']['value']} a day")
    if "DaysSupply" in parts:
        repeat = parts["DaysSupply"]["valueTiming"]["repeat"]
        span = repeat["boundsDuration"]["value"]
        texts.append(f"{repeat['count']} fill of {repeat['period']} days in {span} days")
    return "; ".join(texts)


def _costs(plan: Json, tier: Json) -> Iterator[tuple[str, str]]:
    """Yield each kind of pharmacy, and what members pay there for drugs of a tier."""
    for of_plan in plan.get("plan", ()):
        for kind in of_plan.get("specificCost", ()):
            for benefit in kind["benefit"]:
                if _code(benefit["type"]) == _code(tier):
                    yield _words(kind["category"]), " or ".join(map(_price, benefit["cost"]))


def _code(concept: Json) -> tuple[str, str]:
    coding: Json = next(iter(concept.get("coding", ())), {})
    return coding.get("system", ""), coding.get("code", "")


def _price(cost: Json) -> str:
    amount = Decimal(cost["value"]["value"])
    text = f"${amount:,.2f}" if cost["value"]["code"] == "USD" else f"{amount.normalize():f} %"
    option = cost["qualifiers"][0]["coding"][0]["code"]
    words = _OPTIONS.get(option, option)
    return f"{text}, {words}" if words else text
