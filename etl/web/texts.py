"""Texts of the portal's and the members' pages, by page and key.

A payer's `portal.toml` can replace each of them. Texts have placeholders: `{payer}` and `{title}`,
and those of the built-in text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from markupsafe import Markup, escape

from etl.documents.packaged_toml import read_beside

TEXTS: Final[Mapping[str, Mapping[str, str]]] = read_beside(__file__, "texts.toml")
"""Page → key → built-in text."""

_PLACEHOLDER: Final = re.compile(r"\{(.*?)\}")


@dataclass(frozen=True, slots=True)
class PageTexts:
    """The texts of one payer.

    Attributes:
        payer: display name of the payer.
        title: the portal's name.
        own: page → key → the payer's text instead of the built-in one.
    """

    payer: str
    title: str = "Developer Portal"
    own: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def text(self, name: str, **values: str) -> str:
        """Return a text by `page.key`, with its placeholders filled in."""
        values = {"payer": self.payer, "title": self.title, **values}
        return _PLACEHOLDER.sub(lambda match: values[match[1]], self._template(name))

    def html(self, name: str, **values: str) -> Markup:
        """Return a text by `page.key` as HTML, with `values` in bold."""
        html = {"payer": escape(self.payer), "title": escape(self.title)}
        html |= {key: Markup("<strong>{}</strong>").format(text) for key, text in values.items()}
        filled = _PLACEHOLDER.sub(lambda match: html[match[1]], escape(self._template(name)))
        return Markup(filled)  # noqa: S704 - every part was escaped

    def _template(self, name: str) -> str:
        page, _, key = name.partition(".")
        return self.own.get(page, {}).get(key, "") or TEXTS[page][key]


def unknown_values(page: str, key: str, text: str) -> list[str]:
    """Return the placeholders of a payer's text that have no value on its page."""
    known = {"payer", "title", *_PLACEHOLDER.findall(TEXTS[page][key])}
    return sorted(set(_PLACEHOLDER.findall(text)) - known)
