"""Conversions of text, dates and numbers, as layout files state them (docs/layouts.md).

What is done with each is in `etl.sources.convert.columns`.
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

Mark: TypeAlias = Annotated[RawText, NOT_EMPTY]
Side: TypeAlias = Literal["left", "right", "both"]


_MOST_CHARACTERS: Final = 1000
Size: TypeAlias = Annotated[Whole, up_to(_MOST_CHARACTERS, "layout-value")]
MaybeSize: TypeAlias = Annotated[int | None, Given(Size)]


_GROUP: Final = re.compile(r"\\([0-9]|g<)")


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
        """Take what stands below its key."""
        return value["replace"]

    def mistakes(self, context: Any) -> Iterator[Mistake]:
        """Yield that a group of the pattern is named."""
        del context
        if _GROUP.search(self.by):
            what = "with stands as it is written: groups of the pattern (\\1) are not put in"
            yield Mistake("layout-value", what, at=("with",))


@dataclass(frozen=True, slots=True)
class Trim(Model):
    """Removal of characters at the ends.

    Attributes:
        characters: those that go, each of them.
        side: at which end.
    """

    characters: Mark
    side: Side = "both"

    @classmethod
    def normalize(cls, value: Any) -> Any:
        """Take what stands below its key."""
        return value["trim"]


@dataclass(frozen=True, slots=True)
class Pad(Model):
    """Characters before or after a text that is too short.

    Attributes:
        to: how many characters it then has.
        filler: the character.
        side: where they are put: `left` or `right`.
    """

    to: Size
    filler: Mark = field(default="0", metadata={"alias": "with"})
    side: Literal["left", "right"] = "left"

    @classmethod
    def normalize(cls, value: Any) -> Any:
        """Take what stands below its key."""
        return value["pad"]

    def mistakes(self, context: Any) -> Iterator[Mistake]:
        """Yield that it is padded with more than a character."""
        del context
        if len(self.filler) != 1:
            yield Mistake("layout-value", "with must be one character", at=("with",))


@dataclass(frozen=True, slots=True)
class LetterCase(Model):
    """All letters large, or all small."""

    case: Literal["upper", "lower"]


def _step_models() -> Mapping[str, type[Model]]:
    """Return the model of each step by its key: a new step gets its line here."""
    return {
        "replace": Replace,
        "trim": Trim,
        "pad": Pad,
        "case": LetterCase,
    }


Step: TypeAlias = Annotated[Replace | Trim | Pad | LetterCase, ByKey(_step_models, "layout-key")]
Steps: TypeAlias = Annotated[tuple[Step, ...], LISTED]

_TOKENS: Final = {
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
_WIDTHS: Final = {"YYYY": (4, 4), "Mon": (3, 3), "M": (1, 2), "D": (1, 2)}
_TOKEN: Final = re.compile("|".join(sorted(_TOKENS, key=len, reverse=True)))
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
    found, at = [], 0
    for token in _TOKEN.finditer(form):
        found += [re.escape(form[at : token.start()]), _TOKENS[token.group()]]
        at = token.end()
    return f"^{''.join((*found, re.escape(form[at:])))}$"


def _format_tokens(form: str) -> list[str]:
    return _TOKEN.findall(form)


def _date_format(form: str, _context: Any) -> str:
    """Refuse a format that does not name a day, or that names a part of it twice."""
    if form == ISO:
        return form
    tokens = _format_tokens(form)
    parts = sorted(token[0] for token in tokens if token[0] in "YMD")
    rest = _TOKEN.sub("", form)
    if parts != ["D", "M", "Y"] or len(set(tokens)) != len(tokens) or re.search("[A-Za-z]", rest):
        words = (ISO, "YYYY-MM-DD", "MM/DD/YYYY", "DD/MM/YYYY", "DD-Mon-YYYY")
        what = f"{form!r} is no format of dates; one has YYYY, MM, M or Mon, and DD or D"
        raise Mistake("layout-value", what, nearest(form, words))
    return form


def _format_shape(form: str) -> list[tuple[str, int, int]]:
    """Return what a format reads: kinds of characters, with the fewest and most of each.

    Adjacent parts of digits are one run: two formats that read the same text have overlapping
    shapes.
    """
    if form == ISO:
        form = "YYYY-MM-DD"
    parts: list[tuple[str, int, int]] = []
    at = 0
    for token in (*_TOKEN.finditer(form), None):
        parts += [(mark, 1, 1) for mark in form[at : token.start() if token else None]]
        if token:
            least, most = _WIDTHS.get(token.group(), (2, 2))
            kind = "letter" if token.group() == "Mon" else "digit"
            if kind == "digit" and parts and parts[-1][0] == "digit":
                least, most = least + parts[-1][1], most + parts[-1][2]
                parts.pop()
            parts.append((kind, least, most))
            at = token.end()
    return parts


def _formats_overlap(one: str, other: str) -> bool:
    """Return whether two formats may read the same text, each in its own way."""
    ours, theirs = _format_shape(one), _format_shape(other)
    same = len(ours) == len(theirs) and all(
        kind == other_kind and least <= other_most and other_least <= most
        for (kind, least, most), (other_kind, other_least, other_most) in zip(
            ours, theirs, strict=True
        )
    )
    return same and [t[0] for t in _format_tokens(one)] != [t[0] for t in _format_tokens(other)]


@dataclass(frozen=True, slots=True)
class DateFormat(Model):
    """Ways in which a date is written; the result is `YYYY-MM-DD`.

    Attributes:
        formats: each of them; no text may mean different days by two of them.
    """

    formats: Annotated[tuple[Annotated[Text, Check(_date_format)], ...], LISTED, NOT_EMPTY] = field(
        metadata={"alias": "format"}
    )

    @classmethod
    def normalize(cls, value: Any) -> Any:
        """Take formats alone, too."""
        return value if isinstance(value, dict) else {"format": value}

    def mistakes(self, context: Any) -> Iterator[Mistake]:
        """Yield formats that contradict each other."""
        del context
        for number, form in enumerate(self.formats):
            for other in self.formats[:number]:
                if form == other or _formats_overlap(form, other):
                    what = f"a date may be read as {other} and as {form}: say which it is"
                    yield Mistake("layout-ambiguous", what)


_LOCALES: Final = {"us": (".", ","), "eu": (",", ".")}


@dataclass(frozen=True, slots=True)
class NumberFormat(Model):
    """Ways in which a number is written; the result is a plain decimal such as `-1234.56`.

    A currency sign, a sign before or behind the digits, and brackets for less than nothing are
    understood in every format.

    Attributes:
        decimal: what stands before the fraction.
        thousands: what may stand between groups of three digits.
        implied: how many of its digits are the fraction, which nothing marks; None where it is
            marked.
    """

    decimal: Mark = "."
    thousands: Mark = ","
    implied: MaybeSize = None

    @classmethod
    def normalize(cls, value: Any) -> Any:
        """Take the word for what is usual in the United States or in Europe, too."""
        if isinstance(value, str) and value in _LOCALES:
            decimal, thousands = _LOCALES[value]
            return {"decimal": decimal, "thousands": thousands}
        if isinstance(value, str):
            what = f"{{key}} must be one of {', '.join(_LOCALES)}, or have keys of its own"
            raise Mistake("layout-value", what, nearest(value, _LOCALES))
        return value

    def mistakes(self, context: Any) -> Iterator[Mistake]:
        """Yield marks that are the same, or a fraction that is marked and implied."""
        del context
        marks = (self.decimal, self.thousands)
        if self.decimal == self.thousands or any(
            len(mark) != 1 or mark.isalnum() or mark in "-+()" for mark in marks
        ):
            yield Mistake("layout-value", "decimal and thousands must be two different signs")


MaybeDateFormat: TypeAlias = Annotated[DateFormat | None, Given(DateFormat)]
MaybeNumberFormat: TypeAlias = Annotated[NumberFormat | None, Given(NumberFormat)]
