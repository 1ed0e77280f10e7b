"""Refusals: FHIR errors of the service."""

from __future__ import annotations

import re
from typing import Final

_NAME: Final = re.compile(r"[$_A-Za-z][A-Za-z0-9_:.-]{0,63}")


class Refusal(Exception):
    """A request that is answered with an OperationOutcome of one error.

    Attributes:
        status: HTTP status: 400, 403, 404 or 410.
        code: FHIR IssueType.
        diagnostics: one sentence for the app's developer; it repeats no value of the request.
        expression: what it is about, for `OperationOutcome.issue.expression`: names of parameters
            as `http.<name>`; empty where nothing can be named.
    """

    def __init__(
        self, status: int, code: str, diagnostics: str, expression: tuple[str, ...] = ()
    ) -> None:
        super().__init__(diagnostics)
        self.status = status
        self.code = code
        self.diagnostics = diagnostics
        self.expression = expression


def refused(name: str, code: str, text: str) -> Refusal:
    """Return the refusal of a parameter: 400.

    Args:
        name: the parameter as requested; repeated only if it looks like a name.
        code: FHIR IssueType.
        text: the error; continues the sentence after the name.
    """
    name_shown = shown(name)
    expression = (f"http.{name_shown}",) if name_shown else ()
    return Refusal(400, code, f"{name_shown or 'a parameter'} {text}", expression)


def shown(name: str) -> str:
    """Return a parameter's name if it may be repeated to the app; else nothing."""
    return name if _NAME.fullmatch(name) else ""
