"""Checks between rows and tables: orphans, periods, sums, the directory."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.arrays import as_array, compound_keys, list_values, true_where
from etl.columns.dates import NO_DAY
from etl.model.canonical_tables import AMOUNT_COLUMNS, HEADER_OF, KEYS, LINES, FieldType
from etl.model.severity import Severity
from etl.quality.checks.frames import Checks, Frame, Work
from etl.quality.rules import kinds
from etl.quality.rules.book import Rule

_REJECTING: Final = (Severity.REJECT_ROW, Severity.REJECT_CLAIM)
_END_OF_FRACTION: Final = r"^(-?\d+(?:\.\d*?[1-9])?)\.?0*$"
"""A number in canonical form, without the zeros that end its fraction."""


def _fail_words(work: Work, frame: Frame, rule: Rule, column: str, failing: Any) -> None:
    if failing.any():
        work.fail(rule, frame, frame.cells(column).spread(failing, False), column)


def _exists(work: Work, table: str, ids: Any) -> Any:
    """Return which ids a table has anywhere: in this partition or another."""
    here = work.frames[table].cells(KEYS[table]).text
    return true_where(work.context.known.exists(table, ids)) | true_where(
        pc.is_in(ids, value_set=here)
    )


def _orphan(work: Work, frame: Frame, rule: Rule, kind: kinds.Orphan) -> None:
    parent, by = kind.parent, kind.by
    up = work.above(frame, parent)
    where = (up < 0) & frame.filled(by) & ~frame.superseded
    if not where.any():
        return
    if parent in LINES.values():
        # Without its claim the row is an orphan already, by another rule.
        where &= work.above(frame, HEADER_OF[parent]) >= 0
        where &= work.holds(rule, frame)
        where = _without_those_of_unread_lines(work, frame, where)
    else:
        cells = frame.cells(by)
        where &= ~cells.spread(_exists(work, parent, cells.words), False)
    work.fail(rule, frame, where, by)


def _without_those_of_unread_lines(work: Work, frame: Frame, where: Any) -> Any:
    """Set aside the failing rows of headers that have a line with an unreadable number.

    That line may be the one that they name, and then the line is at fault.
    """
    header = HEADER_OF[frame.name]
    _, headers = work.unread_lines(header)
    of_unread = where & np.isin(work.above(frame, header), headers)
    if of_unread.any():
        work.of_unread_lines[frame.name] = of_unread
    return where & ~of_unread


def _of_another(work: Work, frame: Frame, rule: Rule, _kind: kinds.OfAnother) -> None:
    """Fail rows of headers with a coverage that exists, but is not their member's.

    Another member's coverage may lie in another partition. A coverage that exists, but not here,
    is not this member's.
    """
    stray = (work.above(frame, "coverage") < 0) & frame.filled("coverage_id")
    stray &= ~frame.superseded & work.members_of(frame).is_valid().to_numpy(False)
    if stray.any():
        cells = frame.cells("coverage_id")
        stray &= cells.spread(_exists(work, "coverage", cells.words), False)
        work.fail(rule, frame, stray, "coverage_id")


def _childless(work: Work, frame: Frame, rule: Rule, kind: kinds.Childless) -> None:
    below = work.frames[kind.child]
    # Lines that are rejected reject their claim by a rule of their own.
    counted = below.live
    if kind.child not in LINES.values():
        # So do rows that reject their claim because they could not be read.
        gone = work.rejected_so_far(below, *_REJECTING)
        unread = below.bare & work.rejected_so_far(below, Severity.REJECT_CLAIM)
        counted = counted & (~gone | unread)
    if kind.filled:
        counted = counted & below.filled(kind.filled)
    up = work.above(below, frame.name)[counted]
    has = np.zeros(frame.count, dtype=bool)
    has[up[up >= 0]] = True
    work.fail(rule, frame, ~has & frame.filled(frame.spec.key[0]))


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
            work.fail(rule, frame, where, column)


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


def _outside(work: Work, frame: Frame, rule: Rule, kind: kinds.Outside) -> None:
    if frame.cells(kind.column).empty:
        return
    up = np.arange(frame.count)
    position = frame
    for parent in kind.above:
        up = np.append(work.above(position, parent), -1)[up]
        position = work.frames[parent]
    days = frame.days(kind.column)
    where = np.zeros(frame.count, dtype=bool)
    if kind.start:
        start = np.append(position.days(kind.start), NO_DAY)[up]
        where |= days < start
    if kind.end:
        end = np.append(position.days(kind.end), NO_DAY)[up]
        where |= (days > end) & (end != NO_DAY)
    work.fail(rule, frame, where & (days != NO_DAY), kind.column)


def _sum_of_lines(work: Work, frame: Frame, rule: Rule, _kind: kinds.SumOfLines) -> None:
    lines = work.frames["claim_line"]
    up = np.where(lines.live, work.above(lines, "claim"), -1)
    for column in AMOUNT_COLUMNS:
        if frame.cells(column).empty or lines.cells(column).empty:
            continue
        counted = lines.filled(column) & (up >= 0)
        total = np.zeros(frame.count, dtype=np.int64)
        np.add.at(total, up[counted], lines.cents(column)[counted])
        has_amounts = np.zeros(frame.count, dtype=bool)
        has_amounts[up[counted]] = True
        where = frame.filled(column) & has_amounts & (total != frame.cents(column))
        work.fail(rule, frame, where, column)


def _sum_of_payments(work: Work, frame: Frame, rule: Rule, _kind: kinds.SumOfPayments) -> None:
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
    work.fail(rule, frame, where, column)


def _no_amount(work: Work, frame: Frame, rule: Rule, kind: kinds.NoAmount) -> None:
    others = work.frames["claim_other_payer"]
    header = np.zeros(frame.count, dtype=bool)
    for column in AMOUNT_COLUMNS:
        if not frame.cells(column).empty:
            header |= frame.filled(column)
    if header.all():
        return
    of_lines = _with_line_amounts(work)
    if kind.summed:
        paid, of_line = others.filled("amount_priorpayerpaid"), others.filled("line_number")
        _mark_claims(work, header, others, paid & ~of_line)
        _mark_claims(work, of_lines, others, paid & of_line)
    work.fail(rule, frame, ~header & (of_lines if kind.summed else ~of_lines))


def _unlike_lines(work: Work, frame: Frame, rule: Rule, kind: kinds.UnlikeLines) -> None:
    """Fail lines that have neither a column nor a child, where another line of the claim does."""
    has = np.zeros(frame.count, dtype=bool)
    for column in kind.columns:
        has |= frame.filled(column)
    below = work.frames[kind.child]
    up = work.above(below, frame.name)[below.live]
    has[up[up >= 0]] = True
    claims = np.zeros(work.frames["claim"].count + 1, dtype=bool)
    _mark_claims(work, claims, frame, has)
    work.fail(rule, frame, ~has & claims[work.above(frame, "claim")])


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


def _names_no_line(work: Work, frame: Frame, rule: Rule, kind: kinds.NamesNoLine) -> None:
    column, cells = kind.column, frame.cells(kind.column)
    if cells.empty:
        return
    header = HEADER_OF[frame.name]
    claims = work.above(frame, header)
    numbers, owners = _listed(frame, column, cells.text)
    there = pc.is_valid(numbers).to_numpy(zero_copy_only=False)
    whole = true_where(pc.match_substring_regex(numbers, pattern=r"^[0-9]{1,9}$"))
    value = pc.cast(pc.if_else(pa.array(whole), numbers, "0"), pa.int64()).to_numpy()
    claim = claims[owners]
    lines = work.frames[LINES[header]]
    line_keys = work.line_keys(lines)[lines.live]
    named = (claim << 32) | value
    wrong = there & (claim >= 0) & ~(whole & np.isin(named, line_keys))
    where = np.zeros(frame.count, dtype=bool)
    where[owners[wrong]] = True
    if where.any() and rule.severity.rejects:
        where &= work.holds(rule, frame) & ~frame.superseded
        where = _without_those_of_unread_lines(work, frame, where)
    work.fail(rule, frame, where, column)


def _card_of_another(work: Work, frame: Frame, rule: Rule, _kind: kinds.CardOfAnother) -> None:
    column = "card_member_id"
    cells = frame.cells(column)
    if cells.empty:
        return
    exists = _exists(work, "member", cells.words)
    if exists.any():
        other = true_where(pc.not_equal(cells.text, frame.cells("member_id").text))
        work.fail(rule, frame, other & cells.spread(exists, False), column)


def _unknown_claim(work: Work, frame: Frame, rule: Rule, column: str) -> None:
    words = frame.cells(column).words
    names, owners = _listed(frame, column, words)
    unknown = owners[~_exists(work, "claim", names)]
    _fail_words(work, frame, rule, column, np.isin(np.arange(len(words)), unknown))


def _claim_itself(work: Work, frame: Frame, rule: Rule, column: str) -> None:
    itself = true_where(pc.equal(frame.cells(column).text, frame.cells("claim_id").text))
    work.fail(rule, frame, itself, column)


def _claim_of_another(work: Work, frame: Frame, rule: Rule, column: str) -> None:
    """Fail links to claims that exist, but are not the member's.

    A member's claims lie in one partition: a claim elsewhere is not this member's.
    """
    claims, cells = work.frames["claim"], frame.cells(column)
    own = compound_keys(claims.cells("member_id").text, claims.cells("claim_id").text)
    names, owners = _listed(frame, column, cells.text)
    named = compound_keys(frame.cells("member_id").text.take(pa.array(owners)), names)
    strange = true_where(pc.is_valid(named)) & ~true_where(pc.is_in(named, value_set=own))
    if strange.any():
        words, _ = _listed(frame, column, cells.words)
        existing = words.filter(pa.array(_exists(work, "claim", words)))
        strange &= true_where(pc.is_in(names, value_set=existing))
        work.fail(rule, frame, np.isin(np.arange(frame.count), owners[strange]), column)


def _listed(frame: Frame, column: str, cells: Any) -> tuple[Any, Any]:
    """Return the names in cells of a column, and the cell of each; a list has several."""
    if frame.spec.column(column).type is FieldType.LIST:  # type: ignore[union-attr]
        return list_values(cells)
    return cells, np.arange(len(cells))


_LINK_FAULTS: Final = {
    "absent": _unknown_claim,
    "itself": _claim_itself,
    "another": _claim_of_another,
}


def _named_claims(work: Work, frame: Frame, rule: Rule, kind: kinds.UnknownClaim) -> None:
    for column in kind.columns:
        if not frame.cells(column).empty:
            _LINK_FAULTS[kind.fault](work, frame, rule, column)


def _not_in_directory(work: Work, frame: Frame, rule: Rule, kind: kinds.NotInDirectory) -> None:
    directory = work.context.directory
    for column in kind.columns:
        words = frame.cells(column).words
        failing = ~directory.holds(words, kind.of)
        if kind.listed:
            failing &= directory.holds(words, kind.listed)
        _fail_words(work, frame, rule, column, failing)


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


def _no_first(work: Work, frame: Frame, rule: Rule, _kind: kinds.NoFirst) -> None:
    """Fail the remaining row of a claim with the lowest sequence if that is above 1."""
    claims = work.above(frame, "claim")
    rejected = work.rejected_so_far(frame, *_REJECTING)
    at = np.flatnonzero(frame.live & ~rejected & (claims >= 0) & frame.filled("sequence"))
    sequences = frame.whole("sequence")
    at = at[np.lexsort((sequences[at], claims[at]))]
    _, firsts = np.unique(claims[at], return_index=True)
    where = np.zeros(frame.count, dtype=bool)
    where[at[firsts]] = True
    work.fail(rule, frame, where & (sequences > 1), "sequence")


def _plain(text: Any) -> Any:
    """Return text as it is compared: lower case, without blanks, hyphens, dots and brackets."""
    lower = pc.utf8_lower(text)
    return as_array(pc.replace_substring_regex(lower, pattern=r"[\s().\-]", replacement=""))


CHECKS: Final[Checks] = {
    kinds.Orphan: _orphan,
    kinds.Childless: _childless,
    kinds.OfAnother: _of_another,
    kinds.Disagrees: _disagrees,
    kinds.Outside: _outside,
    kinds.SumOfLines: _sum_of_lines,
    kinds.SumOfPayments: _sum_of_payments,
    kinds.NoAmount: _no_amount,
    kinds.UnlikeLines: _unlike_lines,
    kinds.NamesNoLine: _names_no_line,
    kinds.NotInDirectory: _not_in_directory,
    kinds.CardOfAnother: _card_of_another,
    kinds.UnknownClaim: _named_claims,
    kinds.Repeated: _repeated,
    kinds.NoFirst: _no_first,
}
