"""Formats of the values of a column. The values themselves are never shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from etl.model.code_shapes import full_match, is_npi, outline

_MOST_DISTINCT: Final = 400
_MANY_AMOUNTS: Final = 8
"""So many different amounts are hardly all whole dollars."""

DATES: Final[Mapping[str, Callable[[str], bool]]] = MappingProxyType(
    {
        "YYYY-MM-DD": full_match(r"(?:18|19|20|21|99)\d\d-[01]\d-[0-3]\d"),
        "YYYYMMDD": full_match(r"(?:18|19|20|21|99)\d\d[01]\d[0-3]\d"),
        "RFC 3339 instant": full_match(r"\d{4}-[01]\d-[0-3]\d[T ][0-2]\d:[0-5]\d.*"),
        "MM/DD/YYYY": full_match(r"(?:0?[1-9]|1[0-2])[/.-](?:0?[1-9]|[12]\d|3[01])[/.-]\d{4}"),
        "DD/MM/YYYY": full_match(r"(?:0?[1-9]|[12]\d|3[01])[/.-](?:0?[1-9]|1[0-2])[/.-]\d{4}"),
        "DD-Mon-YYYY": full_match(r"\d{1,2}[ -]?[A-Za-z]{3}[ -]?(?:\d{4}|\d\d)"),
        "MM/DD/YY": full_match(r"(?:0?[1-9]|1[0-2])/(?:0?[1-9]|[12]\d|3[01])/\d\d"),
        "YYYY/MM/DD": full_match(r"\d{4}[/.][01]?\d[/.][0-3]?\d"),
        "MM/DD/YYYY time": full_match(r"\d{1,2}/\d{1,2}/\d{4} \d{1,2}:.*"),
    }
)
"""Format -> whether a text is a date in it. A column has the first format that fits all values."""

READ_DATES: Final = ("YYYY-MM-DD", "YYYYMMDD", "RFC 3339 instant")
"""Formats that the canonical layout reads."""

is_absent_date = full_match(
    r"0{8}|9{8}|0000-00-00|9999-99-99|(?:9999|0001)-?(?:12-?31|01-?01)"
    r"|00/00/0000|12/31/9999|31/12/9999|01/01/0001"
)
"""Whether a text means that there is no date, in a column of dates."""

_is_number = full_match(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)")
_is_amount = full_match(r"\(?[-+]?\$?[-+]?\d{1,3}(?:[ ,.]?\d{3})*(?:[.,]\d+)?\)?-?")

SHAPES: Final[Mapping[str, Callable[[str], bool]]] = {
    "npi": is_npi,
    "icd": full_match(r"(?i)[A-TV-Z]\d[0-9A-Z](?:\.?[0-9A-Z]{1,4})?|[0-9]{3}\.[0-9]{1,2}"),
    "icd_procedure": full_match(r"(?i)[0-9A-HJ-NP-Z]{7}|\d\d\.\d{1,2}"),
    "service": full_match(r"(?i)\d{4}[0-9FTUM]|[A-V]\d{4}|[0-9A-Z]{5}"),
    "ndc": full_match(r"\d{11}|\d{4,5}-\d{3,4}-\d{1,2}"),
    "revenue": full_match(r"0\d{3}|1\d{3}|[1-9]\d\d"),
    "two_digits": full_match(r"\d{1,2}"),
    "digit": full_match(r"(?i)[0-9A-Z]"),
    "letter": full_match(r"(?i)[A-Z01]"),
    "modifier": full_match(r"(?i)[0-9A-Z]{2}"),
    "bill_type": full_match(r"0?\d{2}[0-9A-Z]"),
    "drg": full_match(r"\d{3,4}"),
    "taxonomy": full_match(r"(?i)\d{3}[A-Z0-9]{6}X"),
    "state": full_match(r"(?i)[A-Z]{2}"),
    "zip": full_match(r"\d{5}(?:-?\d{4})?"),
    "country": full_match(r"[A-Z]{2,3}"),
    "phone": full_match(r"[+(]?[\d][\d ().-]{6,16}\d"),
    "email": full_match(r"[^@\s]+@[^@\s]+\.[a-zA-Z]+"),
    "date": lambda text: any(fits(text) for fits in DATES.values()),
    "money": _is_amount,
    "number": _is_number,
    "decimal": full_match(r"[($-]*\d[\d,]*\.\d+\)?-?"),
    "digits": full_match(r"[+-]?\d+"),
    "long_fraction": full_match(r".*[.]\d{3,}\)?-?"),
    "name": full_match(r"[^\d]{2,}"),
    "words": full_match(r"(?s).*[^\W\d_]{3,}.*"),
    "key": full_match(r"[^\s]{2,64}"),
    "provider": full_match(r"[^\s]{4,64}"),
    "flag": full_match(r"(?i)[YNTF01]|true|false|yes|no"),
}
"""Shape -> whether a text has it."""

REQUIRED_SHAPES: Final = frozenset({"date", "money", "number", "email", "flag"})
"""Shapes that a column must have to be the element, whatever its header."""
DISTINCTIVE: Final = ("taxonomy", "email", "npi", "ndc", "icd")
"""Shapes that a column of other values seldom has by chance."""


@dataclass(frozen=True, slots=True)
class ColumnProfile:
    """Statistics and shapes of a column's values.

    Attributes:
        rows: number of examined rows.
        filled: number of rows with a value.
        distinct: number of different values.
        shares: shape -> share of the different values that have it; empty without values.
        date: format of its dates; "" if it has none, or if several fit.
        ambiguous_date: whether day and month can't be distinguished.
        sample: outlines of some values.
        words: the different values in lower case, if they are few; never shown.
        absent_dates: values in a column of dates that mean that there is none.
    """

    rows: int
    filled: int
    distinct: int
    shares: Mapping[str, float]
    date: str = ""
    ambiguous_date: bool = False
    sample: tuple[str, ...] = ()
    words: frozenset[str] = frozenset()
    absent_dates: tuple[str, ...] = ()

    @property
    def may_be_cents(self) -> bool:
        """Whether its amounts are many, and none has a decimal sign."""
        return self.distinct >= _MANY_AMOUNTS and self.share("digits") == 1.0

    @property
    def is_formatted(self) -> bool:
        """Whether its amounts have currency signs, commas or brackets."""
        return self.share("money") > 0.9 > self.share("number")

    def share(self, shape: str) -> float:
        """Return the share of values with a shape."""
        return self.shares.get(shape, 0.0)


def profile_values(values: Sequence[str]) -> ColumnProfile:
    """Profile the values of a column."""
    filled = [value for value in values if value]
    distinct = list(dict.fromkeys(filled))
    examined = distinct[:_MOST_DISTINCT]
    if not examined:
        return ColumnProfile(len(values), 0, 0, MappingProxyType({}))
    absent_dates = tuple(sorted(filter(is_absent_date, examined)))
    others = [value for value in examined if value not in absent_dates]
    if others and all(map(SHAPES["date"], others)):
        examined = others
    else:
        absent_dates = ()
    shares = {name: sum(map(fits, examined)) / len(examined) for name, fits in SHAPES.items()}
    dates = [name for name, fits in DATES.items() if all(map(fits, examined))]
    unclear = {"MM/DD/YYYY", "DD/MM/YYYY"} <= set(dates)
    return ColumnProfile(
        rows=len(values),
        filled=len(filled),
        distinct=len(distinct),
        shares=MappingProxyType(shares),
        date="" if unclear or not dates else dates[0],
        ambiguous_date=unclear,
        sample=tuple(dict.fromkeys(outline(value) for value in examined))[:3],
        words=frozenset(value.lower() for value in examined)
        if len(distinct) <= 40
        else frozenset(),
        absent_dates=absent_dates,
    )


def pool_values(columns: Iterable[Sequence[str]]) -> list[str]:
    """Return the values of several columns in one list."""
    return [value for column in columns for value in column]
