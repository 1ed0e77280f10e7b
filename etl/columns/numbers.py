"""Amounts, decimals and integers: exact text to exact text, a column at a time. Never a float.

Unambiguous forms of spreadsheets and COBOL exports are read (leading zeros, `.50`, `12.`, `30.0`).
Forms that would have to be guessed are not (`1,234.50`, `(12.50)`, `$5`, `1e3`, `12,50`).
"""

from __future__ import annotations

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
"""Most digits before the point of an amount: sums still fit in 64 bits of cents."""
DECIMAL_DIGITS: Final = 18
"""Most digits of a decimal: what FHIR R4 promises to carry."""
LARGEST_INTEGER: Final = 2**31 - 1
"""FHIR R4 `integer` and `positiveInt` are 32 bits wide."""

_CENT: Final = Decimal("0.01")
_EXACT_AMOUNT: Final = r"^-?[0-9]+(\.[0-9]{1,2})?$"
_ANY_AMOUNT: Final = r"^-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?$"
_LARGEST_EXPONENT: Final = 15
_NUMBER: Final = r"^-?(?:[0-9]+\.?[0-9]*|\.[0-9]+)$"
_PIECES: Final = r"^(?P<sign>-?)0*(?P<whole>[0-9]*)\.?(?P<part>[0-9]*)$"
_MONEY: Final = r"^(?:-?[1-9][0-9]{0,12}\.[0-9]{2}|0\.[0-9]{2}|-0\.(?:0[1-9]|[1-9][0-9]))$"
_DECIMAL: Final = r"^(?:-?[1-9][0-9]{0,8}(?:\.[0-9]{1,9})?|0(?:\.[0-9]{1,9})?)$"
_INTEGER: Final = r"^(?:0|-?[1-9][0-9]{0,8})$"
_WHOLE: Final = r"^-?[0-9]+(?:\.0*)?$"


@dataclass(frozen=True, slots=True)
class Money(Parsed):
    """A column read as amounts.

    Attributes:
        fine_grained: numpy `bool`, shape (n,): bad because it has more than two fraction digits
            that matter; a part of `bad`.
    """

    fine_grained: Any


def read_money(column: Any) -> Money:
    """Read decimals of at most two fraction digits as text with exactly two.

    Args:
        column: `string`, shape (n,); null where absent.

    Returns:
        Money with `values` as JSON numbers: no `+`, no exponent, no leading zeros, no `-0.00`.
        Further fraction digits are read when they are zeros.
    """
    none = np.zeros(len(column), dtype=bool)
    odd = _others(column, _MONEY)
    if not odd.any():
        return Money(column, pa.array(none), none)
    rest = as_array(column.filter(pa.array(odd)))
    shaped, sign, whole, part = _pieces(rest)
    cents = pc.ascii_rpad(pc.utf8_slice_codeunits(part, 0, 2), width=2, padding="0")
    beyond = pc.ascii_rtrim(pc.utf8_slice_codeunits(part, 2), characters="0")
    fine = shaped & true_where(pc.greater(pc.binary_length(beyond), 0))
    large = true_where(pc.greater(pc.binary_length(whole), MONEY_DIGITS))
    zero = pc.and_(pc.equal(whole, "0"), pc.equal(cents, "00"))
    sign = pc.if_else(zero, "", sign)
    text = as_array(pc.binary_join_element_wise(sign, whole, ".", cents, ""))
    wrong = ~shaped | fine | large
    bad, fine_grained = none.copy(), none.copy()
    bad[odd] = wrong
    fine_grained[odd] = fine & ~large
    values = blanked(replaced(column, odd, text), bad)
    return Money(values, pa.array(bad), fine_grained)


def read_decimals(column: Any) -> Parsed:
    """Read decimals; the fraction keeps its digits, because FHIR says they state precision.

    Args:
        column: `string`, shape (n,); null where absent.

    Returns:
        Parsed with `values` as JSON numbers of at most 18 digits, without leading zeros.
    """
    odd = _others(column, _DECIMAL)
    bad = np.zeros(len(column), dtype=bool)
    if not odd.any():
        return Parsed(column, pa.array(bad))
    rest = as_array(column.filter(pa.array(odd)))
    shaped, sign, whole, part = _pieces(rest)
    digits = pc.add(pc.binary_length(whole), pc.binary_length(part))
    long = true_where(pc.greater(digits, DECIMAL_DIGITS))
    nothing = pc.equal(pc.binary_length(pc.ascii_rtrim(part, characters="0")), 0)
    sign = pc.if_else(pc.and_(pc.equal(whole, "0"), nothing), "", sign)
    point = pc.if_else(pc.equal(pc.binary_length(part), 0), "", ".")
    text = as_array(pc.binary_join_element_wise(sign, whole, point, part, ""))
    bad[odd] = ~shaped | long
    return Parsed(blanked(replaced(column, odd, text), bad), pa.array(bad))


