"""Layout files with the layouts that they extend, and with their loops expanded."""

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
"""Key of an entry that is repeated for each number; `{n}` in it is the number."""
MOST_NUMBERS: Final = 200
"""Most numbers of one loop."""
_APPEND: Final = "+"
"""Suffix of a key: its list is appended to that of the extended layout."""
_REMOVE: Final = "-"
"""Suffix of a key: its texts are removed from the list of the extended layout."""
_COLUMN_MAP_KEYS: Final = frozenset({"columns", "made", "rows"})
"""Keys of maps of columns, whose entries are replaced, not merged."""
_RANGE: Final = re.compile(r"([0-9]{1,4})\.\.([0-9]{1,4})")
_RANGE_IN_BRACES: Final = re.compile(r"\{([0-9]{1,4}\.\.[0-9]{1,4})\}")
_NUMBER_SLOT: Final = "{n}"


def merge_bases(
    layout: LayoutText, bases: Mapping[str, LayoutText]
) -> tuple[Any, dict[str, LayoutText]]:
    """Return a layout's document merged with the layouts that it extends, and these layouts.

    Maps are merged key by key. A map over a list changes entries, each named by a text that no
    other entry has. A key without a value removes the inherited one. A key that ends with `+`
    appends its list to the inherited one. Any other value replaces the inherited one.

    Raises:
        MappingError: `layout-extends`, or one of `read_yaml`.
    """
    used_bases: dict[str, LayoutText] = {}
    return _resolve_layout(layout, bases, used_bases), used_bases


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
    return _merge_maps(base, document.without(EXTENDS))


def _merge_maps(base: Map, overlay: Map, *, is_deep: bool = True) -> Map:
    result = Map(base)
    result.mark, result.marks = overlay.mark, dict(base.marks)
    for written, value in overlay.items():
        mark, key = overlay.marks[written], written
        if written.endswith(_APPEND) and isinstance(value, Seq):
            key = written.removesuffix(_APPEND)
            inherited = result.get(key)
            if isinstance(inherited, Seq):
                value = _new_list([*inherited, *value], [*inherited.marks, *value.marks], mark)
        elif written.endswith(_REMOVE) and isinstance(value, Seq):
            key = written.removesuffix(_REMOVE)
            value = _remove_texts(result.get(key), value, mark)
        elif value is None:
            result.pop(key, None)
            result.marks.pop(key, None)
            continue
        elif is_deep and isinstance(value, Map) and isinstance(base.get(key), Map):
            value = _merge_maps(base[key], value, is_deep=key not in _COLUMN_MAP_KEYS)
        elif is_deep and isinstance(value, Map) and isinstance(base.get(key), Seq):
            value = _merge_entries(base[key], value, is_deep=key not in _COLUMN_MAP_KEYS)
        result[key], result.marks[key] = value, mark
    return result


def _merge_entries(base: Seq, overlay: Map, *, is_deep: bool) -> Seq:
    """Return a list with changed entries, each named by a text that only it has.

    Raises:
        MappingError: `layout-extends`: no entry has the text, or several have it.
    """
    entries = list(base)
    for name, change in overlay.items():
        named = [
            number
            for number, entry in enumerate(entries)
            if isinstance(entry, Map) and name in entry.values()
        ]
        if len(named) != 1 or not isinstance(change, Map):
            problem = "has no keys" if named else "is in no entry of the list that is extended"
            problem = "is in several entries of the list" if len(named) > 1 else problem
            raise MappingError(str(overlay.marks[name]), "layout-extends", f"{name!r} {problem}")
        entries[named[0]] = _merge_maps(entries[named[0]], change, is_deep=is_deep)
    return _new_list(entries, list(base.marks), base.mark)


def _remove_texts(inherited: Any, texts: Seq, mark: Mark) -> Seq:
    """Return a list without some texts; each of them must be in it."""
    inherited = inherited if isinstance(inherited, Seq) else _new_list([], [], mark)
    for text, text_mark in zip(texts, texts.marks, strict=True):
        if text not in inherited:
            message = f"{text!r} is not in the list of the layout that is extended"
            raise MappingError(str(text_mark), "layout-extends", message)
    indexes = [number for number, text in enumerate(inherited) if text not in texts]
    return _new_list([inherited[i] for i in indexes], [inherited.marks[i] for i in indexes], mark)


