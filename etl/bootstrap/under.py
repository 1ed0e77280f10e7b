"""A route of the served application that takes all paths under one."""

from __future__ import annotations

from starlette.routing import BaseRoute, Match

from etl.gateway.wire import App, Receive, Scope, Send


class Under(BaseRoute):
    """All paths under one, and that itself, whatever stands in them; no redirect, no pattern.

    Starlette's `Mount` leaves out the path without a slash, and paths with a line break.

    Args:
        path: the first part, without a slash at its end.
        app: answers.
    """

    def __init__(self, path: str, app: App) -> None:
        self.path = path
        self.app = app

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Return whether a request is for here."""
        if scope["type"] == "http":
            path: str = scope["path"]
            if path.startswith(self.path) and path[len(self.path) :][:1] in ("", "/"):
                return Match.FULL, {}
        return Match.NONE, {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer it."""
        await self.app(scope, receive, send)
