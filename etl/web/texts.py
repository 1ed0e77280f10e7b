"""Texts of the portal's and the members' pages, by page and key.

A payer's `portal.toml` replaces any of them. `{…}` in a text is filled in: `{payer}` and `{title}`
in all of them, and in each what the program's own text has.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from markupsafe import Markup, escape

from etl.documents.packaged_toml import read_beside

TEXTS: Final[Mapping[str, Mapping[str, str]]] = read_beside(__file__, "texts.toml")
"""Page → key → the program's own text."""

_FILLED_IN: Final = re.compile(r"\{(.*?)\}")


@dataclass(frozen=True, slots=True)
class PageTexts:
    """Texts as a payer has them.

    Attributes:
        payer: the payer's name for people.
        title: the portal's name.
        own: page → key → the payer's text in place of the program's.
    """

    payer: str
    title: str = "Developer Portal"
    own: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def text(self, name: str, **values: str) -> str:
        """Return a text by `page.key`, with values filled in."""
        known = {"payer": self.payer, "title": self.title, **values}
        return _FILLED_IN.sub(lambda place: known[place[1]], self._template(name))

    def html(self, name: str, **values: str) -> Markup:
        """Return a text by `page.key` as HTML, with the given values in bold."""
        known = {"payer": escape(self.payer), "title": escape(self.title)}
        known |= {
            place: Markup("<strong>{}</strong>").format(text) for place, text in values.items()
        }
        filled = _FILLED_IN.sub(lambda place: known[place[1]], escape(self._template(name)))
        return Markup(filled)  # noqa: S704 - every part was escaped

    def _template(self, name: str) -> str:
        page, _, key = name.partition(".")
        return self.own.get(page, {}).get(key, "") or TEXTS[page][key]


def unknown_values(page: str, key: str, text: str) -> list[str]:
    """Return what a payer's text has in braces that is not filled in there."""
    known = {"payer", "title", *_FILLED_IN.findall(TEXTS[page][key])}
    return sorted(set(_FILLED_IN.findall(text)) - known)
