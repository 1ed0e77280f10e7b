"""Changes after day 0, day by day, and the delta extract that states them.

A day's state is the state of the day before with one event applied, so the full extract of day k
is the one of day 0 with the deltas 1 to k applied: the delta *is* the difference of two states.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from etl.model.canonical_tables import CLAIM_TABLES, TABLES
from etl.synth import adjustments
from etl.synth.care_events import draft_claims
from etl.synth.claim_drafts import MOST_CLAIMS, Claim
from etl.synth.claim_scenes import CareEvent
from etl.synth.codes import MEDICAL_PLANS, WEIGHTS
from etl.synth.directory import Row, draw_address
from etl.synth.households import NO_END, PlanTerm
from etl.synth.members import Member, MemberRows, joined, member_of
from etl.synth.prior_auths import has_prior_auth_change
from etl.synth.scripted_members import ClaimCourse
from etl.synth.seeded_random import Dice, Purpose, draw_timestamp, iso_date, mix_bits
from etl.synth.spec import Spec

_CLAIMS: Final = frozenset(("claim", *CLAIM_TABLES))


def has_change(spec: Spec, index: int, day: int) -> bool:
    """Return whether anything happens to a member on a day; never before the day after joining."""
    if day <= joined(spec, index):
        return False
    return mix_bits(spec.seed, Purpose.DAY, index, day) < int(spec.change_rate * (1 << 64))


def member_on_day(spec: Spec, index: int, day: int) -> Member:
    """Return a member on a day; `is_deleted` on and after the day of the deletion."""
    member = member_of(spec, index)
    for today in range(1, day + 1):
        if not member.is_deleted and has_change(spec, index, today):
            _apply_change(spec, member, index, today)
    member.life.today = spec.as_of.toordinal() + day
    return member


def delta_of(spec: Spec, index: int) -> MemberRows:
    """Return the rows of a member that changed on the spec's day, with `record_action`.

    Deleted rows have all columns as before, except `last_updated`: the time of the deletion.
    """
    day = spec.day
    if joined(spec, index) == day:
        return member_on_day(spec, index, day).rows()
    is_changed = has_change(spec, index, day)
    if not (is_changed or has_prior_auth_change(spec, index, day)):
        return {}
    member = member_on_day(spec, index, day - 1)
    if member.is_deleted:
        return {}
    old = {table: [dict(row) for row in rows] for table, rows in member.rows().items()}
    if is_changed:
        _apply_change(spec, member, index, day)
    member.life.today = spec.as_of.toordinal() + day
    dice = Dice(spec.seed, Purpose.EVENT, index, day, 1)
    deleted_at = draw_timestamp(dice, spec.as_of.toordinal() + day)
    delta = difference(old, member.rows(), deleted_at)
    if spec.whole_claims:
        _send_whole_claims(delta, member.rows())
    return delta


def difference(old: MemberRows, new: MemberRows, deleted_at: str) -> MemberRows:
    """Return the rows that differ between two states, matched by the keys of the tables."""
    delta: MemberRows = {}
    for table, rows in new.items():
        key = TABLES[table].key
        old_rows = {tuple(row[part] for part in key): row for row in old.get(table, ())}
        changes: list[Row] = []
        for row in rows:
            old_row = old_rows.pop(tuple(row[part] for part in key), None)
            if old_row is None:
                changes.append(row | {"record_action": "A"})
            elif old_row != row:
                changes.append(row | {"record_action": "U"})
        deleted = {"record_action": "D", "last_updated": deleted_at}
        delta[table] = [*changes, *(row | deleted for row in old_rows.values())]
    return delta


def _send_whole_claims(delta: MemberRows, state: MemberRows) -> None:
    """Add the unchanged rows of changed claims to the delta, as updates."""
    claim_ids = {row["claim_id"] for table in _CLAIMS for row in delta.get(table, ())}
    for table in ("claim", *CLAIM_TABLES):
        key = TABLES[table].key
        sent_keys = {tuple(row[part] for part in key) for row in delta[table]}
        delta[table] += [
            row | {"record_action": "U"}
            for row in state[table]
            if row["claim_id"] in claim_ids and tuple(row[part] for part in key) not in sent_keys
        ]


def _apply_change(spec: Spec, member: Member, index: int, day: int) -> None:
    """Apply one random event to the member."""
    dice = Dice(spec.seed, Purpose.EVENT, index, day)
    life = member.life
    life.dice = member.coverage_maker.dice = dice
    life.today = spec.as_of.toordinal() + day
    _CHANGES[dice.pick(WEIGHTS["changes"])](member)


def _add_claims(member: Member) -> None:
    life, dice = member.life, member.life.dice
    for _ in range(dice.between(1, 3)):
        name = dice.pick(WEIGHTS["new_claims"])
        course = ClaimCourse.REFUSED if dice.chance(60) else ClaimCourse.NONE
        day = life.today - dice.between(12, 40)
        event = CareEvent(day, name, course)
        member.claims += draft_claims(life, event, decision_day=life.today)


def _current_claims(member: Member) -> list[Claim]:
    """Return the active claims that no other claim has replaced."""
    return [
        claim
        for claim in member.claims
        if claim.header["status"].lower() == "active" and "adjusted_to_claim_id" not in claim.header
    ]


def _change_line(member: Member) -> None:
    """Lower a line's benefit, or add or drop a line: the header's totals follow."""
    life, dice = member.life, member.life.dice
    claims = _current_claims(member)
    if not claims:
        return
    claim = dice.pick(claims)
    changed: list[Row]
    if not adjustments.can_change_lines(claim) or dice.chance(500):
        changed = adjustments.lower_benefit(claim, dice.between(5, 30))
    elif len(claim.rows["claim_line"]) > 1 and dice.chance(500):
        changed = adjustments.drop_line(claim)
    else:
        changed = adjustments.add_line(claim)
    signed = draw_timestamp(dice, life.today)
    for row in changed:
        row["last_updated"] = signed


def _adjust_claim(member: Member) -> None:
    life = member.life
    claims = _current_claims(member)
    if claims and life.count < MOST_CLAIMS:
        successor = adjustments.void_claim if life.dice.chance(250) else adjustments.replace_claim
        member.claims.append(successor(life, life.dice.pick(claims), life.today))


def _delete_claim(member: Member) -> None:
    """Delete a claim that no other claim refers to."""
    claims = [
        claim for claim in _current_claims(member) if "adjusted_from_claim_id" not in claim.header
    ]
    if claims:
        deleted = member.life.dice.pick(claims)
        member.claims = [claim for claim in member.claims if claim is not deleted]


def _move_member(member: Member) -> None:
    life = member.life
    old = {column: text for column, text in member.row.items() if column in _ADDRESS}
    signed = draw_timestamp(life.dice, life.today)
    for column in _ADDRESS:
        member.row.pop(column, None)
    member.row |= draw_address(life.dice, life.region.state)
    member.row["last_updated"] = signed
    last = max((int(row["sequence"]) for row in member.addresses), default=0)
    row = {"record_action": "A", "member_id": life.member_id, "sequence": str(last + 1)}
    row |= {"use": "old", **old, "end_date": iso_date(life.today), "last_updated": signed}
    member.addresses.append(row)


_ADDRESS: Final = (
    "address_line", "address_line_2", "city", "county", "state", "postal_code", "country",
)  # fmt: skip


def _change_plan(member: Member) -> None:
    """End the medical plan yesterday and begin another today."""
    life, dice = member.life, member.life.dice
    cover = life.cover_on(life.today, "medical")
    if cover is None or cover.end < NO_END or cover.start >= life.today - 1:
        return
    plan = dice.pick([other for other in MEDICAL_PLANS if other is not cover.plan])
    term = PlanTerm(plan, life.today, NO_END)
    successors = member.coverage_maker.make("medical", term, life.today)
    if not successors:
        return
    cover.end = life.today - 1
    end_cells = {"end_date": iso_date(cover.end), "status": "cancelled"}
    cover.row |= end_cells | {"last_updated": draw_timestamp(dice, life.today)}
    member.covers += successors


def _delete_member(member: Member) -> None:
    member.is_deleted = True


_CHANGES: Final[dict[str, Callable[[Member], None]]] = {
    "new": _add_claims,
    "line": _change_line,
    "adjusted": _adjust_claim,
    "deleted": _delete_claim,
    "moved": _move_member,
    "plan": _change_plan,
    "gone": _delete_member,
}
