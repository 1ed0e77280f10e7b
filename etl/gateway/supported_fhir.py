"""Supported FHIR, in one place: types, interactions, search parameters, includes.

The search parses parameters by it; the capability statement is made from it. So the documented and
the actual behaviour cannot differ.

`carin.toml` and `plan_net.toml` hold the types; both name their sources. `api.toml` holds the rest.
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
"""Modifiers that search a column of their own, `parameter:modifier`; where a release has none they
are not supported."""

PREFIXES: Final = ("eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap")
"""Prefixes of date values, FHIR R4 search 3.1.1.4.5."""

_R4: Final = "http://hl7.org/fhir/SearchParameter/"

FACILITY: Final = ("ExplanationOfBenefit", "facility")
"""A column of references without search parameter: the place of a claim's services, and whom else a
prior authorization names."""

INSTANTIATES: Final = f"{C4BB.base}CapabilityStatement/c4bb"
"""Canonical of the guide's requirements, without version, as its test kit expects it."""

PLAN_NET_STATEMENT: Final = f"{PLAN_NET.base}CapabilityStatement/plan-net"
"""Canonical of the guide's requirements; 1.2.0 itself prints that of another guide for it."""


@dataclass(frozen=True, slots=True)
class SearchParameter:
    """One search parameter of one resource type.

    Attributes:
        name: as it stands in a URL.
        type: FHIR search parameter type.
        definition: canonical URL of its SearchParameter; empty for one of this server's own.
        documentation: one sentence for developers.
        modifiers: accepted suffixes after a colon; `missing` among them where it is supported.
            For a reference, the target types work as modifiers too (`patient:Patient=…`).
        prefixes: accepted prefixes of a value; empty except for dates.
        targets: types that a reference may name.
        has_implicit_system: whether its element is a code, whose system is not in the resource:
            `|code` finds it too (FHIR R4, search 3.1.1.4.10).
    """

    name: str
    type: ParameterType
    definition: str
    documentation: str
    modifiers: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    has_implicit_system: bool = False


@dataclass(frozen=True, slots=True)
class ResourceType:
    """One resource type.

    Attributes:
        name: FHIR resource type.
        profiles: canonicals of its profiles, without version.
        interactions: as the capability statement calls them.
        parameters: by name, in the order in which they are listed.
        includes: parameters that `_include` takes as `Type:parameter`, beside `Type:*` and `*`.
        sorts: parameters that `_sort` accepts.
        shared: whether it belongs to the payer's directory, and not to one member.
        through: type, and column of its index, through which a member reaches resources of this
            type; None where the member's own resources refer to this type.
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
        name: without `$`.
        type: resource type that it is called on, with an id; empty where it is the whole server's.
        definition: canonical URL of its OperationDefinition.
        parameters: names that it takes.
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
"""Modifiers that every parameter of a type takes beside `missing`, which all take."""

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
    """Return the resource types of one of the TOML files beside this module.

    Args:
        file: its name.
        profiles: beginning of the canonicals of the profiles.
        shared: whether all of its types are the payer's, and none a member's.
        sorts_by_id: whether `_sort` accepts `_id`.
    """
    return MappingProxyType(
        {
            name: _resource_type(name, entry, profiles, shared, sorts_by_id)
            for name, entry in read_beside(__file__, file).items()
        }
    )


def _resource_type(
    name: str, entry: Mapping[str, Any], profiles: str, shared: bool, sorts_by_id: bool
) -> ResourceType:
    own = (_parameter(*item) for item in entry["parameters"].items())
    parameters = {parameter.name: parameter for parameter in (_ID, _LAST_UPDATED, *own)}
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


def _parameter(name: str, entry: Mapping[str, Any]) -> SearchParameter:
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
    )


_REFERENCE_TEXT: Final = ": an id, `Type/id`, or a URL under this server's base."

TYPES: Final = read_types("carin.toml", C4BB.canonical)
"""Types of the Patient Access API, by name."""

PLAN_NET_TYPES: Final = read_types(
    "plan_net.toml", f"{PLAN_NET.canonical}plannet-", shared=True, sorts_by_id=False
)
"""Types of the Provider Directory API, by name: the eight of Plan-Net."""


def answerable(kind: ResourceType, columns: frozenset[str] | None) -> ResourceType:
    """Return a type with the parameters that a release can be searched by.

    Args:
        kind: the type.
        columns: index columns that the release records; None if it records none.
    """
    if columns is None:
        return kind

    def has(name: str) -> bool:
        return name in _OF_EVERY_INDEX or name in columns

    parameters = {
        name: _answerable_parameter(parameter, columns)
        for name, parameter in kind.parameters.items()
        if has(name)
    }
    if parameters == kind.parameters:
        return kind
    return replace(
        kind,
        parameters=MappingProxyType(parameters),
        includes=tuple(include for include in kind.includes if has(include.name)),
        sorts=tuple(sort for sort in kind.sorts if has(sort)),
    )


def _answerable_parameter(parameter: SearchParameter, columns: frozenset[str]) -> SearchParameter:
    """Return a parameter with the modifiers that need no column of their own, or have it."""
    modifiers = tuple(
        modifier
        for modifier in parameter.modifiers
        if modifier not in COLUMN_MODIFIERS or f"{parameter.name}:{modifier}" in columns
    )
    return (
        parameter if modifiers == parameter.modifiers else replace(parameter, modifiers=modifiers)
    )


def revincludes(kind: ResourceType, kinds: Iterable[ResourceType]) -> list[str]:
    """Return the references of some types that lead to one: the values of its `_revinclude`."""
    return [
        f"{source.name}:{include.name}"
        for source in kinds
        for include in source.includes
        if kind.name in include.targets
    ]


_OF_EVERY_INDEX: Final = ("_id", "_lastUpdated")

API: Final = read_beside(__file__, "api.toml")
"""The tables of `api.toml`."""

EVERYTHING, BULK_PUBLISH = (
    Operation(name, **{**operation, "parameters": tuple(operation["parameters"])})
    for name, operation in API["operations"].items()
)
OPERATIONS: Final = (EVERYTHING,)
"""Operations of Patient Access; the directory has `BULK_PUBLISH`."""
