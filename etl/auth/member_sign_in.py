"""Sign-in of members: at the payer's identity provider, or of sample members by a form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from etl.auth.form_protection import REQUEST_SECONDS, BrowserCookies
from etl.auth.http import address_of
from etl.auth.members import DemoSignIn, ProviderSignIn
from etl.auth.records import SignInRefused
from etl.auth.services import Services

STALE: Final = "problem.stale"


async def redirect_to_provider(
    services: Services, provider: ProviderSignIn, request: Request, purpose: str
) -> Response:
    """Return the redirect to the identity provider, or an error page if it does not answer."""
    try:
        response, state = await provider.begin(request, purpose)
    except SignInRefused as error:
        return services.pages.problem(str(error), status=503)
    sealed = services.browsers.seal_login(state)
    services.browsers.set(response, "login", sealed, seconds=REQUEST_SECONDS)
    return response


async def sign_in_patient(
    services: Services, demo: DemoSignIn, request: Request, form: Mapping[str, str]
) -> str:
    """Return the patient id of the sample member that a form names.

    Raises:
        SignInRefused: user name or password is invalid, or there were too many tries.
    """
    address = address_of(request)
    services.limits.hit("sign-in", address)
    return await run_in_threadpool(
        demo.sign_in, form.get("username", "")[:100], form.get("password", "")[:200], address
    )


def sign_in_page(
    services: Services,
    cookies: BrowserCookies,
    action: str,
    form: Mapping[str, str],
    error: SignInRefused | None = None,
    *,
    app: Any = None,
    sealed: str = "",
) -> Response:
    """Return the page with the form; a new browser gets its name.

    Args:
        services: the authorization server.
        cookies: cookies of the request.
        action: path that the form is sent to.
        form: what was sent before; empty at first.
        error: why the previous try was refused.
        app: the app that asks for data; None at the member's own page.
        sealed: the app's request.
    """
    if services.demo is None:
        problem = services.pages.problem("problem.no-sign-in", status=503)
        services.browsers.set_browser(problem, cookies)
        return problem
    status = 200 if error is None else 429 if error.retry_after else 401
    response = services.pages.page(
        "sign_in.html.j2",
        status=status,
        app=app,
        action=action,
        form_token=services.browsers.form_token(cookies),
        sealed=sealed,
        error=str(error) if error is not None else "",
        username=form.get("username", "")[:100],
        demo=services.demo,
    )
    services.browsers.set_browser(response, cookies)
    if error is not None and error.retry_after:
        response.headers["Retry-After"] = str(error.retry_after)
    return response
