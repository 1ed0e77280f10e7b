"""Checks of single cells, and the typing that comes before them.

All checks run over the distinct values of a column. A cell that cannot be read as its type is
absent afterwards; a cell that is not yet in canonical form is put into it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns import codes, dates, numbers
from etl.columns.arrays import Parsed, as_array, blanked, list_values, matches, true_where
from etl.columns.dates import NO_DAY
from etl.model.canonical_tables import Column, FieldType
from etl.model.code_shapes import NPI_DIGITS, NPI_FIRST_DIGITS, SHAPES
from etl.quality.checks.frames import Cells, Checks, Frame, Work
from etl.quality.rules import kinds
from etl.quality.rules.book import Rule

_WordKind: TypeAlias = (
    kinds.Forbidden | kinds.Npi | kinds.NotBefore | kinds.NotAfterExtract | kinds.BeforeExtract
)

_ICD_VERSIONS: Final[tuple[Literal["9", "10"], ...]] = ("9", "10")


_KERNELS: Final[Mapping[FieldType, Callable[[Any], Parsed]]] = {
    FieldType.TEXT: codes.read_text,
    FieldType.CODE: codes.read_codes,
    FieldType.DATE: dates.read_dates,
    FieldType.TIMESTAMP: dates.read_timestamps,
    FieldType.MONEY: numbers.read_money,
    FieldType.DECIMAL: numbers.read_decimals,
    FieldType.INTEGER: numbers.read_integers,
    FieldType.FLAG: codes.read_flags,
    FieldType.LIST: codes.read_lists,
}


def _upper(words: Any) -> Any:
    return pc.utf8_upper(words)


def _strip_leading_zero(words: Any) -> Any:
    """Remove the zero that UB-04 form locator 4 prints before the type of bill."""
    return pc.replace_substring_regex(words, pattern=r"^0([0-9A-Z]{3})$", replacement=r"\1")


def _normalize_line_list(words: Any) -> Any:
    """Write line numbers in lists like `line_number`, without leading zeros and `.0`; each once."""
    plain = pc.replace_substring_regex(words, pattern=r"\.0+(;|$)", replacement=r"\1")
    plain = pc.replace_substring_regex(plain, pattern=r"(^|;)0+([0-9])", replacement=r"\1\2")
    lists = (text and ";".join(dict.fromkeys(text.split(";"))) for text in plain.to_pylist())
    return pa.array(lists, pa.string())


def _pad_package(words: Any) -> Any:
    """Add the leading zeros of plan benefit packages and segments, which have three digits."""
    is_number = matches(words, "^[0-9]{1,2}$")
    return pc.if_else(pa.array(is_number), pc.utf8_lpad(words, 3, "0"), words)


def _pad_ndc(words: Any) -> Any:
    parsed = codes.read_ndc(words)
    return pc.if_else(parsed.bad, words, parsed.values)


_UPPER_CASE: Final = (
    *("record_action", "currency", "service_code", "service_code_system", "revenue_code"),
    *("modifier_1", "modifier_2", "modifier_3", "modifier_4", "place_of_service"),
    *("present_on_admission", "tooth_number", "oral_cavity_area", "tooth_surfaces"),
    *("type_of_bill", "bill_facility_type", "point_of_origin", "drg_code", "group_code"),
    *("reason_code", "remark_code", "denial_reason", "taxonomy_code", "daw_code"),
    *("brand_generic_code", "npi", "clia", "contract_id"),
)

TIDIED: Final[Mapping[str, tuple[Callable[[Any], Any], ...]]] = MappingProxyType(
    dict.fromkeys(_UPPER_CASE, (_upper,))
    | {
        "type_of_bill": (_upper, _strip_leading_zero),
        "line_numbers": (_normalize_line_list,),
        "ndc": (_pad_ndc,),
        "pbp_id": (_pad_package,),
        "segment_id": (_pad_package,),
    }
)
"""Columns with a canonical form beyond their type's: column -> functions on its words."""


