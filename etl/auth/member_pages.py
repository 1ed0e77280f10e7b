"""The member's page: apps with access, what they read, and revocation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from urllib.parse import urlencode

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from etl.auth import scopes as scope_rules
from etl.auth.database_tables import SessionRow
from etl.auth.form_protection import BrowserCookies
from etl.auth.http import address_of, read_form, redirect, with_error_pages
from etl.auth.member_sign_in import STALE, redirect_to_provider, sign_in_page, sign_in_patient
from etl.auth.records import DATA_KINDS, AccessDay, SignInRefused
from etl.auth.services import Services


class MemberPages:
    """The member's page of grants."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._browsers = services.browsers

    def routes(self) -> list[Route]:
        """Return the routes."""
        wrap = with_error_pages(self._services.pages)
        return [
            Route("/member", wrap(self.show), methods=["GET"]),
            Route("/member/sign-in", wrap(self.sign_in), methods=["POST"]),
            Route("/member/revoke", wrap(self.revoke), methods=["POST"]),
            Route("/member/sign-out", wrap(self.sign_out), methods=["POST"]),
        ]

    async def show(self, request: Request) -> Response:
        """Show grants and access history; without a session, the sign-in page."""
        services = self._services
        services.limits.hit("member", address_of(request))
        cookies = self._browsers.read_cookies(request)
        session = await self._find_session(cookies)
        if session is not None:
            return await self._grants_page(request, cookies, session)
        if services.provider is not None:
            response = await redirect_to_provider(services, services.provider, request, "member")
            self._browsers.set_browser(response, cookies)
            return response
        return sign_in_page(services, cookies, "/member/sign-in", {})

    async def sign_in(self, request: Request) -> Response:
        """Take user name and password of a sample member."""
        services, demo = self._services, self._services.demo
        form = dict(await read_form(request))
        cookies = self._browsers.read_cookies(request)
        is_own = self._browsers.is_own_form(request, cookies, form.get("form_token", ""))
        if demo is None or not is_own:
            return services.pages.problem(STALE, status=403)
        try:
            patient = await sign_in_patient(services, demo, request, form)
        except SignInRefused as error:
            return sign_in_page(services, cookies, "/member/sign-in", form, error)
        token = await run_in_threadpool(services.sessions.start, "member", patient)
        response = redirect(services, "/member")
        self._browsers.set(response, "member", token)
        return response

    async def revoke(self, request: Request) -> Response:
        """Stop an app, at once."""
        services = self._services
        _, session, form = await self._read_own_form(request)
        if session is None:
            return services.pages.problem(STALE, status=403)
        await run_in_threadpool(
            lambda: services.consents.revoke(
                form.get("consent", ""),
                by="member",
                patient=session.subject,
                address=address_of(request),
            )
        )
        return redirect(services, f"/member?{urlencode({'stopped': form.get('consent', '')})}")

    async def sign_out(self, request: Request) -> Response:
        """Sign the member out."""
        cookies, session, _ = await self._read_own_form(request)
        if session is None:
            return self._services.pages.problem(STALE, status=403)
        await run_in_threadpool(self._services.sessions.end, cookies.tokens["member"])
        response = redirect(self._services, "/")
        self._browsers.clear(response, "member")
        return response

    async def _read_own_form(
        self, request: Request
    ) -> tuple[BrowserCookies, SessionRow | None, dict[str, str]]:
        form = dict(await read_form(request))
        cookies = self._browsers.read_cookies(request)
        is_own = self._browsers.is_own_form(request, cookies, form.get("form_token", ""), "member")
        return cookies, await self._find_session(cookies) if is_own else None, form

    async def _find_session(self, cookies: BrowserCookies) -> SessionRow | None:
        return await run_in_threadpool(
            self._services.sessions.find, "member", cookies.tokens["member"]
        )

    async def _grants_page(
        self, request: Request, cookies: BrowserCookies, session: SessionRow
    ) -> Response:
        services, demo = self._services, self._services.demo
        await run_in_threadpool(services.trail.flush)
        consents = await run_in_threadpool(services.consents.of_patient, session.subject)
        history = _reads_by_kind(
            await run_in_threadpool(services.consents.history, session.subject)
        )
        now = services.clock()
        closed = [consent for consent in consents if not consent.is_open(now)]
        stopped = request.query_params.get("stopped")
        read_kinds = {(read.consent, read.what) for read in history}
        member = demo.member(session.subject) if demo is not None else None
        return services.pages.page(
            "member.html.j2",
            person=member.name if member is not None else "",
            has_times=True,
            stopped=next((one.app.draft.name for one in closed if one.id == stopped), ""),
            open=[consent for consent in consents if consent.is_open(now)],
            closed=closed,
            kinds={
                consent.id: scope_rules.data_kinds(scope_rules.types_of(consent.scopes))
                for consent in consents
            },
            known_kinds=DATA_KINDS,
            history=history,
            seen={
                consent.id: [kind for kind in DATA_KINDS if (consent.id, kind) in read_kinds]
                for consent in consents
            },
            form_token=self._browsers.form_token(cookies, "member"),
        )


def _reads_by_kind(history: Iterable[AccessDay]) -> list[AccessDay]:
    """Return reads with their kind of data in place of the type; those of a day count as one.

    A page of results that held no resource is recorded as `_page`, which is of no kind.
    """
    reads: dict[tuple[str, str, str], AccessDay] = {}
    for read in history:  # the newest first
        kind = next(iter(scope_rules.data_kinds((read.what,))), read.what)
        key = (read.consent, read.day, kind)
        newest = reads.get(key, replace(read, what=kind, count=0))
        reads[key] = replace(newest, count=newest.count + read.count)
    return list(reads.values())
