"""Checks between rows and tables: orphans, periods, sums, the provider directory."""

from __future__ import annotations

import re
from typing import Any, Final
from unicodedata import normalize

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.arrays import as_array, compound_keys, list_values, true_where
from etl.columns.dates import NO_DAY
from etl.model.canonical_tables import AMOUNT_COLUMNS, HEADER_OF, KEYS, LINES, FieldType
from etl.model.severity import Severity
from etl.quality.checks.frames import Cells, Checks, Frame, Work
from etl.quality.rules import kinds
from etl.quality.rules.book import Rule

_REJECTING: Final = (Severity.REJECT_ROW, Severity.REJECT_CLAIM)
_NO_END: Final = np.iinfo(np.int32).max
_ACCENTS: Final = dict.fromkeys(range(0x300, 0x370))
_END_OF_FRACTION: Final = r"^(-?\d+(?:\.\d*?[1-9])?)\.?0*$"
"""Matches a canonical number; group 1 omits trailing zeros of the fraction."""


def _fail_words(work: Work, frame: Frame, rule: Rule, column: str, failing: Any) -> None:
    if failing.any():
        work.fail(rule, frame, frame.cells(column).spread(failing, False), column)


def _exists(work: Work, table: str, ids: Any) -> Any:
    """Return which ids a table has, in this partition or another."""
    partition_ids = work.frames[table].cells(KEYS[table]).text
    return true_where(work.context.known_keys.exists(table, ids)) | true_where(
        pc.is_in(ids, value_set=partition_ids)
    )


def _check_orphan(work: Work, frame: Frame, rule: Rule, kind: kinds.Orphan) -> None:
    parent, key_column = kind.parent, kind.by
    parents = work.parents(frame, parent)
    is_orphan = (parents < 0) & frame.filled(key_column) & ~frame.superseded
    if not is_orphan.any():
        return
    if parent in LINES.values():
        # A row without its claim is an orphan by another rule.
        is_orphan &= work.parents(frame, HEADER_OF[parent]) >= 0
        is_orphan &= work.applies(rule, frame)
        is_orphan = _exclude_unnumbered(work, frame, is_orphan)
    else:
        cells = frame.cells(key_column)
        is_orphan &= ~cells.spread(_exists(work, parent, cells.words), False)
    work.fail(rule, frame, is_orphan, key_column)


def _exclude_unnumbered(work: Work, frame: Frame, is_orphan: Any) -> Any:
    """Exclude orphans whose header has a line with an unreadable number.

    They may refer to that line, and then the line is at fault.
    """
    header = HEADER_OF[frame.name]
    _, headers = work.unnumbered_lines(header)
    is_uncertain = is_orphan & np.isin(work.parents(frame, header), headers)
    if is_uncertain.any():
        work.maybe_unnumbered[frame.name] = is_uncertain
    return is_orphan & ~is_uncertain


def _check_coverage_owner(work: Work, frame: Frame, rule: Rule, _kind: kinds.OfAnother) -> None:
    """Fail rows whose coverage belongs to another member.

    A coverage that exists, but not in this partition, is another member's.
    """
    is_foreign = (work.parents(frame, "coverage") < 0) & frame.filled("coverage_id")
    is_foreign &= ~frame.superseded & work.members_of(frame).is_valid().to_numpy(False)
    if is_foreign.any():
        cells = frame.cells("coverage_id")
        is_foreign &= cells.spread(_exists(work, "coverage", cells.words), False)
        work.fail(rule, frame, is_foreign, "coverage_id")


