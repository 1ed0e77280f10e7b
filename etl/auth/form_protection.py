"""Cookies and CSRF protection of forms.

A random cookie names the browser. The token in a form is a keyed hash of it and of the session,
so that another site can neither read nor guess it, before the sign-in just as after it.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from hashlib import blake2b, sha256
from typing import Final, Literal

from itsdangerous import BadData, URLSafeTimedSerializer
from starlette.requests import Request
from starlette.responses import Response

from etl.auth.context import AuthContext, derived_key, hash_of
from etl.auth.sessions import Kind

Cookie = Literal["browser", "request", "login", "developer", "member", "authorize"]

REQUEST_SECONDS: Final = 1800
"""Time limit from the authorize URL to the consent."""


@dataclass(frozen=True, slots=True)
class BrowserCookies:
    """Cookies of a request.

    Attributes:
        browser: its random name; a new one where it sent none.
        is_new: whether the name is new and has to be set.
        tokens: kind of session → the token it sent.
    """

    browser: str
    is_new: bool
    tokens: dict[Kind, str]


class Browsers:
    """Reads and writes cookies, and makes and checks the tokens of forms."""

    def __init__(self, context: AuthContext) -> None:
        secret = context.configuration.secret
        self._is_secure = context.configuration.is_secure
        self._context = context
        self._form_key = derived_key(secret, "forms")
        self._signer = URLSafeTimedSerializer(
            derived_key(secret, "requests"), signer_kwargs={"digest_method": sha256}
        )

    def name(self, cookie: Cookie) -> str:
        """Return a cookie's name: with `__Host-` behind TLS, where browsers enforce the prefix.

        `__Host-`: set by this very host, by TLS, for all paths (RFC 6265bis section 4.1.3).
        """
        return f"__Host-cpcds-{cookie}" if self._is_secure else f"cpcds-{cookie}"

    def read_cookies(self, request: Request) -> BrowserCookies:
        """Return the cookies of a request."""
        browser = request.cookies.get(self.name("browser"), "")
        kinds: tuple[Kind, ...] = ("developer", "member", "authorize")
        tokens = {kind: request.cookies.get(self.name(kind), "") for kind in kinds}
        if 20 <= len(browser) <= 100:
            return BrowserCookies(browser, is_new=False, tokens=tokens)
        return BrowserCookies(self._context.new_token(), is_new=True, tokens=tokens)

    def set_browser(self, response: Response, cookies: BrowserCookies) -> None:
        """Set the cookie that names a new browser; on every page with a form."""
        if cookies.is_new:
            self.set(response, "browser", cookies.browser)

    def set(
        self, response: Response, cookie: Cookie, value: str, *, seconds: int | None = None
    ) -> None:
        """Set a cookie: not for scripts, not for requests that other sites send."""
        response.set_cookie(
            self.name(cookie),
            value,
            max_age=seconds,
            path="/",
            secure=self._is_secure,
            httponly=True,
            samesite="lax",
        )

    def clear(self, response: Response, cookie: Cookie) -> None:
        """Delete a cookie."""
        response.delete_cookie(
            self.name(cookie), path="/", secure=self._is_secure, httponly=True, samesite="lax"
        )

    def form_token(self, cookies: BrowserCookies, kind: Kind | None = None) -> str:
        """Return the token for the forms of a page.

        Args:
            cookies: cookies of the request.
            kind: the session that the form is about; None before a sign-in.
        """
        session = cookies.tokens[kind] if kind is not None else ""
        text = f"{kind or ''} {cookies.browser} {session}"
        return blake2b(text.encode(), key=self._form_key, digest_size=32).hexdigest()

    def is_own_form(
        self, request: Request, cookies: BrowserCookies, token: str, kind: Kind | None = None
    ) -> bool:
        """Return whether a form was sent from a page of ours, by this browser and session."""
        if cookies.is_new or request.headers.get("sec-fetch-site") == "cross-site":
            return False
        return hmac.compare_digest(token.encode(), self.form_token(cookies, kind).encode())

    def seal(self, cookies: BrowserCookies, parameters: list[tuple[str, str]]) -> str:
        """Return an authorization request as one signed text, valid in this browser only."""
        return str(self._signer.dumps([hash_of(cookies.browser)[:16], parameters]))

    def unseal(self, cookies: BrowserCookies, sealed: str) -> list[tuple[str, str]] | None:
        """Return a sealed authorization request; None where it is invalid or too old."""
        try:
            browser, parameters = self._signer.loads(sealed, max_age=REQUEST_SECONDS)
        except BadData:
            return None
        if browser != hash_of(cookies.browser)[:16]:
            return None
        return [(str(name), str(value)) for name, value in parameters]

    def seal_login(self, data: dict[str, object]) -> str:
        """Return the state of a sign-in at the identity provider, signed."""
        return str(self._signer.dumps(data, salt="login"))

    def unseal_login(self, sealed: str) -> dict[str, object]:
        """Return the sealed state; empty where it is invalid or too old."""
        try:
            data = self._signer.loads(sealed, max_age=REQUEST_SECONDS, salt="login")
        except BadData:
            return {}
        return dict(data)
