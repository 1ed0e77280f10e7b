"""The supported FHIR: types, interactions, search parameters, includes.

Both the search and the capability statement use it, so that documented and actual behavior cannot
differ. A file for each API, such as `c4bb.toml`, defines its types and cites its sources;
`api.toml` has the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from types import MappingProxyType
from typing import Any, Final, Literal

from etl.documents.packaged_toml import read_beside
from etl.model.data_models import CLAIMS, DataModel
from etl.profiles.guides import GUIDES, guide_named

ParameterType = Literal["token", "date", "reference", "string", "uri", "special"]
Interaction = Literal["read", "vread", "search-type"]

COLUMN_MODIFIERS: Final = ("text", "of-type")
"""Modifiers that search a separate column, `parameter:modifier`; not supported if the release has
no such column."""

PREFIXES: Final = ("eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap")
"""Prefixes of date values, FHIR R4 search 3.1.1.4.5."""

_R4: Final = "http://hl7.org/fhir/SearchParameter/"

FACILITY: Final = ("ExplanationOfBenefit", "facility")
"""A column of references without search parameter: the location of a claim's services, and other
providers in a prior authorization."""


@dataclass(frozen=True, slots=True)
class SearchParameter:
    """One search parameter of one resource type.

    Attributes:
        name: name in a URL.
        type: FHIR search parameter type.
        definition: canonical URL of its SearchParameter; empty if this server defines it.
        documentation: one sentence for developers.
        modifiers: accepted suffixes after a colon; references also accept their target types
            (`patient:Patient=…`).
        prefixes: accepted prefixes of a value; empty except for dates.
        targets: target types of a reference.
        has_implicit_system: whether its element is a code without a system in the resource: `|code`
            finds it, too (FHIR R4, search 3.1.1.4.10).
        since: first version of the guide with the definition; empty for all.
    """

    name: str
    type: ParameterType
    definition: str
    documentation: str
    modifiers: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    has_implicit_system: bool = False
    since: str = ""


@dataclass(frozen=True, slots=True)
class ResourceType:
    """One resource type.

    Attributes:
        name: FHIR resource type.
        profiles: canonicals of its profiles, without version.
        interactions: FHIR codes of its interactions.
        parameters: search parameters by name, in the order of the capability statement.
        includes: parameters that `_include` accepts as `Type:parameter`, besides `Type:*` and `*`.
        sorts: parameters that `_sort` accepts.
        shared: whether it belongs to the provider directory and not to a member.
        through: type and index column through which a member reaches resources of this type; None
            if the member's own resources refer to this type.
        documentation: a sentence or two for developers.
    """

    name: str
    profiles: tuple[str, ...]
    interactions: tuple[Interaction, ...]
    parameters: Mapping[str, SearchParameter]
    includes: tuple[SearchParameter, ...]
    sorts: tuple[str, ...]
    shared: bool
    through: tuple[str, str] | None
    documentation: str


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation.

    Attributes:
        name: name without `$`.
        type: resource type that it is called on, with an id; empty for an operation of the server.
        definition: canonical URL of its OperationDefinition.
        parameters: names of its parameters.
        documentation: a sentence or two for developers.
    """

    name: str
    type: str
    definition: str
    parameters: tuple[str, ...]
    documentation: str


@dataclass(frozen=True, slots=True)
class Api:
    """One of the FHIR APIs.

    Attributes:
        name: what it is for, as in the names of the CMS rules: `patient-access`.
        title: its title.
        documentation: a few sentences for developers.
        is_public: whether it needs no token; then no type belongs to members, and `_sort` does not
            accept `_id`.
        instantiates: canonical of the guide's requirements, without version, as its test kit
            expects it.
        guides: canonicals of the ImplementationGuides; without version if releases follow one of
            several.
        types: its resource types by name.
    """

    name: str
    title: str
    documentation: str
    is_public: bool
    instantiates: str
    guides: tuple[str, ...]
    types: Mapping[str, ResourceType]


_ID: Final = SearchParameter(
    "_id", "token", f"{_R4}Resource-id", "Logical id; several separated by commas."
)
_LAST_UPDATED: Final = SearchParameter(
    "_lastUpdated",
    "date",
    f"{_R4}Resource-lastUpdated",
    "When the resource last changed in the payer's system of record.",
    (),
    PREFIXES,
)
_MODIFIERS: Final = MappingProxyType({"token": ("not",), "string": ("exact", "contains")})
"""Modifiers of all parameters of a type, besides `missing`, which every parameter accepts."""

_DEFINITIONS: Final[Mapping[str, str]] = MappingProxyType(
    {guide.title.lower(): f"{guide.base}SearchParameter/" for guide in GUIDES}
)
"""Prefix of a definition in the files -> beginning of its canonical."""


