"""Conversions of text, dates and numbers, as layout files state them (docs/layouts.md).

What is done with each is in `etl.sources.text_conversions`.
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
from etl.documents.nearest import nearest
from etl.sources.layout_names import MaybePattern

Mark: TypeAlias = Annotated[RawText, NOT_EMPTY]
MaybeMark: TypeAlias = Annotated[str | None, Given(Mark)]
Side: TypeAlias = Literal["left", "right", "both"]


def _position(value: int, _context: Any) -> int:
    if not value:
        raise Mistake("layout-value", "{key} counts from 1, or from the end from -1")
    return value


_MOST_CHARACTERS: Final = 1000
Position: TypeAlias = Annotated[Whole, Check(_position)]
Size: TypeAlias = Annotated[Whole, up_to(_MOST_CHARACTERS, "layout-value")]
MaybeSize: TypeAlias = Annotated[int | None, Given(Size)]


@dataclass(frozen=True, slots=True)
class Substring(Model):
    """Characters of a text.

    Attributes:
        first: number of the first, from 1; from -1 counted from the end.
        length: how many; None for all that follow.
    """

    first: Position = field(metadata={"alias": "from"})
    length: MaybeSize = None

    @classmethod
    def shaped(cls, value: Any) -> Any:
        """Take what stands below its key."""
        return value["substring"]


@dataclass(frozen=True, slots=True)
class Part(Model):
    """One of the parts of a text between separators; absent where there are fewer.

    Attributes:
        number: which one, from 1; from -1 counted from the end.
        by: the separator.
    """

    number: Position
    by: Mark

    @classmethod
    def shaped(cls, value: Any) -> Any:
        """Take what stands below its key."""
        return value["part"]


_GROUP: Final = re.compile(r"\\([0-9]|g<)")


@dataclass(frozen=True, slots=True)
class Replace(Model):
    """Replacement of every place where a text or a pattern stands.

    Attributes:
        text: what is replaced, as it is; None where `pattern` says it.
        pattern: regular expression for what is replaced.
        by: what stands there instead; may be empty.
    """

    by: RawText = field(metadata={"alias": "with"})
    text: MaybeMark = None
    pattern: MaybePattern = None

    @classmethod
    def shaped(cls, value: Any) -> Any:
        """Take what stands below its key."""
        return value["replace"]

    def mistakes(self, context: Any) -> Iterator[Mistake]:
        """Yield that not one thing is replaced, or that a group of the pattern is named."""
        del context
        if (self.text is None) == (self.pattern is None):
            yield Mistake("layout-key", "replace has text or pattern, one of them")
        if self.pattern is not None and _GROUP.search(self.by):
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
    def shaped(cls, value: Any) -> Any:
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
    def shaped(cls, value: Any) -> Any:
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


def _steps() -> Mapping[str, type[Model]]:
    """Return the steps by the key of each: a new one gets its line here."""
    return {
        "substring": Substring,
        "part": Part,
        "replace": Replace,
        "trim": Trim,
        "pad": Pad,
        "case": LetterCase,
    }


Step: TypeAlias = Annotated[
    Substring | Part | Replace | Trim | Pad | LetterCase, ByKey(_steps, "layout-key")
]
Steps: TypeAlias = Annotated[tuple[Step, ...], LISTED]

_TOKENS: Final = {
    "YYYY": r"(?P<year>[0-9]{4})",
    "YY": r"(?P<short>[0-9]{2})",
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
EPOCHS: Final = {"epoch-days": 86_400_000, "epoch-seconds": 1000, "epoch-milliseconds": 1}
"""Formats that count from 1970-01-01T00:00:00Z -> milliseconds of one."""
ISO: Final = "iso"
ISO_PATTERN: Final = (
    r"^(?P<year>[0-9]{4})-(?P<month>[0-9]{2})-(?P<day>[0-9]{2})"
    r"(?:[T ](?P<hour>[0-9]{2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2})"
    r"(?P<fraction>\.[0-9]{1,9})?)?"
    r" ?(?P<zone>Z|[+-][0-9]{2}:?[0-9]{2})?)?$"
)
_ZONE: Final = re.compile(r"Z|[+-][0-9]{2}:[0-9]{2}")


def date_pattern(form: str) -> str:
    """Return the regular expression of a date format; its groups are the parts."""
    if form == ISO:
        return ISO_PATTERN
    found, at = [], 0
    for token in _TOKEN.finditer(form):
        found += [re.escape(form[at : token.start()]), _TOKENS[token.group()]]
        at = token.end()
    return f"^{''.join((*found, re.escape(form[at:])))}$"


def _tokens(form: str) -> list[str]:
    return _TOKEN.findall(form)


def _date_format(form: str, _context: Any) -> str:
    """Refuse a format that does not name a day, or that names a part of it twice."""
    if form == ISO or form in EPOCHS:
        return form
    tokens = _tokens(form)
    parts = sorted(token[0] for token in tokens if token[0] in "YMD")
    rest = _TOKEN.sub("", form)
    if parts != ["D", "M", "Y"] or len(set(tokens)) != len(tokens) or re.search("[A-Za-z]", rest):
        words = (ISO, *EPOCHS, "YYYY-MM-DD", "MM/DD/YYYY", "DD/MM/YYYY", "DD-Mon-YYYY")
        what = f"{form!r} is no format of dates; one has YYYY or YY, MM, M or Mon, and DD or D"
        raise Mistake("layout-value", what, nearest(form, words))
    return form


def _shape(form: str) -> list[tuple[str, int, int]]:
    """Return what a format reads: kinds of characters, and how many of each at least and at most.

    Adjacent parts of digits are one run: two formats that read the same text have overlapping
    shapes.
    """
    if form in EPOCHS:
        return [("digit", 1, 15)]
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


def _meet(one: str, other: str) -> bool:
    """Return whether some text may be read by two formats, each in its own way."""
    ours, theirs = _shape(one), _shape(other)
    same = len(ours) == len(theirs) and all(
        kind == other_kind and least <= other_most and other_least <= most
        for (kind, least, most), (other_kind, other_least, other_most) in zip(
            ours, theirs, strict=True
        )
    )
    return same and [t[0] for t in _tokens(one)] != [t[0] for t in _tokens(other)]


@dataclass(frozen=True, slots=True)
class DateFormat(Model):
    """Ways in which a date is written; the result is `YYYY-MM-DD`.

    Attributes:
        formats: each of them; no text may mean different days by two of them.
        pivot: two-digit years below it are of the 2000s, others of the 1900s; None where no format
            has such years.
        zone: times are kept, as RFC 3339 instants, and this is the zone of those that name none;
            None where only the day is kept, as it is written.
    """

    formats: Annotated[tuple[Annotated[Text, Check(_date_format)], ...], LISTED, NOT_EMPTY] = field(
        metadata={"alias": "format"}
    )
    pivot: Annotated[int | None, Given(Whole)] = None
    zone: Annotated[str | None, Given(Text)] = None

    @classmethod
    def shaped(cls, value: Any) -> Any:
        """Take formats alone, too."""
        return value if isinstance(value, dict) else {"format": value}

    def mistakes(self, context: Any) -> Iterator[Mistake]:
        """Yield formats that contradict each other, and two-digit years without a pivot."""
        del context
        for number, form in enumerate(self.formats):
            for other in self.formats[:number]:
                if form == other or _meet(form, other):
                    what = f"a date may be read as {other} and as {form}: say which it is"
                    yield Mistake("layout-ambiguous", what)
        short = any("YY" in _tokens(form) for form in self.formats)
        if short and self.pivot is None:
            yield Mistake("layout-key", "two-digit years need a pivot", is_absence=True)
        if self.pivot is not None and not (short and 0 <= self.pivot <= 100):
            what = "pivot must be from 0 to 100, and a format have two-digit years"
            yield Mistake("layout-value", what, at=("pivot",))
        if self.zone is not None and not _ZONE.fullmatch(self.zone):
            yield Mistake("layout-value", "zone must be Z or such as -05:00", at=("zone",))


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
    def shaped(cls, value: Any) -> Any:
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
