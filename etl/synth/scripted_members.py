"""Scripted members: the first of every world, with events that chance seldom brings.

They stand in `scripted_members.toml`.

So an extract of 25 members or more has every table, every column and every kind of claim in it.
All other members follow chance alone (`care_events.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from etl.synth.names import read_data


class Twist(StrEnum):
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
class CastMember:
    """One member of the cast.

    Attributes:
        house: kind of household, and its number of members; stated for its first member.
        sex, birth, relationship: as in the layout.
        name: family, given, middle, suffix, full; empty for one by chance.
        scenes: what happens to the member beside what chance brings; lines `day scene twist`.
        busy: whether chance adds events; off where the scenes are enough.
        whole: each claim has all that its profile can show, whatever chance leaves out.
        since: first day of coverage, for the household; None for one by chance.
        changes: the household changes its plan every New Year.
        other_payer: has a second payer as well.
        death: the day of death.
        prefix, race, ethnicity, language: as in the layout; empty for one by chance.
        sessions: first day of dialysis, three times a week; None for none.
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


CAST: Final = MappingProxyType(
    {
        index: CastMember(**entry)
        for index, entry in enumerate(read_data("scripted_members")["member"])
    }
)
"""Member index -> part."""
