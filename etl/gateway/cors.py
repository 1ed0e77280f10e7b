"""CORS policy: allowed origins, and the headers that they may send and read.

Access tokens are sent by the app itself and never by the browser on its own, so that an allowed
origin can do no more than any other program. Credentials such as cookies are not allowed. Source:
Fetch standard, "CORS protocol".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from etl.gateway.asgi import Header

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

    def headers(self, headers: Mapping[bytes, bytes], *, open_to_all: bool) -> tuple[Header, ...]:
        """Return the headers of an answer.

        Args:
            headers: the request's.
            open_to_all: whether the answer is public.
        """
        if self._any or open_to_all:
            return _ANY
        origin = headers.get(b"origin")
        if origin is None or origin.lower() not in self._known:
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
