"""Specification of an extract: every choice that it depends on, checked before writing.

No clock is read: `as_of` is an argument with a fixed default, so that the same `Spec` gives the
same bytes on any day.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final, Literal, get_args

from etl.errors import UsageError

Kind = Literal["full", "delta"]
Format = Literal["csv", "parquet"]

AS_OF: Final = date(2025, 12, 31)
"""Default day 0 of every generated world."""
SINCE: Final = date(2016, 1, 1)
"""First day of coverage: the CMS rule asks for data from here on (42 CFR 422.119(h))."""
FIRST_DAY: Final = date(1970, 1, 1)
LAST_DAY: Final = date(2199, 12, 31)
"""Members are born up to a century before, and things last for years after."""
MOST_MEMBERS: Final = 900_000_000
"""More would not fit the nine digits of a subscriber number."""
MOST_PRACTITIONERS: Final = 10_000_000
"""With more, some would share an NPI."""
MOST_DRUGS: Final = 1_000_000
"""With more, some would share an NDC."""
MOST_DAYS: Final = 3_660
MOST_PARTS: Final = 999


@dataclass(frozen=True, slots=True)
class Spec:
    """One extract to be written: claims of members, a provider directory, or a drug formulary.

    Attributes:
        members: how many members the world has on day 0. The first `n` members of two specs that
            differ only in `members` are the same, row for row.
        practitioners: how many practitioners a provider directory has. The first `n` are the same
            as above. Of the other choices, a directory depends on those that do not name claims or
            coverage.
        drugs: how many drugs a drug formulary has. The first `n` are the same as above. Of the
            other choices, a formulary depends on the seed, `as_of`, and those about its files.
        seed: which world; any integer.
        kind: `full` is the whole world on its day; `delta` is what changed on that day alone.
        day: days after `as_of`. The full extract of day k equals the one of day 0 with the deltas
            1 to k applied, but for `record_action`. Every day one practitioner of each region gets
            another telephone number, and one role says something else about new patients.
        as_of: day 0.
        since: no coverage starts before this day, except for the one member with ICD-9.
        format: ending of the files.
        gzip: compress the files; Parquet compresses itself and refuses this.
        parts: how many files a table is cut into (`claim-00001.csv`, …); 1 is `claim.csv`.
        fault_rate: share of claims, 0 to 1, that get one planted fault; some members, coverages
            and practitioners get one as well. In a directory, the share of regions that get one
            planted fault of each kind. What was planted where is written to `faults.csv`.
        short_form: diagnoses and procedures as numbered columns of `claim` where those can say
            everything, instead of child rows.
        change_rate: share of members, 0 to 1, that something happens to on a day after `as_of`.
        whole_claims: in a delta, send every row of a touched claim again instead of the changed
            rows alone; payers do either.
        prior_auth_rate: prior authorizations that a member asks for in a year, on average; with 0
            the extract has no tables of them. Requests are decided over days, so that each day
            changes some.

    Raises:
        UsageError: a choice is out of its range, or two do not go together.
    """

    members: int = 0
    practitioners: int = 0
    drugs: int = 0
    seed: int = 1
    kind: Kind = "full"
    day: int = 0
    as_of: date = AS_OF
    since: date = SINCE
    format: Format = "csv"
    gzip: bool = False
    parts: int = 1
    fault_rate: float = 0.0
    short_form: bool = False
    change_rate: float = 0.01
    whole_claims: bool = False
    prior_auth_rate: float = 0.0

    def __post_init__(self) -> None:
        kinds, formats = get_args(Kind), get_args(Format)
        limits = (
            f"members must be 1 to {MOST_MEMBERS}, practitioners 1 to {MOST_PRACTITIONERS}, "
            f"or drugs 1 to {MOST_DRUGS}"
        )
        is_sized = 1 <= (self.drugs or self.practitioners or self.members) <= MOST_MEMBERS
        is_sized = is_sized and self.practitioners <= MOST_PRACTITIONERS
        _require(is_sized and self.drugs <= MOST_DRUGS, limits)
        _require(self.kind in kinds, f"kind must be one of {', '.join(kinds)}")
        _require(self.format in formats, f"format must be one of {', '.join(formats)}")
        _require(0 <= self.day <= MOST_DAYS, f"day must be 0 to {MOST_DAYS}")
        _require(self.kind == "full" or self.day > 0, "a delta needs a day of 1 or more")
        _require(1 <= self.parts <= MOST_PARTS, f"parts must be 1 to {MOST_PARTS}")
        authorizations = "the rate of prior authorizations must be 0 to 10"
        _require(0 <= self.prior_auth_rate <= 10, authorizations)
        _require(0 <= self.fault_rate <= 1, "the fault rate must be 0 to 1")
        _require(0 <= self.change_rate <= 1, "the change rate must be 0 to 1")
        is_clean = self.kind == "full" or not self.fault_rate
        _require(is_clean, "faults are planted in full extracts only")
        is_packed_once = not (self.gzip and self.format == "parquet")
        _require(is_packed_once, "Parquet files compress themselves: leave gzip away")
        is_possible = min(self.since, self.as_of) >= FIRST_DAY and self.as_of <= LAST_DAY
        _require(is_possible, f"days must be {FIRST_DAY} to {LAST_DAY}")
        is_long = self.as_of - self.since >= timedelta(days=365)
        text = "the first day of coverage must lie at least a year before the as-of date"
        _require(is_long or self.practitioners > 0 or self.drugs > 0, text)
        is_whole = not self.drugs or (self.kind == "full" and not (self.day or self.fault_rate))
        _require(
            is_whole, "a drug formulary is written in full, for the as-of date, and has no faults"
        )

    @property
    def date(self) -> date:
        """The day that the extract shows."""
        return self.as_of + timedelta(days=self.day)

    @property
    def joiners(self) -> int:
        """Number of members that join on each day after day 0."""
        return max(1, self.members // 1000)

    @property
    def population(self) -> int:
        """Number of members of the world on its day, former ones included."""
        return self.members + self.day * self.joiners


def _require(holds: bool, problem: str) -> None:
    if not holds:
        raise UsageError(problem)
