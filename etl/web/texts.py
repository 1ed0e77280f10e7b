"""Texts of the portal's and the members' pages, by page and key.

A payer's `portal.toml` can replace each of them. Texts have placeholders: `{payer}` and `{title}`,
and those of the built-in text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, TypeAlias

from markupsafe import Markup, escape

from etl.documents.packaged_toml import read_beside

Texts: TypeAlias = Mapping[str, Mapping[str, str]]
"""Page → key → text."""

TEXTS: Final[Texts] = read_beside(__file__, "texts.toml")
TRANSLATIONS: Final[Mapping[str, Texts]] = {"es": read_beside(__file__, "texts.es.toml")}
"""Language (BCP 47) → texts of the members' pages."""

_PLACEHOLDER: Final = re.compile(r"\{(.*?)\}")


@dataclass(frozen=True, slots=True)
class PageTexts:
    """The texts of one payer.

    Attributes:
        payer: display name of the payer.
        title: the portal's name.
        own: the payer's texts instead of the built-in ones.
        translations: language → the payer's texts in it.
        language: of the texts; those that lack a translation are English.
    """

    payer: str
    title: str = "Developer Portal"
    own: Texts = field(default_factory=dict)
    translations: Mapping[str, Texts] = field(default_factory=dict)
    language: str = "en"

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages of the members' pages, English first."""
        return tuple(dict.fromkeys(("en", *TRANSLATIONS, *self.translations)))

    def day(self, when: datetime) -> str:
        """Return a date in words."""
        month = self.text(f"dates.{when.month}")
        return self.text("dates.day", day=str(when.day), month=month, year=str(when.year))

    def moment(self, when: datetime) -> str:
        """Return a date and time in words."""
        return self.text("dates.moment", day=self.day(when), clock=f"{when:%H:%M}")

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
        translated = (self.translations.get(self.language), TRANSLATIONS.get(self.language))
        found = ((texts or {}).get(page, {}).get(key, "") for texts in (*translated, self.own))
        return next(filter(None, found), TEXTS[page][key])


_LANGUAGE_RANGE: Final = re.compile(r"([a-z][a-z0-9-]*)(?:\s*;\s*q=([01](?:\.\d{0,3})?))?")


def choose_language(accepted: str, languages: Sequence[str]) -> str:
    """Return the language that an `Accept-Language` prefers, else the first (RFC 9110, 12.5.4).

    `es-MX` is also satisfied by `es`.
    """
    ranges = _LANGUAGE_RANGE.findall(accepted.lower())
    for tag, weight in sorted(ranges, key=lambda one: -float(one[1] or 1)):
        for language in languages:
            if float(weight or 1) and language.lower() in (tag, tag.partition("-")[0]):
                return language
    return languages[0]


def unknown_values(page: str, key: str, text: str) -> list[str]:
    """Return the placeholders of a payer's text that have no value on its page."""
    known = {"payer", "title", *_PLACEHOLDER.findall(TEXTS[page][key])}
    return sorted(set(_PLACEHOLDER.findall(text)) - known)
