"""The codes, services, drugs, stays and plans of `codes.toml`."""

from __future__ import annotations

from typing import Final, NamedTuple

from etl.synth.names import read_toml


class BilledService(NamedTuple):
    """A service that is billed on a line.

    Attributes:
        code: HCPCS, CPT, CDT or HIPPS code.
        cents: usual charge for one unit.
        words: our own words for it; empty if a line goes without.
        revenue: NUBC revenue code on an institutional claim.
        modifiers: modifiers that may follow.
    """

    code: str
    cents: int
    words: str = ""
    revenue: str = ""
    modifiers: tuple[str, ...] = ()


class Drug(NamedTuple):
    """A drug as a pharmacy bills it: one fill, how many days it lasts, and its charge."""

    ndc: str
    unit: str
    quantity: str
    days: int
    cents: int
    brand: str


class Ailment(NamedTuple):
    """Reason for a visit to a doctor; services and drugs by their names."""

    diagnosis: tuple[str, ...]
    season: tuple[int, int, int, int]
    services: tuple[str, ...]
    drugs: tuple[str, ...]
    specialty: str = "primary"


class Stay(NamedTuple):
    """A stay in hospital; `operation` is a service."""

    diagnosis: tuple[str, ...]
    admitting: str
    procedures: tuple[str, ...]
    ms_drg: str
    apr_drg: str
    days: tuple[int, int]
    cents: int
    priority: str = "1"
    origin: str = "1"
    operation: tuple[str, int, str, str] | None = None
    external: tuple[str, ...] = ()


class Denial(NamedTuple):
    """Reasons for not paying a line: X12 group and reason, and a remark code or nothing."""

    group: str
    reason: str
    remark: str = ""


class HealthPlan(NamedTuple):
    """Benefits of a plan.

    Attributes:
        payer: organization id.
        kind: coverage type as the payer writes it.
        plan_id, name, network: as on the card.
        deductible: of a year, in cents.
        copay: of a visit, in cents.
        coinsurance: per cent that the member pays beyond copay and deductible.
        discount: per cent off the charges that the payer has agreed with its network.
    """

    payer: str
    kind: str
    plan_id: str
    name: str
    network: str
    deductible: int
    copay: int
    coinsurance: int
    discount: int


_DATA: Final = read_toml("codes")

SERVICES: Final[dict[str, tuple[BilledService, ...]]] = {
    name: tuple(BilledService(*service) for service in services)
    for name, services in _DATA["services"].items()
}
"""Name -> the services that one is drawn from."""
DRUGS: Final = {name: Drug(*entry) for name, entry in _DATA["drugs"].items()}
ACUTE: Final = tuple(Ailment(*entry) for entry in _DATA["ailments"]["acute"])
CHRONIC: Final = tuple(Ailment(*entry) for entry in _DATA["ailments"]["chronic"])
STAYS: Final = {name: Stay(**entry) for name, entry in _DATA["stays"].items()}
CHANCE_STAYS: Final = tuple(STAYS)[:6]
"""Names of the stays that chance brings; births are no matter of chance."""
REFUSALS: Final = tuple(Denial(*entry) for entry in _DATA["denials"]["services"])
DRUG_REJECTIONS: Final[tuple[str, ...]] = _DATA["denials"]["drugs"]
DENTAL_MODIFIER: Final = "59"
COMPLETE: Final[dict[str, dict[str, dict[str, str]]]] = _DATA["complete"]
"""Claim type -> `header` or `line` -> the cells of an example claim."""

CLAIMS: Final = _DATA["claims"]
CARE: Final = read_toml("care")
WEIGHTS: Final = {
    name: tuple(choice for choice, weight in weights.items() for _ in range(weight))
    for name, weights in CARE["weights"].items()
}
"""Name -> choices, each as often as its weight says, to be picked from."""

_PLANS: Final = _DATA["plans"]
MEDICAL_PLANS: Final = tuple(HealthPlan(*entry) for entry in _PLANS["medical"])
DENTAL_PLAN: Final = HealthPlan(*_PLANS["dental"])
VISION_PLAN: Final = HealthPlan(*_PLANS["vision"])
FAR_PLAN: Final = HealthPlan(*_PLANS["far"])
SENIOR_PLAN: Final = HealthPlan(*_PLANS["senior"])
