"""Jinja2 templates of pages: always escaped; an undefined name is an error."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path

from jinja2 import (
    BaseLoader,
    ChoiceLoader,
    Environment,
    FileSystemLoader,
    PackageLoader,
    StrictUndefined,
)


def open_templates(package: str, overrides: Path | None = None) -> Environment:
    """Return the templates of a package; all extend the base page `page.html.j2`.

    Args:
        package: name of the package.
        overrides: folder of templates that replace the package's by name; None for none.
    """
    loaders: list[BaseLoader] = [PackageLoader(package), PackageLoader("etl.web")]
    if overrides is not None:
        loaders.insert(0, FileSystemLoader(overrides))
    environment = Environment(
        loader=ChoiceLoader(loaders),
        autoescape=True,  # the names end in .j2, so Jinja2 cannot choose by extension
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=number_text, day=_day, clock=_clock, moment=_moment)
    return environment


def _day(when: date | str) -> str:
    """Format a date, or an ISO 8601 text, in words."""
    when = date.fromisoformat(when) if isinstance(when, str) else when
    return f"{when:%B} {when.day}, {when.year}"


def _clock(when: datetime) -> str:
    return f"{when:%H:%M} UTC"


def _moment(when: datetime) -> str:
    return f"{_day(when)} at {_clock(when)}"


def number_text(value: float | None) -> str:
    """Format a number of a public page; None was withheld."""
    return "withheld" if value is None else f"{value:,}"
