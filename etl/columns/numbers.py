"""Read amounts, decimals and integers: exact text to exact text, never through a float.

Accepts unambiguous forms of spreadsheets and COBOL exports (leading zeros, `.50`, `12.`, `30.0`),
but not forms that require guessing (`1,234.50`, `(12.50)`, `$5`, `1e3`, `12,50`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.arrays import (
    Bools,
    Indices,
    Parsed,
    as_array,
    blanked,
    matches,
    replaced,
    true_where,
)

MONEY_DIGITS: Final = 13
"""Maximum digits before the point of an amount, so that sums in cents fit in 64 bits."""
DECIMAL_DIGITS: Final = 18
"""Maximum digits of a decimal that FHIR R4 guarantees."""
LARGEST_INTEGER: Final = 2**31 - 1
"""FHIR R4 `integer` and `positiveInt` are 32 bits wide."""

_CENT: Final = Decimal("0.01")
_EXACT_AMOUNT: Final = r"^-?[0-9]+(\.[0-9]{1,2})?$"
_ANY_AMOUNT: Final = r"^-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?$"
_LARGEST_EXPONENT: Final = 15
_NUMBER: Final = r"^-?(?:[0-9]+\.?[0-9]*|\.[0-9]+)$"
_PARTS: Final = r"^(?P<sign>-?)0*(?P<whole>[0-9]*)\.?(?P<part>[0-9]*)$"
_MONEY: Final = r"^(?:-?[1-9][0-9]{0,12}\.[0-9]{2}|0\.[0-9]{2}|-0\.(?:0[1-9]|[1-9][0-9]))$"
_DECIMAL: Final = r"^(?:-?[1-9][0-9]{0,8}(?:\.[0-9]{1,9})?|0(?:\.[0-9]{1,9})?)$"
_INTEGER: Final = r"^(?:0|-?[1-9][0-9]{0,8})$"
_WHOLE: Final = r"^-?[0-9]+(?:\.0*)?$"


@dataclass(frozen=True, slots=True)
class Money(Parsed):
    """A column read as amounts.

    Attributes:
        fine_grained: numpy `bool`, shape (n,): bad because of more than two significant fraction
            digits; a subset of `bad`.
    """

    fine_grained: Any


def read_money(column: Any) -> Money:
    """Convert amounts to text with exactly two fraction digits.

    Args:
        column: `string`, shape (n,); null where absent.

    Returns:
        Money with `values` as JSON numbers: no `+`, no exponent, no leading zeros, no `-0.00`.
        Further fraction digits must be zeros.
    """
    none = np.zeros(len(column), dtype=bool)
    is_odd = _is_noncanonical(column, _MONEY)
    if not is_odd.any():
        return Money(column, pa.array(none), none)
    odd_texts = as_array(column.filter(pa.array(is_odd)))
    is_number, sign, units, fraction = _split_number(odd_texts)
    cents = pc.ascii_rpad(pc.utf8_slice_codeunits(fraction, 0, 2), width=2, padding="0")
    excess = pc.ascii_rtrim(pc.utf8_slice_codeunits(fraction, 2), characters="0")
    is_fine = is_number & true_where(pc.greater(pc.binary_length(excess), 0))
    is_large = true_where(pc.greater(pc.binary_length(units), MONEY_DIGITS))
    is_zero = pc.and_(pc.equal(units, "0"), pc.equal(cents, "00"))
    sign = pc.if_else(is_zero, "", sign)
    text = as_array(pc.binary_join_element_wise(sign, units, ".", cents, ""))
    is_wrong = ~is_number | is_fine | is_large
    bad, fine_grained = none.copy(), none.copy()
    bad[is_odd] = is_wrong
    fine_grained[is_odd] = is_fine & ~is_large
    values = blanked(replaced(column, is_odd, text), bad)
    return Money(values, pa.array(bad), fine_grained)


def read_decimals(column: Any) -> Parsed:
    """Read decimals; the fraction keeps its digits, which state the precision in FHIR.

    Args:
        column: `string`, shape (n,); null where absent.

    Returns:
        Parsed with `values` as JSON numbers of at most 18 digits, without leading zeros.
    """
    return _rewrite_odd(column, _DECIMAL, _rewrite_decimals)


def _rewrite_decimals(odd_texts: Any) -> tuple[Any, Bools]:
    is_number, sign, units, fraction = _split_number(odd_texts)
    digits = pc.add(pc.binary_length(units), pc.binary_length(fraction))
    is_long = true_where(pc.greater(digits, DECIMAL_DIGITS))
    no_fraction = pc.equal(pc.binary_length(pc.ascii_rtrim(fraction, characters="0")), 0)
    sign = pc.if_else(pc.and_(pc.equal(units, "0"), no_fraction), "", sign)
    point = pc.if_else(pc.equal(pc.binary_length(fraction), 0), "", ".")
    return pc.binary_join_element_wise(sign, units, point, fraction, ""), ~is_number | is_long


def read_integers(column: Any) -> Parsed:
    """Read whole numbers that fit in 32 bits; `30.0`, as spreadsheets write them, is 30.

    Args:
        column: `string`, shape (n,); null where absent.

    Returns:
        Parsed with `values` as JSON numbers without point or leading zeros.
    """
    return _rewrite_odd(column, _INTEGER, _rewrite_integers)


def _rewrite_integers(odd_texts: Any) -> tuple[Any, Bools]:
    _, sign, units, _fraction = _split_number(odd_texts)
    short = pc.less_equal(pc.binary_length(units), 10)
    size = pc.cast(pc.if_else(short, pc.if_else(pc.is_valid(units), units, "0"), "0"), pa.int64())
    fits = pc.and_(short, pc.less_equal(size, LARGEST_INTEGER))
    sign = pc.if_else(pc.equal(units, "0"), "", sign)
    is_bad = ~(matches(odd_texts, _WHOLE) & true_where(fits))
    return pc.binary_join_element_wise(sign, units, ""), is_bad


def _rewrite_odd(
    column: Any, canonical: str, rewrite: Callable[[Any], tuple[Any, Bools]]
) -> Parsed:
    """Rewrite the texts that aren't canonical; absent where they can't be read."""
    is_odd = _is_noncanonical(column, canonical)
    is_bad = np.zeros(len(column), dtype=bool)
    if not is_odd.any():
        return Parsed(column, pa.array(is_bad))
    texts, is_bad[is_odd] = rewrite(as_array(column.filter(pa.array(is_odd))))
    texts = replaced(column, is_odd, as_array(texts))
    return Parsed(blanked(texts, is_bad), pa.array(is_bad))


def _is_noncanonical(column: Any, canonical: str) -> Any:
    """Return which texts aren't in canonical form yet."""
    return pc.is_valid(column).to_numpy(zero_copy_only=False) & ~matches(column, canonical)


