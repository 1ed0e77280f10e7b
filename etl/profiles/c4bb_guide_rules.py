"""Rules that CARIN Blue Button states in words, by type of resource.

Sources: the introductions of the EOB profiles, and `C4BBSupportingInfoType`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from etl.profiles import guide_rules as gr
from etl.profiles.c4bb_invariants import ADMISSION_TYPES, NEWBORN
from etl.profiles.constraints import Exists, coded, of_system

_SEQUENCE_LINK: Final = "guide-sequence-link"
_NO_ENTRY: Final = "No entry has the sequence that is named here."

C4BB_GUIDE_RULES: Final[Mapping[str, tuple[gr.GuideRule, ...]]] = MappingProxyType(
    {
        "ExplanationOfBenefit": (
            # The guide's own expression looks at one insurance at a time.
            gr.MarkedEntry(
                "guide-focal",
                "More than one insurance is focal; at most one may be.",
                "insurance",
                "focal",
            ),
            gr.UniqueNumbers(
                "guide-sequence",
                "Another entry of this list has the same sequence.",
                ("careTeam", "supportingInfo", "diagnosis", "procedure", "item"),
                (("item", "detail"),),
                "sequence",
            ),
            # The official example EOBOral2 names sequences that are not there.
            gr.ListedNumbers(
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
            gr.ListedNumbers(
                _SEQUENCE_LINK,
                _NO_ENTRY,
                ("addItem",),
                (("itemSequence", ("item", "sequence")),),
                lenient=True,
            ),
            gr.ListedNumbers(
                "guide-note",
                "No processNote has the number that is named here.",
                ("item", "addItem"),
                (("noteNumber", ("processNote", "number")),),
                inner=("detail", "subDetail"),
            ),
            # The guide's own expression compares with a system that no coding has.
            gr.ForbiddenEntry(
                "guide-newborn",
                "A newborn admission must have a point of origin for newborns.",
                given=Exists(("supportingInfo",), coded("code", NEWBORN, ADMISSION_TYPES)),
                name="supportingInfo",
                forbidden=of_system("code", "https://www.nubc.org/CodeSystem/PointOfOrigin"),
                at="code",
                slice_name="pointoforigin",
            ),
        )
    }
)
