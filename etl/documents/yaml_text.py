"""Parse YAML into plain values that keep their lines.

People write mappings, layouts and rules, so mistakes are reported with file and line. Only this
module uses the YAML library. It limits a document's size, its depth, and its size with expanded
aliases.
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
"""Maximum size of a document. The largest shipped one has 26,000 characters."""
MOST_DEPTH: Final = 50
"""Maximum nesting of maps and lists. The shipped documents have at most nine."""
_LONGEST_NUMBER: Final = 100
_NUMBERS: Final = frozenset({"tag:yaml.org,2002:int", "tag:yaml.org,2002:float"})
MOST_VALUES: Final = 200_000
"""Maximum number of values, counting an alias at each use."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Place in a document.

    Attributes:
        file: the file's name in messages.
        line: line in it, from 1.
        note: the comment at the end of that line, without `#`; empty if there is none.
        column: column in the line, from 1; 0 if only the line matters.
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
        """Return the map without the given keys."""
        result = Map({key: value for key, value in self.items() if key not in keys})
        result.mark, result.marks = self.mark, self.marks
        return result

    def only(self, *keys: str) -> Map:
        """Return the map with only the given keys."""
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
    """Parse a YAML document; maps become `Map`, sequences `Seq`.

    Args:
        name: the file's name in messages.

    Raises:
        MappingError: `yaml-syntax`, `yaml-duplicate-key`, `yaml-key`, `yaml-value`, `yaml-size`.
    """
    if len(text) > MOST_CHARACTERS:
        raise MappingError(name, "yaml-size", f"longer than {MOST_CHARACTERS:,} characters")
    try:
        node = yaml.compose(text, Loader=_Loader)
        loader = _Loader("")
        try:
            return None if node is None else _YamlReader(name, text, loader).value(node)
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
    except RecursionError:  # raised by the pure Python library
        raise _too_deep(name) from None


def _too_deep(where: str) -> MappingError:
    message = f"more than {MOST_DEPTH} maps and lists within each other, or an alias within itself"
    return MappingError(where, "yaml-size", message)


class _YamlReader:
    """Converts the nodes of one document to values.

    Args:
        name: the file's name in messages.
        loader: constructs scalars.
    """

    def __init__(self, name: str, text: str, loader: Any) -> None:
        self._name = name
        self._lines = text.splitlines()
        self._loader = loader
        self._marks: dict[int, Mark] = {}
        self._values = 0

    def value(self, node: Any, depth: int = 1) -> Any:
        """Convert a node to its value."""
        self._values += 1
        if depth > MOST_DEPTH and not isinstance(node, yaml.ScalarNode):
            raise _too_deep(str(self._mark(node)))
        if self._values > MOST_VALUES:
            message = f"more than {MOST_VALUES:,} values, those of aliases counted each time"
            raise MappingError(str(self._mark(node)), "yaml-size", message)
        if isinstance(node, yaml.MappingNode):
            return self._read_map(node, depth + 1)
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
            message = "a number or date that there is not; put it into quotes if it is text"
            raise MappingError(str(self._mark(node)), "yaml-value", message) from None

    def _read_map(self, node: Any, depth: int) -> Map:
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
