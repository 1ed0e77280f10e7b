"""YAML text into plain values that remember their lines.

Mappings, layouts and rules are written by people, so that a mistake in them has to be named by file
and line. This is the one place that knows the YAML library.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

import yaml

from etl.errors import MappingError

_NOTE: Final = re.compile(r"\s#\s*(.*?)\s*$")
_Loader: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Mark:
    """Where something was written.

    Attributes:
        file: what messages call the file.
        line: line in it, from 1.
        note: the comment at the end of that line, without its `#`; empty where there is none.
    """

    file: str
    line: int
    note: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class Map(dict[str, Any]):
    """A YAML mapping that remembers where it (`mark`) and each of its keys (`marks`) stand."""

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


class Seq(list[Any]):
    """A YAML sequence that remembers where it (`mark`) and each of its entries (`marks`) stand."""

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
        MappingError: `yaml-syntax`, `yaml-duplicate-key`, `yaml-key`.
    """
    source = _Source(name, tuple(text.splitlines()))
    try:
        node = yaml.compose(text, Loader=_Loader)
        loader = _Loader("")
        try:
            return None if node is None else _value(node, source, loader)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}:{mark.line + 1}" if mark else name
        raise MappingError(where, "yaml-syntax", f"not YAML: {error.problem}") from None


@dataclass(frozen=True, slots=True)
class _Source:
    name: str
    lines: tuple[str, ...]

    def mark(self, node: Any) -> Mark:
        line: int = node.start_mark.line
        text = self.lines[line] if line < len(self.lines) else ""
        note = _NOTE.search(text)
        return Mark(self.name, line + 1, note.group(1) if note else "")


def _value(node: Any, source: _Source, loader: Any) -> Any:
    if isinstance(node, yaml.MappingNode):
        result = Map()
        result.mark, result.marks = source.mark(node), {}
        for key_node, value_node in node.value:
            mark, key = source.mark(key_node), key_node.value
            if not isinstance(key_node, yaml.ScalarNode):
                raise MappingError(str(mark), "yaml-key", "a key must be plain text")
            if key in result:
                raise MappingError(str(mark), "yaml-duplicate-key", f"key {key!r} stands twice")
            result[key] = _value(value_node, source, loader)
            result.marks[key] = mark
        return result
    if isinstance(node, yaml.SequenceNode):
        sequence = Seq(_value(entry, source, loader) for entry in node.value)
        sequence.mark = source.mark(node)
        sequence.marks = [source.mark(entry) for entry in node.value]
        return sequence
    return loader.construct_object(node)
