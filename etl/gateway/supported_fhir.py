"""The supported FHIR: types, interactions, search parameters, includes.

Both the search and the capability statement use it, so that documented and actual behavior cannot
differ. `carin.toml` and `plan_net.toml` define the types and cite their sources; `api.toml` has the
rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final, Literal

from etl.documents.packaged_toml import read_beside
from etl.profiles.guides import C4BB, PDEX, PLAN_NET

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

INSTANTIATES: Final = f"{C4BB.base}CapabilityStatement/c4bb"
"""Canonical of the guide's requirements, without version, as its test kit expects it."""

PLAN_NET_STATEMENT: Final = f"{PLAN_NET.base}CapabilityStatement/plan-net"
"""Canonical of the guide's requirements; 1.2.0 itself prints that of another guide for it."""


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
    {
        "carin": f"{C4BB.base}SearchParameter/",
        "plan-net": f"{PLAN_NET.base}SearchParameter/",
        "pdex": f"{PDEX.base}SearchParameter/",
        "r4": _R4,
    }
)
"""Prefix of a definition in the files -> beginning of its canonical."""


def read_types(
    file: str, profiles: str, *, shared: bool = False, sorts_by_id: bool = True
) -> Mapping[str, ResourceType]:
    """Read the resource types of a TOML file in this folder.

    Args:
        file: name of the file.
        profiles: start of the profiles' canonicals.
        shared: whether all of its types belong to the provider directory.
        sorts_by_id: whether `_sort` accepts `_id`.
    """
    return MappingProxyType(
        {
            name: _read_type(name, entry, profiles, shared, sorts_by_id)
            for name, entry in read_beside(__file__, file).items()
        }
    )


def _read_type(
    name: str, entry: Mapping[str, Any], profiles: str, shared: bool, sorts_by_id: bool
) -> ResourceType:
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
        (*(("_id",) if sorts_by_id else ()), *dates),
        entry.get("shared", shared),
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

TYPES: Final = read_types("carin.toml", C4BB.canonical)
"""Types of the Patient Access API, by name."""

PLAN_NET_TYPES: Final = read_types(
    "plan_net.toml", f"{PLAN_NET.canonical}plannet-", shared=True, sorts_by_id=False
)
"""Types of the Provider Directory API, by name: the eight of Plan-Net."""


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
