"""Rules that CARIN Blue Button states in words, by type of resource.

Sources: the introductions of the EOB profiles, and `C4BBSupportingInfoType`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from etl.profiles import constraints as c
from etl.profiles.c4bb_invariants import ADMISSION_TYPES, NEWBORN

_SEQUENCE_LINK: Final = "guide-sequence-link"
_NO_ENTRY: Final = "No entry has the sequence that is named here."

C4BB_GUIDE_RULES: Final[Mapping[str, tuple[c.GuideRule, ...]]] = MappingProxyType(
    {
        "ExplanationOfBenefit": (
            # The guide's own expression looks at one insurance at a time.
            c.MarkedEntry(
                "guide-focal",
                "More than one insurance is focal; at most one may be.",
                "insurance",
                "focal",
            ),
            c.UniqueNumbers(
                "guide-sequence",
                "Another entry of this list has the same sequence.",
                ("careTeam", "supportingInfo", "diagnosis", "procedure", "item"),
                (("item", "detail"),),
                "sequence",
            ),
            # The official example EOBOral2 names sequences that are not there.
            c.ListedNumbers(
                _SEQUENCE_LINK,
                _NO_ENTRY,
                ("item",),
                (
                    ("careTeamSequence", ("careTeam", "sequence")),
                    ("diagnosisSequence", ("diagnosis", "sequence")),
                    ("procedureSequence", ("procedure", "sequence")),
                    ("informationSequence", ("supportingInfo", "sequence")),
                ),
                lenient=True,
            ),
            c.ListedNumbers(
                _SEQUENCE_LINK,
                _NO_ENTRY,
                ("addItem",),
                (("itemSequence", ("item", "sequence")),),
                lenient=True,
            ),
            c.ListedNumbers(
                "guide-note",
                "No processNote has the number that is named here.",
                ("item", "addItem"),
                (("noteNumber", ("processNote", "number")),),
                inner=("detail", "subDetail"),
            ),
            # The guide's own expression compares with a system that no coding has.
            c.ForbiddenEntry(
                "guide-newborn",
                "A newborn admission must have a point of origin for newborns.",
                given=c.Exists(("supportingInfo",), c.coded("code", NEWBORN, ADMISSION_TYPES)),
                name="supportingInfo",
                forbidden=c.of_system("code", "https://www.nubc.org/CodeSystem/PointOfOrigin"),
                at="code",
                slice_name="pointoforigin",
            ),
        )
    }
)
