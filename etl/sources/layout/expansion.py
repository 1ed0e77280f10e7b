"""Layout files as they are meant: with what they extend, and with their loops written out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from etl.documents.yaml_text import Map, Mark, Seq, read_yaml
from etl.errors import MappingError, Mistakes, nearest
from etl.sources.layout.model import LayoutText

NO_BASES: Final[Mapping[str, LayoutText]] = MappingProxyType({})
EXTENDS: Final = "extends"
NUMBERS: Final = "numbers"
"""Key of an entry that stands for one a number; `{n}` in it is the number."""
MOST_NUMBERS: Final = 200
"""Numbers of one loop."""
_MORE: Final = "+"
"""Suffix of a key: its list is appended to that of the extended layout."""
_LESS: Final = "-"
"""Suffix of a key: its texts are removed from the list of the extended layout."""
_OF_COLUMNS: Final = frozenset({"columns", "made", "rows"})
"""Keys of maps of columns: what makes a column is replaced as a whole."""
_RANGE: Final = re.compile(r"([0-9]{1,4})\.\.([0-9]{1,4})")
_IN_BRACES: Final = re.compile(r"\{([0-9]{1,4}\.\.[0-9]{1,4})\}")
_PLACE: Final = "{n}"


def extended(
    layout: LayoutText, bases: Mapping[str, LayoutText]
) -> tuple[Any, dict[str, LayoutText]]:
    """Return a layout's document merged over what it extends, and the layouts that it extends.

    Maps are merged key by key. A map over a list changes entries, each named by a text that no
    other has. A key without a value removes the inherited one, a key that ends with `+` appends its
    list to the inherited one, and anything else replaces the inherited value.

    Raises:
        MappingError: `layout-extends`, or one of `read_yaml`.
    """
    used: dict[str, LayoutText] = {}
    return _resolve_layout(layout, bases, used), used


def _resolve_layout(
    layout: LayoutText, bases: Mapping[str, LayoutText], used: dict[str, LayoutText]
) -> Any:
    document = read_yaml(layout.text, layout.file)
    if not isinstance(document, Map) or EXTENDS not in document:
        return document
    name, mark = document[EXTENDS], document.marks[EXTENDS]
    if not isinstance(name, str) or name not in bases:
        hint = nearest(str(name), bases)
        raise MappingError(str(mark), "layout-extends", f"no layout {name!r}", hint=hint)
    if name in used or bases[name] == layout:
        raise MappingError(str(mark), "layout-extends", f"{name} extends itself")
    used[name] = bases[name]
    base = _resolve_layout(bases[name], bases, used)
    if not isinstance(base, Map):
        raise MappingError(str(mark), "layout-extends", f"{name} is no layout")
    return _laid_over(base, document.without(EXTENDS))


def _laid_over(base: Map, overlay: Map, *, is_deep: bool = True) -> Map:
    result = Map(base)
    result.mark, result.marks = overlay.mark, dict(base.marks)
    for written, value in overlay.items():
        mark, key = overlay.marks[written], written
        if written.endswith(_MORE) and isinstance(value, Seq):
            key = written.removesuffix(_MORE)
            before = result.get(key)
            if isinstance(before, Seq):
                value = _new_list([*before, *value], [*before.marks, *value.marks], mark)
        elif written.endswith(_LESS) and isinstance(value, Seq):
            key = written.removesuffix(_LESS)
            value = _remove_texts(result.get(key), value, mark)
        elif value is None:
            result.pop(key, None)
            result.marks.pop(key, None)
            continue
        elif is_deep and isinstance(value, Map) and isinstance(base.get(key), Map):
            value = _laid_over(base[key], value, is_deep=key not in _OF_COLUMNS)
        elif is_deep and isinstance(value, Map) and isinstance(base.get(key), Seq):
            value = _laid_over_entries(base[key], value, is_deep=key not in _OF_COLUMNS)
        result[key], result.marks[key] = value, mark
    return result


def _laid_over_entries(base: Seq, overlay: Map, *, is_deep: bool) -> Seq:
    """Return a list in which entries are overlaid, each named by a text that it alone has.

    Raises:
        MappingError: `layout-extends`: no entry has such a text, or several have.
    """
    entries = list(base)
    for name, change in overlay.items():
        found = [
            number
            for number, entry in enumerate(entries)
            if isinstance(entry, Map) and name in entry.values()
        ]
        if len(found) != 1 or not isinstance(change, Map):
            what = "has no keys" if found else "is in no entry of the list that is extended"
            what = "is in several entries of the list" if len(found) > 1 else what
            raise MappingError(str(overlay.marks[name]), "layout-extends", f"{name!r} {what}")
        entries[found[0]] = _laid_over(entries[found[0]], change, is_deep=is_deep)
    return _new_list(entries, list(base.marks), base.mark)


def _remove_texts(before: Any, gone: Seq, mark: Mark) -> Seq:
    """Return a list without some texts; each of them must be in it."""
    before = before if isinstance(before, Seq) else _new_list([], [], mark)
    for text, place in zip(gone, gone.marks, strict=True):
        if text not in before:
            what = f"{text!r} is not in the list of the layout that is extended"
            raise MappingError(str(place), "layout-extends", what)
    kept = [
        (one, place) for one, place in zip(before, before.marks, strict=True) if one not in gone
    ]
    return _new_list([one for one, _ in kept], [place for _, place in kept], mark)


def _new_list(values: list[Any], marks: list[Mark], mark: Mark) -> Seq:
    result = Seq(values)
    result.mark, result.marks = mark, marks
    return result


def without_loops(document: Any) -> Any:
    """Return a document in which each loop is written out.

    A text with `{1..25}` in it becomes 25 texts, and an entry of a list with `numbers: 1..25`
    becomes 25 entries with the number for `{n}`. A zero before the first number keeps the width.

    Raises:
        MappingError: `layout-loop`; every mistake at once.
    """
    mistakes = Mistakes()
    result = _written_out(document, None, mistakes)
    mistakes.report()
    return result


def _written_out(value: Any, mark: Mark | None, mistakes: Mistakes) -> Any:
    if isinstance(value, Map):
        result = Map(
            {key: _written_out(part, value.marks[key], mistakes) for key, part in value.items()}
        )
        result.mark, result.marks = value.mark, value.marks
        return result
    if isinstance(value, Seq):
        values: list[Any] = []
        marks: list[Mark] = []
        for entry, place in zip(value, value.marks, strict=True):
            for column in _expand_entry(entry, mistakes):
                made = _written_out(column, place, mistakes)
                flat = list(made) if isinstance(made, Seq) and isinstance(column, str) else [made]
                values += flat
                marks += [place] * len(flat)
        return _new_list(values, marks, value.mark)
    if isinstance(value, str) and mark is not None and _IN_BRACES.search(value):
        texts = _expand_range(value, mark, mistakes)
        return _new_list(list(texts), [mark] * len(texts), mark)
    return value


def _expand_entry(entry: Any, mistakes: Mistakes) -> list[Any]:
    """Return the entries into which an entry of a list expands."""
    if not isinstance(entry, Map) or NUMBERS not in entry:
        return [entry]
    found = _RANGE.fullmatch(str(entry[NUMBERS]))
    if found is None:
        what = f"{NUMBERS} must be such as 1..25"
        mistakes.add(MappingError(str(entry.marks[NUMBERS]), "layout-loop", what))
        return []
    numbers = _range_numbers(found.group(), entry.marks[NUMBERS], mistakes)
    return [_with_number(entry.without(NUMBERS), number) for number in numbers]


def _with_number(value: Any, number: str) -> Any:
    if isinstance(value, Map):
        result = Map()
        result.mark, result.marks = value.mark, {}
        for key, part in value.items():
            name = key.replace(_PLACE, number)
            result[name], result.marks[name] = _with_number(part, number), value.marks[key]
        return result
    if isinstance(value, Seq):
        return _new_list([_with_number(part, number) for part in value], value.marks, value.mark)
    return value.replace(_PLACE, number) if isinstance(value, str) else value


def _expand_range(text: str, mark: Mark, mistakes: Mistakes) -> list[str]:
    """Return the texts into which a text with a range expands."""
    found = _IN_BRACES.search(text)
    if found is None:
        return [text]
    before, after = text[: found.start()], text[found.end() :]
    numbers = _range_numbers(found.group(1), mark, mistakes)
    return [
        f"{before}{number}{rest}"
        for number in numbers
        for rest in _expand_range(after, mark, mistakes)
    ]


def _range_numbers(text: str, mark: Mark, mistakes: Mistakes) -> list[str]:
    first, last = text.split("..")
    if not int(first) <= int(last) < int(first) + MOST_NUMBERS:
        what = f"{text} must be at least one number, and at most {MOST_NUMBERS}"
        mistakes.add(MappingError(str(mark), "layout-loop", what))
        return []
    width = len(first) if first.startswith("0") else 0
    return [str(number).zfill(width) for number in range(int(first), int(last) + 1)]
