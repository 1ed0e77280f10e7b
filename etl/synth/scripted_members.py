"""Set pieces: the first members of every world, who show what chance would seldom bring.

So an extract of 25 members or more has every table, every column and every kind of claim in it.
The others live by chance alone (`care_events.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from types import MappingProxyType
from typing import Final


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
class Scene:
    """Something that happens to a member: a name of `care_events.SCENES`, its day, and a twist."""

    name: str
    day: date
    twist: Twist = Twist.NONE


@dataclass(frozen=True, slots=True)
class CastMember:
    """One member of the cast.

    Attributes:
        house: kind of household, and how many are in it; told by its first member.
        sex, birth, relationship: as in the layout.
        name: family, given, middle, suffix, full; empty for one by chance.
        scenes: what happens to the member beside what chance brings.
        busy: whether chance brings anything; off where the scenes are enough.
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
    scenes: tuple[Scene, ...] = ()
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


def _day(text: str) -> date:
    return date.fromisoformat(text)


def _scenes(text: str) -> tuple[Scene, ...]:
    """Return the scenes of lines `day name twist`."""
    scenes = []
    for line in text.strip().splitlines():
        day, name, *twist = line.split()
        scenes.append(Scene(name, _day(day), Twist(twist[0]) if twist else Twist.NONE))
    return tuple(scenes)


