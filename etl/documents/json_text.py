"""JSON that people write: a key that stands twice is a mistake, not the last one's."""

from __future__ import annotations

import json
from typing import Any


class DuplicateKey(ValueError):
    """A key stands twice in one object.

    Attributes:
        key: the key.
    """

    def __init__(self, key: str) -> None:
        super().__init__(f"key {key!r} stands twice")
        self.key = key


def read_json(text: str) -> Any:
    """Return the value of a JSON text.

    Raises:
        DuplicateKey: an object has a key twice.
        json.JSONDecodeError: it is no JSON.
        RecursionError: it is nested too deep.
    """
    return json.loads(text, object_pairs_hook=_object)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise DuplicateKey(key)
        found[key] = value
    return found
