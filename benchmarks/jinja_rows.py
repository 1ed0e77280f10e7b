"""Claims by stock Jinja2, a row at a time: the least that a template of any mapping costs.

Every claim gets the template of its own shape, compiled beforehand: its JSON with a variable in
each place of a value. Values are ready JSON texts. So nothing is looked up, left out or escaped,
which real templates would have to do as well.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import orjson
from jinja2 import Environment, Template

_ENVIRONMENT: Final = Environment(autoescape=False, cache_size=0)  # noqa: S701 - JSON, no HTML


class Rows:
    """Claims, ready to be rendered.

    Args:
        claims: as dicts.
    """

    def __init__(self, claims: Iterable[dict[str, Any]]) -> None:
        templates: dict[str, Template] = {}
        self._rows: list[tuple[Template, list[str]]] = []
        for claim in claims:
            values: list[str] = []
            text = _shape(claim, values)
            if text not in templates:
                templates[text] = _ENVIRONMENT.from_string(text)
            self._rows.append((templates[text], values))

    def render(self) -> list[str]:
        """Return all of them as JSON."""
        return [template.render(v=values) for template, values in self._rows]


def _shape(value: Any, values: list[str]) -> str:
    """Return the template of a value, and put what stands in its places into `values`."""
    if isinstance(value, dict):
        members = (f'"{name}":{_shape(one, values)}' for name, one in value.items())
        return "{ " + ",".join(members) + " }"  # a blank, for {{ means something to Jinja2
    if isinstance(value, list):
        return "[" + ",".join(_shape(one, values) for one in value) + "]"
    values.append(orjson.dumps(value).decode())
    return f"{{{{ v[{len(values) - 1}] }}}}"
