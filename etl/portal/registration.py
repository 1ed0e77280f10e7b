"""Pages of App Registration: a developer's apps, the form, secrets."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from etl.auth.apps import IssuedApp
from etl.auth.database_tables import App
from etl.auth.records import AppStatus, InvalidForm
from etl.auth.registration import ATTESTATIONS
from etl.portal.forms import Form, blank_draft, draft_of, explain_errors, form_of
from etl.portal.portal import Portal, Result, redirect_to


def registration_routes(portal: Portal) -> list[Route]:
    """Return the pages of App Registration."""
    pages, apps = _Pages(portal), portal.services.apps
    return [
        Route("/apps", pages.apps),
        Route("/apps/new", pages.new, methods=["GET", "POST"]),
        Route("/apps/{client_id}", pages.app),
        Route("/apps/{client_id}/edit", pages.edit, methods=["GET", "POST"]),
        Route("/apps/{client_id}/secret", pages.secret, methods=["POST"]),
        Route("/apps/{client_id}/disable", partial(pages.switch, apps.disable), methods=["POST"]),
        Route("/apps/{client_id}/enable", partial(pages.switch, apps.enable), methods=["POST"]),
        Route("/apps/{client_id}/delete", pages.delete, methods=["GET", "POST"]),
    ]


class _Pages:
    def __init__(self, portal: Portal) -> None:
        self._portal = portal

    async def apps(self, request: Request) -> Response:
        visit = await self._portal.visit(request)
        apps: tuple[App, ...] = ()
        if visit.developer is not None:
            apps = await run_in_threadpool(
                self._portal.services.apps.of_developer, visit.developer.id
            )
        return await self._portal.show(
            request, "apps", apps=apps, attestations=ATTESTATIONS, states=_STATES
        )

    async def new(self, request: Request) -> Response:
        portal = self._portal
        _, developer = await portal.signed_in(request)
        if request.method != "POST":
            form = blank_draft(
                name=developer.name,
                email=developer.email,
                organization=developer.organization,
                redirect_uris=portal.redirect_uris if portal.site.sandbox else (),
            )
            return await self._show_form(request, form)
        form = await portal.read_form(request)
        try:
            issued = await portal.run(request, portal.services.apps.register, draft_of(form))
        except InvalidForm as error:
            return await self._show_form(request, explain_errors(form, error.problems))
        return await self._show_issued(request, issued, what="registered")

    async def app(self, request: Request) -> Response:
        _, developer = await self._portal.signed_in(request)
        app = await self._portal.own_app(request.path_params["client_id"], developer)
        return await self._portal.show(
            request,
            "app",
            no_store=True,
            app=app,
            attestations=ATTESTATIONS,
            states=_STATES,
            saved=request.query_params.get("saved") == "yes",
        )

    async def edit(self, request: Request) -> Response:
        portal = self._portal
        _, developer = await portal.signed_in(request)
        app = await portal.own_app(request.path_params["client_id"], developer)
        if request.method != "POST":
            return await self._show_form(request, form_of(app.draft), app)
        form = await portal.read_form(request)
        try:
            edit = portal.services.apps.edit
            issued = await portal.run(request, edit, app.client_id, draft_of(form))
        except InvalidForm as error:
            return await self._show_form(request, explain_errors(form, error.problems), app)
        if issued.secret is not None:
            return await self._show_issued(request, issued, what="changed")
        return redirect_to(f"/apps/{app.client_id}", saved="yes")

    async def secret(self, request: Request) -> Response:
        issued = await self._act_on_app(request, self._portal.services.apps.rotate_secret)
        return await self._show_issued(request, issued, what="rotated")

    async def delete(self, request: Request) -> Response:
        portal = self._portal
        _, developer = await portal.signed_in(request)
        app = await portal.own_app(request.path_params["client_id"], developer)
        if request.method != "POST":
            return await portal.show(request, "app_delete", no_store=True, app=app)
        await self._act_on_app(request, portal.services.apps.delete)
        return redirect_to("/apps")

    async def switch(self, switch: Callable[..., App], request: Request) -> Response:
        app = await self._act_on_app(request, switch)
        return redirect_to(f"/apps/{app.client_id}", saved="yes")

    async def _act_on_app(self, request: Request, action: Callable[..., Result]) -> Result:
        """Check the form, run an action on the app of the path, and return its result."""
        await self._portal.signed_in(request)
        await self._portal.read_form(request)
        return await self._portal.run(request, action, request.path_params["client_id"])

    async def _show_form(self, request: Request, form: Form, app: App | None = None) -> Response:
        return await self._portal.show(
            request,
            "app_form",
            status=422 if form.errors else 200,
            no_store=True,
            form=form,
            app=app,
            attestations=ATTESTATIONS,
        )

    async def _show_issued(self, request: Request, issued: IssuedApp, *, what: str) -> Response:
        # Shown in the response to the POST: a redirect would require storing the secret.
        return await self._portal.show(
            request, "app_issued", no_store=True, app=issued.app, secret=issued.secret, what=what
        )


_STATES = {
    AppStatus.ACTIVE: ("Active", "good"),
    AppStatus.PENDING: ("Waiting for approval", "warm"),
    AppStatus.DISABLED: ("Disabled", "bad"),
    AppStatus.DELETED: ("Deleted", "bad"),
}
