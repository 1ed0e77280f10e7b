"""A small set of codes by hand, enough for every column and every kind of claim.

Codes of licensed sets (CPT, CDT, NUBC, X12, NCPDP, ADA) stand here as bare codes, without any
text of those sets; the words beside lines are our own. Prices are US cents of 2016.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class BilledService:
    """A service that is billed on a line.

    Attributes:
        code: HCPCS, CPT, CDT or HIPPS code.
        cents: usual charge for one unit.
        words: our own words for it; empty where a line goes without.
        revenue: NUBC revenue code on an institutional claim.
        modifiers: modifiers that may follow.
    """

    code: str
    cents: int
    words: str = ""
    revenue: str = ""
    modifiers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Drug:
    """A drug as a pharmacy bills it.

    Attributes:
        ndc: eleven digits, made up.
        unit: NCPDP unit of measure: UN, ML or GR.
        quantity: dispensed for one fill.
        days: how long that lasts.
        cents: usual charge of one fill.
        brand: plan reported brand or generic code: 1 brand, 2 generic.
    """

    ndc: str
    unit: str
    quantity: str
    days: int
    cents: int
    brand: str
    words: str = ""


@dataclass(frozen=True, slots=True)
class Ailment:
    """Reason for a visit to a doctor.

    Attributes:
        diagnosis: ICD-10-CM codes, the main one first.
        season: share of each quarter of the year, in tenths; together 10.
        services: what may be done beside the visit.
        drugs: what may be prescribed.
        specialty: role of the treating practitioner in the region's directory.
    """

    diagnosis: tuple[str, ...]
    season: tuple[int, int, int, int]
    services: tuple[BilledService, ...]
    drugs: tuple[Drug, ...]
    specialty: str = "primary"


def _drug(product: int, unit: str, quantity: str, days: int, cents: int, brand: str = "2") -> Drug:
    return Drug(
        f"009{product % 10:02d}{product:04d}{30 + product % 60:02d}",
        unit,
        quantity,
        days,
        cents,
        brand,
    )


ANTIBIOTIC: Final = _drug(101, "UN", "20", 10, 1845)
SYRUP: Final = _drug(102, "ML", "150", 10, 2210)
INHALER: Final = _drug(103, "GR", "8.5", 30, 6875, "1")
PAINKILLER: Final = _drug(104, "UN", "30", 15, 990)
CREAM: Final = _drug(105, "GR", "45", 20, 3150)
STATIN: Final = _drug(106, "UN", "90", 90, 2725)
PRESSURE: Final = _drug(107, "UN", "30", 30, 1275)
METFORMIN_LIKE: Final = _drug(108, "UN", "180", 90, 1999)
INSULIN_LIKE: Final = _drug(109, "ML", "10", 30, 31560, "1")
CALM: Final = _drug(110, "UN", "30", 30, 1433)
ACID: Final = _drug(111, "UN", "30", 30, 2105)
ANTICOAGULANT: Final = _drug(112, "UN", "60", 30, 54980, "1")
INGREDIENTS: Final = (
    (_drug(201, "GR", "12.5", 30, 0), "12.5"),
    (_drug(202, "ML", "87.25", 30, 0), "87.25"),
    (_drug(203, "GR", "0.125", 30, 0), "0.125"),
)
"""Parts of a compound, with the quantity that goes into it."""

LAB_PANEL: Final = BilledService("80053", 5400, "blood chemistry", "0301")
BLOOD_COUNT: Final = BilledService("85025", 3900, "", "0305", ("QW",))
BLOOD_DRAW: Final = BilledService("36415", 1500, "", "0300")
SUGAR_TEST: Final = BilledService("83036", 4300, "long-term blood sugar", "0301", ("QW",))
STREP_TEST: Final = BilledService("87880", 3200, "", "0306", ("QW",))
CHEST_IMAGE: Final = BilledService("71046", 13800, "", "0324", ("26", "TC"))
WRIST_IMAGE: Final = BilledService("73110", 15200, "", "0320", ("LT", "RT"))
ECG: Final = BilledService("93000", 8900, "", "0730")
INJECTION: Final = BilledService("J1885", 1850, "", "0636")
SPLINT: Final = BilledService("L3908", 9800, "wrist brace", "0274", ("LT", "RT"))
SHOT: Final = BilledService("90686", 3200, "flu shot", "0636")
SHOT_GIVEN: Final = BilledService("90471", 2800, "", "0771")
THERAPY: Final = BilledService("97110", 7200, "exercise with a therapist", "0420", ("GP", "KX"))
MANUAL_THERAPY: Final = BilledService("97140", 6800, "", "0420", ("GP", "59"))
TALK: Final = BilledService("90834", 16500, "", "0914", ("95",))

OFFICE_VISITS: Final = (
    BilledService("99213", 14500, "", "0510", ("25",)),
    BilledService("99214", 21000, "", "0510", ("25",)),
    BilledService("99203", 23500, "", "0510"),
)
TELEHEALTH: Final = BilledService("99213", 12800, "visit by video", "0780", ("95",))
EMERGENCY_VISITS: Final = (
    BilledService("99283", 48500, "", "0450"),
    BilledService("99284", 89500, "", "0450", ("25",)),
    BilledService("99285", 132000, "", "0450"),
)
CHILD_CHECKS: Final = (
    BilledService("99391", 18800),
    BilledService("99392", 19900),
    BilledService("99393", 20500),
)
ADULT_CHECKS: Final = (BilledService("99395", 22500), BilledService("99396", 24100))
SENIOR_CHECK: Final = BilledService("G0439", 19800, "yearly wellness visit")

_WINTER: Final = (4, 2, 1, 3)
_EVEN: Final = (3, 2, 2, 3)
_SUMMER: Final = (2, 3, 3, 2)

ACUTE: Final = (
    Ailment(("J06.9",), _WINTER, (STREP_TEST,), (ANTIBIOTIC, SYRUP)),
    Ailment(("J02.9",), _WINTER, (STREP_TEST,), (ANTIBIOTIC,)),
    Ailment(("J20.9", "R50.9"), _WINTER, (CHEST_IMAGE, BLOOD_COUNT), (SYRUP, INHALER)),
    Ailment(("H66.91",), _WINTER, (), (SYRUP,)),
    Ailment(("N39.0",), _EVEN, (LAB_PANEL,), (ANTIBIOTIC,)),
    Ailment(("L30.9",), _SUMMER, (), (CREAM,)),
    Ailment(("K21.9", "R10.9"), _EVEN, (LAB_PANEL,), (ACID,)),
    Ailment(("M25.561",), _SUMMER, (), (PAINKILLER,), "therapist"),
    Ailment(("B34.9",), _WINTER, (), ()),
    Ailment(("S93.401A",), _SUMMER, (WRIST_IMAGE, SPLINT), (PAINKILLER,), "surgeon"),
    Ailment(("F41.1",), _EVEN, (TALK,), (CALM,), "counselor"),
    Ailment(("R53.83",), _EVEN, (LAB_PANEL, BLOOD_COUNT), ()),
)
CHRONIC: Final = (
    Ailment(("I10",), _EVEN, (ECG, LAB_PANEL), (PRESSURE,)),
    Ailment(("E78.5",), _EVEN, (LAB_PANEL,), (STATIN,)),
    Ailment(("E11.9", "Z79.4"), _EVEN, (SUGAR_TEST, LAB_PANEL), (METFORMIN_LIKE, INSULIN_LIKE)),
    Ailment(("J45.909",), _WINTER, (), (INHALER,)),
    Ailment(("F32.9",), _EVEN, (TALK,), (CALM,), "counselor"),
    Ailment(("I48.91", "Z79.01"), _EVEN, (ECG,), (ANTICOAGULANT,), "cardiologist"),
)
CHECK_DIAGNOSES: Final = {"child": "Z00.129", "adult": "Z00.00"}
IMMUNIZATION: Final = "Z23"

INJURIES: Final = (
    (("S52.501A", "M25.531"), "W01.0XXA", "Y93.66", WRIST_IMAGE),
    (("S01.01XA", "R42"), "W18.30XA", "Y92.009", CHEST_IMAGE),
    (("S93.401A", "M25.571"), "W10.9XXA", "Y93.01", WRIST_IMAGE),
    (("S20.219A", "R07.9"), "V43.52XA", "Y92.410", CHEST_IMAGE),
)
"""(diagnoses: the injury and why the patient came, external cause, activity or place, image)"""


@dataclass(frozen=True, slots=True)
class Stay:
    """A stay in hospital.

    Attributes:
        diagnosis: ICD-10-CM codes, principal first.
        admitting: ICD-10-CM code on admission.
        procedures: ICD-10-PCS codes, principal first.
        ms_drg, apr_drg: the group by either grouper.
        days: shortest and longest stay.
        cents: usual charge a day for the room.
        priority: NUBC priority of admission.
        origin: NUBC point of origin; from the newborn list when the priority is 4.
    """

    diagnosis: tuple[str, ...]
    admitting: str
    procedures: tuple[str, ...]
    ms_drg: str
    apr_drg: str
    days: tuple[int, int]
    cents: int
    priority: str = "1"
    origin: str = "1"
    operation: BilledService | None = None
    external: tuple[str, ...] = ()


PNEUMONIA: Final = Stay(("J18.9", "J44.1", "I10"), "R06.2", (), "193", "139", (3, 8), 285000)
HEART_FAILURE: Final = Stay(
    ("I50.9", "E11.9", "N18.6"), "R06.02", ("B2111ZZ",), "291", "194", (3, 9), 312000
)
HEART_ATTACK: Final = Stay(
    ("I21.4", "I10", "E78.5"), "R07.9", ("027034Z", "B2111ZZ", "4A023N7"), "247", "174", (2, 5),
    415000, "1", "1", BilledService("92928", 1850000, "", "0481"),
)  # fmt: skip
APPENDIX: Final = Stay(
    ("K35.80",), "R10.9", ("0DTJ4ZZ",), "343", "225", (1, 3), 298000, "1", "1",
    BilledService("44970", 1240000, "", "0360"),
)  # fmt: skip
KNEE: Final = Stay(
    ("M17.11", "E66.9"), "M17.11", ("0SRC0J9", "3E0T3BZ"), "470", "302", (2, 4), 345000, "3", "1",
    BilledService("27447", 3860000, "", "0360"),
)  # fmt: skip
HIP_FRACTURE: Final = Stay(
    ("S72.001A", "I10", "J44.1"), "S72.001A", ("0QS634Z", "30233N1"), "481", "308", (4, 9), 301000,
    "5", "4", BilledService("27236", 2420000, "", "0360"), ("W01.0XXA", "Y92.009"),
)  # fmt: skip
DELIVERY: Final = Stay(
    ("O80", "Z37.0"), "O80", ("10E0XZZ", "0HQ9XZZ"), "807", "560", (2, 3), 262000, "1", "1",
    BilledService("59400", 485000, "", "0722"),
)  # fmt: skip
NEWBORN: Final = Stay(
    ("Z38.00", "P59.9"), "Z38.00", ("3E0234Z",), "795", "640", (2, 3), 118000, "4", "5"
)
STAYS: Final = (PNEUMONIA, HEART_FAILURE, HEART_ATTACK, APPENDIX, KNEE, HIP_FRACTURE)

DIALYSIS_DIAGNOSES: Final = ("N18.6", "Z99.2", "D63.1")
DIALYSIS: Final = BilledService("90999", 46500, "", "0821", ("G5", "V7"))
DIALYSIS_DRUG: Final = BilledService("Q4081", 985, "anemia drug", "0634", ("JA",))
CHEMO_DIAGNOSES: Final = ("Z51.11", "C50.911", "D70.1")
CHEMO_SERVICES: Final = (
    BilledService("96413", 78500, "", "0335"),
    BilledService("96415", 21400, "", "0335"),
    BilledService("J9267", 142300, "infusion drug", "0636", ("JW",)),
)
INFUSION_NDC: Final = ("00905030150", "50", "ML")
"""NDC, quantity and unit of the infused drug on the line."""

NURSING_HIPPS: Final = BilledService("KBQE1", 48200, "", "0022")
HOME_HIPPS: Final = BilledService("2CB21", 198500, "", "0023")
NURSE_AT_HOME: Final = BilledService("G0299", 17600, "nurse at home", "0551")

AMBULANCE: Final = BilledService("A0427", 84500, "ambulance ride")
AMBULANCE_MILES: Final = BilledService("A0425", 1480, "miles")
WALKER: Final = BilledService("E0143", 11200, "walker", "", ("NU", "KX"))
ANESTHESIA: Final = BilledService("00790", 118000, "", "", ("AA", "QS", "P3", "59"))
EYE_EXAM: Final = BilledService("92014", 15800)
REFRACTION: Final = BilledService("92015", 3200)
FRAMES: Final = BilledService("V2020", 14500, "frames", "", ("RA",))
LENSES: Final = BilledService("V2103", 9900, "lenses", "", ("LT", "RT"))
EYE_DIAGNOSES: Final = ("H52.13", "H52.4", "H25.13")

CHECKUP: Final = (
    BilledService("D0120", 5800),
    BilledService("D0274", 7100, "four pictures of the bite"),
    BilledService("D1110", 9900),
)
CHILD_CLEANING: Final = BilledService("D1120", 7400)
SEALANT: Final = BilledService("D1351", 5900)
FILLING: Final = BilledService("D2392", 24800)
FRONT_FILLING: Final = BilledService("D2331", 21500)
CROWN: Final = BilledService("D2740", 128500, "crown")
SCALING: Final = BilledService("D4341", 26900)
DENTURE: Final = BilledService("D5213", 189500, "partial denture")
EXTRACTION: Final = BilledService("D7140", 19800)
BRACES: Final = BilledService("D8080", 565000, "braces")
TOOTH_DIAGNOSES: Final = ("K02.9", "K05.10", "K08.109")
DENTAL_MODIFIER: Final = "59"

OLD_DIAGNOSES: Final = ("540.9", "250.00", "401.9")
OLD_PROCEDURES: Final = ("47.01", "88.01")
"""ICD-9-CM, in force until 2015-09-30."""


@dataclass(frozen=True, slots=True)
class Denial:
    """Reasons for not paying a line.

    Attributes:
        group: X12 claim adjustment group; with PR the member pays, with the others no one.
        reason: X12 claim adjustment reason code.
        remark: remittance advice remark code, or empty.
    """

    group: str
    reason: str
    remark: str = ""


REFUSALS: Final = (
    Denial("PR", "204", "N130"),
    Denial("PR", "96", "N425"),
    Denial("CO", "29"),
    Denial("CO", "197", "N517"),
    Denial("CO", "16", "M51"),
    Denial("OA", "18", "N522"),
    Denial("PI", "151", "N362"),
)
DRUG_REJECTIONS: Final = ("70", "75", "79", "76;88")
"""NCPDP reject codes, as a pharmacy claim states them."""
