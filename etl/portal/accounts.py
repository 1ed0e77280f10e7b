"""Pages of a developer's own account: sign up, sign in, profile, settings, logout."""

from __future__ import annotations

from contextlib import suppress

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from etl.auth.mail import MailNotSent
from etl.auth.records import Developer, InvalidForm, SignInRefused
from etl.portal.forms import Form
from etl.portal.portal import Portal, local_path, to


def account_routes(portal: Portal) -> list[Route]:
    """Return the pages of developers' accounts."""
    pages = _Pages(portal)
    return [
        Route("/sign-up", pages.sign_up, methods=["GET", "POST"]),
        Route("/sign-in", pages.sign_in, methods=["GET", "POST"]),
        Route("/sign-out", pages.sign_out, methods=["POST"]),
        Route("/profile", pages.profile, methods=["GET", "POST"]),
        Route("/profile/verify", pages.ask_verification, methods=["POST"]),
        Route("/profile/verify/{token}", pages.verify, methods=["GET", "POST"]),
        Route("/settings", pages.settings),
        Route("/settings/password", pages.password, methods=["POST"]),
        Route("/settings/delete", pages.delete, methods=["GET", "POST"]),
    ]


class _Pages:
    def __init__(self, portal: Portal) -> None:
        self._portal = portal

    async def sign_up(self, request: Request) -> Response:
        portal = self._portal
        way_on = local_path(request.query_params.get("next", "/apps"))
        visit = await portal.entrance.visit(request)
        if visit.developer is not None:
            return to(way_on)
        if request.method != "POST":
            return await self._form(request, "sign_up", Form(), way_on=way_on)
        form = await portal.form(request, "sign-up")
        way_on = local_path(form.value("next"))
        try:
            developer = await run_in_threadpool(
                portal.developers.sign_up,
                email=form.value("email"),
                name=form.value("name"),
                organization=form.value("organization"),
                password=form.value("password"),
                address=visit.address,
            )
        except InvalidForm as error:
            wrong = form.with_errors(error.problems)
            return await self._form(request, "sign_up", wrong, way_on=way_on)
        with suppress(MailNotSent):  # the profile offers it again
            await run_in_threadpool(portal.developers.ask_verification, developer.id)
        response = to(way_on)
        await portal.entrance.admit(visit, response, developer)
        return response

    async def sign_in(self, request: Request) -> Response:
        portal = self._portal
        way_on = local_path(request.query_params.get("next", "/apps"))
        visit = await portal.entrance.visit(request)
        if visit.developer is not None:
            return to(way_on)
        if request.method != "POST":
            return await self._form(request, "sign_in", Form(), way_on=way_on)
        form = await portal.form(request, "sign-in")
        way_on = local_path(form.value("next"))
        try:
            developer = await run_in_threadpool(
                portal.developers.sign_in,
                email=form.value("email"),
                password=form.value("password"),
                address=visit.address,
            )
        except SignInRefused as refused:
            wrong = form.with_errors({"email": str(refused)})
            status = 429 if refused.retry_after else 400
            response = await self._form(request, "sign_in", wrong, status, way_on=way_on)
            if refused.retry_after:
                response.headers["retry-after"] = str(refused.retry_after)
            return response
        response = to(way_on)
        await portal.entrance.admit(visit, response, developer)
        return response

    async def sign_out(self, request: Request) -> Response:
        await self._portal.form(request)
        response = to("/")
        visit = await self._portal.entrance.visit(request)
        await self._portal.entrance.dismiss(visit, response)
        return response

    async def profile(self, request: Request) -> Response:
        portal = self._portal
        visit, developer = await portal.signed_in(request)
        if request.method != "POST":
            form = Form(
                {
                    "name": developer.name,
                    "email": developer.email,
                    "organization": developer.organization,
                }
            )
            saved = request.query_params.get("saved", "")
            return await self._form(request, "profile", form, account=developer, saved=saved)
        form = await portal.form(request)
        try:
            await run_in_threadpool(
                portal.developers.edit,
                developer.id,
                email=form.value("email"),
                name=form.value("name"),
                organization=form.value("organization"),
                address=visit.address,
            )
        except InvalidForm as error:
            wrong = form.with_errors(error.problems)
            return await self._form(request, "profile", wrong, account=developer, saved="")
        if form.value("email").strip().lower() != developer.email:
            return await self._ask(request, developer, form.value("email"))
        return to("/profile", saved="yes")

    async def ask_verification(self, request: Request) -> Response:
        _, developer = await self._portal.signed_in(request)
        await self._portal.form(request, "verify")
        return await self._ask(request, developer, developer.email)

    async def verify(self, request: Request) -> Response:
        portal = self._portal
        visit, developer = await portal.signed_in(request)
        token = request.path_params["token"]
        if request.method != "POST":
            return await self._form(request, "verify", Form(), token=token, failed=False)
        await portal.form(request)
        is_verified = await run_in_threadpool(
            portal.developers.verify, developer.id, token, address=visit.address
        )
        if not is_verified:
            return await self._form(request, "verify", Form(), 400, token=token, failed=True)
        return to("/profile", saved="verified")

    async def _ask(self, request: Request, developer: Developer, email: str) -> Response:
        """Send the link that verifies an address, and report the result; in a sandbox, show it."""
        mail, failed = None, False
        try:
            mail = await run_in_threadpool(
                self._portal.developers.ask_verification, developer.id, email=email
            )
        except MailNotSent:
            failed = True
        status = 503 if failed else 200
        return await self._form(
            request, "mail", Form(), status, mail=mail, email=email, failed=failed
        )

    async def settings(self, request: Request) -> Response:
        await self._portal.signed_in(request)
        saved = request.query_params.get("saved") == "yes"
        return await self._form(request, "settings", Form(), saved=saved)

    async def password(self, request: Request) -> Response:
        portal = self._portal
        visit, developer = await portal.signed_in(request)
        form = await portal.form(request)
        try:
            await run_in_threadpool(
                portal.developers.change_password,
                developer.id,
                old=form.value("old"),
                new=form.value("new"),
                keep_session=visit.session,
                address=visit.address,
            )
        except InvalidForm as error:
            wrong = form.with_errors(error.problems)
            return await self._form(request, "settings", wrong, saved=False)
        except SignInRefused as refused:
            wrong = form.with_errors({"old": str(refused)})
            return await self._form(request, "settings", wrong, 429, saved=False)
        return to("/settings", saved="yes")

    async def delete(self, request: Request) -> Response:
        portal = self._portal
        visit, developer = await portal.signed_in(request)
        apps = await run_in_threadpool(portal.apps.of_developer, developer.id)
        if request.method != "POST":
            return await self._form(request, "account_delete", Form(), apps=apps)
        form = await portal.form(request)
        try:
            await run_in_threadpool(
                portal.developers.sign_in,
                email=developer.email,
                password=form.value("password"),
                address=visit.address,
            )
        except SignInRefused as refused:
            wrong = form.with_errors({"password": str(refused)})
            return await self._form(request, "account_delete", wrong, apps=apps)
        for app in apps:
            await run_in_threadpool(
                portal.apps.delete, app.client_id, developer=developer.id, address=visit.address
            )
        await run_in_threadpool(portal.developers.delete, developer.id, address=visit.address)
        response = to("/")
        await portal.entrance.dismiss(visit, response)
        return response

    async def _form(
        self, request: Request, template: str, form: Form, status: int = 0, **values: object
    ) -> Response:
        code = status or (422 if form.errors else 200)
        if template == "profile":
            developers = self._portal.developers
            values |= {"can_verify": developers.can_verify, "shows_mail": developers.shows_mail}
        return await self._portal.show(
            request, template, status=code, fresh=True, form=form, **values
        )