def _check_childless(work: Work, frame: Frame, rule: Rule, kind: kinds.Childless) -> None:
    children = work.frames[kind.child]
    # Rejected lines reject their claim by another rule.
    counted = children.live
    if kind.child not in LINES.values():
        # So do malformed rows.
        is_rejected = work.rejected_so_far(children, *_REJECTING)
        rejecting = children.malformed & work.rejected_so_far(children, Severity.REJECT_CLAIM)
        counted = counted & (~is_rejected | rejecting)
    has_child = np.zeros(frame.count, dtype=bool)
    parents = work.parents(children, frame.name)
    if kind.values:
        has_child = ~np.isin(np.arange(frame.count), parents[counted])
        cells, words = children.cells(kind.filled), pa.array(kind.values, pa.string())
        is_listed = true_where(pc.is_in(pc.utf8_lower(cells.words), value_set=words))
        counted = counted & cells.spread(is_listed, absent="" in kind.values)
    elif kind.filled:
        counted = counted & children.filled(kind.filled)
    has_child[parents[counted & (parents >= 0)]] = True
    work.fail(rule, frame, ~has_child & work.is_parent(frame) & frame.filled(frame.spec.key[0]))


def _check_disagrees(work: Work, frame: Frame, rule: Rule, kind: kinds.Disagrees) -> None:
    compared, parents = frame, np.arange(frame.count)
    if kind.parent:
        compared, parents = work.frames[kind.parent], work.parents(frame, kind.parent)
    parent_index = pa.array(parents, mask=parents < 0)
    for column in kind.columns:
        if frame.cells(column).empty:
            continue
        cell_values = _normalize_column(frame, column, rule)
        agrees = np.zeros(frame.count, dtype=bool)
        # The same row says it nowhere else: an empty cell differs, too.
        is_compared = np.full(frame.count, kind.without_line_amounts and not kind.parent)
        for other_column in kind.compared(column):
            if not compared.cells(other_column).empty:
                other_values = _normalize_column(compared, other_column, rule).take(parent_index)
                is_compared = is_compared | true_where(pc.is_valid(other_values))
                if kind.words:
                    agrees |= _share_words(cell_values, other_values)
                else:
                    agrees |= true_where(pc.equal(cell_values, other_values))
        fails = frame.filled(column) & is_compared & (agrees == kind.alike)
        if fails.any():
            if kind.without_line_amounts:
                fails &= _lacks_line_amounts(work, frame)
            work.fail(rule, frame, fails, column)


def _normalize_column(frame: Frame, column: str, rule: Rule) -> Any:
    """Normalize a column so that cells with the same meaning are equal."""
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


def _share_words(texts: Any, other_texts: Any) -> Any:
    """Return which texts have a word in common, whatever its accents."""
    pairs = zip(texts.to_pylist(), other_texts.to_pylist(), strict=True)
    return np.array([not _words(text).isdisjoint(_words(other)) for text, other in pairs], bool)


def _words(text: str | None) -> frozenset[str]:
    return frozenset(re.findall(r"[^\W\d_]+", normalize("NFKD", text or "").translate(_ACCENTS)))


def _lacks_line_amounts(work: Work, frame: Frame) -> Any:
    """Return which rows are of claims without any amount on a line."""
    claims = np.arange(frame.count) if frame.name == "claim" else work.parents(frame, "claim")
    return (claims >= 0) & ~np.append(_has_line_amounts(work), True)[claims]


def _check_period(work: Work, frame: Frame, rule: Rule, kind: kinds.Outside) -> None:
    if frame.cells(kind.column).empty:
        return
    ancestors = np.arange(frame.count)
    ancestor = frame
    for parent in kind.above:
        ancestors = np.append(work.parents(ancestor, parent), -1)[ancestors]
        ancestor = work.frames[parent]
    days = frame.days(kind.column)
    is_outside = np.zeros(frame.count, dtype=bool)
    if kind.start:
        start = np.append(ancestor.days(kind.start), NO_DAY)[ancestors]
        is_outside |= days.astype(np.int64) + kind.apart < start
    if kind.end:
        end = np.append(ancestor.days(kind.end), NO_DAY)[ancestors]
        is_outside |= (days.astype(np.int64) - kind.apart > end) & (end != NO_DAY)
    work.fail(rule, frame, is_outside & (days != NO_DAY), kind.column)


