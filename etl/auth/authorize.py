"""The authorization flow: authorize URL, sign-in, consent, redirect."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from authlib.oauth2 import OAuth2Error
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from etl.auth import scopes as scope_rules
from etl.auth.configuration import ACCESS_SECONDS, CODE_SECONDS, ONLINE_HOURS
from etl.auth.context import hash_of
from etl.auth.database_tables import SessionRow
from etl.auth.form_protection import REQUEST_SECONDS, BrowserCookies
from etl.auth.http import address_of, incoming_of, read_form, redirect, with_error_pages
from etl.auth.member_sign_in import STALE, redirect_to_provider, sign_in_page, sign_in_patient
from etl.auth.oauth import ConsentRequest, Incoming, origin_of
from etl.auth.records import Approval, SignInRefused
from etl.auth.services import Services
from etl.errors import StoreError

_SUPPORTED: Final = (
    "response_type", "client_id", "redirect_uri", "scope", "state", "aud", "code_challenge",
    "code_challenge_method", "nonce", "response_mode", "prompt",
)  # fmt: skip
"""Supported parameters of an authorization request; others are ignored (RFC 6749 3.1)."""

LONGEST_REQUEST: Final = 2500
"""Most characters of an authorization request: it has to fit into a cookie."""


@dataclass(frozen=True, slots=True)
class _Choice:
    """Choices on the consent page."""

    types: tuple[str, ...]
    identity: bool
    long_lived: bool
    days: int


class AuthorizePages:
    """The pages between an app's request and its answer."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._configuration = services.configuration
        self._browsers = services.browsers

    def routes(self) -> list[Route]:
        """Return the routes."""
        wrap = with_error_pages(self._services.pages)
        return [
            Route("/oauth/authorize", wrap(self.authorize), methods=["GET", "POST"]),
            Route("/oauth/sign-in", wrap(self.sign_in), methods=["POST"]),
            Route("/oauth/callback", wrap(self.callback), methods=["GET"]),
            Route("/oauth/consent", wrap(self.show_consent), methods=["GET"]),
            Route("/oauth/consent", wrap(self.decide), methods=["POST"]),
        ]

    async def authorize(self, request: Request) -> Response:
        """Take an app's request, by GET or POST (SMART `authorize-post`), and begin sign-in."""
        services = self._services
        services.limits.hit("authorize", address_of(request))
        fields = (
            await read_form(request)
            if request.method == "POST"
            else tuple(request.query_params.multi_items())
        )
        incoming = await incoming_of(
            request, tuple(p for p in fields if p[0] in (*_SUPPORTED, "request", "request_uri"))
        )
        app_request = await self._check_request(incoming)
        if isinstance(app_request, Response):
            return app_request
        if sum(len(value) for _, value in incoming.parameters) > LONGEST_REQUEST:
            return services.pages.problem("problem.request-too-long")
        cookies = self._browsers.read_cookies(request)
        sealed = self._browsers.seal(cookies, list(incoming.parameters))
        if services.provider is None:
            app = app_request.client.app.draft
            return sign_in_page(services, cookies, "/oauth/sign-in", {}, app=app, sealed=sealed)
        response = await redirect_to_provider(services, services.provider, request, "authorize")
        self._browsers.set(response, "request", sealed, seconds=REQUEST_SECONDS)
        self._browsers.set_browser(response, cookies)
        return response

    async def sign_in(self, request: Request) -> Response:
        """Take user name and password of a sample member."""
        services, demo = self._services, self._services.demo
        form = dict(await read_form(request))
        cookies = self._browsers.read_cookies(request)
        sealed = form.get("request", "")
        app_request = await self._unseal(request, cookies, sealed)
        if demo is None or not self._browsers.is_own_form(
            request, cookies, form.get("form_token", "")
        ):
            return services.pages.problem(STALE, status=403)
        if isinstance(app_request, Response):
            return app_request
        try:
            patient = await sign_in_patient(services, demo, request, form)
        except SignInRefused as error:
            app = app_request.client.app.draft
            return sign_in_page(
                services, cookies, "/oauth/sign-in", form, error, app=app, sealed=sealed
            )
        return await self._start_consent(patient, sealed)

    async def callback(self, request: Request) -> Response:
        """Take the answer of the payer's identity provider."""
        services = self._services
        services.limits.hit("sign-in", address_of(request))
        state = self._browsers.unseal_login(request.cookies.get(self._browsers.name("login"), ""))
        if services.provider is None:
            return services.pages.problem(STALE, status=404)
        try:
            patient, purpose = await services.provider.complete(request, state, address_of(request))
        except SignInRefused as error:
            response: Response = services.pages.problem(str(error))
            self._browsers.clear(response, "login")
            return response
        if purpose == "member":
            token = await run_in_threadpool(services.sessions.start, "member", patient)
            response = redirect(services, "/member")
            self._browsers.set(response, "member", token)
        else:
            sealed = request.cookies.get(self._browsers.name("request"), "")
            response = await self._start_consent(patient, sealed)
        self._browsers.clear(response, "login")
        return response

    async def show_consent(self, request: Request) -> Response:
        """Show the consent page: data, recipient, end date."""
        cookies = self._browsers.read_cookies(request)
        sealed = request.cookies.get(self._browsers.name("request"), "")
        session = await self._session(cookies, sealed)
        app_request = await self._unseal(request, cookies, sealed)
        if session is None:
            return self._services.pages.problem(STALE, status=403)
        if isinstance(app_request, Response):
            return app_request
        types = scope_rules.types_of(app_request.scopes)
        preselected = _Choice(types, True, True, self._configuration.consent_days[0])
        return self._consent_page(cookies, session, sealed, app_request, preselected)

    async def decide(self, request: Request) -> Response:
        """Take the member's decision and redirect to the app."""
        services = self._services
        services.limits.hit("consent", address_of(request))
        fields = await read_form(request)
        form = dict(fields)
        cookies = self._browsers.read_cookies(request)
        sealed = form.get("request", "")
        session = await self._session(cookies, sealed)
        if session is None or not self._browsers.is_own_form(
            request, cookies, form.get("form_token", ""), "authorize"
        ):
            return services.pages.problem(STALE, status=403)
        app_request = await self._unseal(request, cookies, sealed)
        if isinstance(app_request, Response):
            return app_request
        approval: Approval | None = None
        if form.get("decision") == "allow":
            choice = _read_choice(fields, app_request.scopes, self._configuration.consent_days)
            if not choice.types:
                error = "consent.nothing-checked"
                return self._consent_page(
                    cookies, session, sealed, app_request, choice, error=error
                )
            approval = self._approval(app_request, session, choice, address_of(request))
        answer = await run_in_threadpool(services.protocol.approve, app_request.incoming, approval)
        if approval is None:
            await run_in_threadpool(
                services.context.note,
                "consent-refused",
                client=app_request.client.app.client_id,
                patient=session.subject,
                by="member",
                address=address_of(request),
            )
        await run_in_threadpool(services.sessions.end, cookies.tokens["authorize"])
        if not answer.location:
            return services.pages.problem("problem.request-ended")
        response = redirect(services, answer.location)
        self._browsers.clear(response, "authorize")
        self._browsers.clear(response, "request")
        return response

    async def _check_request(self, incoming: Incoming) -> ConsentRequest | Response:
        """Return a valid authorization request; else the error page or redirect."""
        try:
            return await run_in_threadpool(self._services.protocol.check_request, incoming)
        except OAuth2Error as error:
            if error.redirect_uri:
                answer = self._services.protocol.error_answer(incoming, error)
                return redirect(self._services, answer.location)
            detail = f"{error.error}: {error.description or ''}"
            return self._services.pages.problem("problem.request-invalid", detail=detail)

    async def _unseal(
        self, request: Request, cookies: BrowserCookies, sealed: str
    ) -> ConsentRequest | Response:
        """Check a sealed authorization request again; an error page if it is stale or invalid."""
        parameters = self._browsers.unseal(cookies, sealed)
        if parameters is None:
            return self._services.pages.problem(STALE)
        return await self._check_request(await incoming_of(request, tuple(parameters)))

    async def _start_consent(self, patient: str, sealed: str) -> Response:
        """Sign a member in for this one request; refuse a member without published data."""
        services = self._services
        try:
            is_published = await services.is_published(patient)
        except StoreError:
            return services.pages.problem("problem.unreadable", status=503)
        if not is_published:
            return services.pages.problem("problem.no-data", status=404)
        subject = f"{patient} {hash_of(sealed)}"
        token = await run_in_threadpool(self._services.sessions.start, "authorize", subject)
        response = redirect(self._services, "/oauth/consent")
        self._browsers.set(response, "authorize", token)
        self._browsers.set(response, "request", sealed, seconds=REQUEST_SECONDS)
        return response

    async def _session(self, cookies: BrowserCookies, sealed: str) -> SessionRow | None:
        """Return the member signed in for this request; None for a sign-in for another request."""
        session = await run_in_threadpool(
            self._services.sessions.find, "authorize", cookies.tokens["authorize"]
        )
        if session is None:
            return None
        session.subject, _, request = session.subject.rpartition(" ")
        return session if request == hash_of(sealed) else None

    def _consent_page(
        self,
        cookies: BrowserCookies,
        session: SessionRow,
        sealed: str,
        app_request: ConsentRequest,
        choice: _Choice,
        *,
        error: str = "",
    ) -> Response:
        configuration, demo = self._configuration, self._services.demo
        member = demo.member(session.subject) if demo is not None else None
        destination = origin_of(app_request.redirect_uri)
        now = self._services.clock()
        return self._services.pages.page(
            "consent.html.j2",
            status=400 if error else 200,
            # Chromium applies form-action to the redirect after a form as well.
            form_action=f"'self' {destination}",
            app=app_request.client.app.draft,
            destination=destination.removeprefix("https://"),
            person=member.name if member is not None else "",
            form_token=self._browsers.form_token(cookies, "authorize"),
            sealed=sealed,
            offered=scope_rules.data_kinds(scope_rules.types_of(app_request.scopes)),
            ticked=scope_rules.data_kinds(choice.types),
            asks_identity="openid" in app_request.scopes,
            identity=choice.identity,
            asks_long=scope_rules.is_long_lived(app_request.scopes),
            is_online="offline_access" not in app_request.scopes,
            online_hours=ONLINE_HOURS,
            long_lived=choice.long_lived,
            terms=[
                {"days": days, "until": now + timedelta(days=days)}
                for days in sorted(configuration.consent_days)
            ],
            days=choice.days,
            minutes=ACCESS_SECONDS // 60,
            member_page=configuration.url("/member"),
            error=error,
        )

    def _approval(
        self, app_request: ConsentRequest, session: SessionRow, choice: _Choice, address: str
    ) -> Approval:
        scopes = scope_rules.narrow_scopes(
            app_request.scopes, choice.types, identity=choice.identity, long_lived=choice.long_lived
        )
        if "offline_access" in scopes:
            term = timedelta(days=choice.days)
        elif "online_access" in scopes:
            term = timedelta(hours=ONLINE_HOURS)
        else:
            # In a sandbox too: a code that is traded late gives a shorter token.
            term = timedelta(seconds=ACCESS_SECONDS + CODE_SECONDS)
        return Approval(
            session.subject, scopes, self._services.clock() + term, session.signed_in, address
        )


def _read_choice(
    fields: tuple[tuple[str, str], ...], scopes: tuple[str, ...], terms: tuple[int, ...]
) -> _Choice:
    """Return the choices of a form, within those offered."""
    form = dict(fields)
    ticked = {value for name, value in fields if name == "kind"}
    types = tuple(
        name for name in scope_rules.types_of(scopes) if ticked & {*scope_rules.data_kinds([name])}
    )
    days = next((term for term in terms if str(term) == form.get("days")), terms[0])
    return _Choice(types, form.get("identity") == "yes", form.get("long_lived") == "yes", days)
