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
from etl.model.canonical_tables import FieldType
from etl.model.code_shapes import NPI_DIGITS, NPI_FIRST_DIGITS
from etl.quality.checks.frames import Cells, Checks, Frame, Work
from etl.quality.rules import kinds
from etl.quality.rules.book import Rule

_WordKind: TypeAlias = kinds.Forbidden | kinds.Npi | kinds.NotBefore | kinds.NotAfterExtract

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


def _without_leading_zero(words: Any) -> Any:
    """Type of bill is three digits; UB-04 form locator 4 prints a zero before them."""
    return pc.replace_substring_regex(words, pattern=r"^0([0-9A-Z]{3})$", replacement=r"\1")


def _line_list(words: Any) -> Any:
    """Line numbers inside a list are written as `line_number` is: no leading zeros, no `.0`."""
    plain = pc.replace_substring_regex(words, pattern=r"\.0+(;|$)", replacement=r"\1")
    return pc.replace_substring_regex(plain, pattern=r"(^|;)0+([0-9])", replacement=r"\1\2")


def _padded_ndc(words: Any) -> Any:
    parsed = codes.read_ndc(words)
    return pc.if_else(parsed.bad, words, parsed.values)


_UPPER_CASE: Final = (
    *("record_action", "currency", "service_code", "service_code_system", "revenue_code"),
    *("modifier_1", "modifier_2", "modifier_3", "modifier_4", "place_of_service"),
    *("present_on_admission", "tooth_number", "oral_cavity_area", "tooth_surfaces"),
    *("type_of_bill", "bill_facility_type", "point_of_origin", "drg_code", "group_code"),
    *("reason_code", "remark_code", "denial_reason", "taxonomy_code", "daw_code"),
    *("brand_generic_code", "npi", "clia"),
)

TIDIED: Final[Mapping[str, tuple[Callable[[Any], Any], ...]]] = MappingProxyType(
    dict.fromkeys(_UPPER_CASE, (_upper,))
    | {
        "type_of_bill": (_upper, _without_leading_zero),
        "line_numbers": (_line_list,),
        "ndc": (_padded_ndc,),
    }
)
"""Columns with a canonical form beyond their type's: column -> what is done to its words."""


def read_types(work: Work, frame: Frame) -> None:
    """Put every cell into the canonical form of its type; make absent what cannot be read."""
    unreadable = _unreadable_rules(work)
    for column in frame.spec.columns:
        cells = frame.cells(column.name)
        if cells.empty:
            continue
        words = cells.words
        parsed = _KERNELS[column.type](words)
        bad = true_where(parsed.bad)
        if bad.any():
            fine_grained = getattr(parsed, "fine_grained", np.zeros_like(bad))
            for rule, beyond in unreadable.get(column.type, ()):
                here = fine_grained if beyond else bad & ~fine_grained
                if here.any():
                    # The kernel has blanked the cell, or fixed the text: nothing to blank here.
                    positions = np.flatnonzero(cells.spread(here, absent=False))
                    work.record(rule, frame, positions, column.name)
        values = parsed.values
        for tidy in TIDIED.get(column.name, ()):
            values = as_array(tidy(values))
        cells.reword(values)
    action = frame.cells("record_action")
    if not action.empty:
        frame.deleted = cells_equal(action, "D")


def _unreadable_rules(work: Work) -> dict[FieldType, list[tuple[Rule, bool]]]:
    by_type: dict[FieldType, list[tuple[Rule, bool]]] = {}
    for rule in work.book.of_kinds(kinds.Unreadable):
        if isinstance(rule.kind, kinds.Unreadable):
            of_type = by_type.setdefault(FieldType(rule.kind.type), [])
            of_type.append((rule, rule.kind.beyond_cents))
    return by_type


def cells_equal(cells: Cells, word: str) -> Any:
    """Return numpy `bool`: where the cell is this word."""
    return cells.spread(true_where(pc.equal(cells.words, word)), absent=False)


def _words(work: Work, frame: Frame, rule: Rule, kind: _WordKind) -> None:
    for column in kind.columns:
        _by_word(work, frame, rule, column)


def _sentinel(work: Work, frame: Frame, rule: Rule, kind: kinds.Sentinel) -> None:
    dates_of_table = (column.name for column in frame.spec.columns if column.type is FieldType.DATE)
    for column in kind.columns or dates_of_table:
        _by_word(work, frame, rule, column)


def _allowed_cells(work: Work, frame: Frame, rule: Rule, kind: kinds.Allowed) -> None:
    for column in kind.columns:
        if kind.values:
            _spell(frame.cells(column), kind.values)
        _by_word(work, frame, rule, column)


