"""Pages for members: Jinja2, no script, no inline style, and headers that say so."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from starlette.responses import HTMLResponse

from etl.auth.configuration import AuthConfiguration
from etl.web.headers import page_headers
from etl.web.pages import open_templates

TYPE_NAMES: Final[Mapping[str, tuple[str, str]]] = {
    "Patient": ("About you", "your name, date of birth, address, phone and member numbers"),
    "Coverage": ("Your coverage", "your plans, when they began and ended, and your member card"),
    "ExplanationOfBenefit": (
        "Your claims",
        "visits, treatments, diagnoses and prescriptions, with what was billed, paid and left "
        "for you to pay",
    ),
    "Organization": ("Organizations", "hospitals, practices and insurers named in your claims"),
    "Practitioner": ("Practitioners", "doctors and other professionals named in your claims"),
    "PractitionerRole": ("What practitioners do", "specialties of professionals in your claims"),
    "Location": ("Places", "where you were treated"),
    "RelatedPerson": ("People around you", "the person who holds the policy, where it is not you"),
}
"""FHIR type → what a member calls it, and what it holds."""


class PageRenderer:
    """Renders pages."""

    def __init__(self, configuration: AuthConfiguration) -> None:
        self._configuration = configuration
        self._environment = open_templates("etl.auth")
        self._environment.filters["day"] = _day
        self._environment.filters["clock"] = _clock
        self._environment.filters["moment"] = _moment

    def page(
        self, name: str, *, status: int = 200, form_action: str = "'self'", **values: Any
    ) -> HTMLResponse:
        """Return a page.

        Args:
            name: the template.
            status: HTTP status.
            form_action: where its forms may lead, redirects included (CSP `form-action`).
            values: what the template shows.
        """
        text = self._environment.get_template(name).render(
            payer=self._configuration.payer,
            is_sandbox=self._configuration.demo is not None,
            types=TYPE_NAMES,
            **values,
        )
        headers = page_headers(self._configuration.base_url, form_action=form_action)
        return HTMLResponse(text, status, headers)

    def problem(self, text: str, *, status: int = 400, detail: str = "") -> HTMLResponse:
        """Return a page that reports an error."""
        return self.page("problem.html.j2", status=status, text=text, detail=detail)


def _day(when: datetime) -> str:
    return f"{when.day} {when:%B %Y}"


def _clock(when: datetime) -> str:
    return f"{when:%H:%M} UTC"


def _moment(when: datetime) -> str:
    return f"{_day(when)}, {_clock(when)}"
