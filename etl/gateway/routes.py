"""Routes of the FHIR base, matched by hand: these shapes, and no others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from etl.gateway.fhir_errors import FhirError
from etl.gateway.supported_fhir import EVERYTHING, TYPES

Kind = Literal["document", "search", "read", "vread", "everything", "page", "file"]

READING: Final = ("GET", "HEAD", "OPTIONS")
EITHER: Final = (*READING, "POST")

_EVERYTHING: Final = f"${EVERYTHING.name}"
COMPARTMENT: Final = frozenset(
    name for name, kind in TYPES.items() if not kind.shared and name != "Patient"
)
"""Types that are searched below `Patient/[id]/` as well."""


@dataclass(frozen=True, slots=True)
class Route:
    """One address.

    Attributes:
        kind: kind of the route.
        template: for logs and metrics; holds nothing of the request but known names.
        methods: allowed HTTP methods, OPTIONS included.
        type: resource type; for a document or a file its path.
        id: logical id, the cursor of a page, or of a search the Patient whose compartment it is.
        version: version id.
    """

    kind: Kind
    template: str
    methods: tuple[str, ...]
    type: str = ""
    id: str = ""
    version: str = ""


def route_of(
    segments: tuple[str, ...],
    types: frozenset[str],
    documents: frozenset[str],
    *,
    with_files: bool = False,
) -> Route:
    """Return the route of a path.

    Args:
        segments: the decoded parts of the path behind the base.
        types: resource types that are served here.
        documents: paths of documents that are served here.
        with_files: whether a directory's files are served here.

    Raises:
        FhirError: `address-unknown`, `type-unknown`.
    """
    match segments:
        case (kind,) if kind in types:
            return Route("search", f"/{kind}", READING, kind)
        case (kind, "_search") if kind in types:
            return Route("search", f"/{kind}/_search", EITHER, kind)
        case ("_page", cursor):
            return Route("page", "/_page/[cursor]", READING, id=cursor)
        case ("Patient", one, operation) if operation == _EVERYTHING and "Patient" in types:
            template = f"/Patient/[id]/{_EVERYTHING}"
            return Route("everything", template, EITHER, "Patient", one)
        case ("Patient", one, kind) if kind in COMPARTMENT & types and _is_id(one):
            return Route("search", f"/Patient/[id]/{kind}", READING, kind, one)
        case ("Patient", one, kind, "_search") if kind in COMPARTMENT & types and _is_id(one):
            return Route("search", f"/Patient/[id]/{kind}/_search", EITHER, kind, one)
        case (kind, one) if kind in types and _is_id(one):
            return Route("read", f"/{kind}/[id]", READING, kind, one)
        case (kind, one, "_history", version) if kind in types:
            template = f"/{kind}/[id]/_history/[version]"
            return Route("vread", template, READING, kind, one, version)
    path = "/".join(segments)
    if with_files and (of_file := _file_template(segments)) is not None:
        return Route("file", of_file, READING, path)
    if path in documents:
        return Route("document", f"/{path}", READING, path)
    if segments and segments[0][:1].isupper() and segments[0] not in types:
        raise FhirError("type-unknown", f"Resource types served here: {', '.join(sorted(types))}.")
    raise FhirError(
        "address-unknown", "There is nothing at this address; /metadata lists what there is."
    )


def _file_template(segments: tuple[str, ...]) -> str | None:
    match segments:
        case ("$bulk-publish",):
            return "/$bulk-publish"
        case ("bulk" | "plan-finder" as folder, _):
            return f"/{folder}/[file]"
        case ("plan-finder", _, _, "index.json"):
            return "/plan-finder/[contract]/[year]/index.json"
        case _:
            return None


def _is_id(text: str) -> bool:
    """Return whether a part of a path stands where a logical id does; it need not be one."""
    return not text.startswith(("_", "$"))