_FAMILY: Final = (
    CastMember(
        "family",
        5,
        "F",
        _day("1988-05-17"),
        name=("Muñoz Peña", "Ana", "María", "", ""),
        prefix="Dr.",
        language="es",
        since=_day("2019-01-01"),
        changes=True,
        scenes=_scenes(
            """
            2019-03-04 office replaced-twice
            2020-07-21 filling
            2021-10-05 lab refused
            2023-02-11 delivery
            2024-02-29 office partly-refused
            2024-09-12 checkup
            """
        ),
    ),
    CastMember(
        "family",
        5,
        "M",
        _day("1985-11-30"),
        "spouse",
        ("Müller", "Jürgen", "van der", "Sr.", ""),
        other_payer=True,
        scenes=_scenes(
            """
            2019-06-14 office other-payer
            2020-01-15 chest-stay other-payer
            2021-03-09 crown other-payer
            2022-08-30 fill other-payer
            2023-05-02 knee-stay replaced
            2023-05-03 anesthesia
            """
        ),
    ),
    CastMember(
        "family",
        5,
        "F",
        _day("2010-08-02"),
        "child",
        ("Muñoz-Müller", "Zoë", "", "", ""),
        scenes=_scenes(
            """
            2021-06-19 injury
            2021-06-25 therapy
            2022-01-12 eye-exam
            2022-01-20 glasses
            2023-07-08 injury partly-refused
            """
        ),
    ),
    CastMember(
        "family",
        5,
        "M",
        _day("2012-12-24"),
        "child",
        ("Müller", "Łukasz", "", "", ""),
        scenes=_scenes(
            """
            2022-09-01 child-dental
            2024-01-22 braces
            2024-04-11 front-filling replaced
            """
        ),
    ),
    CastMember(
        "family",
        5,
        "M",
        _day("2023-02-11"),
        "child",
        ("Müller", "Søren", "Rosé", "", ""),
        scenes=_scenes(
            """
            2023-02-11 newborn
            2023-04-14 check
            """
        ),
    ),
)
_SINGLES: Final = (
    CastMember(
        "single",
        1,
        "M",
        _day("1939-04-01"),
        name=("O'Brien", 'Robert "Bob"', "", "Jr.", ""),
        death=_day("2024-11-03"),
        since=_day("2016-01-01"),
        race="2106-3",
        scenes=_scenes(
            """
            2017-02-20 heart-stay
            2021-12-01 hip-stay
            2021-12-01 ambulance
            2021-12-09 nursing
            2022-01-18 home
            2022-01-20 walker replaced
            2023-03-15 denture
            2024-10-20 ambulance partly-refused
            2024-10-20 chest-stay partly-refused
            """
        ),
    ),
    CastMember(
        "single",
        1,
        "F",
        _day("1957-09-09"),
        name=("Nguyễn", "Thị Ánh", "", "", ""),
        language="vi",
        race="2028-9",
        since=_day("2022-01-01"),
        busy=False,
        sessions=_day("2024-07-22"),
        scenes=_scenes("2024-07-14 failure-stay"),
    ),
    CastMember(
        "single",
        1,
        "M",
        _day("1990-01-31"),
        name=("", "", "", "", "王小明"),
        language="zh-TW",
        race="2028-9;2106-3",
        since=_day("2018-03-01"),
        busy=False,
        changes=True,
        scenes=_scenes(
            """
            2019-04-02 eye-exam
            2019-04-09 glasses
            2020-05-05 telehealth
            2022-05-17 glasses refused
            2023-11-11 fill refused
            """
        ),
    ),
    CastMember(
        "single",
        1,
        "F",
        _day("1971-06-06"),
        name=("Παπαδάκη", "Ελένη", "", "", ""),
        language="el",
        since=_day("2020-01-01"),
        scenes=_scenes(
            """
            2021-02-03 compound
            2021-05-06 compound replaced
            2022-03-07 fill refused
            2024-06-18 check
            """
        ),
    ),
    CastMember(
        "outsider",
        1,
        "F",
        _day("2014-02-28"),
        "child",
        ("D'Angelo", "Grace", "", "", ""),
        since=_day("2020-02-01"),
        scenes=_scenes(
            """
            2021-02-12 check
            2021-08-19 child-dental
            2022-10-10 injury
            """
        ),
    ),
    CastMember(
        "single",
        1,
        "M",
        _day("1950-10-10"),
        name=("Wiśniewski", "Świętosław", "J.", "III", ""),
        since=_day("2015-01-01"),
        busy=False,
        other_payer=True,
        scenes=_scenes(
            """
            2015-08-17 old-stay
            2016-05-05 appendix-stay voided
            2018-01-09 checkup other-payer
            """
        ),
    ),
    CastMember(
        "single",
        1,
        "F",
        _day("1962-03-03"),
        name=("Smith-Jones", "Dorothy", "", "", "Smith-Jones, Dorothy"),
        since=_day("2017-01-01"),
        busy=False,
        scenes=_scenes(
            """
            2019-02-14 scaling
            2020-02-20 extraction partly-refused
            2020-06-30 denture
            2021-01-28 crown voided
            2022-04-25 filling refused
            """
        ),
    ),
    CastMember(
        "single",
        1,
        "F",
        _day("1966-07-15"),
        name=("Größler \\ Weiß", "Käthe", "", "", ""),
        race="2106-3;2054-5",
        ethnicity="2186-5",
        since=_day("2019-07-01"),
        busy=False,
        scenes=_scenes(
            """
            2022-05-09 chemo
            2022-06-06 chemo replaced
            2022-07-05 chemo
            2022-08-01 chemo refused
            """
        ),
    ),
    CastMember(
        "elder",
        2,
        "M",
        _day("1975-12-12"),
        name=("Tsosie", "Delsin", "", "", ""),
        race="1002-5;2076-8",
        since=_day("2021-01-01"),
        scenes=_scenes(
            """
            2022-03-01 office voided
            2023-09-19 attack-stay
            """
        ),
    ),
    CastMember(
        "elder",
        2,
        "F",
        _day("1948-01-19"),
        "parent",
        name=("Begaye", "Winona", "", "", ""),
        scenes=_scenes("2023-10-02 home replaced"),
    ),
    # All that the profiles of claims can show, in as many claims as a page of search results has.
    CastMember(
        "single",
        1,
        "F",
        _day("1958-04-23"),
        name=("Sample", "Page", "One", "", ""),
        prefix="Ms.",
        language="en",
        race="2106-3",
        ethnicity="2186-5",
        since=_day("2019-01-01"),
        busy=False,
        whole=True,
        other_payer=True,
        scenes=_scenes(
            """
            2021-03-02 knee-stay partly-refused-replaced
            2021-06-08 injury partly-refused-replaced
            2022-02-01 denture replaced
            2022-09-06 ambulance replaced
            2023-04-04 compound refused-replaced
            """
        ),
    ),
)

CAST: Final = MappingProxyType(dict(enumerate((*_FAMILY, *_SINGLES))))
"""Member index -> part."""
