"""The portal as one object, and the rendering of a page."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, TypeVar
from urllib.parse import urlencode, urlsplit

from jinja2 import Environment
from markupsafe import Markup
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from etl.auth.database_tables import App, Developer
from etl.auth.form_protection import BrowserCookies
from etl.auth.http import address_of
from etl.auth.rate_limits import Endpoint
from etl.auth.records import DemoMember, NoSuchAccount
from etl.auth.services import Services
from etl.documents.packaged_toml import read_beside
from etl.gateway.release.served_releases import Releases
from etl.portal.capability_tables import HOLDS, Statement, read_statement
from etl.portal.drug_search import DrugSearch
from etl.portal.examples import LOOPBACK, page_examples
from etl.portal.forms import Form, read_form
from etl.portal.provider_search import ProviderSearch
from etl.portal.site_facts import ServerFacts, Site
from etl.web.headers import page_headers
from etl.web.rate_limits import TooMany

MENU: Final[tuple[tuple[str, str], ...]] = (
    ("/", "Home"),
    ("/patient-access", "Patient Access API"),
    ("/apps", "App Registration"),
    ("/contact", "Contact Us"),
)

ERRORS: Final = read_beside(__file__, "errors.toml")
"""Errors of the FHIR API, and of the authorize and token endpoints: code, meaning, remedy."""

CHANGES: Final = read_beside(__file__, "changes.toml")
"""Version of the program → what app developers notice of it; the newest first."""

_LOCAL: Final = re.compile(r"/(?:[A-Za-z0-9_.-]+(?:/[A-Za-z0-9_.-]+)*)?")
"""Paths that a sign-in may return to: this server's own, never another host's."""


@dataclass(frozen=True, slots=True)
class SandboxMember:
    """A synthetic member, and the number of their published resources.

    Attributes:
        member: user name, name, Patient id.
        claims: kind of claim → how many; empty where there are none.
        coverages: how many.
        on_one_page: whether there are claims of every profile's types, all on one page of the
            default size, for a test kit that reads the first page of one member only.
    """

    member: DemoMember
    claims: dict[str, int]
    coverages: int
    on_one_page: bool = False

    @property
    def total(self) -> int:
        """Number of claims of all kinds."""
        return sum(self.claims.values())


Members = Callable[[], Awaitable[Sequence[SandboxMember]]]
Result = TypeVar("Result")


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
    cookies: BrowserCookies = field(repr=False)


@dataclass(frozen=True, slots=True)
class Portal:
    """Dependencies of the pages.

    Attributes:
        site: look and words.
        served: facts of the running server.
        services: the authorization server.
        templates: see `rendering.open_templates`.
        started: when this process began.
        targets: API → the releases that it is answered from.
        members: gives the sandbox's members; None outside a sandbox.
        sample: gives the JSON of a sandbox member's claim of a kind, None where there is none; None
            outside a sandbox.
        password: the sandbox members' one password; public.
        try_client: client id of the app behind `/try`; empty for none.
        providers: searches the provider directory; None if none is served.
        drugs: searches drug formularies; None if none is served.
    """

    site: Site
    served: ServerFacts
    services: Services
    templates: Environment
    started: datetime
    targets: Mapping[str, Releases] = field(default_factory=dict)
    members: Members | None = None
    sample: Callable[[str], Awaitable[bytes | None]] | None = None
    password: str = ""
    try_client: str = ""
    providers: ProviderSearch | None = None
    drugs: DrugSearch | None = None

    async def show(
        self,
        request: Request,
        template: str,
        *,
        status: int = 200,
        no_store: bool = False,
        **values: Any,
    ) -> Response:
        """Return a page.

        Args:
            request: what is answered.
            template: its name, without ending.
            status: HTTP status.
            no_store: whether it must not be cached, since it has secrets or personal data.
            values: what the template shows.
        """
        visit = await self.visit(request)
        forms: list[Markup] = []

        def csrf_field() -> Markup:
            field = Markup('<input type="hidden" name="csrf" value="{}">').format(visit.csrf)
            forms.append(field)
            return field

        html = self.templates.get_template(f"{template}.html.j2").render(
            served=self.served,
            menu=self.menu,
            here=request.url.path,
            providers=self.providers,
            drugs=self.drugs,
            developer=visit.developer,
            csrf_field=csrf_field,
            holds=HOLDS,
            errors=ERRORS,
            **{"site": self.site, **values},
        )
        response = HTMLResponse(html, status)
        self.protect(response, no_store=no_store or visit.developer is not None or bool(forms))
        if forms:  # a page without forms sets no cookie
            self.services.browsers.set_browser(response, visit.cookies)
        return response

    def protect(self, response: Response, *, no_store: bool) -> None:
        """Set the security headers of a page (no inline script or style)."""
        base_url = self.served.base_url
        origin = "{0.scheme}://{0.netloc}".format(urlsplit(base_url))
        cache = "no-store" if no_store else "private, no-cache"
        response.headers.update(page_headers(base_url, scripts_from=origin, cache=cache))

    async def visit(self, request: Request) -> PortalVisit:
        """Return the visitor of a request, looked up once a request."""
        cached_visit: PortalVisit | None = getattr(request.state, "visit", None)
        if cached_visit is not None:
            return cached_visit
        browsers = self.services.browsers
        cookies = browsers.read_cookies(request)
        developer = await run_in_threadpool(self._developer, cookies.tokens["developer"])
        csrf = browsers.form_token(cookies, "developer")
        visit = PortalVisit(developer, csrf, address_of(request), cookies)
        request.state.visit = visit
        return visit

    def _developer(self, token: str) -> Developer | None:
        session = self.services.sessions.find("developer", token)
        if session is None:
            return None
        try:
            return self.services.developers.get(session.subject)
        except NoSuchAccount:  # deleted since, in another window
            return None

    async def sign_in(self, visit: PortalVisit, response: Response, developer: Developer) -> None:
        """Sign a developer in, under a new session, which prevents session fixation."""
        await self._end_session(visit)
        token = await run_in_threadpool(self.services.sessions.start, "developer", developer.id)
        self.services.browsers.set(response, "developer", token)

    async def sign_out(self, visit: PortalVisit, response: Response) -> None:
        """End the session on the server, not only in the browser."""
        await self._end_session(visit)
        self.services.browsers.clear(response, "developer")

    async def _end_session(self, visit: PortalVisit) -> None:
        if token := visit.cookies.tokens["developer"]:
            await run_in_threadpool(self.services.sessions.end, token)

    async def read_form(self, request: Request, endpoint: Endpoint = "consent") -> Form:
        """Return the form of a POST, after checking that one of our pages sent it.

        Args:
            request: the POST.
            endpoint: the rate limit that applies; that of `consent` for ordinary forms.

        Raises:
            HTTPException: 403 it is not from our page; 429 there were too many; and as `read_form`.
        """
        visit = await self.limit(request, endpoint)
        form = await read_form(request)
        browsers, csrf = self.services.browsers, form.value("csrf")
        if not browsers.is_own_form(request, visit.cookies, csrf, "developer"):
            raise HTTPException(403, "csrf")
        return form

    async def limit(self, request: Request, endpoint: Endpoint, caller: str = "") -> PortalVisit:
        """Count a request against a rate limit; return its visit.

        Args:
            request: the request.
            endpoint: the limit.
            caller: whose calls are counted together; those of its address if not given.

        Raises:
            HTTPException: 429 there were too many.
        """
        visit = await self.visit(request)
        try:
            self.services.limits.hit(endpoint, "portal", caller or visit.address)
        except TooMany as error:
            raise HTTPException(429, headers={"retry-after": str(error.retry_after)}) from None
        return visit

    async def signed_in(self, request: Request) -> tuple[PortalVisit, Developer]:
        """Return the visit of a signed-in developer.

        Raises:
            SignInFirst: no developer is signed in.
        """
        visit = await self.visit(request)
        if visit.developer is None:
            raise SignInFirst
        return visit, visit.developer

    async def own_app(self, client_id: str, developer: Developer) -> App:
        """Return one of a developer's own apps.

        Raises:
            NoSuchApp: there is none, or it belongs to another developer; answered 404.
        """
        return await run_in_threadpool(self.services.apps.get, client_id, developer=developer.id)

    async def run(self, request: Request, action: Callable[..., Result], *arguments: Any) -> Result:
        """Run an action for the signed-in developer; the audit trail gets the address.

        Args:
            request: the developer's.
            action: a function of the registry of apps or of accounts.
            arguments: its first ones.

        Raises:
            SignInFirst: no developer is signed in.
            NoSuchApp: as for `own_app`.
        """
        visit, developer = await self.signed_in(request)
        return await run_in_threadpool(
            action, *arguments, developer=developer.id, address=visit.address
        )

    async def examples(self, request: Request) -> dict[str, Any]:
        """Return the code examples, filled in with the visitor's newest app if there is one."""
        visit = await self.visit(request)
        client_id, redirect_uri = "your-client-id", self.redirect_uris[0]
        if visit.developer is not None:
            apps = await run_in_threadpool(self.services.apps.of_developer, visit.developer.id)
            if apps:
                client_id = apps[0].client_id
                uris = apps[0].draft.redirect_uris
                redirect_uri = redirect_uri if redirect_uri in uris else uris[0]
        return page_examples(self.served, client_id, redirect_uri)

    @property
    def redirect_uris(self) -> tuple[str, ...]:
        """Redirect URIs that make the examples work."""
        return (self.served.code_page, LOOPBACK) if self.site.sandbox else (LOOPBACK,)

    @property
    def menu(self) -> Mapping[str, str]:
        """Path -> title of the main pages; those of public APIs come after Patient Access."""
        public = {f"/{name}": api.title for name, api in self.served.public.items()}
        entries = [*MENU[:2], *public.items(), *MENU[2:]]
        return dict(entries)

    def statement(self) -> Statement:
        """Return the capability statement of Patient Access, for people."""
        return read_statement(self.served.capability())


class SignInFirst(Exception):
    """The page needs a signed-in developer."""


def redirect_to(path: str, **query: str) -> RedirectResponse:
    """Return a redirect to a page of the portal (303, so that the browser GETs it)."""
    url = f"{path}?{urlencode(query)}" if query else path
    return RedirectResponse(url, 303, {"cache-control": "no-store"})


def local_path(text: str) -> str:
    """Return a path of the portal; `/apps` for anything else, such as another host's URL."""
    return text if _LOCAL.fullmatch(text) else "/apps"