def read_types(work: Work, frame: Frame) -> None:
    """Convert every cell to the canonical form of its type; blank unreadable cells."""
    for column in frame.spec.columns:
        cells = frame.cells(column.name)
        if cells.empty:
            continue
        words = cells.words
        parsed = _KERNELS[column.type](words)
        is_bad = true_where(parsed.bad)
        if is_bad.any():
            fine_grained = getattr(parsed, "fine_grained", np.zeros_like(is_bad))
            for rule, kind in _unreadable_rules(work, frame.name, column):
                is_failing = fine_grained if kind.beyond_cents else is_bad & ~fine_grained
                if is_failing.any():
                    # The kernel has blanked the cell, or fixed the text: nothing to blank here.
                    positions = np.flatnonzero(cells.spread(is_failing, absent=False))
                    work.record(rule, frame, positions, column.name)
        values = parsed.values
        for tidy_words in TIDIED.get(column.name, ()):
            values = as_array(tidy_words(values))
        cells.reword(values)
    action = frame.cells("record_action")
    if not action.empty:
        frame.deleted = cells_equal(action, "D")


def _unreadable_rules(
    work: Work, table: str, column: Column
) -> list[tuple[Rule, kinds.Unreadable]]:
    """Return the rules about unreadable cells of a column, or else of its type."""
    rules = [
        (rule, kind)
        for rule, kind, rule_table in work.book.by_table(kinds.Unreadable)
        if rule_table == table
    ]
    column_rules = [(rule, kind) for rule, kind in rules if column.name in kind.columns]
    return column_rules or [(rule, kind) for rule, kind in rules if kind.type == column.type.value]


def cells_equal(cells: Cells, word: str) -> Any:
    """Return numpy `bool`: whether each cell is this word."""
    return cells.spread(true_where(pc.equal(cells.words, word)), absent=False)


def _check_words(work: Work, frame: Frame, rule: Rule, kind: _WordKind) -> None:
    for column in kind.columns:
        _check_column(work, frame, rule, column)


def _check_sentinel(work: Work, frame: Frame, rule: Rule, kind: kinds.Sentinel) -> None:
    table_dates = (
        column.name
        for column in frame.spec.columns
        if column.type in (FieldType.DATE, FieldType.TIMESTAMP) and column.name != "last_updated"
    )
    for column in kind.columns or table_dates:
        _check_column(work, frame, rule, column)


def _check_allowed(work: Work, frame: Frame, rule: Rule, kind: kinds.Allowed) -> None:
    for column in kind.columns:
        if kind.values:
            _fix_case(frame.cells(column), kind.values)
        _check_column(work, frame, rule, column)


def _check_column(work: Work, frame: Frame, rule: Rule, column: str) -> None:
    """Fail the cells with a failing word; costs nothing per row if no word fails."""
    cells = frame.cells(column)
    if cells.empty:
        return
    failing = word_fails(rule, cells.words, work.context.as_of)
    if not failing.any():
        return
    fails = cells.spread(failing, absent=False)
    if isinstance(rule.kind, kinds.Allowed) and rule.kind.each and rule.blanks:
        # Only the failing values of a list are dropped.
        fails &= work.applies(rule, frame)
        work.record(rule, frame, np.flatnonzero(fails), column)
        frame.keep_original(column)
        remaining = as_array(_drop_failing(rule, rule.kind, cells.words).take(_code_array(cells)))
        frame.set_text(column, as_array(pc.if_else(pa.array(fails), remaining, cells.text)))
    else:
        work.fail(rule, frame, fails, column)


def _code_array(cells: Cells) -> Any:
    return pa.array(cells.codes, mask=cells.codes < 0)


def _drop_failing(rule: Rule, allowed: kinds.Allowed, words: Any) -> Any:
    """Drop the values that are not allowed from lists; null if none is left."""
    allowed_texts: list[str | None] = []
    for word in words.to_pylist():
        values = pa.array(word.split(";") if word else [], pa.string())
        allowed_values = values.filter(pa.array(_is_allowed(rule, allowed, values))).to_pylist()
        allowed_texts.append(";".join(allowed_values) or None)
    return pa.array(allowed_texts, pa.string())


