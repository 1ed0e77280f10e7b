"""Pages of a developer's own account: sign in by a link, profile, settings, sign out."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from etl.auth.developers import parse_email
from etl.auth.mail import MailNotSent
from etl.auth.records import InvalidForm
from etl.portal.forms import Form
from etl.portal.portal import Portal, local_path, redirect_to


def account_routes(portal: Portal) -> list[Route]:
    """Return the pages of developers' accounts."""
    pages = _Pages(portal)
    return [
        Route("/sign-in", pages.sign_in, methods=["GET", "POST"]),
        Route("/sign-in/{token}", pages.redeem, methods=["GET", "POST"]),
        Route("/sign-out", pages.sign_out, methods=["POST"]),
        Route("/profile", pages.profile, methods=["GET", "POST"]),
        Route("/settings", pages.settings),
        Route("/settings/delete", pages.delete, methods=["GET", "POST"]),
    ]


class _Pages:
    def __init__(self, portal: Portal) -> None:
        self._portal = portal

    async def sign_in(self, request: Request) -> Response:
        """Send a sign-in link; the answer is the same whether the address has an account."""
        portal = self._portal
        next_path = local_path(request.query_params.get("next", "/apps"))
        visit = await portal.visit(request)
        if visit.developer is not None:
            return redirect_to(next_path)
        is_possible = portal.services.sign_in_links.reach_developers
        if request.method != "POST" or not is_possible:
            return await self._show(
                request, "sign_in", Form(), next_path=next_path, is_possible=is_possible
            )
        form = await portal.read_form(request, "link")
        next_path = local_path(form.value("next"))
        try:
            email = parse_email(form.value("email"))
        except InvalidForm as error:
            failed_form = form.with_errors(error.problems)
            return await self._show(
                request, "sign_in", failed_form, next_path=next_path, is_possible=True
            )
        await portal.limit(request, "mailbox", email)
        mail, is_sent = None, True
        try:
            mail = await run_in_threadpool(
                portal.services.sign_in_links.send, email, visit.cookies.browser, next_path
            )
        except MailNotSent:
            is_sent = False
        return await self._show(
            request, "link_sent", Form(), 200 if is_sent else 503, mail=mail, is_sent=is_sent
        )

    async def redeem(self, request: Request) -> Response:
        """Sign in by a link: GET shows a button, so that a mail scanner uses nothing up."""
        portal = self._portal
        visit = await portal.visit(request)
        token = request.path_params["token"]
        if request.method != "POST":
            return await self._show(request, "link", Form(), token=token, failed=False)
        await portal.read_form(request, "sign-in")
        link = await run_in_threadpool(
            portal.services.sign_in_links.redeem, token, visit.cookies.browser
        )
        if link is None:
            return await self._show(request, "link", Form(), 400, token=token, failed=True)
        developer = await run_in_threadpool(
            portal.services.developers.sign_in, link.email, address=visit.address
        )
        response = redirect_to(local_path(link.next_path))
        await portal.sign_in(visit, response, developer)
        return response

    async def sign_out(self, request: Request) -> Response:
        await self._portal.read_form(request)
        response = redirect_to("/")
        visit = await self._portal.visit(request)
        await self._portal.sign_out(visit, response)
        return response

    async def profile(self, request: Request) -> Response:
        portal = self._portal
        _, developer = await portal.signed_in(request)
        if request.method != "POST":
            form = Form({"name": developer.name, "organization": developer.organization})
            saved = request.query_params.get("saved") == "yes"
            return await self._show(request, "profile", form, account=developer, saved=saved)
        form = await portal.read_form(request)
        try:
            edit = portal.services.developers.edit
            await portal.run(request, edit, form.value("name"), form.value("organization"))
        except InvalidForm as error:
            failed_form = form.with_errors(error.problems)
            return await self._show(request, "profile", failed_form, account=developer, saved=False)
        return redirect_to("/profile", saved="yes")

    async def settings(self, request: Request) -> Response:
        await self._portal.signed_in(request)
        return await self._show(request, "settings", Form())

    async def delete(self, request: Request) -> Response:
        portal = self._portal
        visit, developer = await portal.signed_in(request)
        apps = await run_in_threadpool(portal.services.apps.of_developer, developer.id)
        if request.method != "POST":
            return await self._show(request, "account_delete", Form(), apps=apps)
        await portal.read_form(request)
        for app in apps:
            await portal.run(request, portal.services.apps.delete, app.client_id)
        await portal.run(request, portal.services.developers.delete)
        response = redirect_to("/")
        await portal.sign_out(visit, response)
        return response

    async def _show(
        self, request: Request, template: str, form: Form, status: int = 0, **values: object
    ) -> Response:
        code = status or (422 if form.errors else 200)
        return await self._portal.show(
            request, template, status=code, no_store=True, form=form, **values
        )
