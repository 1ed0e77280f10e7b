"""CORS: which sites may read an answer in a browser (Fetch standard, "CORS protocol").

Access tokens are sent by the app itself and never by the browser on its own, so an allowed origin
can do no more than any other program. Cookies are not allowed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeAlias

Header: TypeAlias = tuple[bytes, bytes]

OPEN_TO_ALL: Final = {"access-control-allow-origin": "*"}
"""Header of a document that every site may read."""

EXPOSED: Final = (
    b"etag, last-modified, retry-after, www-authenticate, x-request-id, preference-applied"
)
ASKED: Final = (
    b"authorization, content-type, accept, prefer, if-none-match, if-modified-since, "
    b"if-match, if-unmodified-since, x-request-id"
)
_ANY: Final[tuple[Header, ...]] = (
    (b"access-control-allow-origin", b"*"),
    (b"access-control-expose-headers", EXPOSED),
)


class CorsPolicy:
    """Allowed origins.

    Args:
        origins: scheme, host and port of each; `*` for all.
    """

    def __init__(self, origins: Iterable[str]) -> None:
        self._known = frozenset(origin.rstrip("/").lower().encode() for origin in origins)
        self._any = b"*" in self._known

    def allows(self, origin: bytes | None) -> bool:
        """Return whether a site may read answers."""
        return origin is not None and origin.lower() in self._known

    def headers(self, origin: bytes | None, *, open_to_all: bool = False) -> tuple[Header, ...]:
        """Return the headers of an answer.

        Args:
            origin: the site that asks, as the request says; None if it says nothing.
            open_to_all: whether the answer is public.
        """
        if self._any or open_to_all:
            return _ANY
        if origin is None or not self.allows(origin):
            return ((b"vary", b"origin"),)
        return (
            (b"access-control-allow-origin", origin),
            (b"access-control-expose-headers", EXPOSED),
            (b"vary", b"origin"),
        )

    @staticmethod
    def preflight(methods: Iterable[str]) -> tuple[Header, ...]:
        """Return the further headers of the answer to OPTIONS."""
        return (
            (b"access-control-allow-methods", ", ".join(methods).encode()),
            (b"access-control-allow-headers", ASKED),
            (b"access-control-max-age", b"7200"),
        )