def word_fails(rule: Rule, words: Any, as_of: int | None) -> Any:
    """Return numpy `bool`: whether cells with each word fail the rule."""
    match rule.kind:
        case kinds.Forbidden(pattern=pattern):
            return matches(words, pattern)
        case kinds.Npi(only_ten_digits=only_ten, unassigned=False):
            is_invalid = ~codes.are_npis(words)
            return is_invalid & matches(words, f"^{NPI_DIGITS}$") if only_ten else is_invalid
        case kinds.Npi():
            return codes.are_npis(words) & ~matches(words, f"^[{''.join(NPI_FIRST_DIGITS)}]")
        case kinds.Sentinel(days=days):
            word_days = pc.utf8_slice_codeunits(words, 0, 10)  # of instants, too
            return true_where(pc.is_in(word_days, value_set=pa.array(days, pa.string())))
        case kinds.NotBefore(day=day):
            word_days = dates.read_dates(words).days
            return (word_days < dates.day_number(day)) & (word_days != dates.NO_DAY)
        case kinds.NotAfterExtract():
            limit = np.iinfo(np.int32).max if as_of is None else as_of
            return dates.stated_days(words) > limit
        case kinds.BeforeExtract():
            days = dates.stated_days(words)
            return (days != NO_DAY) & (days < (NO_DAY if as_of is None else as_of))
        case kinds.Allowed() as allowed:
            return ~_allowed_lists(rule, allowed, words)
        case _:
            raise TypeError(f"{rule.check} does not look at words")


def _allowed_lists(rule: Rule, allowed: kinds.Allowed, words: Any) -> Any:
    if allowed.each:
        values, owners = list_values(words)
        is_fine = _is_allowed(rule, allowed, values)
        is_allowed = np.ones(len(words), dtype=bool)
        is_allowed[owners[~is_fine]] = False
        return is_allowed
    return _is_allowed(rule, allowed, words)


def _is_allowed(rule: Rule, allowed: kinds.Allowed, words: Any) -> Any:
    is_allowed = np.zeros(len(words), dtype=bool)
    if allowed.values:
        is_allowed |= true_where(pc.is_in(words, value_set=pa.array(allowed.values, pa.string())))
    if allowed.pattern:
        is_allowed |= matches(words, allowed.pattern)
    if rule.known_words:
        known_words = pa.array(sorted(rule.known_words), pa.string())
        lower_words = pc.utf8_lower(pc.utf8_trim_whitespace(words))
        is_allowed |= true_where(pc.is_in(lower_words, value_set=known_words))
    if allowed.shape:
        is_allowed |= [SHAPES[allowed.shape](word or "") for word in words.to_pylist()]
    if rule.crosswalk is not None:
        is_allowed |= [rule.crosswalk.knows(word or "") for word in words.to_pylist()]
    return is_allowed


def _fix_case(cells: Cells, values: tuple[str, ...]) -> None:
    """Replace words that differ from an allowed value only in case."""
    if cells.empty:
        return
    words = cells.words
    spellings = pa.array(values, pa.string())
    is_unlisted = ~true_where(pc.is_in(words, value_set=spellings))
    if not is_unlisted.any():
        return
    position = pc.index_in(pc.utf8_lower(words), value_set=pc.utf8_lower(spellings))
    cells.reword(as_array(pc.coalesce(pc.take(spellings, position), words)))


def _check_rewrite(work: Work, frame: Frame, rule: Rule, kind: kinds.Rewrite) -> None:
    for column in kind.columns:
        cells = frame.cells(column)
        is_match = matches(cells.words, kind.pattern)
        if not is_match.any():
            continue
        is_rewritten = cells.spread(is_match, absent=False) & work.applies(rule, frame)
        work.record(rule, frame, np.flatnonzero(is_rewritten), column)
        text = cells.text
        rewritten = pc.replace_substring_regex(text, pattern=kind.pattern, replacement=kind.becomes)
        frame.set_text(column, as_array(pc.if_else(pa.array(is_rewritten), rewritten, text)))


def _icd_kind(frame: Frame, version: Literal["9", "10"]) -> codes.IcdKind:
    if frame.name == "claim_procedure":
        return "icd-9-pcs" if version == "9" else "icd-10-pcs"
    return "icd-9-cm" if version == "9" else "icd-10-cm"


