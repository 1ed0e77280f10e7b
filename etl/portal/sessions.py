"""Sessions of the portal's visitors, by the authorization server's cookies."""

from __future__ import annotations

from dataclasses import dataclass, field

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from etl.auth import form_protection
from etl.auth.database_tables import Developer
from etl.auth.developers import Developers
from etl.auth.form_protection import Browsers
from etl.auth.http import address_of
from etl.auth.records import NoSuchAccount
from etl.auth.sessions import Sessions


@dataclass(frozen=True, slots=True)
class PortalVisit:
    """The visitor of one request.

    Attributes:
        developer: the signed-in developer; None for none.
        csrf: token that every form of this visitor carries.
        address: where the request comes from, for the audit trail.
        cookies: cookies of the request.
    """

    developer: Developer | None
    csrf: str = field(repr=False)
    address: str
    cookies: form_protection.BrowserCookies = field(repr=False)


class PortalSessions:
    """Identifies visitors, and signs them in and out."""

    def __init__(self, browsers: Browsers, sessions: Sessions, developers: Developers) -> None:
        self._browsers = browsers
        self._sessions = sessions
        self._developers = developers

    async def visit(self, request: Request) -> PortalVisit:
        """Return the visitor of a request, looked up once a request."""
        known: PortalVisit | None = getattr(request.state, "visit", None)
        if known is not None:
            return known
        cookies = self._browsers.visit(request)
        developer = await run_in_threadpool(self._developer, cookies.tokens["developer"])
        visit = PortalVisit(
            developer,
            self._browsers.form_token(cookies, "developer"),
            address_of(request),
            cookies,
        )
        request.state.visit = visit
        return visit

    def is_genuine(self, request: Request, visit: PortalVisit, token: str) -> bool:
        """Return whether a form was made by one of our pages for this visitor (CSRF)."""
        return self._browsers.is_own_form(request, visit.cookies, token, "developer")

    async def sign_in(self, visit: PortalVisit, response: Response, developer: Developer) -> None:
        """Sign a developer in, under a new session, which prevents session fixation."""
        await self._end(visit)
        token = await run_in_threadpool(self._sessions.start, "developer", developer.id)
        self._browsers.set(response, "developer", token)

    async def sign_out(self, visit: PortalVisit, response: Response) -> None:
        """End the session on the server, not only in the browser."""
        await self._end(visit)
        self._browsers.clear(response, "developer")

    def set_form_cookie(self, visit: PortalVisit, response: Response) -> None:
        """Give a browser the cookie that its forms need."""
        self._browsers.greet(response, visit.cookies)

    async def _end(self, visit: PortalVisit) -> None:
        token = visit.cookies.tokens["developer"]
        if token:
            await run_in_threadpool(self._sessions.end, token)

    def _developer(self, token: str) -> Developer | None:
        session = self._sessions.find("developer", token)
        if session is None:
            return None
        try:
            return self._developers.get(session.subject)
        except NoSuchAccount:  # deleted since, in another window
            return None
