"""Pages for members: Jinja2, no script, no inline style, and headers that say so."""

from __future__ import annotations

from typing import Any

from starlette.responses import HTMLResponse

from etl.auth.configuration import AuthConfiguration
from etl.web.headers import page_headers
from etl.web.pages import open_templates


class PageRenderer:
    """Renders the templates of the members' pages."""

    def __init__(self, configuration: AuthConfiguration) -> None:
        self._configuration = configuration
        self._environment = open_templates("etl.auth")
        self._environment.globals["text"] = configuration.texts.text
        self._environment.globals["html"] = configuration.texts.html

    def page(
        self, name: str, *, status: int = 200, form_action: str = "'self'", **values: Any
    ) -> HTMLResponse:
        """Return a page.

        Args:
            name: name of the template.
            status: HTTP status.
            form_action: where its forms may lead, redirects included (CSP `form-action`).
            values: variables of the template.
        """
        text = self._environment.get_template(name).render(
            payer=self._configuration.payer,
            education_page=self._configuration.education_page,
            is_sandbox=self._configuration.demo is not None,
            **values,
        )
        headers = page_headers(self._configuration.base_url, form_action=form_action)
        return HTMLResponse(text, status, headers)

    def problem(self, text: str, *, status: int = 400, detail: str = "") -> HTMLResponse:
        """Return a page that reports an error."""
        return self.page("problem.html.j2", status=status, problem=text, detail=detail)