def _by_word(work: Work, frame: Frame, rule: Rule, column: str) -> None:
    """Fail the cells with a failing word; nothing is spread over the rows when none fails."""
    cells = frame.cells(column)
    if cells.empty:
        return
    failing = word_fails(rule, cells.words, work.context.as_of)
    if not failing.any():
        return
    where = cells.spread(failing, absent=False)
    if isinstance(rule.kind, kinds.Allowed) and rule.kind.each and rule.blanks:
        # Of a list only the failing values go.
        where &= work.holds(rule, frame)
        work.record(rule, frame, np.flatnonzero(where), column)
        frame.remember(column)
        left = as_array(_without_failing(rule, rule.kind, cells.words).take(_places(cells)))
        frame.put(column, as_array(pc.if_else(pa.array(where), left, cells.text)))
    else:
        work.fail(rule, frame, where, column)


def _places(cells: Cells) -> Any:
    return pa.array(cells.codes, mask=cells.codes < 0)


def _without_failing(rule: Rule, allowed: kinds.Allowed, words: Any) -> Any:
    """Return lists without the values that are not allowed; absent where none is left."""
    kept: list[str | None] = []
    for word in words.to_pylist():
        parts = pa.array(word.split(";") if word else [], pa.string())
        good = parts.filter(pa.array(_allowed_word(rule, allowed, parts))).to_pylist()
        kept.append(";".join(good) or None)
    return pa.array(kept, pa.string())


def word_fails(rule: Rule, words: Any, as_of: int | None) -> Any:
    """Return numpy `bool`, one a word: whether a cell that holds it fails the rule."""
    match rule.kind:
        case kinds.Forbidden(pattern=pattern):
            return matches(words, pattern)
        case kinds.Npi(only_ten_digits=only, unassigned=False):
            bad = ~codes.npi_holds(words)
            return bad & matches(words, f"^{NPI_DIGITS}$") if only else bad
        case kinds.Npi():
            return codes.npi_holds(words) & ~matches(words, f"^[{''.join(NPI_FIRST_DIGITS)}]")
        case kinds.Sentinel(days=days):
            return true_where(pc.is_in(words, value_set=pa.array(days, pa.string())))
        case kinds.NotBefore(day=day):
            found = dates.read_dates(words).days
            return (found < dates.day_number(day)) & (found != dates.NO_DAY)
        case kinds.NotAfterExtract():
            limit = np.iinfo(np.int32).max if as_of is None else as_of
            return dates.stated_days(words) > limit
        case kinds.Allowed() as allowed:
            return ~_allowed(rule, allowed, words)
        case _:
            raise TypeError(f"{rule.check} does not look at words")


def _allowed(rule: Rule, allowed: kinds.Allowed, words: Any) -> Any:
    if allowed.each:
        parts, owners = list_values(words)
        fine = _allowed_word(rule, allowed, parts)
        good = np.ones(len(words), dtype=bool)
        good[owners[~fine]] = False
        return good
    return _allowed_word(rule, allowed, words)


def _allowed_word(rule: Rule, allowed: kinds.Allowed, words: Any) -> Any:
    good = np.zeros(len(words), dtype=bool)
    if allowed.values:
        good |= true_where(pc.is_in(words, value_set=pa.array(allowed.values, pa.string())))
    if allowed.pattern:
        good |= matches(words, allowed.pattern)
    if rule.known_words:
        known = pa.array(sorted(rule.known_words), pa.string())
        lower = pc.utf8_lower(pc.utf8_trim_whitespace(words))
        good |= true_where(pc.is_in(lower, value_set=known))
    if rule.crosswalk is not None:
        good |= [rule.crosswalk.knows(word or "") for word in words.to_pylist()]
    return good


def _spell(cells: Cells, values: tuple[str, ...]) -> None:
    """Give words the spelling of the list where only their case differs."""
    if cells.empty:
        return
    words = cells.words
    listed = pa.array(values, pa.string())
    odd = ~true_where(pc.is_in(words, value_set=listed))
    if not odd.any():
        return
    position = pc.index_in(pc.utf8_lower(words), value_set=pc.utf8_lower(listed))
    cells.reword(as_array(pc.coalesce(pc.take(listed, position), words)))


def _rewrite(work: Work, frame: Frame, rule: Rule, kind: kinds.Rewrite) -> None:
    for column in kind.columns:
        cells = frame.cells(column)
        hit = matches(cells.words, kind.pattern)
        if not hit.any():
            continue
        where = cells.spread(hit, absent=False) & work.holds(rule, frame)
        work.record(rule, frame, np.flatnonzero(where), column)
        text = cells.text
        changed = pc.replace_substring_regex(text, pattern=kind.pattern, replacement=kind.becomes)
        frame.put(column, as_array(pc.if_else(pa.array(where), changed, text)))