def _check_line_sums(work: Work, frame: Frame, rule: Rule, _kind: kinds.SumOfLines) -> None:
    lines = work.frames["claim_line"]
    claims = np.where(lines.live, work.parents(lines, "claim"), -1)
    for column in AMOUNT_COLUMNS:
        if frame.cells(column).empty or lines.cells(column).empty:
            continue
        counted = lines.filled(column) & (claims >= 0)
        total = np.zeros(frame.count, dtype=np.int64)
        np.add.at(total, claims[counted], lines.cents(column)[counted])
        has_amounts = np.zeros(frame.count, dtype=bool)
        has_amounts[claims[counted]] = True
        fails = frame.filled(column) & has_amounts & (total != frame.cents(column))
        work.fail(rule, frame, fails, column)


def _check_payment_sums(work: Work, frame: Frame, rule: Rule, kind: kinds.SumOfPayments) -> None:
    """Fail payments whose sum differs from, or is above, an amount of the claim or line."""
    column = "amount_priorpayerpaid"
    stated = "amount_submitted" if kind.above_submitted else column
    paid = frame.filled(column) & frame.live
    if not paid.any():
        return
    on_line, cents = frame.filled("line_number"), frame.cents(column)
    fails = np.zeros(frame.count, dtype=bool)
    for parent, is_selected in (("claim", paid & ~on_line), ("claim_line", paid & on_line)):
        rows, parents = work.frames[parent], work.parents(frame, parent)
        index = np.flatnonzero(is_selected & (parents >= 0))
        total = np.zeros(rows.count, dtype=np.int64)
        np.add.at(total, parents[index], cents[index])
        stated_cents = rows.cents(stated)
        exceeds = np.abs(total) > np.abs(stated_cents)
        is_wrong = exceeds if kind.above_submitted else total != stated_cents
        fails[index] = (rows.filled(stated) & is_wrong)[parents[index]]
    work.fail(rule, frame, fails, column)


def _check_no_amount(work: Work, frame: Frame, rule: Rule, kind: kinds.NoAmount) -> None:
    payments = work.frames["claim_other_payer"]
    has_amounts = np.zeros(frame.count, dtype=bool)
    for column in AMOUNT_COLUMNS:
        if not frame.cells(column).empty:
            has_amounts |= frame.filled(column)
    if has_amounts.all():
        return
    line_amounts = _has_line_amounts(work)
    if kind.summed:
        paid, on_line = payments.filled("amount_priorpayerpaid"), payments.filled("line_number")
        _mark_claims(work, line_amounts, payments, paid & on_line)
    has_no_total = ~has_amounts & (line_amounts if kind.summed else ~line_amounts)
    work.fail(rule, frame, has_no_total & work.is_parent(frame))


def _check_unlike_lines(work: Work, frame: Frame, rule: Rule, kind: kinds.UnlikeLines) -> None:
    """Fail lines without any of the columns or children that another line of the claim has."""
    has_any = np.zeros(frame.count, dtype=bool)
    for column in kind.columns:
        has_any |= frame.filled(column)
    children = work.frames[kind.child]
    parents = work.parents(children, frame.name)[children.live]
    has_any[parents[parents >= 0]] = True
    claims = np.zeros(work.frames["claim"].count + 1, dtype=bool)
    _mark_claims(work, claims, frame, has_any)
    work.fail(rule, frame, ~has_any & claims[work.parents(frame, "claim")])


def _has_line_amounts(work: Work) -> Any:
    """Return which claims have a live line with an amount."""
    lines = work.frames["claim_line"]
    claims = np.zeros(work.frames["claim"].count, dtype=bool)
    for column in AMOUNT_COLUMNS:
        _mark_claims(work, claims, lines, lines.filled(column))
    return claims


def _mark_claims(work: Work, claims: Any, children: Frame, is_counted: Any) -> None:
    """Set `claims` to true for the claims of some live rows."""
    if is_counted.any():
        claim_rows = work.parents(children, "claim")[is_counted & children.live]
        claims[claim_rows[claim_rows >= 0]] = True


