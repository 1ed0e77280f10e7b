"""What the parameters of rules may say: each is held to its meaning before any row is read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from types import MappingProxyType
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.dates import day_number
from etl.model.canonical_tables import DIRECTORY_TABLES, TABLES, FieldType
from etl.quality.rules import kinds
from etl.quality.rules.kinds import Kind, Meaning

_PARENT_KEYS: Final = MappingProxyType(
    {
        "member": ("member_id",),
        "coverage": ("coverage_id",),
        "claim": ("claim_id",),
        "claim_line": ("claim_id", "line_number"),
    }
)
"""Tables that rows of others belong to -> the columns by which they name them."""
_TYPES: Final[Mapping[Meaning, frozenset[FieldType]]] = MappingProxyType(
    {
        Meaning.DATE: frozenset({FieldType.DATE}),
        Meaning.AMOUNT: frozenset({FieldType.MONEY}),
        Meaning.NUMBER: frozenset({FieldType.MONEY, FieldType.DECIMAL, FieldType.INTEGER}),
    }
)
_WORDS: Final[Mapping[tuple[type[Kind], str], tuple[str, ...]]] = MappingProxyType(
    {
        (kinds.Duplicate, "of"): ("identical", "older", "conflict"),
        (kinds.UnknownClaim, "fault"): ("absent", "itself", "another"),
    }
)
"""Parameters that are one of some words."""
_OBLIGATION: Final = re.compile(r"[a-z0-9*][A-Za-z0-9*.:\[\]_-]*")


@dataclass(frozen=True, slots=True)
class ParameterMistake:
    """What is wrong with a parameter.

    Attributes:
        error_id: of the error.
        what: what is wrong.
        key: the parameter.
        hint: the nearest right word, or "".
    """

    error_id: str
    what: str
    key: str
    hint: str = ""


def near(word: str, words: Iterable[str]) -> str:
    """Return the question whether the nearest of some words was meant; "" where none is near."""
    found = get_close_matches(word, list(words), n=1)
    return f"did you mean {found[0]!r}?" if found else ""


def text_mistake(
    meaning: Meaning | None, text: str, tables: Sequence[str], key: str
) -> ParameterMistake | None:
    """Return what is wrong with one text of a parameter that has a meaning; None for nothing."""
    match meaning:
        case Meaning.COLUMN | Meaning.DATE | Meaning.AMOUNT | Meaning.NUMBER:
            return column_mistake(text, tables, key, _TYPES.get(meaning))
        case Meaning.MEMBER_COLUMN:
            return column_mistake(text, ["member"], key)
        case Meaning.PAIR:
            return _pair_mistake(text, tables, key)
        case Meaning.PARENT:
            return _word_mistake(text, _PARENT_KEYS, "table that rows belong to", key)
        case Meaning.CHILD:
            return _word_mistake(text, TABLES, "table", key)
        case Meaning.DIRECTORY:
            return _word_mistake(text, DIRECTORY_TABLES, "table of the directory", key)
        case Meaning.TYPE:
            return _word_mistake(text, [each.value for each in FieldType], "type", key)
        case Meaning.DAY:
            return _day_mistake(text, key)
        case Meaning.PATTERN:
            return _pattern_mistake(text, key)
        case Meaning.OBLIGATION:
            if _OBLIGATION.fullmatch(text):
                return None
            return ParameterMistake("rule-value", f"{text!r} is no id of an obligation", key)
        case None:
            return None


def column_mistake(
    name: str, tables: Iterable[str], key: str, types: frozenset[FieldType] | None = None
) -> ParameterMistake | None:
    """Return what is wrong with the name of a column that all tables are to have."""
    for table in tables:
        column = TABLES[table].column(name)
        if column is None:
            what = f"table {table!r} has no column {name!r}"
            return ParameterMistake("rule-column", what, key, near(name, TABLES[table].names))
        if types is not None and column.type not in types:
            wanted = " or ".join(sorted(each.value for each in types))
            what = (
                f"column {name!r} of {table!r} is {column.type.value}, and {key!r} takes {wanted}"
            )
            return ParameterMistake("rule-column", what, key)
    return None


def kind_mistake(kind: Kind, tables: Sequence[str]) -> ParameterMistake | None:
    """Return what is wrong with parameters beside each other, or with the tables of the rule."""
    for table in tables:
        only = getattr(kind, "only", (table,))
        if table not in only:
            what = f"this check is for table {only[0]!r}, not for {table!r}"
            return ParameterMistake("rule-column", what, "table")
    for name in getattr(kind, "reads", ()):
        mistake = column_mistake(name, tables, "table")
        if mistake is not None:
            return mistake
    for parameter in fields(kind):
        words = _WORDS.get((type(kind), parameter.name))
        word = getattr(kind, parameter.name)
        if words is not None and word not in words:
            return ParameterMistake(
                "rule-value",
                f"{parameter.name!r} is one of {', '.join(words)}, not {word!r}",
                parameter.name,
                near(word, words),
            )
    return _TOGETHER.get(type(kind), _nothing)(kind, tables)


def _nothing(_kind: Kind, _tables: Sequence[str]) -> ParameterMistake | None:
    return None


def _of_allowed(kind: Kind, _tables: Sequence[str]) -> ParameterMistake | None:
    if isinstance(kind, kinds.Allowed) and not (kind.values or kind.pattern or kind.crosswalk):
        return ParameterMistake("rule-key", "this check needs values, pattern or crosswalk", "")
    return None


def _of_unreadable(kind: Kind, _tables: Sequence[str]) -> ParameterMistake | None:
    if isinstance(kind, kinds.Unreadable) and kind.beyond_cents and kind.type != "money":
        return ParameterMistake("rule-value", "'beyond-cents' is for type money", "beyond-cents")
    return None


def _of_rewrite(kind: Kind, _tables: Sequence[str]) -> ParameterMistake | None:
    if isinstance(kind, kinds.Rewrite):
        try:
            pc.replace_substring_regex(
                pa.array([""]), pattern=kind.pattern, replacement=kind.becomes
            )
        except pa.ArrowInvalid as error:
            return ParameterMistake("rule-value", f"no replacement: {_reason(error)}", "becomes")
    return None


def _of_repeated(kind: Kind, tables: Sequence[str]) -> ParameterMistake | None:
    if isinstance(kind, kinds.Repeated) and kind.also:
        return _step_mistake(tables, "member", "also")
    return None


def _of_orphan(kind: Kind, tables: Sequence[str]) -> ParameterMistake | None:
    if not isinstance(kind, kinds.Orphan):
        return None
    keys = _PARENT_KEYS[kind.parent]
    if kind.by not in keys:
        what = f"{kind.parent!r} is named by {' and '.join(keys)}, not by {kind.by!r}"
        return ParameterMistake("rule-column", what, "by", near(kind.by, keys))
    return _step_mistake(tables, kind.parent, "parent")


def _of_childless(kind: Kind, tables: Sequence[str]) -> ParameterMistake | None:
    if not isinstance(kind, kinds.Childless):
        return None
    for table in tables:
        if table not in _PARENT_KEYS:
            return ParameterMistake(
                "rule-column", f"no rows of others belong to {table!r}", "table"
            )
        mistake = _step_mistake([kind.child], table, "child")
        if mistake is not None:
            return mistake
    return None


def _of_disagrees(kind: Kind, tables: Sequence[str]) -> ParameterMistake | None:
    if not isinstance(kind, kinds.Disagrees):
        return None
    return _step_mistake(tables, kind.parent, "parent") or column_mistake(
        kind.column, [kind.parent], "column"
    )


def _of_outside(kind: Kind, tables: Sequence[str]) -> ParameterMistake | None:
    if not isinstance(kind, kinds.Outside):
        return None
    at = tables
    for parent in kind.above:
        mistake = _step_mistake(at, parent, "above")
        if mistake is not None:
            return mistake
        at = [parent]
    if not (kind.start or kind.end):
        return ParameterMistake("rule-key", "this check needs 'start' or 'end'", "")
    for key, name in (("start", kind.start), ("end", kind.end)):
        mistake = column_mistake(name, at, key, _TYPES[Meaning.DATE]) if name else None
        if mistake is not None:
            return mistake
    return None


_TOGETHER: Final[Mapping[type[Kind], Callable[[Kind, Sequence[str]], ParameterMistake | None]]] = (
    MappingProxyType(
        {
            kinds.Allowed: _of_allowed,
            kinds.Unreadable: _of_unreadable,
            kinds.Rewrite: _of_rewrite,
            kinds.Repeated: _of_repeated,
            kinds.Orphan: _of_orphan,
            kinds.Childless: _of_childless,
            kinds.Disagrees: _of_disagrees,
            kinds.Outside: _of_outside,
        }
    )
)
"""Kinds some of whose parameters have to fit each other, or the tables."""


def _step_mistake(tables: Iterable[str], parent: str, key: str) -> ParameterMistake | None:
    """Return what is wrong where rows of tables are to belong to those of a parent."""
    for table in tables:
        for column in _PARENT_KEYS[parent]:
            if TABLES[table].column(column) is None or table == parent:
                return ParameterMistake(
                    "rule-column", f"no row of {table!r} belongs to {parent!r}", key
                )
    return None


def _pair_mistake(text: str, tables: Sequence[str], key: str) -> ParameterMistake | None:
    parts = text.split(" <= ")
    if len(parts) != 2:
        return ParameterMistake(
            "rule-value", f"a pair is written: earlier <= later, not {text!r}", key
        )
    for part in parts:
        mistake = column_mistake(part, tables, key, _TYPES[Meaning.DATE])
        if mistake is not None:
            return mistake
    return None


def _word_mistake(text: str, words: Iterable[str], what: str, key: str) -> ParameterMistake | None:
    known = list(words)
    if text in known:
        return None
    return ParameterMistake("rule-value", f"{key!r}: no {what} {text!r}", key, near(text, known))


def _day_mistake(text: str, key: str) -> ParameterMistake | None:
    try:
        day_number(text)
    except ValueError:
        return ParameterMistake("rule-value", f"{text!r} is no YYYY-MM-DD day", key)
    return None


def _pattern_mistake(text: str, key: str) -> ParameterMistake | None:
    """Patterns are RE2's, which knows less than Python does: no look-around, no references."""
    try:
        pc.match_substring_regex(pa.array([""]), pattern=text)
    except pa.ArrowInvalid as error:
        return ParameterMistake("rule-value", f"no pattern: {_reason(error)}", key)
    return None


def _reason(error: pa.ArrowInvalid) -> str:
    return str(error).partition(": ")[2]
