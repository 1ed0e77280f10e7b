"""The portal as an application: its routes, its files, and its error pages."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from etl.auth.records import NoSuchApp
from etl.portal.accounts import account_routes
from etl.portal.documentation import documentation_routes
from etl.portal.portal import Portal, SignInFirst, redirect_to
from etl.portal.registration import registration_routes
from etl.portal.site_file import colour_css

_STATIC: Final = Path(str(files("etl.portal"))) / "static"
_TYPES: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_LOGOS: Final = {".svg": "image/svg+xml", ".png": "image/png"}


def portal_app(portal: Portal) -> Starlette:
    """Return the portal.

    Mount it at `/` after all other rooms: it answers all remaining paths, with a page for every
    error. An unexpected error is answered with a page too, and raised again for the server's log.
    """
    error_pages = _ErrorPages(portal)
    return Starlette(
        routes=[
            Route("/static/{name}", _Static(portal).file),
            *documentation_routes(portal),
            *account_routes(portal),
            *registration_routes(portal),
        ],
        exception_handlers={
            HTTPException: error_pages.http_error,
            NoSuchApp: error_pages.no_such_app,
            SignInFirst: error_pages.sign_in_first,
            Exception: error_pages.internal_error,
        },
    )


class _Static:
    """The stylesheet, the scripts, the logo, and a payer's own files."""

    def __init__(self, portal: Portal) -> None:
        self._portal = portal
        self._files = {path.name: path for path in _STATIC.iterdir() if path.suffix in _TYPES}

    async def file(self, request: Request) -> Response:
        name = request.path_params["name"]
        look = self._portal.site.file.look
        if name == "own.css":
            payer_css = look.stylesheet.read_text(encoding="utf-8") if look.stylesheet else ""
            return self._allow_cache(Response(colour_css(look) + payer_css, media_type="text/css"))
        if name == "logo" and look.logo is not None:
            path, media = look.logo, _LOGOS.get(look.logo.suffix, "application/octet-stream")
        elif name in self._files:
            path, media = self._files[name], _TYPES[self._files[name].suffix]
        else:
            raise HTTPException(404)
        return self._allow_cache(FileResponse(path, media_type=media))

    def _allow_cache(self, response: Response) -> Response:
        self._portal.protect(response, no_store=False)
        response.headers["cache-control"] = "public, max-age=600"
        return response


class _ErrorPages:
    """Error pages. They never repeat anything of the request."""

    def __init__(self, portal: Portal) -> None:
        self._portal = portal

    async def http_error(self, request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        headers = (error.headers if isinstance(error, HTTPException) else None) or {}
        response = await self._portal.show(
            request, "error", status=status, no_store=True, status_code=status
        )
        response.headers.update(headers)
        return response

    async def no_such_app(self, request: Request, error: Exception) -> Response:
        return await self.http_error(request, HTTPException(404))

    async def sign_in_first(self, request: Request, error: Exception) -> Response:
        return redirect_to("/sign-in", next=request.url.path)

    async def internal_error(self, request: Request, error: Exception) -> Response:
        # Without session and database: either may be the cause of the error.
        html = self._portal.templates.get_template("broken.html.j2").render(site=self._portal.site)
        response = Response(html, 500, media_type="text/html")
        self._portal.protect(response, no_store=True)
        return response
