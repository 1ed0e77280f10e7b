"""The examples of the documentation, with the running server's own addresses in them.

Shell examples work when pasted into a shell; the files are ready to run. The tests do both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from typing import Final
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined

from etl.documents.packaged_toml import read_beside
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


_EXAMPLES: Final = read_beside(__file__, "examples.toml")
"""Page → name of a piece of code → its file, or its tabs."""

Examples = dict[str, str | list[dict[str, str]]]
"""Name of a piece of code → its text, or its tabs with `label`, `language`, `title`, `text`."""


@cache
def _open_examples() -> Environment:
    # Code, not HTML: nothing is escaped. The inserted values are the server's configuration.
    return Environment(  # noqa: S701
        loader=PackageLoader("etl.portal", "examples"),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )


def _render_file(name: str, **values: object) -> str:
    return _open_examples().get_template(f"{name}.j2").render(**values)


def example_file(name: str, served: ServerFacts, redirect_uri: str) -> str:
    """Return one of `FILES`, ready to run against this server."""
    return _render_file(name, served=served, redirect_uri=redirect_uri)


def _render_page(page: str, **values: object) -> Examples:
    return {
        name: _render_file(entry, **values)
        if isinstance(entry, str)
        else [tab | {"text": _render_file(tab["file"], **values)} for tab in entry]
        for name, entry in _EXAMPLES[page].items()
    }


def page_examples(served: ServerFacts, client_id: str, redirect_uri: str) -> Examples:
    """Return the code examples of the pages.

    Args:
        served: facts of the running server.
        client_id: shown in them; the developer's own, where there is one.
        redirect_uri: a registered one of this app.
    """
    return _render_page(
        "patient_access",
        served=served,
        client_id=client_id,
        redirect_uri=redirect_uri,
        redirect=quote(redirect_uri, safe=""),
        scope=quote(SCOPE, safe="/*"),
        aud=quote(served.fhir, safe=""),
    )


def directory_examples(directory: str, search: SearchExample | None) -> Examples:
    """Return the code examples of the Provider Directory's page; they need no token.

    Args:
        directory: FHIR base URL of the Provider Directory.
        search: a search that finds somebody in the served release; with None there is no such
            example, as of a directory without networks.
    """
    examples = _render_page("directory", directory=directory)
    if search is not None:
        values = {"directory": directory, **asdict(search)}
        examples |= _render_page("directory_search", **values)
        if search.position:
            examples |= _render_page("directory_distance", **values)
    return examples
