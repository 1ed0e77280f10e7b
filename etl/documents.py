"""YAML text into plain values that remember their lines.

Mappings, layouts and rules are written by people, so that a mistake in them has to be named by file
and line. This is the one place that knows the YAML library.
"""

from __future__ import annotations

from typing import Any, Final

import yaml

from etl.errors import MappingError

_Loader: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Map(dict[str, Any]):
    """A YAML mapping.

    Attributes:
        line: line of the file on which it starts, from 1.
        lines: line of each of its keys.
    """

    line: int
    lines: dict[str, int]


class Seq(list[Any]):
    """A YAML sequence.

    Attributes:
        line: line of the file on which it starts, from 1.
        lines: line of each of its entries.
    """

    line: int
    lines: list[int]


def read_yaml(text: str, name: str) -> Any:
    """Return the values of one YAML document; maps are `Map`, sequences `Seq`.

    Args:
        text: the document.
        name: what messages call the file.

    Raises:
        MappingError: `yaml-syntax`, `yaml-duplicate-key`, `yaml-key`.
    """
    try:
        node = yaml.compose(text, Loader=_Loader)
        loader = _Loader("")
        try:
            return None if node is None else _value(node, name, loader)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}:{mark.line + 1}" if mark else name
        raise MappingError(where, "yaml-syntax", f"not YAML: {error.problem}") from None


def _value(node: Any, name: str, loader: Any) -> Any:
    line = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        result = Map()
        result.line, result.lines = line, {}
        for key_node, value_node in node.value:
            where = f"{name}:{key_node.start_mark.line + 1}"
            key = key_node.value
            if not isinstance(key_node, yaml.ScalarNode):
                raise MappingError(where, "yaml-key", "a key must be plain text")
            if key in result:
                raise MappingError(where, "yaml-duplicate-key", f"key {key!r} stands twice")
            result[key] = _value(value_node, name, loader)
            result.lines[key] = key_node.start_mark.line + 1
        return result
    if isinstance(node, yaml.SequenceNode):
        sequence = Seq(_value(entry, name, loader) for entry in node.value)
        sequence.line = line
        sequence.lines = [entry.start_mark.line + 1 for entry in node.value]
        return sequence
    return loader.construct_object(node)
