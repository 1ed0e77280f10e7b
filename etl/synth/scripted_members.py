"""Scripted members (`scripted_members.toml`): the first members of every world.

Their events are rare ones, so an extract of 25 members or more has every table, every column and
every kind of claim. All other members are random (`care_events.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from etl.synth.names import read_toml


class ClaimCourse(StrEnum):
    """Course of a claim, other than being paid."""

    NONE = ""
    REFUSED = "refused"
    PARTLY_REFUSED = "partly-refused"
    REFUSED_REPLACED = "refused-replaced"
    PARTLY_REFUSED_REPLACED = "partly-refused-replaced"
    REPLACED = "replaced"
    REPLACED_TWICE = "replaced-twice"
    VOIDED = "voided"
    OTHER_PAYER = "other-payer"


@dataclass(frozen=True, slots=True)
class ScriptedMember:
    """A member whose facts and claims are written down, not drawn.

    Attributes:
        house, household: kind of the household, and its number of members, for its first member.
        sex, birth, relationship: as in the layout.
        name: family, given, middle, suffix, full; None to draw it.
        scenes: events of the member; lines `day scene course`.
        busy: whether random events are added.
        whole: whether each claim has everything that its profile can show.
        since: first day of coverage of the household; None to draw it.
        changes: whether the household changes its plan every New Year.
        other_payer: whether the member has a second payer.
        death: the day of death.
        prefix, race, ethnicity, language: as in the layout; empty to draw it.
        sessions: first day of dialysis, three times a week; None if there is none.
    """

    house: str
    household: int
    sex: str
    birth: date
    relationship: str = "self"
    name: tuple[str, str, str, str, str] | None = None
    scenes: str = ""
    busy: bool = True
    whole: bool = False
    since: date | None = None
    changes: bool = False
    other_payer: bool = False
    death: date | None = None
    prefix: str = ""
    race: str = ""
    ethnicity: str = ""
    language: str = ""
    sessions: date | None = None


SCRIPTED_MEMBERS: Final = MappingProxyType(
    {
        index: ScriptedMember(**entry)
        for index, entry in enumerate(read_toml("scripted_members")["member"])
    }
)
"""Member index -> the scripted member."""
