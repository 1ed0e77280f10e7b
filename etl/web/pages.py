"""Templates of pages: Jinja2, always escaped; a name that is missing is an error."""

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


def open_templates(package: str, own: Path | None = None) -> Environment:
    """Return the templates of a room; all of them extend `page.html.j2`, the base page.

    Args:
        package: the room.
        own: folder of templates that override the room's by their names; None for none.
    """
    loaders: list[BaseLoader] = [PackageLoader(package), PackageLoader("etl.web")]
    if own is not None:
        loaders.insert(0, FileSystemLoader(own))
    environment = Environment(
        loader=ChoiceLoader(loaders),
        autoescape=True,  # whatever the template's name ends in
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=number_text, day=_day, clock=_clock, moment=_moment)
    return environment


def _day(when: date | str) -> str:
    """Return a day in words; a text is one of ISO 8601."""
    when = date.fromisoformat(when) if isinstance(when, str) else when
    return f"{when:%B} {when.day}, {when.year}"


def _clock(when: datetime) -> str:
    return f"{when:%H:%M} UTC"


def _moment(when: datetime) -> str:
    return f"{_day(when)} at {_clock(when)}"


def number_text(value: float | None) -> str:
    """Return a number of a public page; null is one that is withheld."""
    return "withheld" if value is None else f"{value:,}"
