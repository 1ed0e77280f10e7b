"""`portal.toml`: all that a payer says of itself. Title, contact, links, brand, look and texts."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from datetime import date
from difflib import get_close_matches
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from etl.documents.packaged_toml import read_beside
from etl.errors import MappingError, Mistakes
from etl.smart.brands import Brand
from etl.web.texts import TEXTS, TRANSLATIONS, PageTexts, Texts, unknown_values

_HEX: Final = r"^#[0-9a-fA-F]{6}$"
_HTTPS: Final = r"^https://\S+$"
_LEAST_CONTRAST: Final = 4.5
"""WCAG 2.2, 1.4.3: of text against what is behind it."""

_PAGE_COLOURS: Final = {"primary": "#ffffff", "primary_dark": "#13171f"}
"""Colour of the key → the page behind it (Pico's), in light and dark."""

_FILES: Final = {"logo": Path.is_file, "stylesheet": Path.is_file, "templates": Path.is_dir}
"""Key of `look` → whether a path is what the key names."""


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)


class Contact(_Table):
    """Contact for developers. Empty fields are not shown.

    Attributes:
        name: of the team.
        email: its address.
        phone: its number.
        hours: hours of service, for people.
        url: of a help desk or tracker; https.
        address: postal address; line breaks are kept.
        security_email: where weaknesses are reported.
    """

    name: str = ""
    email: str = ""
    phone: str = ""
    hours: str = ""
    url: str = ""
    address: str = ""
    security_email: str = ""


class Change(_Table):
    """Something that app developers should know of.

    Attributes:
        day: since when.
        text: what changed, in a sentence or two.
        label: of Keep a Changelog.
    """

    day: date
    text: str
    label: Literal["added", "changed", "deprecated", "removed", "fixed", "security"] = "changed"


class Links(_Table):
    """Links of the footer; what is empty is not shown.

    Attributes:
        privacy: the payer's privacy notice.
        terms: terms for developers.
        sandbox: the sandbox's portal, shown in production.
    """

    privacy: str = Field("", pattern=f"{_HTTPS}|^$")
    terms: str = Field("", pattern=f"{_HTTPS}|^$")
    sandbox: str = Field("", pattern=f"{_HTTPS}|^$")


class Look(_Table):
    """Colours, logo, stylesheet and templates; paths are relative to the file.

    Attributes:
        primary, primary_dark: colour of links and buttons, in light and dark; `#rrggbb`.
        logo: an SVG or PNG file in place of the portal's mark.
        stylesheet: CSS laid over the portal's own.
        templates: folder of templates that are taken before the portal's own.
    """

    primary: str = Field("", pattern=f"{_HEX}|^$")
    primary_dark: str = Field("", pattern=f"{_HEX}|^$")
    logo: Path | None = None
    stylesheet: Path | None = None
    templates: Path | None = None


class SiteFile(_Table):
    """The contents of `portal.toml`.

    Attributes:
        texts: page → key → text, in place of those of `texts.toml`.
        translations: the same by language, for the members' pages: `[texts.es.consent]`.
    """

    title: str = "Developer Portal"
    contact: Contact = Contact()
    links: Links = Links()
    brand: Brand = Brand()
    look: Look = Look()
    changes: tuple[Change, ...] = ()
    texts: dict[str, dict[str, str]] = {}
    translations: dict[str, dict[str, dict[str, str]]] = {}

    def page_texts(self, payer: str) -> PageTexts:
        """Return what the pages of a payer say."""
        return PageTexts(payer, self.title, self.texts, self.translations)


_TABLES: Final[Mapping[str, type[BaseModel]]] = {
    "contact": Contact, "links": Links, "brand": Brand, "look": Look, "changes": Change,
}  # fmt: skip
_LANGUAGE: Final = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")
_SENTENCES: Final[Mapping[str, str]] = read_beside(__file__, "site_mistakes.toml")


