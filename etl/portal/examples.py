"""The examples of the documentation, with the running server's own addresses in them.

Shell examples work when pasted into a shell; the files are ready to run. The tests do both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from typing import Final
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined

from etl.portal.provider_search import SearchExample
from etl.portal.site_facts import ServerFacts

SCOPE: Final = "launch/patient openid fhirUser offline_access patient/*.rs"
"""Scopes that the examples request."""

LOOPBACK: Final = "http://127.0.0.1:8765/callback"
"""Redirect address of the Python and JavaScript files."""

FILES: Final[Mapping[str, str]] = {
    "first_claim.sh": "text/x-shellscript",
    "first_claim.py": "text/x-python",
    "first_claim.mjs": "text/javascript",
}
"""Files to download → media type."""


@dataclass(frozen=True, slots=True)
class CodeExample:
    """One code example.

    Attributes:
        label: short name, for a tab.
        language: Pygments' name of its language.
        text: the code.
        title: its purpose.
    """

    label: str
    language: str
    text: str
    title: str


@cache
def _files() -> Environment:
    # Code, not HTML: nothing is escaped. The inserted values are the server's configuration.
    return Environment(  # noqa: S701
        loader=PackageLoader("etl.portal", "examples"),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )


def _text(name: str, **values: object) -> str:
    return _files().get_template(f"{name}.j2").render(**values)


def example_file(name: str, served: ServerFacts, redirect_uri: str) -> str:
    """Return one of `FILES`, ready to run against this server."""
    return _text(name, served=served, redirect_uri=redirect_uri)


def page_examples(
    served: ServerFacts, client_id: str, redirect_uri: str
) -> dict[str, str | list[CodeExample]]:
    """Return the code examples of the pages.

    Args:
        served: facts of the running server.
        client_id: shown in them; the developer's own, where there is one.
        redirect_uri: a registered one of this app.
    """
    return {
        "hero_request": _text("hero.sh", fhir=served.fhir),
        "hero_answer": _text("hero_answer.json"),
        "authorize_format": _text("authorize.txt", authorize=served.authorize, fhir=served.fhir),
        "authorize_shell": _text(
            "authorize.sh",
            client_id=client_id,
            redirect_uri=redirect_uri,
            redirect=quote(redirect_uri, safe=""),
            scope=quote(SCOPE, safe="/*"),
            aud=quote(served.fhir, safe=""),
            authorize=served.authorize,
        ),
        "redirect_answer": f"{redirect_uri}?code=…&state=…&iss=…",
        "token": [
            CodeExample(label, "bash", _text(file, token=served.token), title)
            for label, file, title in (
                ("JSON", "token_json.sh", "Confidential app"),
                ("Form", "token_form.sh", "Confidential app"),
                ("Public app", "token_public.sh", "Public app"),
            )
        ],
        "token_answer": _text("token_answer.json", seconds=served.token_seconds),
        "refresh": _text("refresh.sh", token=served.token),
        "revoke": _text("revoke.sh", revoke=served.revoke),
        "requests": [
            CodeExample(label, language, _text(file, fhir=served.fhir), title)
            for label, language, file, title in (
                ("curl", "bash", "claims.sh", "Claims with their providers"),
                ("Python", "python", "claims.py", "Standard library"),
                ("JavaScript", "javascript", "claims.mjs", "Node or browser"),
            )
        ],
        "paging": _text("paging.sh", fhir=served.fhir),
        "syncing": _text("syncing.sh", fhir=served.fhir),
    }


def directory_examples(
    directory: str, wanted: SearchExample | None
) -> Mapping[str, str | list[CodeExample]]:
    """Return the code examples of the Provider Directory's page; they need no token.

    Args:
        directory: FHIR base URL of the Provider Directory.
        wanted: a search that finds somebody in the served release; with None there is no such
            example, as of a directory without networks.
    """
    examples: dict[str, str | list[CodeExample]] = {
        "first": _text("practitioners.sh", directory=directory)
    }
    if wanted is not None:
        values = {"directory": directory, **asdict(wanted)}
        title = "In a network, near a ZIP code, taking new patients"
        examples["search"] = [
            CodeExample(label, language, _text(file, **values), title)
            for label, language, file in (
                ("curl", "bash", "find.sh"),
                ("Python", "python", "find.py"),
                ("JavaScript", "javascript", "find.mjs"),
            )
        ]
        examples["networks"] = _text("networks.sh", directory=directory)
        examples["plans"] = _text("plans.sh", directory=directory)
        if wanted.position:
            examples["distance"] = _text(
                "distance.sh", directory=directory, position=wanted.position
            )
    return examples