def read_integers(column: Any) -> Parsed:
    """Read whole numbers that fit in 32 bits; `30.0`, as spreadsheets write them, is 30.

    Args:
        column: `string`, shape (n,); null where absent.

    Returns:
        Parsed with `values` as JSON numbers without point or leading zeros.
    """
    odd = _others(column, _INTEGER)
    bad = np.zeros(len(column), dtype=bool)
    if not odd.any():
        return Parsed(column, pa.array(bad))
    rest = as_array(column.filter(pa.array(odd)))
    _, sign, whole, _part = _pieces(rest)
    short = pc.less_equal(pc.binary_length(whole), 10)
    size = pc.cast(pc.if_else(short, pc.if_else(pc.is_valid(whole), whole, "0"), "0"), pa.int64())
    fits = pc.and_(short, pc.less_equal(size, LARGEST_INTEGER))
    sign = pc.if_else(pc.equal(whole, "0"), "", sign)
    text = as_array(pc.binary_join_element_wise(sign, whole, ""))
    bad[odd] = ~(matches(rest, _WHOLE) & true_where(fits))
    return Parsed(blanked(replaced(column, odd, text), bad), pa.array(bad))


def _others(column: Any, canonical: str) -> Any:
    """Return where there is text that is not yet in canonical form."""
    return pc.is_valid(column).to_numpy(zero_copy_only=False) & ~matches(column, canonical)


def _pieces(column: Any) -> tuple[Any, Any, Any, Any]:
    """Return where text is a number, and its sign, whole part (`0` at least) and fraction."""
    shaped = matches(column, _NUMBER)
    pieces = pc.extract_regex(column, pattern=_PIECES)
    sign, whole, part = (pc.struct_field(pieces, name) for name in ("sign", "whole", "part"))
    whole = pc.if_else(pc.equal(pc.binary_length(whole), 0), "0", whole)
    return shaped, sign, whole, part


def cents(column: Any) -> Any:
    """Return canonical amounts as whole cents.

    Args:
        column: `string`, shape (n,), as `read_money` gives it.

    Returns:
        numpy `int64`, shape (n,); 0 where absent.
    """
    digits = pc.replace_substring(column, pattern=".", replacement="", max_replacements=1)
    return pc.fill_null(pc.cast(digits, pa.int64()), 0).to_numpy(zero_copy_only=False)


def money_of_cents(cents: Indices, where: Bools) -> pa.StringArray:
    """Return cents as canonical money: two fraction digits.

    Args:
        cents: shape (n,).
        where: shape (n,): rows that are there.
    """
    whole = pa.array(cents).cast(pa.decimal128(19, 0))
    scaled = pa.Array.from_buffers(pa.decimal128(19, 2), len(whole), whole.buffers())
    return pc.if_else(pa.array(where), scaled.cast(pa.string()), None)


def integers(column: Any) -> Any:
    """Return canonical integers as numpy `int64`, shape (n,); 0 where absent."""
    return pc.fill_null(pc.cast(column, pa.int64()), 0).to_numpy(zero_copy_only=False)


def cents_text(amount: int) -> str:
    """Return whole cents as a decimal of two digits, exactly."""
    sign = "-" if amount < 0 else ""
    return f"{sign}{abs(amount) // 100}.{abs(amount) % 100:02d}"


def to_cents(values: Any) -> tuple[Any, Bools]:
    """Write amounts with at most two fraction digits.

    The exact decimal as written is rounded, half to even, without a float in between. Text that is
    no amount stays as it is, for the rules to find.

    Args:
        values: `string` array, shape (n,).

    Returns:
        The amounts, and which of them lost something, shape (n,).
    """
    fine = pc.fill_null(pc.match_substring_regex(values, _EXACT_AMOUNT), True)
    odd = ~fine.to_numpy(zero_copy_only=False)
    if not odd.any():
        return values, odd
    encoded = values.dictionary_encode()
    texts = encoded.dictionary.to_pylist()
    readable = pc.match_substring_regex(encoded.dictionary, _ANY_AMOUNT).to_pylist()
    pairs = [
        _written(text) if may else (text, False) for text, may in zip(texts, readable, strict=True)
    ]
    written = pa.array([text for text, _ in pairs], pa.string()).take(encoded.indices)
    lost = pa.array([lost for _, lost in pairs], pa.bool_()).take(encoded.indices)
    rounded = odd & pc.fill_null(lost, False).to_numpy(zero_copy_only=False)
    return pc.if_else(pa.array(odd), written, values), rounded


def _written(text: str) -> tuple[str, bool]:
    exact = Decimal(text)
    if exact and exact.adjusted() > _LARGEST_EXPONENT:
        return text, False
    rounded = rounded_to_cents(exact)
    if not rounded:
        rounded = abs(rounded)  # there is no negative nothing
    return f"{rounded:f}", rounded != exact


def rounded_to_cents(amount: Decimal) -> Decimal:
    """Return an amount with two fraction digits, rounded half to even."""
    return amount.quantize(_CENT, rounding=ROUND_HALF_EVEN)
