"""One member: the member's own rows and claims, on any day of the world."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from etl.model.canonical_tables import CLAIM_TABLES, SHORT_FORM_COUNT, SHORT_FORMS
from etl.synth import coverages
from etl.synth.care_events import draft_all_claims
from etl.synth.claim_drafts import Claim, Life
from etl.synth.coverages import Cover, CoverageMaker
from etl.synth.directory import REGION_SIZE, Row, region_of
from etl.synth.households import household_of
from etl.synth.names import shuffle_index
from etl.synth.prior_auths import TABLES as PRIOR_AUTH_TABLES
from etl.synth.prior_auths import prior_auth_rows
from etl.synth.seeded_random import Dice, Purpose, draw_timestamp, mix_bits
from etl.synth.spec import Spec

MemberRows = dict[str, list[Row]]
"""Table -> rows of one member, in the order in which they are written."""


@dataclass(slots=True)
class Member:
    """One member's state on a day; `daily_changes` updates it.

    Attributes:
        index: the member's number in the world.
        is_deleted: the payer has deleted the member and all the member's rows.
    """

    index: int
    life: Life
    row: Row
    addresses: list[Row]
    telecoms: list[Row]
    covers: list[Cover]
    coverage_maker: CoverageMaker
    claims: list[Claim]
    is_deleted: bool = False

    def rows(self) -> MemberRows:
        """Return every row of the member by table, in the short form if the spec asks for it."""
        tables = self.own_rows()
        return use_short_form(tables) if self.life.spec.short_form else tables

    def own_rows(self) -> MemberRows:
        """Return the rows in the long form; they are the member's own, not copies."""
        tables: MemberRows = {
            "member": [self.row],
            "member_address": self.addresses,
            "member_telecom": self.telecoms,
            "coverage": [cover.row for cover in self.covers],
            "claim": [claim.header for claim in self.claims],
        }
        if self.is_deleted:
            return {table: [] for table in (*tables, *CLAIM_TABLES, *PRIOR_AUTH_TABLES)}
        for table in CLAIM_TABLES:
            tables[table] = [row for claim in self.claims for row in claim.rows.get(table, ())]
        if self.life.spec.prior_auth_rate:
            tables |= prior_auth_rows(self.life, self.index, self.claims)
        return tables


def member_of(spec: Spec, index: int) -> Member:
    """Return the state of a member on day 0, or on the day of joining if that is later.

    The result depends only on the spec's seed and dates and on the index; on the number of members
    only if the member joined after day 0.
    """
    today = spec.as_of.toordinal()
    salt = mix_bits(spec.seed) % 999_999_937
    household = household_of(spec, index)
    person = household.people[index - household.first]
    region = region_of(spec, index // REGION_SIZE)
    dice = Dice(spec.seed, Purpose.PERSON, index)
    identifier = coverages.member_id(salt, household, person)
    row = coverages.member_row(dice, salt, identifier, person, region.state, today)
    many = person.script is not None and index == 0
    signed = row["last_updated"]
    addresses = coverages.further_addresses(dice, identifier, region.state, today, signed, many)
    telecoms = coverages.further_telecoms(dice, identifier, region.state, signed, many)
    coverage_maker = CoverageMaker(dice, salt, household, person)
    covers = coverage_maker.make_all(today)
    life = Life(
        spec=spec,
        person=person,
        member_id=identifier,
        subscriber_id=coverages.subscriber_id(salt, household),
        region=region,
        covers=covers,
        today=today,
        dice=Dice(spec.seed, Purpose.CLAIMS, index),
        number=shuffle_index(index, spec.seed * 7_919),
    )
    claims = draft_all_claims(life, household)
    member = Member(index, life, row, addresses, telecoms, covers, coverage_maker, claims)
    if index >= spec.members:
        _join(spec, index, member)
    return member


def joined(spec: Spec, index: int) -> int:
    """Return the day on which a member joined: 0 for the first `members`."""
    if index < spec.members:
        return 0
    return 1 + (index - spec.members) // spec.joiners


def _join(spec: Spec, index: int, member: Member) -> None:
    """Date every row on the day of joining, when the payer took over the member's old records."""
    day = joined(spec, index)
    dice = Dice(spec.seed, Purpose.EVENT, index, day)
    signed = draw_timestamp(dice, spec.as_of.toordinal() + day)
    for rows in member.own_rows().values():
        for row in rows:
            row["last_updated"] = signed


_SHORT_FORM_COLUMNS: Final = {
    child: frozenset(("record_action", "last_updated", "claim_id", "sequence", *fields.values()))
    for child, fields in SHORT_FORMS.items()
}


def use_short_form(tables: dict[str, list[Row]]) -> dict[str, list[Row]]:
    """Return a member's rows with numbered columns of `claim` instead of child rows.

    A claim keeps its child rows if one of them has something that the numbered columns cannot
    express (an ICD version other than 10, lines), or if the numbers would not be those of the rows.
    """
    claims = tables["claim"]
    result = dict(tables)
    for child, fields in SHORT_FORMS.items():
        claim_rows: dict[str, list[Row]] = {}
        for row in tables[child]:
            claim_rows.setdefault(row["claim_id"], []).append(row)
        fitting = {claim for claim, rows in claim_rows.items() if _fits(child, rows)}
        stem = child.removeprefix("claim_")
        claims = [
            claim | _numbered_cells(stem, fields, claim_rows[claim["claim_id"]])
            if claim["claim_id"] in fitting
            else claim
            for claim in claims
        ]
        result[child] = [row for row in tables[child] if row["claim_id"] not in fitting]
    result["claim"] = claims
    return result


def _fits(child: str, rows: list[Row]) -> bool:
    """Return whether the short form can express the child rows of a claim."""
    columns = _SHORT_FORM_COLUMNS[child]
    return len(rows) <= SHORT_FORM_COUNT and all(
        row.keys() - {"icd_version"} <= columns
        and row.get("icd_version", "10") == "10"
        and row["sequence"] == str(place)
        for place, row in enumerate(rows, start=1)
    )


def _numbered_cells(stem: str, fields: Mapping[str, str], rows: list[Row]) -> Row:
    cells = {}
    for place, row in enumerate(rows, start=1):
        for field, column in fields.items():
            if column in row:
                cells[f"{stem}_{field}_{place}"] = row[column]
    return cells