def _split_number(column: Any) -> tuple[Any, Any, Any, Any]:
    """Return which texts are numbers, and their sign, whole part (at least `0`) and fraction."""
    is_number = matches(column, _NUMBER)
    parts = pc.extract_regex(column, pattern=_PARTS)
    sign, units, fraction = (pc.struct_field(parts, name) for name in ("sign", "whole", "part"))
    units = pc.if_else(pc.equal(pc.binary_length(units), 0), "0", units)
    return is_number, sign, units, fraction


def cents(column: Any) -> Any:
    """Convert canonical amounts to cents.

    Args:
        column: `string`, shape (n,), from `read_money`.

    Returns:
        numpy `int64`, shape (n,); 0 where absent.
    """
    digits = pc.replace_substring(column, pattern=".", replacement="", max_replacements=1)
    return pc.fill_null(pc.cast(digits, pa.int64()), 0).to_numpy(zero_copy_only=False)


def format_cents(cents: Indices, where: Bools) -> pa.StringArray:
    """Format cents as canonical amounts, with two fraction digits.

    Args:
        cents: shape (n,).
        where: shape (n,): rows that aren't null.
    """
    unscaled = pa.array(cents).cast(pa.decimal128(19, 0))
    scaled = pa.Array.from_buffers(pa.decimal128(19, 2), len(unscaled), unscaled.buffers())
    return pc.if_else(pa.array(where), scaled.cast(pa.string()), None)


def integers(column: Any) -> Any:
    """Convert canonical integers to numpy `int64`, shape (n,); 0 if absent."""
    return pc.fill_null(pc.cast(column, pa.int64()), 0).to_numpy(zero_copy_only=False)


def cents_text(amount: int) -> str:
    """Format cents as a decimal with two fraction digits."""
    sign = "-" if amount < 0 else ""
    return f"{sign}{abs(amount) // 100}.{abs(amount) % 100:02d}"


def to_cents(values: Any) -> tuple[Any, Bools]:
    """Round amounts to two fraction digits, half to even, without floats.

    Text that isn't an amount stays unchanged, for the rules to find.

    Args:
        values: `string` array, shape (n,).

    Returns:
        The amounts, and which of them changed in value, shape (n,).
    """
    is_exact = pc.fill_null(pc.match_substring_regex(values, _EXACT_AMOUNT), True)
    is_odd = ~is_exact.to_numpy(zero_copy_only=False)
    if not is_odd.any():
        return values, is_odd
    encoded = values.dictionary_encode()
    texts = encoded.dictionary.to_pylist()
    readable = pc.match_substring_regex(encoded.dictionary, _ANY_AMOUNT).to_pylist()
    pairs = [
        _round_text(text) if ok else (text, False) for text, ok in zip(texts, readable, strict=True)
    ]
    rounded_texts = pa.array([text for text, _ in pairs], pa.string()).take(encoded.indices)
    is_changed = pa.array([is_changed for _, is_changed in pairs], pa.bool_()).take(encoded.indices)
    is_rounded = is_odd & pc.fill_null(is_changed, False).to_numpy(zero_copy_only=False)
    return pc.if_else(pa.array(is_odd), rounded_texts, values), is_rounded


def _round_text(text: str) -> tuple[str, bool]:
    exact = Decimal(text)
    if exact and exact.adjusted() > _LARGEST_EXPONENT:
        return text, False
    rounded = round_to_cents(exact)
    if not rounded:
        rounded = abs(rounded)  # no negative zero
    return f"{rounded:f}", rounded != exact


def round_to_cents(amount: Decimal) -> Decimal:
    """Round an amount to two fraction digits, half to even."""
    return amount.quantize(_CENT, rounding=ROUND_HALF_EVEN)
