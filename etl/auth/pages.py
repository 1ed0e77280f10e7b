"""Pages for members: Jinja2, no inline script or style, and headers that say so."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import replace
from typing import Any, Final
from urllib.parse import urlencode

from jinja2 import Environment
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from etl.auth.configuration import AuthConfiguration
from etl.web.headers import page_headers
from etl.web.pages import open_templates
from etl.web.texts import PageTexts, choose_language

_COOKIE: Final = "cpcds-language"
_COOKIE_SECONDS: Final = 365 * 86_400
_REQUEST: ContextVar[Request] = ContextVar("request")
"""The request that is answered: pages are in the language of its reader."""


class PageRenderer:
    """Renders the templates of the members' pages."""

    def __init__(self, configuration: AuthConfiguration) -> None:
        self._configuration = configuration
        texts = configuration.texts
        self._texts = {name: replace(texts, language=name) for name in texts.languages}
        self._environments = {name: _open(texts) for name, texts in self._texts.items()}

    def in_readers_language(
        self, handler: Callable[[Request], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        """Return the handler, whose pages are then in its reader's language.

        That is what `lang` in the URL says, which a cookie keeps, or what the browser prefers.
        """

        async def answer(request: Request) -> Response:
            _REQUEST.set(request)
            response = await handler(request)
            if (language := request.query_params.get("lang")) in self._texts:
                is_secure = self._configuration.is_secure
                response.set_cookie(
                    _COOKIE, language, _COOKIE_SECONDS, secure=is_secure, httponly=True
                )
            return response

        return answer

    def page(
        self, name: str, *, status: int = 200, form_action: str = "'self'", **values: Any
    ) -> HTMLResponse:
        """Return a page.

        Args:
            name: name of the template.
            status: HTTP status.
            form_action: where its forms may lead, redirects included (CSP `form-action`).
            values: variables of the template; with `has_times`, a script shows the page's times in
                the reader's zone.
        """
        request = _REQUEST.get()
        language = self.language_of(request)
        text = (
            self._environments[language]
            .get_template(name)
            .render(
                payer=self._configuration.payer,
                education_page=self._configuration.education_page,
                is_sandbox=self._configuration.demo is not None,
                language=language,
                # The answer to a form has no address to link to; a refusal repeats no request.
                languages=self.links(request) if request.method == "GET" and status == 200 else (),
                **values,
            )
        )
        headers = page_headers(
            self._configuration.base_url, form_action=form_action, has_scripts="has_times" in values
        )
        return HTMLResponse(text, status, headers)

    def problem(self, text: str, *, status: int = 400, detail: str = "") -> HTMLResponse:
        """Return a page that reports an error, by the name of its text."""
        return self.page("problem.html.j2", status=status, problem=text, detail=detail)

    def language_of(self, request: Request) -> str:
        """Return the language of a request's reader."""
        for chosen in (request.query_params.get("lang"), request.cookies.get(_COOKIE)):
            if chosen in self._texts:
                return chosen
        return choose_language(request.headers.get("accept-language", ""), [*self._texts])

    def links(self, request: Request) -> list[tuple[str, str, str]]:
        """Return the tag and name of each language, and the link to this page in it."""
        kept = [pair for pair in request.query_params.multi_items() if pair[0] != "lang"]
        return [
            (tag, texts.text("share.language"), f"?{urlencode([*kept, ('lang', tag)])}")
            for tag, texts in self._texts.items()
        ]


def _open(texts: PageTexts) -> Environment:
    """Return the templates with texts and dates of one language."""
    environment = open_templates("etl.auth")
    environment.globals.update(text=texts.text, html=texts.html)
    environment.filters.update(day=texts.day, moment=texts.moment)
    return environment