@cache
def _read_api(file: str, guide_id: str, is_public: bool) -> Api:
    types = read_beside(__file__, file)
    facts, guide = types.pop("api"), guide_named(guide_id)
    profiles = f"{guide.canonical}{facts.get('profiles', '')}"
    guides = [guide, *map(guide_named, facts.get("other_guides", ()))]
    return Api(
        facts["name"],
        facts["title"],
        facts["documentation"],
        is_public,
        f"{guide.base}CapabilityStatement/{facts['instantiates']}",
        tuple(
            one.implementation_guide if is_public else f"{one.implementation_guide}|{one.version}"
            for one in guides
        ),
        MappingProxyType(
            {name: _read_type(name, entry, profiles, is_public) for name, entry in types.items()}
        ),
    )


def api_of(model: DataModel) -> Api:
    """Return the API of a data model."""
    return _read_api(f"{model.mappings}.toml", model.guide, not model.has_members)


def _read_type(name: str, entry: Mapping[str, Any], profiles: str, is_public: bool) -> ResourceType:
    listed = (_read_parameter(*item) for item in entry["parameters"].items())
    parameters = {parameter.name: parameter for parameter in (_ID, _LAST_UPDATED, *listed)}
    dates = (parameter.name for parameter in parameters.values() if parameter.type == "date")
    return ResourceType(
        name,
        tuple(
            profile if "://" in profile else f"{profiles}{profile}" for profile in entry["profiles"]
        ),
        ("read", "vread", "search-type"),
        MappingProxyType(parameters),
        tuple(parameters[include] for include in entry["includes"]),
        (*(() if is_public else ("_id",)), *dates),
        entry.get("shared", is_public),
        tuple(entry["through"]) if "through" in entry else None,
        entry["documentation"],
    )


def _read_parameter(name: str, entry: Mapping[str, Any]) -> SearchParameter:
    guide, _, definition = entry.get("definition", "").partition(":")
    suffix = _REFERENCE_TEXT if entry["type"] == "reference" else ""
    return SearchParameter(
        name,
        entry["type"],
        f"{_DEFINITIONS[guide]}{definition}" if guide else "",
        f"{entry['text']}{suffix}",
        ("missing", *_MODIFIERS.get(entry["type"], ()), *entry.get("modifiers", ())),
        PREFIXES if entry["type"] == "date" else (),
        tuple(entry.get("targets", ())),
        entry.get("implicit_system", False),
        entry.get("since", ""),
    )


_REFERENCE_TEXT: Final = ": an id, `Type/id`, or a URL under this server's base."

TYPES: Final = api_of(CLAIMS).types
"""Types of the Patient Access API, by name."""


def answerable(kind: ResourceType, columns: frozenset[str] | None, version: str) -> ResourceType:
    """Return a type with only those search parameters that a release has columns for.

    A parameter that the release's version of the guide doesn't define becomes the server's own.

    Args:
        kind: the type.
        columns: index columns that the release records; None if it records none.
        version: version of the guide that the release follows; empty if unknown.
    """
    if columns is None:
        return kind

    def is_indexed(name: str) -> bool:
        return name in _ALWAYS_INDEXED or name in columns

    parameters = {
        name: _drop_modifiers(
            replace(parameter, definition="") if "" < version < parameter.since else parameter,
            columns,
        )
        for name, parameter in kind.parameters.items()
        if is_indexed(name)
    }
    if parameters == kind.parameters:
        return kind
    return replace(
        kind,
        parameters=MappingProxyType(parameters),
        includes=tuple(include for include in kind.includes if is_indexed(include.name)),
        sorts=tuple(sort for sort in kind.sorts if is_indexed(sort)),
    )


def _drop_modifiers(parameter: SearchParameter, columns: frozenset[str]) -> SearchParameter:
    """Drop the modifiers of a parameter whose separate column a release does not have."""
    modifiers = tuple(
        modifier
        for modifier in parameter.modifiers
        if modifier not in COLUMN_MODIFIERS or f"{parameter.name}:{modifier}" in columns
    )
    return (
        parameter if modifiers == parameter.modifiers else replace(parameter, modifiers=modifiers)
    )


def revincludes(kind: ResourceType, kinds: Iterable[ResourceType]) -> list[str]:
    """Return the values of a type's `_revinclude`: the references to it, as `Type:parameter`."""
    return [
        f"{source.name}:{include.name}"
        for source in kinds
        for include in source.includes
        if kind.name in include.targets
    ]


_ALWAYS_INDEXED: Final = ("_id", "_lastUpdated")

API: Final = read_beside(__file__, "api.toml")
"""The tables of `api.toml`."""

EVERYTHING, BULK_PUBLISH = (
    Operation(name, **{**operation, "parameters": tuple(operation["parameters"])})
    for name, operation in API["operations"].items()
)
OPERATIONS: Final = (EVERYTHING,)
"""Operations of Patient Access; the directory has `BULK_PUBLISH`."""
