"""Access to elements, entries and codings of FHIR values in JSON that may be anything.

Checks also run on resources with a structure that is known to be invalid, so nothing is assumed
here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Json = dict[str, Any]


def there(value: Any, name: str) -> bool:
    """Whether an object has an element of that name, even if only an extension of a primitive."""
    if type(value) is not dict:
        return False
    return value.get(name, []) not in (None, []) or bool(value.get(f"_{name}"))


def entries(value: Any, name: str) -> Iterator[Any]:
    """Yield the values of an element, be it an array or not."""
    if type(value) is dict:
        inner = value.get(name)
        if type(inner) is list:
            yield from (entry for entry in inner if entry is not None)
        elif inner is not None:
            yield inner