def _check_icd(work: Work, frame: Frame, rule: Rule, kind: kinds.IcdPoint | kinds.IcdShape) -> None:
    """Check ICD codes by their version, which is 10 if none is given."""
    cells = frame.cells("code")
    if cells.empty:
        return
    is_nine = cells_equal(frame.cells("icd_version"), "9")
    fails = np.zeros(frame.count, dtype=bool)
    text = cells.text
    for version, has_version in zip(_ICD_VERSIONS, (is_nine, ~is_nine), strict=True):
        if not has_version.any():
            continue
        read = codes.read_icd(cells.words, _icd_kind(frame, version))
        match kind:
            case kinds.IcdPoint():
                failing = read.misplaced
                if not read.values.equals(cells.words):
                    fixed = read.values.take(_code_array(cells))
                    text = as_array(pc.if_else(pa.array(has_version), fixed, text))
            case kinds.IcdShape(impossible=True):
                failing = read.impossible
            case _:
                failing = read.unusual | read.impossible
        fails |= cells.spread(failing, absent=False) & has_version
    if text is not cells.text:
        frame.set_text("code", text)
    work.fail(rule, frame, fails, "code")


def _check_icd_version(work: Work, frame: Frame, rule: Rule, kind: kinds.IcdVersion) -> None:
    """Fill in ICD-9 by the claim's dates, or fail versions not in use on any of them."""
    versions, code_cells = frame.cells("icd_version"), frame.cells("code")
    starts_before, ends_before, starts_after = (
        np.append(claims, False)[work.parents(frame, "claim")]
        for claims in _claims_by_icd(work.frames["claim"], dates.day_number(kind.ten_from))
    )
    if not starts_before.any() and (versions.empty or not kind.contradicts):
        return
    is_absent, is_nine = ~frame.filled("icd_version"), cells_equal(versions, "9")
    if kind.contradicts:
        is_ten = is_absent | cells_equal(versions, "10")
        fails = ends_before & is_ten | starts_after & is_nine
    else:
        readings = [
            codes.read_icd(code_cells.words, _icd_kind(frame, version)) for version in _ICD_VERSIONS
        ]
        not_nine, not_ten = (reading.impossible | reading.misplaced for reading in readings)
        fails = is_absent & starts_before & code_cells.spread(~not_nine | not_ten, absent=False)
    fails &= work.applies(rule, frame) & ~frame.malformed
    if not fails.any():
        return
    work.record(rule, frame, np.flatnonzero(fails), "icd_version")
    if not kind.contradicts:
        frame.set_text("icd_version", as_array(pc.if_else(pa.array(fails), "9", versions.text)))


def _claims_by_icd(claims: Frame, ten_from: int) -> tuple[Any, Any, Any]:
    """Return which claims use ICD-9, end before ICD-10, and start after ICD-10.

    Inpatient claims go by discharge date, all others by the start of the statement.
    """
    start = claims.days("statement_from_date")
    end = np.maximum(start, claims.days("statement_thru_date"))
    end = np.maximum(end, claims.days("discharge_date"))
    inpatient = cells_equal(claims.cells("claim_type"), "inpatient")
    # NO_DAY is the smallest number of all, so a claim without any day ends before all others.
    ends_before = (end < ten_from) & (end != NO_DAY)
    starts_before = (start < ten_from) & (start != NO_DAY) & ~inpatient
    return starts_before | ends_before, ends_before, start >= ten_from


def _check_at_least(work: Work, frame: Frame, rule: Rule, kind: kinds.AtLeast) -> None:
    for column in kind.columns:
        cells = frame.cells(column)
        if cells.empty:
            continue
        # Canonical text shows a number's sign; only integers are compared further.
        too_small = matches(cells.words, r"^-")
        if kind.least > 0:
            too_small |= matches(cells.words, r"^[0-9]{1,9}$") & (
                numbers.integers(blanked(cells.words, ~matches(cells.words, r"^[0-9]{1,9}$")))
                < kind.least
            )
        if too_small.any():
            work.fail(rule, frame, cells.spread(too_small, False), column)


CHECKS: Final[Checks] = {
    kinds.Rewrite: _check_rewrite,
    kinds.Allowed: _check_allowed,
    kinds.Sentinel: _check_sentinel,
    kinds.Forbidden: _check_words,
    kinds.Npi: _check_words,
    kinds.NotBefore: _check_words,
    kinds.NotAfterExtract: _check_words,
    kinds.BeforeExtract: _check_words,
    kinds.AtLeast: _check_at_least,
    kinds.IcdPoint: _check_icd,
    kinds.IcdShape: _check_icd,
    kinds.IcdVersion: _check_icd_version,
}
