"""YAML text into plain values that keep their lines.

Mappings, layouts and rules are written by people, so a mistake in them has to be reported with file
and line. This is the only module that uses the YAML library. It limits what a document may cost:
its size, its depth, and its size once its aliases are expanded.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

import yaml

from etl.errors import MappingError

_NOTE: Final = re.compile(r"\s#")
_Loader: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

MOST_CHARACTERS: Final = 4 * 1024 * 1024
"""Longest document. The longest of the shipped ones has 26,000."""
MOST_DEPTH: Final = 50
"""Maps and lists within each other. The shipped documents have nine at most."""
_LONGEST_NUMBER: Final = 100
_NUMBERS: Final = frozenset({"tag:yaml.org,2002:int", "tag:yaml.org,2002:float"})
MOST_VALUES: Final = 200_000
"""Values of a document, those of an alias counted at each use."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Place in a document.

    Attributes:
        file: what messages call the file.
        line: line in it, from 1.
        note: the comment at the end of that line, without its `#`; empty where there is none.
        column: column in the line, from 1; 0 where the line is enough.
    """

    file: str
    line: int
    note: str = ""
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}{f':{self.column}' if self.column else ''}"


class Map(dict[str, Any]):
    """A YAML mapping with its own place (`mark`) and that of each of its keys (`marks`)."""

    mark: Mark
    marks: dict[str, Mark]

    @property
    def line(self) -> int:
        """Line of the file on which it starts, from 1."""
        return self.mark.line

    @property
    def lines(self) -> dict[str, int]:
        """Line of each of its keys."""
        return {key: mark.line for key, mark in self.marks.items()}

    def without(self, *keys: str) -> Map:
        """Return the map without some keys."""
        result = Map({key: value for key, value in self.items() if key not in keys})
        result.mark, result.marks = self.mark, self.marks
        return result

    def only(self, *keys: str) -> Map:
        """Return the map with no other keys than these."""
        return self.without(*(key for key in self if key not in keys))


class Seq(list[Any]):
    """A YAML sequence with its own place (`mark`) and that of each of its entries (`marks`)."""

    mark: Mark
    marks: list[Mark]

    @property
    def line(self) -> int:
        """Line of the file on which it starts, from 1."""
        return self.mark.line

    @property
    def lines(self) -> list[int]:
        """Line of each of its entries."""
        return [mark.line for mark in self.marks]


def read_yaml(text: str, name: str) -> Any:
    """Return the values of one YAML document; maps are `Map`, sequences `Seq`.

    Args:
        text: the document.
        name: what messages call the file.

    Raises:
        MappingError: `yaml-syntax`, `yaml-duplicate-key`, `yaml-key`, `yaml-value`, `yaml-size`.
    """
    if len(text) > MOST_CHARACTERS:
        raise MappingError(name, "yaml-size", f"longer than {MOST_CHARACTERS:,} characters")
    try:
        node = yaml.compose(text, Loader=_Loader)
        loader = _Loader("")
        try:
            return None if node is None else _Reading(name, text, loader).value(node)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}:{mark.line + 1}" if mark else name
        raise MappingError(where, "yaml-syntax", f"not YAML: {error.problem}") from None
    except yaml.YAMLError:
        raise MappingError(
            name, "yaml-syntax", "not YAML: a character that none may have"
        ) from None
    except RecursionError:  # of the library's own, where it is not the one in C
        raise _too_deep(name) from None


def _too_deep(where: str) -> MappingError:
    what = f"more than {MOST_DEPTH} maps and lists within each other, or an alias within itself"
    return MappingError(where, "yaml-size", what)


class _Reading:
    """One document, turned into values.

    Args:
        name: what messages call the file.
        text: the document.
        loader: makes scalars.
    """

    def __init__(self, name: str, text: str, loader: Any) -> None:
        self._name = name
        self._lines = text.splitlines()
        self._loader = loader
        self._marks: dict[int, Mark] = {}
        self._values = 0

    def value(self, node: Any, depth: int = 1) -> Any:
        """Return what a node stands for."""
        self._values += 1
        if depth > MOST_DEPTH and not isinstance(node, yaml.ScalarNode):
            raise _too_deep(str(self._mark(node)))
        if self._values > MOST_VALUES:
            what = f"more than {MOST_VALUES:,} values, those of aliases counted each time"
            raise MappingError(str(self._mark(node)), "yaml-size", what)
        if isinstance(node, yaml.MappingNode):
            return self._map(node, depth + 1)
        if isinstance(node, yaml.SequenceNode):
            sequence = Seq([self.value(entry, depth + 1) for entry in node.value])
            sequence.mark = self._mark(node)
            sequence.marks = [self._mark(entry) for entry in node.value]
            return sequence
        try:
            if node.tag in _NUMBERS and len(node.value) > _LONGEST_NUMBER:
                raise ValueError
            return self._loader.construct_object(node)
        except ValueError:
            what = "a number or date that there is not; put it into quotes if it is text"
            raise MappingError(str(self._mark(node)), "yaml-value", what) from None

    def _map(self, node: Any, depth: int) -> Map:
        result = Map()
        result.mark, result.marks = self._mark(node), {}
        for key_node, value_node in node.value:
            mark, key = self._mark(key_node), key_node.value
            if not isinstance(key_node, yaml.ScalarNode):
                raise MappingError(str(mark), "yaml-key", "a key must be plain text")
            if key in result:
                raise MappingError(str(mark), "yaml-duplicate-key", f"key {key!r} appears twice")
            result[key] = self.value(value_node, depth)
            result.marks[key] = mark
        return result

    def _mark(self, node: Any) -> Mark:
        line: int = node.start_mark.line
        mark = self._marks.get(line)
        if mark is None:
            text = self._lines[line] if line < len(self._lines) else ""
            note = _NOTE.search(text)
            mark = Mark(self._name, line + 1, text[note.end() :].strip() if note else "")
            self._marks[line] = mark
        return mark