def _icd_kind(frame: Frame, version: Literal["9", "10"]) -> codes.IcdKind:
    if frame.name == "claim_procedure":
        return "icd-9-pcs" if version == "9" else "icd-10-pcs"
    return "icd-9-cm" if version == "9" else "icd-10-cm"


def _icd(work: Work, frame: Frame, rule: Rule, kind: kinds.IcdPoint | kinds.IcdShape) -> None:
    """ICD codes by their version; 10 where none is given."""
    cells = frame.cells("code")
    if cells.empty:
        return
    nine = cells_equal(frame.cells("icd_version"), "9")
    where = np.zeros(frame.count, dtype=bool)
    text = cells.text
    for version, here in zip(_ICD_VERSIONS, (nine, ~nine), strict=True):
        if not here.any():
            continue
        read = codes.read_icd(cells.words, _icd_kind(frame, version))
        match kind:
            case kinds.IcdPoint():
                failing = read.misplaced
                if not read.values.equals(cells.words):
                    placed = read.values.take(_places(cells))
                    text = as_array(pc.if_else(pa.array(here), placed, text))
            case kinds.IcdShape(impossible=True):
                failing = read.impossible
            case _:
                failing = read.unusual | read.impossible
        where |= cells.spread(failing, absent=False) & here
    if text is not cells.text:
        frame.put("code", text)
    work.fail(rule, frame, where, "code")


def _icd_version(work: Work, frame: Frame, rule: Rule, kind: kinds.IcdVersion) -> None:
    """Fill in ICD-9 by the day of the claim, or fail versions that no day of the claim has."""
    versions, codes_of_rows = frame.cells("icd_version"), frame.cells("code")
    starts_before, ends_before, starts_after = (
        np.append(claims, False)[work.above(frame, "claim")]
        for claims in _claims_by_icd(work.frames["claim"], dates.day_number(kind.ten_from))
    )
    if not starts_before.any() and (versions.empty or not kind.contradicts):
        return
    absent, nine = ~frame.filled("icd_version"), cells_equal(versions, "9")
    if kind.contradicts:
        ten = absent | cells_equal(versions, "10")
        where = ends_before & ten | starts_after & nine
    else:
        readings = [
            codes.read_icd(codes_of_rows.words, _icd_kind(frame, version))
            for version in _ICD_VERSIONS
        ]
        no_nine, no_ten = (reading.impossible | reading.misplaced for reading in readings)
        where = absent & starts_before & codes_of_rows.spread(~no_nine | no_ten, absent=False)
    where &= work.holds(rule, frame) & ~frame.bare
    if not where.any():
        return
    work.record(rule, frame, np.flatnonzero(where), "icd_version")
    if not kind.contradicts:
        frame.put("icd_version", as_array(pc.if_else(pa.array(where), "9", versions.text)))


def _claims_by_icd(claims: Frame, ten_from: int) -> tuple[Any, Any, Any]:
    """Return the claims that ICD-9 is read for, those that end before ICD-10, and that begin in it.

    The discharge decides of inpatient claims, the start of the statement of all others.
    """
    start = claims.days("statement_from_date")
    end = np.maximum(start, claims.days("statement_thru_date"))
    end = np.maximum(end, claims.days("discharge_date"))
    inpatient = cells_equal(claims.cells("claim_type"), "inpatient")
    # NO_DAY is the smallest number of all, so a claim without any day ends before all others.
    ends_before = (end < ten_from) & (end != NO_DAY)
    starts_before = (start < ten_from) & (start != NO_DAY) & ~inpatient
    return starts_before | ends_before, ends_before, start >= ten_from


def _at_least(work: Work, frame: Frame, rule: Rule, kind: kinds.AtLeast) -> None:
    for column in kind.columns:
        cells = frame.cells(column)
        if cells.empty:
            continue
        # Canonical text of a number shows its sign; only integers are compared further.
        small = matches(cells.words, r"^-")
        if kind.least > 0:
            small |= matches(cells.words, r"^[0-9]{1,9}$") & (
                numbers.integers(blanked(cells.words, ~matches(cells.words, r"^[0-9]{1,9}$")))
                < kind.least
            )
        if small.any():
            work.fail(rule, frame, cells.spread(small, False), column)


CHECKS: Final[Checks] = {
    kinds.Rewrite: _rewrite,
    kinds.Allowed: _allowed_cells,
    kinds.Sentinel: _sentinel,
    kinds.Forbidden: _words,
    kinds.Npi: _words,
    kinds.NotBefore: _words,
    kinds.NotAfterExtract: _words,
    kinds.AtLeast: _at_least,
    kinds.IcdPoint: _icd,
    kinds.IcdShape: _icd,
    kinds.IcdVersion: _icd_version,
}