def _check_line_names(work: Work, frame: Frame, rule: Rule, kind: kinds.NamesNoLine) -> None:
    column, cells = kind.column, frame.cells(kind.column)
    if cells.empty:
        return
    header = HEADER_OF[frame.name]
    claims = work.parents(frame, header)
    numbers, owners = _list_names(frame, column, cells.text)
    is_present = pc.is_valid(numbers).to_numpy(zero_copy_only=False)
    is_number = true_where(pc.match_substring_regex(numbers, pattern=r"^[0-9]{1,9}$"))
    line_numbers = pc.cast(pc.if_else(pa.array(is_number), numbers, "0"), pa.int64()).to_numpy()
    owner_claims = claims[owners]
    lines = work.frames[LINES[header]]
    line_keys = work.line_keys(lines)[lines.live]
    named_keys = (owner_claims << 32) | line_numbers
    is_wrong = is_present & (owner_claims >= 0) & ~(is_number & np.isin(named_keys, line_keys))
    fails = np.zeros(frame.count, dtype=bool)
    fails[owners[is_wrong]] = True
    if fails.any() and rule.severity.rejects:
        fails &= work.applies(rule, frame) & ~frame.superseded
        fails = _exclude_unnumbered(work, frame, fails)
    work.fail(rule, frame, fails, column)


def _check_card_owner(work: Work, frame: Frame, rule: Rule, _kind: kinds.CardOfAnother) -> None:
    column = "card_member_id"
    cells = frame.cells(column)
    if cells.empty:
        return
    exists = _exists(work, "member", cells.words)
    if exists.any():
        is_other = true_where(pc.not_equal(cells.text, frame.cells("member_id").text))
        work.fail(rule, frame, is_other & cells.spread(exists, False), column)


def _check_claim_exists(work: Work, frame: Frame, rule: Rule, column: str) -> None:
    words = frame.cells(column).words
    claim_ids, owners = _list_names(frame, column, words)
    unknown_rows = owners[~_exists(work, "claim", claim_ids)]
    _fail_words(work, frame, rule, column, np.isin(np.arange(len(words)), unknown_rows))


def _check_self_link(work: Work, frame: Frame, rule: Rule, column: str) -> None:
    is_self = true_where(pc.equal(frame.cells(column).text, frame.cells("claim_id").text))
    work.fail(rule, frame, is_self, column)


def _check_claim_owner(work: Work, frame: Frame, rule: Rule, column: str) -> None:
    """Fail links to claims that exist, but are not the member's.

    A member's claims are in one partition: a claim elsewhere is another member's.
    """
    claims, cells = work.frames["claim"], frame.cells(column)
    claim_keys = compound_keys(claims.cells("member_id").text, claims.cells("claim_id").text)
    claim_ids, owners = _list_names(frame, column, cells.text)
    links = compound_keys(frame.cells("member_id").text.take(pa.array(owners)), claim_ids)
    is_foreign = true_where(pc.is_valid(links)) & ~true_where(pc.is_in(links, value_set=claim_keys))
    if is_foreign.any():
        words, _ = _list_names(frame, column, cells.words)
        existing_ids = words.filter(pa.array(_exists(work, "claim", words)))
        is_foreign &= true_where(pc.is_in(claim_ids, value_set=existing_ids))
        work.fail(rule, frame, np.isin(np.arange(frame.count), owners[is_foreign]), column)


def _list_names(frame: Frame, column: str, cells: Any) -> tuple[Any, Any]:
    """Return the names in cells of a column and the cell of each; lists have several."""
    if frame.spec.column(column).type is FieldType.LIST:  # type: ignore[union-attr]
        return list_values(cells)
    return cells, np.arange(len(cells))


_LINK_FAULTS: Final = {
    "absent": _check_claim_exists,
    "itself": _check_self_link,
    "another": _check_claim_owner,
}


def _check_claim_links(work: Work, frame: Frame, rule: Rule, kind: kinds.UnknownClaim) -> None:
    for column in kind.columns:
        if not frame.cells(column).empty:
            _LINK_FAULTS[kind.fault](work, frame, rule, column)


def _check_in_directory(work: Work, frame: Frame, rule: Rule, kind: kinds.NotInDirectory) -> None:
    directory = work.context.directory
    for column in kind.columns:
        words = frame.cells(column).words
        failing = ~directory.contains(words, kind.of)
        if kind.listed:
            failing &= directory.contains(words, kind.listed)
        _fail_words(work, frame, rule, column, failing)


