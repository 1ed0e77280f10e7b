"""Checks between rows and tables: orphans, periods, sums, the directory."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.arrays import as_array, compound_keys, list_values, true_where
from etl.columns.dates import NO_DAY
from etl.model.canonical_tables import AMOUNT_COLUMNS, FieldType
from etl.model.relations import KEYS
from etl.model.severity import Severity
from etl.quality.checks.directory import check_directory
from etl.quality.checks.frames import Frame, Work
from etl.quality.rules import directory_kinds, kinds
from etl.quality.rules.book import Rule

_REJECTING: Final = (Severity.REJECT_ROW, Severity.REJECT_CLAIM)
_END_OF_FRACTION: Final = r"^(-?\d+(?:\.\d*?[1-9])?)\.?0*$"
"""A number in canonical form, without the zeros that end its fraction."""


def check_relations(work: Work, frame: Frame, rule: Rule) -> None:
    """Run one rule about rows and what they belong to over one table."""
    match rule.kind:
        case kinds.Orphan(parent, by):
            _orphan(work, frame, rule, parent, by)
        case kinds.Childless(child, filled):
            _childless(work, frame, rule, child, filled)
        case kinds.OfAnother():
            _of_another(work, frame, rule)
        case kinds.Disagrees() as disagrees:
            _disagrees(work, frame, rule, disagrees)
        case kinds.Outside() as outside:
            _outside(work, frame, rule, outside)
        case kinds.SumOfLines():
            _sum_of_lines(work, frame, rule)
        case kinds.SumOfPayments():
            _sum_of_payments(work, frame, rule)
        case kinds.NoAmount(summed):
            _no_amount(work, frame, rule, summed=summed)
        case kinds.UnlikeLines(columns, child):
            _unlike_lines(work, frame, rule, columns, child)
        case kinds.NamesNoLine(column):
            _names_no_line(work, frame, rule, column)
        case kinds.NotInDirectory(columns, of, listed):
            directory = work.context.directory
            for column in columns:
                words = frame.cells(column).words
                failing = ~directory.holds(words, of)
                if listed:
                    failing &= directory.holds(words, listed)
                _fail_words(work, frame, rule, column, failing)
        case kinds.CardOfAnother():
            _card_of_another(work, frame, rule)
        case kinds.UnknownClaim(columns, fault):
            for column in columns:
                if not frame.cells(column).empty:
                    _LINK_FAULTS[fault](work, frame, rule, column)
        case kinds.Repeated() as repeated:
            _repeated(work, frame, rule, repeated)
        case kinds.NoFirst():
            _no_first(work, frame, rule)
        case (
            directory_kinds.Unnamed()
            | directory_kinds.NoPlace()
            | directory_kinds.SharedValue()
            | directory_kinds.Stale()
            | (directory_kinds.Elsewhere())
        ):
            check_directory(work, frame, rule)
        case _:
            raise TypeError(f"{rule.check} is no check of relations")


def _fail_words(work: Work, frame: Frame, rule: Rule, column: str, failing: Any) -> None:
    if failing.any():
        cells = frame.cells(column)
        where = cells.spread(failing, False) & work.holds(rule, frame) & ~frame.superseded
        work.fail(rule, frame, where, column)


def _exists(work: Work, table: str, ids: Any) -> Any:
    """Return which ids a table has anywhere: in this partition or another."""
    here = work.frames[table].cells(KEYS[table]).text
    return true_where(work.context.known.exists(table, ids)) | true_where(
        pc.is_in(ids, value_set=here)
    )


def _orphan(work: Work, frame: Frame, rule: Rule, parent: str, by: str) -> None:
    up = work.above(frame, parent)
    where = (up < 0) & frame.filled(by) & ~frame.superseded
    if not where.any():
        return
    if parent == "claim_line":
        # Without its claim the row is an orphan already, by another rule.
        where &= work.above(frame, "claim") >= 0
    else:
        cells = frame.cells(by)
        where &= ~cells.spread(_exists(work, parent, cells.words), False)
    where &= work.holds(rule, frame)
    if parent == "claim_line":
        where = _without_those_of_unread_lines(work, frame, where)
    work.fail(rule, frame, where, by)


def _without_those_of_unread_lines(work: Work, frame: Frame, where: Any) -> Any:
    """Set aside the failing rows of claims that have a line with an unreadable number.

    That line may be the one that they name, and then the line is at fault.
    """
    _, claims = work.unread_lines()
    of_unread = where & np.isin(work.above(frame, "claim"), claims)
    if of_unread.any():
        work.of_unread_lines[frame.name] = of_unread
    return where & ~of_unread


def _of_another(work: Work, frame: Frame, rule: Rule) -> None:
    """Fail rows of claims with a coverage that exists, but is not their member's.

    Another member's coverage may lie in another partition. A coverage that exists, but not here,
    is not this member's.
    """
    stray = (work.above(frame, "coverage") < 0) & frame.filled("coverage_id")
    stray &= ~frame.superseded & work.members_of_claims(frame).is_valid().to_numpy(False)
    if stray.any():
        cells = frame.cells("coverage_id")
        stray &= cells.spread(_exists(work, "coverage", cells.words), False)
        work.fail(rule, frame, stray & work.holds(rule, frame), "coverage_id")


def _childless(work: Work, frame: Frame, rule: Rule, child: str, filled: str) -> None:
    below = work.frames[child]
    # Lines that are rejected reject their claim by a rule of their own.
    counted = below.live
    if child != "claim_line":
        # So do rows that reject their claim because they could not be read.
        gone = work.rejected_so_far(below, *_REJECTING)
        unread = below.bare & work.rejected_so_far(below, Severity.REJECT_CLAIM)
        counted = counted & (~gone | unread)
    if filled:
        counted = counted & below.filled(filled)
    up = work.above(below, frame.name)[counted]
    has = np.zeros(frame.count, dtype=bool)
    has[up[up >= 0]] = True
    where = ~has & ~frame.superseded & frame.filled(frame.spec.key[0])
    if where.any():
        work.fail(rule, frame, where & work.holds(rule, frame))


def _disagrees(work: Work, frame: Frame, rule: Rule, kind: kinds.Disagrees) -> None:
    other, up = frame, np.arange(frame.count)
    if kind.parent:
        other, up = work.frames[kind.parent], work.above(frame, kind.parent)
    above = pa.array(up, mask=up < 0)
    for column in kind.columns:
        if frame.cells(column).empty:
            continue
        mine = _meaning(frame, column, rule)
        compared = stated = np.zeros(frame.count, dtype=bool)
        for name in kind.compared(column):
            if not other.cells(name).empty:
                theirs = _meaning(other, name, rule).take(above)
                compared = compared | true_where(pc.is_valid(theirs))
                stated = stated | true_where(pc.equal(mine, theirs))
        where = frame.filled(column) & compared & ~stated
        if where.any():
            if kind.without_line_amounts:
                where &= _without_line_amounts(work, frame)
            work.fail(rule, frame, where & work.holds(rule, frame) & ~frame.superseded, column)


def _meaning(frame: Frame, column: str, rule: Rule) -> Any:
    """Return the cells of a column so that those which say the same are equal."""
    cells, words = frame.cells(column), frame.cells(column).words
    match frame.spec.column(column).type:  # type: ignore[union-attr]
        case FieldType.DECIMAL | FieldType.MONEY | FieldType.INTEGER:
            plain = pc.replace_substring_regex(words, pattern=_END_OF_FRACTION, replacement=r"\1")
        case FieldType.TEXT:
            plain = pc.utf8_lower(words)
        case _ if rule.crosswalk is not None:
            crosswalk = rule.crosswalk
            answers = [crosswalk.answer(word) or word.lower() for word in words.to_pylist()]
            plain = pa.array(answers, pa.string())
        case _:
            return cells.text
    return as_array(plain.take(pa.array(cells.codes, mask=cells.codes < 0)))


def _without_line_amounts(work: Work, frame: Frame) -> Any:
    """Return the rows of claims of which no line carries an amount."""
    up = np.arange(frame.count) if frame.name == "claim" else work.above(frame, "claim")
    return (up >= 0) & ~np.append(_with_line_amounts(work), True)[up]


def _outside(work: Work, frame: Frame, rule: Rule, outside: kinds.Outside) -> None:
    if frame.cells(outside.column).empty:
        return
    up = np.arange(frame.count)
    position = frame
    for parent in outside.above:
        up = np.append(work.above(position, parent), -1)[up]
        position = work.frames[parent]
    days = frame.days(outside.column)
    where = np.zeros(frame.count, dtype=bool)
    if outside.start:
        start = np.append(position.days(outside.start), NO_DAY)[up]
        where |= days < start
    if outside.end:
        end = np.append(position.days(outside.end), NO_DAY)[up]
        where |= (days > end) & (end != NO_DAY)
    where &= days != NO_DAY
    if where.any():
        where &= work.holds(rule, frame) & ~frame.superseded
        work.fail(rule, frame, where, outside.column)


def _sum_of_lines(work: Work, frame: Frame, rule: Rule) -> None:
    lines = work.frames["claim_line"]
    up = np.where(lines.live, work.above(lines, "claim"), -1)
    looked_at: Any = None
    for column in AMOUNT_COLUMNS:
        if frame.cells(column).empty or lines.cells(column).empty:
            continue
        counted = lines.filled(column) & (up >= 0)
        total = np.zeros(frame.count, dtype=np.int64)
        np.add.at(total, up[counted], lines.cents(column)[counted])
        has_amounts = np.zeros(frame.count, dtype=bool)
        has_amounts[up[counted]] = True
        where = frame.filled(column) & has_amounts & (total != frame.cents(column))
        if where.any():
            looked_at = work.holds(rule, frame) if looked_at is None else looked_at
            work.fail(rule, frame, where & looked_at & ~frame.superseded, column)


def _sum_of_payments(work: Work, frame: Frame, rule: Rule) -> None:
    """Fail the payments for a claim, or for a line, that states another sum of them itself."""
    column = "amount_priorpayerpaid"
    paid = frame.filled(column) & frame.live
    if not paid.any():
        return
    of_line, cents = frame.filled("line_number"), frame.cents(column)
    where = np.zeros(frame.count, dtype=bool)
    for parent, here in (("claim", paid & ~of_line), ("claim_line", paid & of_line)):
        above, up = work.frames[parent], work.above(frame, parent)
        at = np.flatnonzero(here & (up >= 0))
        total = np.zeros(above.count, dtype=np.int64)
        np.add.at(total, up[at], cents[at])
        where[at] = (above.filled(column) & (total != above.cents(column)))[up[at]]
    if where.any():
        work.fail(rule, frame, where & work.holds(rule, frame), column)


def _no_amount(work: Work, frame: Frame, rule: Rule, *, summed: bool) -> None:
    others = work.frames["claim_other_payer"]
    header = np.zeros(frame.count, dtype=bool)
    for column in AMOUNT_COLUMNS:
        if not frame.cells(column).empty:
            header |= frame.filled(column)
    if header.all():
        return
    of_lines = _with_line_amounts(work)
    if summed:
        paid, of_line = others.filled("amount_priorpayerpaid"), others.filled("line_number")
        _mark_claims(work, header, others, paid & ~of_line)
        _mark_claims(work, of_lines, others, paid & of_line)
    where = ~header & (of_lines if summed else ~of_lines)
    work.fail(rule, frame, where & work.holds(rule, frame) & ~frame.superseded)


def _unlike_lines(
    work: Work, frame: Frame, rule: Rule, columns: tuple[str, ...], child: str
) -> None:
    """Fail lines that have neither a column nor a child, where another line of the claim does."""
    has = np.zeros(frame.count, dtype=bool)
    for column in columns:
        has |= frame.filled(column)
    below = work.frames[child]
    up = work.above(below, frame.name)[below.live]
    has[up[up >= 0]] = True
    claims = np.zeros(work.frames["claim"].count + 1, dtype=bool)
    _mark_claims(work, claims, frame, has)
    where = ~has & claims[work.above(frame, "claim")]
    if where.any():
        work.fail(rule, frame, where & work.holds(rule, frame) & ~frame.superseded)


def _with_line_amounts(work: Work) -> Any:
    """Return the claims of which a remaining line carries an amount."""
    lines = work.frames["claim_line"]
    claims = np.zeros(work.frames["claim"].count, dtype=bool)
    for column in AMOUNT_COLUMNS:
        _mark_claims(work, claims, lines, lines.filled(column))
    return claims


def _mark_claims(work: Work, claims: Any, children: Frame, where: Any) -> None:
    """Set a flag of the claims that some remaining rows belong to."""
    if where.any():
        above = work.above(children, "claim")[where & children.live]
        claims[above[above >= 0]] = True


def _names_no_line(work: Work, frame: Frame, rule: Rule, column: str) -> None:
    cells = frame.cells(column)
    if cells.empty:
        return
    claims = work.above(frame, "claim")
    numbers = cells.text
    owners = np.arange(frame.count)
    if frame.spec.column(column).type is FieldType.LIST:  # type: ignore[union-attr]
        numbers, owners = list_values(numbers)
    there = pc.is_valid(numbers).to_numpy(zero_copy_only=False)
    whole = true_where(pc.match_substring_regex(numbers, pattern=r"^[0-9]{1,9}$"))
    value = pc.cast(pc.if_else(pa.array(whole), numbers, "0"), pa.int64()).to_numpy()
    claim = claims[owners]
    lines = work.frames["claim_line"]
    line_keys = work.line_keys(lines)[lines.live]
    named = (claim << 32) | value
    wrong = there & (claim >= 0) & ~(whole & np.isin(named, line_keys))
    where = np.zeros(frame.count, dtype=bool)
    where[owners[wrong]] = True
    if where.any():
        where &= work.holds(rule, frame) & ~frame.superseded
        if rule.severity.rejects:
            where = _without_those_of_unread_lines(work, frame, where)
        work.fail(rule, frame, where, column)


def _card_of_another(work: Work, frame: Frame, rule: Rule) -> None:
    column = "card_member_id"
    cells = frame.cells(column)
    if cells.empty:
        return
    exists = _exists(work, "member", cells.words)
    if exists.any():
        other = true_where(pc.not_equal(cells.text, frame.cells("member_id").text))
        where = other & cells.spread(exists, False)
        work.fail(rule, frame, where & work.holds(rule, frame) & ~frame.superseded, column)


def _unknown_claim(work: Work, frame: Frame, rule: Rule, column: str) -> None:
    _fail_words(work, frame, rule, column, ~_exists(work, "claim", frame.cells(column).words))


def _claim_itself(work: Work, frame: Frame, rule: Rule, column: str) -> None:
    itself = true_where(pc.equal(frame.cells(column).text, frame.cells("claim_id").text))
    work.fail(rule, frame, itself & work.holds(rule, frame) & ~frame.superseded, column)


def _claim_of_another(work: Work, frame: Frame, rule: Rule, column: str) -> None:
    """Fail links to claims that exist, but are not the member's.

    A member's claims lie in one partition: a claim elsewhere is not this member's.
    """
    cells = frame.cells(column)
    members = frame.cells("member_id").text
    own = compound_keys(members, frame.cells("claim_id").text)
    where = frame.filled(column) & frame.filled("member_id")
    where &= ~true_where(pc.is_in(compound_keys(members, cells.text), value_set=own))
    if where.any():
        where &= cells.spread(_exists(work, "claim", cells.words), False)
        work.fail(rule, frame, where & work.holds(rule, frame) & ~frame.superseded, column)


_LINK_FAULTS: Final = {
    "absent": _unknown_claim,
    "itself": _claim_itself,
    "another": _claim_of_another,
}


def _repeated(work: Work, frame: Frame, rule: Rule, repeated: kinds.Repeated) -> None:
    """Fail rows with the same values as another row of the same owner; the first one passes."""
    first = repeated.columns[0]
    if frame.cells(first).empty:
        return
    parts = [_plain(frame.cells(column).text) for column in repeated.columns]
    owner = frame.cells(repeated.within).text
    said = as_array(pc.binary_join_element_wise(owner, *parts, "\x1f", null_handling="replace"))
    codes = said.dictionary_encode().indices.to_numpy(zero_copy_only=False)
    looked_at = work.holds(rule, frame) & ~frame.superseded & frame.filled(first)
    places = np.flatnonzero(looked_at)
    # The first row by its key stays, so that the order of rows in the file decides nothing.
    order = np.lexsort((frame.rows[places], frame.files[places], frame.whole("sequence")[places]))
    places = places[order]
    _, firsts = np.unique(codes[places], return_index=True)
    again = np.ones(len(places), dtype=bool)
    again[firsts] = False
    where = np.zeros(frame.count, dtype=bool)
    where[places[again]] = True
    if repeated.also:
        up = work.above(frame, "member")
        above = work.frames["member"]
        for column in repeated.also:
            theirs = _plain(above.cells(column).text).take(pa.array(up, mask=up < 0))
            where |= looked_at & true_where(pc.equal(parts[0], theirs))
    work.fail(rule, frame, where, first)


def _no_first(work: Work, frame: Frame, rule: Rule) -> None:
    """Fail the remaining row of a claim with the lowest sequence if that is above 1."""
    claims = work.above(frame, "claim")
    rejected = work.rejected_so_far(frame, *_REJECTING)
    at = np.flatnonzero(frame.live & ~rejected & (claims >= 0) & frame.filled("sequence"))
    sequences = frame.whole("sequence")
    at = at[np.lexsort((sequences[at], claims[at]))]
    _, firsts = np.unique(claims[at], return_index=True)
    where = np.zeros(frame.count, dtype=bool)
    where[at[firsts]] = True
    work.fail(rule, frame, where & (sequences > 1) & work.holds(rule, frame), "sequence")


def _plain(text: Any) -> Any:
    """Return text as it is compared: lower case, without blanks, hyphens, dots and brackets."""
    lower = pc.utf8_lower(text)
    return as_array(pc.replace_substring_regex(lower, pattern=r"[\s().\-]", replacement=""))
