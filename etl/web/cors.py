"""CORS: which sites may read a response in a browser (Fetch standard, "CORS protocol").

Apps send their access tokens themselves, the browser never adds one: an allowed origin can do no
more than any other program. Cookies are not allowed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeAlias

Header: TypeAlias = tuple[bytes, bytes]

OPEN_TO_ALL: Final = {"access-control-allow-origin": "*"}
"""Header of a public document."""

EXPOSED_HEADERS: Final = (
    b"etag, last-modified, retry-after, www-authenticate, x-request-id, preference-applied, "
    b"ratelimit, ratelimit-policy"
)
REQUEST_HEADERS: Final = (
    b"authorization, content-type, accept, prefer, if-none-match, if-modified-since, "
    b"if-match, if-unmodified-since, x-request-id"
)
_FOR_ALL: Final[tuple[Header, ...]] = (
    (b"access-control-allow-origin", b"*"),
    (b"access-control-expose-headers", EXPOSED_HEADERS),
)


class CorsPolicy:
    """Allowed origins.

    Args:
        origins: scheme, host and port of each; `*` for all.
    """

    def __init__(self, origins: Iterable[str]) -> None:
        self._origins = frozenset(origin.rstrip("/").lower().encode() for origin in origins)
        self._allows_all = b"*" in self._origins

    def allows(self, origin: bytes | None) -> bool:
        """Return whether a site may read responses."""
        return origin is not None and origin.lower() in self._origins

    def headers(self, origin: bytes | None, *, open_to_all: bool = False) -> tuple[Header, ...]:
        """Return the CORS headers of a response.

        Args:
            origin: the request's `Origin`; None if it has none.
            open_to_all: whether every site may read the response.
        """
        if self._allows_all or open_to_all:
            return _FOR_ALL
        if origin is None or not self.allows(origin):
            return ((b"vary", b"origin"),)
        return (
            (b"access-control-allow-origin", origin),
            (b"access-control-expose-headers", EXPOSED_HEADERS),
            (b"vary", b"origin"),
        )

    @staticmethod
    def preflight(methods: Iterable[str]) -> tuple[Header, ...]:
        """Return the additional headers of the response to OPTIONS."""
        return (
            (b"access-control-allow-methods", ", ".join(methods).encode()),
            (b"access-control-allow-headers", REQUEST_HEADERS),
            (b"access-control-max-age", b"7200"),
        )