def _check_repeated(work: Work, frame: Frame, rule: Rule, repeated: kinds.Repeated) -> None:
    """Fail rows with the same values as another row of the same owner; the first one passes."""
    first = repeated.columns[0]
    if frame.cells(first).empty:
        return
    is_checked = work.applies(rule, frame) & ~frame.superseded & frame.filled(first)
    if not is_checked.any():
        return
    texts = [_normalize_cells(frame.cells(column)) for column in repeated.columns]
    owner = frame.cells(repeated.within).text
    keys = as_array(pc.binary_join_element_wise(owner, *texts, "\x1f", null_handling="replace"))
    codes = keys.dictionary_encode().indices.to_numpy(zero_copy_only=False)
    rows = np.flatnonzero(is_checked)
    # The first row by its key passes, so that the order of rows in the file doesn't matter.
    key = frame.spec.key[-1]
    is_number = key in ("sequence", "line_number")
    keys = frame.integers(key) if is_number else pc.rank(frame.cells(key).text).to_numpy()
    order = np.lexsort((frame.rows[rows], frame.files[rows], keys[rows]))
    rows = rows[order]
    fails = np.zeros(frame.count, dtype=bool)
    if repeated.overlap:
        start, end = (frame.days(column) for column in repeated.overlap)
        end, latest = np.where(end == NO_DAY, _NO_END, end), dict[int, int]()
        for row in rows[np.argsort(start[rows], kind="stable")].tolist():
            fails[row] = start[row] < latest.get(codes[row], NO_DAY)
            latest[codes[row]] = max(end[row], latest.get(codes[row], NO_DAY))
    else:
        _, firsts = np.unique(codes[rows], return_index=True)
        fails[np.delete(rows, firsts)] = True
    if repeated.also:
        members = work.parents(frame, "member")
        index = pa.array(members, mask=members < 0)
        for column in repeated.also:
            values = normalize_text(work.frames["member"].cells(column).text).take(index)
            fails |= is_checked & true_where(pc.equal(texts[0], values))
    work.fail(rule, frame, fails, first)


def _check_first(work: Work, frame: Frame, rule: Rule, _kind: kinds.NoFirst) -> None:
    """Fail the live row of a claim with the lowest sequence if that is above 1."""
    claims = work.parents(frame, "claim")
    rejected = work.rejected_so_far(frame, *_REJECTING)
    index = np.flatnonzero(frame.live & ~rejected & (claims >= 0) & frame.filled("sequence"))
    sequences = frame.integers("sequence")
    index = index[np.lexsort((sequences[index], claims[index]))]
    _, firsts = np.unique(claims[index], return_index=True)
    is_first = np.zeros(frame.count, dtype=bool)
    is_first[index[firsts]] = True
    work.fail(rule, frame, is_first & (sequences > 1), "sequence")


def _normalize_cells(cells: Cells) -> Any:
    return normalize_text(cells.words).take(pa.array(cells.codes, mask=cells.codes < 0))


def normalize_text(text: Any) -> Any:
    """Return lower-case text without blanks, hyphens, dots and brackets, for comparison."""
    lower_text = pc.utf8_lower(text)
    return as_array(pc.replace_substring_regex(lower_text, pattern=r"[\s().\-]", replacement=""))


CHECKS: Final[Checks] = {
    kinds.Orphan: _check_orphan,
    kinds.Childless: _check_childless,
    kinds.OfAnother: _check_coverage_owner,
    kinds.Disagrees: _check_disagrees,
    kinds.Outside: _check_period,
    kinds.SumOfLines: _check_line_sums,
    kinds.SumOfPayments: _check_payment_sums,
    kinds.NoAmount: _check_no_amount,
    kinds.UnlikeLines: _check_unlike_lines,
    kinds.NamesNoLine: _check_line_names,
    kinds.NotInDirectory: _check_in_directory,
    kinds.CardOfAnother: _check_card_owner,
    kinds.UnknownClaim: _check_claim_links,
    kinds.Repeated: _check_repeated,
    kinds.NoFirst: _check_first,
}