def read_site_file(path: Path | None) -> SiteFile:
    """Read and check a `portal.toml`; None gives the defaults.

    Raises:
        MappingError: `config-value`: the file cannot be read, or something in it is wrong.
    """
    if path is None:
        return SiteFile()
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # TOMLDecodeError, UnicodeDecodeError
        raise MappingError(str(path), "config-value", f"it cannot be read: {error}") from None
    mistakes = Mistakes()
    texts = document.get("texts")
    if isinstance(texts, dict):
        languages = [name for name, pages in texts.items() if _is_language(name, pages)]
        document["translations"] = {name: texts.pop(name) for name in languages}
    try:
        site = SiteFile.model_validate(document)
    except ValidationError as error:
        for problem in error.errors(include_url=False, include_input=False):
            where = ".".join(map(str, problem["loc"])).replace("translations.", "texts.")
            mistakes.add(MappingError(f"{path}: {where}", "config-value", _sentence(problem)))
        mistakes.report()
        raise
    for where, message in (*_text_problems(site), *_look_problems(site, path.parent)):
        mistakes.add(MappingError(f"{path}: {where}", "config-value", message))
    mistakes.report()
    files = {
        name: path.parent / file
        for name in _FILES
        if (file := getattr(site.look, name)) is not None
    }
    return site.model_copy(update={"look": site.look.model_copy(update=files)})


def _is_language(name: str, pages: object) -> bool:
    """Return whether a table of `[texts]` is a language with tables of its own, and no page."""
    has_pages = isinstance(pages, dict) and all(isinstance(one, dict) for one in pages.values())
    return has_pages and name not in TEXTS and _LANGUAGE.fullmatch(name) is not None


def _sentence(problem: ErrorDetails) -> str:
    """Return what is wrong with a value of the file."""
    table, key, kind = str(problem["loc"][0]), str(problem["loc"][-1]), problem["type"]
    if kind == "extra_forbidden":
        return _unknown_key(key, _TABLES.get(table, SiteFile).model_fields)
    if kind == "string_pattern_mismatch" and key in _PAGE_COLOURS:
        return _SENTENCES["color"]
    return _SENTENCES.get(kind, problem["msg"])


def _unknown_key(key: str, keys: Iterable[str]) -> str:
    matches = get_close_matches(key, list(keys), 1, 0.4)
    return f"there is no such key; {f'did you mean {matches[0]}?' if matches else ', '.join(keys)}"


def _text_problems(site: SiteFile) -> list[tuple[str, str]]:
    problems = list(_page_problems("texts", site.texts))
    for language, pages in site.translations.items():
        problems += _page_problems(f"texts.{language}", pages)
        if language not in TRANSLATIONS and not pages.get("share", {}).get("language"):
            location = f"texts.{language}.share.language"
            problems.append((location, "it is missing: the name of the language, for the link"))
    return problems


def _page_problems(where: str, pages: Texts) -> list[tuple[str, str]]:
    problems = []
    for page, texts in pages.items():
        if page not in TEXTS:
            problems.append((f"{where}.{page}", _unknown_key(page, TEXTS)))
            continue
        for key, text in texts.items():
            location = f"{where}.{page}.{key}"
            if key not in TEXTS[page]:
                problems.append((location, _unknown_key(key, TEXTS[page])))
                continue
            problems += [
                (location, f"{{{name}}} is not filled in there")
                for name in unknown_values(page, key, text)
            ]
    return problems


def _look_problems(site: SiteFile, folder: Path) -> list[tuple[str, str]]:
    problems = []
    for key, page_colour in _PAGE_COLOURS.items():
        colour = getattr(site.look, key)
        if colour and contrast(colour, page_colour) < _LEAST_CONTRAST:
            problems.append(
                (f"look.{key}", f"its contrast with the page is below {_LEAST_CONTRAST} to 1")
            )
    if bool(site.look.primary) != bool(site.look.primary_dark):
        problems.append(("look", "primary and primary_dark belong together"))
    for key, exists in _FILES.items():
        file = getattr(site.look, key)
        if file is not None and not exists(folder / file):
            problems.append((f"look.{key}", f"{file} does not exist"))
    return problems


def contrast(colour: str, other: str) -> float:
    """Return the contrast of two colours `#rrggbb` (WCAG 2.2, "contrast ratio")."""
    lighter, darker = sorted(map(_luminance, (colour, other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    parts = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def colour_css(look: Look) -> str:
    """Return the CSS that gives Pico a payer's colours; empty if there are none."""
    if not look.primary:
        return ""
    colours = (look.primary, look.primary_dark)
    on_colours = [max("#ffffff", "#000000", key=lambda ink: contrast(c, ink)) for c in colours]
    value = "light-dark({}, {})".format(*colours)
    names = ("", "-hover", "-background", "-border", "-hover-background", "-hover-border")
    lines = [f"  --pico-primary{name}: {value};" for name in names]
    lines.append("  --pico-primary-inverse: light-dark({}, {});".format(*on_colours))
    return "\n".join([":root:not([data-theme]) {", *lines, "}", ""])
