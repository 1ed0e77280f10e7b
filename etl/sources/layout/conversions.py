"""Conversions of text, dates and numbers in layout files (docs/layouts.md).

`etl.sources.convert.columns` applies them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal, TypeAlias

from etl.documents.models import (
    LISTED,
    NOT_EMPTY,
    ByKey,
    Check,
    Given,
    Mistake,
    Model,
    RawText,
    Text,
    Whole,
    up_to,
)
from etl.errors import nearest
from etl.sources.layout.names import Pattern

FilledText: TypeAlias = Annotated[RawText, NOT_EMPTY]
Side: TypeAlias = Literal["left", "right", "both"]


_MOST_CHARACTERS: Final = 1000
CharacterCount: TypeAlias = Annotated[Whole, up_to(_MOST_CHARACTERS, "layout-value")]
MaybeCharacterCount: TypeAlias = Annotated[int | None, Given(CharacterCount)]


_GROUP_REFERENCE: Final = re.compile(r"\\([0-9]|g<)")


@dataclass(frozen=True, slots=True)
class Replace(Model):
    """Replacement of every match of a pattern.

    Attributes:
        pattern: regular expression.
        by: the replacement, taken literally; may be empty.
    """

    pattern: Pattern
    by: RawText = field(metadata={"alias": "with"})

    @classmethod
    def normalize(cls, value: Any) -> Any:
        """Return the value under the key `replace`."""
        return value["replace"]

    def mistakes(self, context: Any) -> Iterator[Mistake]:
        """Report a reference to a group of the pattern."""
        del context
        if _GROUP_REFERENCE.search(self.by):
            message = "with is inserted as it is, so it can't refer to groups of the pattern (\\1)"
            yield Mistake("layout-value", message, at=("with",))


@dataclass(frozen=True, slots=True)
class Trim(Model):
    """Removal of characters at the ends.

    Attributes:
        characters: the characters to remove.
        side: the end to remove them from.
    """

    characters: FilledText
    side: Side = "both"

    @classmethod
    def normalize(cls, value: Any) -> Any:
        """Return the value under the key `trim`."""
        return value["trim"]


@dataclass(frozen=True, slots=True)
class Pad(Model):
    """Padding of texts that are too short.

    Attributes:
        to: length of the result.
        filler: the character to add.
        side: where it is added: `left` or `right`.
    """

    to: CharacterCount
    filler: FilledText = field(default="0", metadata={"alias": "with"})
    side: Literal["left", "right"] = "left"

    @classmethod
    def normalize(cls, value: Any) -> Any:
        """Return the value under the key `pad`."""
        return value["pad"]

    def mistakes(self, context: Any) -> Iterator[Mistake]:
        """Report a filler that is not one character."""
        del context
        if len(self.filler) != 1:
            yield Mistake("layout-value", "with must be one character", at=("with",))


@dataclass(frozen=True, slots=True)
class LetterCase(Model):
    """Conversion to upper or lower case."""

    case: Literal["upper", "lower"]


def _step_models() -> Mapping[str, type[Model]]:
    """Return the model of each step by its key."""
    return {
        "replace": Replace,
        "trim": Trim,
        "pad": Pad,
        "case": LetterCase,
    }


Step: TypeAlias = Annotated[Replace | Trim | Pad | LetterCase, ByKey(_step_models, "layout-key")]
Steps: TypeAlias = Annotated[tuple[Step, ...], LISTED]

_TOKEN_PATTERNS: Final = {
    "YYYY": r"(?P<year>[0-9]{4})",
    "MM": r"(?P<month>[0-9]{2})",
    "Mon": r"(?P<name>[A-Za-z]{3})",
    "M": r"(?P<month>[0-9]{1,2})",
    "DD": r"(?P<day>[0-9]{2})",
    "D": r"(?P<day>[0-9]{1,2})",
    "hh": r"(?P<hour>[0-9]{2})",
    "mm": r"(?P<minute>[0-9]{2})",
    "ss": r"(?P<second>[0-9]{2})",
}
_TOKEN_WIDTHS: Final = {"YYYY": (4, 4), "Mon": (3, 3), "M": (1, 2), "D": (1, 2)}
_TOKEN: Final = re.compile("|".join(sorted(_TOKEN_PATTERNS, key=len, reverse=True)))
ISO: Final = "iso"
ISO_PATTERN: Final = (
    r"^(?P<year>[0-9]{4})-(?P<month>[0-9]{2})-(?P<day>[0-9]{2})"
    r"(?:[T ](?P<hour>[0-9]{2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2})"
    r"(?P<fraction>\.[0-9]{1,9})?)?"
    r" ?(?P<zone>Z|[+-][0-9]{2}:?[0-9]{2})?)?$"
)


def date_pattern(form: str) -> str:
    """Return the regular expression of a date format; its groups are the parts."""
    if form == ISO:
        return ISO_PATTERN
    parts, end = [], 0
    for token in _TOKEN.finditer(form):
        parts += [re.escape(form[end : token.start()]), _TOKEN_PATTERNS[token.group()]]
        end = token.end()
    return f"^{''.join((*parts, re.escape(form[end:])))}$"


def _check_date_format(form: str, _context: Any) -> str:
    """Refuse a format that lacks a part of a date, or has one twice."""
    if form == ISO:
        return form
    tokens = _TOKEN.findall(form)
    parts = sorted(token[0] for token in tokens if token[0] in "YMD")
    separators = _TOKEN.sub("", form)
    if (
        parts != ["D", "M", "Y"]
        or len(set(tokens)) != len(tokens)
        or re.search("[A-Za-z]", separators)
    ):
        words = (ISO, "YYYY-MM-DD", "MM/DD/YYYY", "DD/MM/YYYY", "DD-Mon-YYYY")
        message = f"{form!r} is no format of dates; one has YYYY, MM, M or Mon, and DD or D"
        raise Mistake("layout-value", message, nearest(form, words))
    return form


def _format_shape(form: str) -> list[tuple[str, int, int]]:
    """Return the kinds of characters that a format reads, with the least and most of each.

    Adjacent parts of digits are one part, so two formats that read the same text have overlapping
    shapes.
    """
    if form == ISO:
        form = "YYYY-MM-DD"
    parts: list[tuple[str, int, int]] = []
    at = 0
    for token in (*_TOKEN.finditer(form), None):
        parts += [(mark, 1, 1) for mark in form[at : token.start() if token else None]]
        if token:
            least, most = _TOKEN_WIDTHS.get(token.group(), (2, 2))
            kind = "letter" if token.group() == "Mon" else "digit"
            if kind == "digit" and parts and parts[-1][0] == "digit":
                least, most = least + parts[-1][1], most + parts[-1][2]
                parts.pop()
            parts.append((kind, least, most))
            at = token.end()
    return parts


def _formats_overlap(form: str, second: str) -> bool:
    """Return whether two formats can read one text as different dates."""
    shape, other_shape = _format_shape(form), _format_shape(second)
    can_match = len(shape) == len(other_shape) and all(
        kind == other_kind and least <= other_most and other_least <= most
        for (kind, least, most), (other_kind, other_least, other_most) in zip(
            shape, other_shape, strict=True
        )
    )
    # The first letter of a token is its part: year, month or day.
    parts, other_parts = ([token[0] for token in _TOKEN.findall(text)] for text in (form, second))
    return can_match and parts != other_parts


@dataclass(frozen=True, slots=True)
class DateFormat(Model):
    """Formats of dates; the result is `YYYY-MM-DD`.

    Attributes:
        formats: the formats; no text may be different dates in two of them.
    """

    formats: Annotated[
        tuple[Annotated[Text, Check(_check_date_format)], ...], LISTED, NOT_EMPTY
    ] = field(metadata={"alias": "format"})

    @classmethod
    def normalize(cls, value: Any) -> Any:
        """Also accept formats without the key `format`."""
        return value if isinstance(value, dict) else {"format": value}

    def mistakes(self, context: Any) -> Iterator[Mistake]:
        """Report formats that read one text as different dates."""
        del context
        for number, form in enumerate(self.formats):
            for earlier in self.formats[:number]:
                if form == earlier or _formats_overlap(form, earlier):
                    message = f"some dates match both {earlier} and {form}: keep one of them"
                    yield Mistake("layout-ambiguous", message)


_LOCALES: Final = {"us": (".", ","), "eu": (",", ".")}


@dataclass(frozen=True, slots=True)
class NumberFormat(Model):
    """Format of numbers; the result is a plain decimal such as `-1234.56`.

    Every format accepts a currency sign, a sign before or after the digits, and parentheses for
    negative numbers.

    Attributes:
        decimal: the decimal mark.
        thousands: the separator of groups of three digits, which may be missing.
        implied: number of decimal places if there is no decimal mark; None if there is one.
    """

    decimal: FilledText = "."
    thousands: FilledText = ","
    implied: MaybeCharacterCount = None

    @classmethod
    def normalize(cls, value: Any) -> Any:
        """Also accept the word for the marks of the United States or of Europe."""
        if isinstance(value, str) and value in _LOCALES:
            decimal, thousands = _LOCALES[value]
            return {"decimal": decimal, "thousands": thousands}
        if isinstance(value, str):
            message = f"{{key}} must be one of {', '.join(_LOCALES)}, or have keys of its own"
            raise Mistake("layout-value", message, nearest(value, _LOCALES))
        return value

    def mistakes(self, context: Any) -> Iterator[Mistake]:
        """Report marks that are equal, or that a number could contain."""
        del context
        marks = (self.decimal, self.thousands)
        if self.decimal == self.thousands or any(
            len(mark) != 1 or mark.isalnum() or mark in "-+()" for mark in marks
        ):
            yield Mistake("layout-value", "decimal and thousands must be two different signs")


MaybeDateFormat: TypeAlias = Annotated[DateFormat | None, Given(DateFormat)]
MaybeNumberFormat: TypeAlias = Annotated[NumberFormat | None, Given(NumberFormat)]