def _new_list(values: list[Any], marks: list[Mark], mark: Mark) -> Seq:
    result = Seq(values)
    result.mark, result.marks = mark, marks
    return result


def expand_loops(document: Any) -> Any:
    """Return a document with all loops expanded.

    A text with `{1..25}` in it becomes 25 texts, and an entry of a list with `numbers: 1..25`
    becomes 25 entries with the number for `{n}`. `{01..25}` gives numbers of two digits.

    Raises:
        MappingError: `layout-loop`; every mistake at once.
    """
    mistakes = Mistakes()
    result = _expand_value(document, None, mistakes)
    mistakes.report()
    return result


def _expand_value(value: Any, mark: Mark | None, mistakes: Mistakes) -> Any:
    if isinstance(value, Map):
        result = Map(
            {key: _expand_value(part, value.marks[key], mistakes) for key, part in value.items()}
        )
        result.mark, result.marks = value.mark, value.marks
        return result
    if isinstance(value, Seq):
        values: list[Any] = []
        marks: list[Mark] = []
        for entry, entry_mark in zip(value, value.marks, strict=True):
            for part in _expand_entry(entry, mistakes):
                expanded = _expand_value(part, entry_mark, mistakes)
                is_range = isinstance(part, str) and isinstance(expanded, Seq)
                parts = list(expanded) if is_range else [expanded]
                values += parts
                marks += [entry_mark] * len(parts)
        return _new_list(values, marks, value.mark)
    if isinstance(value, str) and mark is not None and _RANGE_IN_BRACES.search(value):
        texts = _expand_range(value, mark, mistakes)
        return _new_list(list(texts), [mark] * len(texts), mark)
    return value


def _expand_entry(entry: Any, mistakes: Mistakes) -> list[Any]:
    """Return the entries into which an entry of a list expands."""
    if not isinstance(entry, Map) or NUMBERS not in entry:
        return [entry]
    match = _RANGE.fullmatch(str(entry[NUMBERS]))
    if match is None:
        message = f"{NUMBERS} must be such as 1..25"
        mistakes.add(MappingError(str(entry.marks[NUMBERS]), "layout-loop", message))
        return []
    numbers = _range_numbers(match.group(), entry.marks[NUMBERS], mistakes)
    return [_with_number(entry.without(NUMBERS), number) for number in numbers]


def _with_number(value: Any, number: str) -> Any:
    if isinstance(value, Map):
        result = Map()
        result.mark, result.marks = value.mark, {}
        for key, part in value.items():
            name = key.replace(_NUMBER_SLOT, number)
            result[name], result.marks[name] = _with_number(part, number), value.marks[key]
        return result
    if isinstance(value, Seq):
        return _new_list([_with_number(part, number) for part in value], value.marks, value.mark)
    return value.replace(_NUMBER_SLOT, number) if isinstance(value, str) else value


def _expand_range(text: str, mark: Mark, mistakes: Mistakes) -> list[str]:
    """Return the texts into which a text with a range expands."""
    match = _RANGE_IN_BRACES.search(text)
    if match is None:
        return [text]
    start, end = text[: match.start()], text[match.end() :]
    numbers = _range_numbers(match.group(1), mark, mistakes)
    ends = _expand_range(end, mark, mistakes) if numbers else []
    return [f"{start}{number}{expanded}" for number in numbers for expanded in ends]


def _range_numbers(text: str, mark: Mark, mistakes: Mistakes) -> list[str]:
    first, last = text.split("..")
    if not int(first) <= int(last) < int(first) + MOST_NUMBERS:
        message = f"{text} must be at least one number, and at most {MOST_NUMBERS}"
        mistakes.add(MappingError(str(mark), "layout-loop", message))
        return []
    width = len(first) if first.startswith("0") else 0
    return [str(number).zfill(width) for number in range(int(first), int(last) + 1)]
