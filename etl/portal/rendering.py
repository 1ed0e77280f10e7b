"""Templates to HTML, always escaped; a name that is missing is an error."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment
from markupsafe import Markup, escape
from pygments import highlight as pygments_highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name

from etl.portal.site_facts import age_text, duration_text
from etl.web import pages as web_pages

_LANGUAGES: Final = ("bash", "python", "javascript", "json")


def open_templates(payer_folder: Path | None) -> Environment:
    """Open the templates; a payer's own replace the portal's.

    Args:
        payer_folder: folder of templates with the portal's names; None for none.
    """
    environment = web_pages.open_templates("etl.portal", payer_folder)
    environment.filters["highlight"] = highlight_code
    environment.filters["duration"] = duration_text
    environment.filters["age"] = age_text
    environment.filters["code_marks"] = code_marks
    return environment


@lru_cache(maxsize=256)
def highlight_code(text: str, language: str) -> Markup:
    """Return code as HTML with Pygments' classes, for the stylesheet to colour."""
    if language not in _LANGUAGES:
        return escape(text)
    formatter: HtmlFormatter[str] = HtmlFormatter(nowrap=True)
    html: Any = pygments_highlight(text, get_lexer_by_name(language), formatter)
    return Markup(str(html).rstrip("\n"))  # noqa: S704 - Pygments escapes the code


def code_marks(text: str) -> Markup:
    """Return a text of a capability statement (markdown) as HTML: `name` as code."""
    parts = text.split("`")
    if len(parts) % 2 == 0:  # an unpaired backtick
        return escape(text)
    code = Markup("<code>{}</code>")
    return Markup("").join(
        code.format(part) if index % 2 else escape(part) for index, part in enumerate(parts)
    )
