"""Supported FHIR, in one place: types, interactions, search parameters, includes.

The search parses parameters by it; the capability statement is made from it. So the documented and
the actual behaviour cannot differ.

Sources: the CapabilityStatement `c4bb` and the SearchParameters of CARIN Blue Button 2.2.0; FHIR R4
`search.html` and the SearchParameters of the base types; `ExplanationOfBenefit-payee` is R4's own,
because the guide asks for the include and defines no parameter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final, Literal

from etl.profiles.guides import C4BB, US_CORE

ParameterType = Literal["token", "date", "reference", "string", "special"]
Interaction = Literal["read", "vread", "search-type"]

COLUMN_MODIFIERS: Final = ("text", "of-type")
"""Modifiers that search a column of their own, `parameter:modifier`; where a release has none they
are not supported."""

PREFIXES: Final = ("eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap")
"""Prefixes of date values, FHIR R4 search 3.1.1.4.5."""

_CARIN: Final = f"{C4BB.base}SearchParameter/"
_R4: Final = "http://hl7.org/fhir/SearchParameter/"

INSTANTIATES: Final = f"{C4BB.base}CapabilityStatement/c4bb"
"""Canonical of the guide's requirements, without version, as its test kit expects it."""


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
class SearchInclude:
    """One value that `_include` and `_include:iterate` take.

    Attributes:
        code: `Type:parameter`.
        parameter: name of the search parameter that holds the references.
        targets: types that may be included.
    """

    code: str
    parameter: str
    targets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ResourceType:
    """One resource type.

    Attributes:
        name: FHIR resource type.
        profiles: canonicals of its profiles, without version.
        interactions: as the capability statement calls them.
        parameters: by name, in the order in which they are listed.
        includes: values of `_include`, beside `Type:*` (all of them) and `*`.
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
    includes: tuple[SearchInclude, ...]
    sorts: tuple[str, ...]
    shared: bool
    through: tuple[str, str] | None
    documentation: str


@dataclass(frozen=True, slots=True)
class ResultParameter:
    """One parameter that shapes an answer and searches nothing.

    Attributes:
        name: as it stands in a URL, with its modifier.
        documentation: what values it takes and what it does.
    """

    name: str
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


def date_parameter(name: str, definition: str, documentation: str) -> SearchParameter:
    """Return a parameter of dates, with all prefixes."""
    return SearchParameter(name, "date", definition, documentation, ("missing",), PREFIXES)


def token_parameter(
    name: str, definition: str, documentation: str, *modifiers: str
) -> SearchParameter:
    """Return a parameter of codes or identifiers, with modifiers beside `missing` and `not`."""
    return SearchParameter(name, "token", definition, documentation, ("missing", "not", *modifiers))


def string_parameter(name: str, definition: str, documentation: str) -> SearchParameter:
    """Return a parameter of texts."""
    modifiers = ("missing", "exact", "contains")
    return SearchParameter(name, "string", definition, documentation, modifiers)


def reference_parameter(name: str, definition: str, what: str, *targets: str) -> SearchParameter:
    """Return a parameter of references to some types."""
    text = f"{what}: an id, `Type/id`, or a URL under this server's base."
    return SearchParameter(name, "reference", definition, text, ("missing",), (), targets)


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
_ORGANIZATIONS: Final = ("Organization",)
_PROVIDERS: Final = ("Practitioner", "Organization", "PractitionerRole")
_ALL: Final[tuple[Interaction, ...]] = ("read", "vread", "search-type")


def resource_type(
    name: str,
    profiles: tuple[str, ...],
    parameters: tuple[SearchParameter, ...],
    includes: tuple[str, ...],
    documentation: str,
    *,
    shared: bool = False,
    through: tuple[str, str] | None = None,
) -> ResourceType:
    """Return a type that is read, read by version and searched.

    Args:
        name: FHIR resource type.
        profiles: canonicals of its profiles, or names of C4BB's.
        parameters: beside `_id` and `_lastUpdated`, which every type has.
        includes: those that hold references for `_include`.
        documentation: a sentence or two for developers.
        shared: as in `ResourceType`.
        through: as in `ResourceType`.
    """
    by_name = {parameter.name: parameter for parameter in (_ID, _LAST_UPDATED, *parameters)}
    targets = {parameter.name: parameter.targets for parameter in parameters}
    return ResourceType(
        name,
        tuple(
            profile if "://" in profile else f"{C4BB.canonical}{profile}" for profile in profiles
        ),
        _ALL,
        MappingProxyType(by_name),
        tuple(
            SearchInclude(f"{name}:{include}", include, targets[include]) for include in includes
        ),
        ("_id", *(parameter.name for parameter in by_name.values() if parameter.type == "date")),
        shared,
        through,
        documentation,
    )


_DIRECTORY: Final = (
    "Shared by all members. Any can be read by its id, and be searched for by `_id`; other "
    "searches look through those that the member's own claims and coverages refer to."
)

TYPES: Final[Mapping[str, ResourceType]] = MappingProxyType(
    {
        parameter.name: parameter
        for parameter in (
            resource_type(
                "ExplanationOfBenefit",
                (
                    "C4BB-ExplanationOfBenefit",
                    "C4BB-ExplanationOfBenefit-Inpatient-Institutional",
                    "C4BB-ExplanationOfBenefit-Outpatient-Institutional",
                    "C4BB-ExplanationOfBenefit-Oral",
                    "C4BB-ExplanationOfBenefit-Pharmacy",
                    "C4BB-ExplanationOfBenefit-Professional-NonClinician",
                ),
                (
                    reference_parameter(
                        "patient", f"{_CARIN}explanationofbenefit-patient", "The member", "Patient"
                    ),
                    token_parameter(
                        "type",
                        f"{_CARIN}explanationofbenefit-type",
                        "Kind of claim: institutional, oral, pharmacy, professional, vision.",
                    ),
                    token_parameter(
                        "identifier",
                        f"{_CARIN}explanationofbenefit-identifier",
                        "The payer's claim number.",
                    ),
                    date_parameter(
                        "service-date",
                        f"{_CARIN}explanationofbenefit-service-date",
                        "The billable period, or the date or period of any item.",
                    ),
                    date_parameter(
                        "service-start-date",
                        f"{_CARIN}explanationofbenefit-service-start-date",
                        "Start of the billable period, or of any item.",
                    ),
                    date_parameter(
                        "billable-period-start",
                        f"{_CARIN}explanationofbenefit-billable-period-start",
                        "Start of the billable period.",
                    ),
                    replace(
                        token_parameter(
                            "status",
                            f"{_R4}ExplanationOfBenefit-status",
                            "Whether the claim counts: active, cancelled, draft, entered-in-error.",
                        ),
                        has_implicit_system=True,
                    ),
                    date_parameter(
                        "created",
                        f"{_R4}ExplanationOfBenefit-created",
                        "When the claim was adjudicated.",
                    ),
                    reference_parameter(
                        "coverage",
                        f"{_CARIN}explanationofbenefit-coverage",
                        "A coverage that the claim was made under",
                        "Coverage",
                    ),
                    reference_parameter(
                        "insurer",
                        f"{_CARIN}explanationofbenefit-insurer",
                        "The payer",
                        *_ORGANIZATIONS,
                    ),
                    reference_parameter(
                        "provider",
                        f"{_CARIN}explanationofbenefit-provider",
                        "The billing provider",
                        *_PROVIDERS,
                    ),
                    reference_parameter(
                        "care-team",
                        f"{_CARIN}explanationofbenefit-care-team",
                        "A member of the care team",
                        *_PROVIDERS,
                    ),
                    reference_parameter(
                        "payee",
                        f"{_R4}ExplanationOfBenefit-payee",
                        "Who was paid",
                        *_PROVIDERS,
                        "Patient",
                        "RelatedPerson",
                    ),
                ),
                ("patient", "provider", "care-team", "coverage", "insurer", "payee"),
                "One claim with what was paid and what is owed. Newest first by billable period.",
            ),
            resource_type(
                "Coverage",
                ("C4BB-Coverage",),
                (
                    reference_parameter(
                        "patient", f"{_R4}Coverage-patient", "The member", "Patient"
                    ),
                    reference_parameter(
                        "beneficiary",
                        f"{_R4}Coverage-beneficiary",
                        "The member",
                        "Patient",
                    ),
                    reference_parameter(
                        "payor",
                        f"{_CARIN}coverage-payor",
                        "The payer",
                        *_ORGANIZATIONS,
                        "Patient",
                        "RelatedPerson",
                    ),
                    reference_parameter(
                        "subscriber",
                        f"{_R4}Coverage-subscriber",
                        "The subscriber",
                        "Patient",
                        "RelatedPerson",
                    ),
                ),
                ("payor", "patient", "beneficiary", "subscriber"),
                "One coverage of the member, with the data in force while it held.",
            ),
            resource_type(
                "Patient",
                ("C4BB-Patient",),
                (
                    token_parameter("identifier", f"{_R4}Patient-identifier", "A member id."),
                    string_parameter(
                        "name", f"{_R4}Patient-name", "Start of a family or given name."
                    ),
                    date_parameter("birthdate", f"{_R4}individual-birthdate", "Date of birth."),
                ),
                (),
                "The member whose data the token opens.",
            ),
            resource_type(
                "RelatedPerson",
                ("C4BB-RelatedPerson",),
                (
                    reference_parameter(
                        "patient", f"{_R4}RelatedPerson-patient", "The member", "Patient"
                    ),
                ),
                ("patient",),
                "A subscriber who is not the member.",
            ),
            resource_type(
                "Organization",
                ("C4BB-Organization",),
                (
                    token_parameter(
                        "identifier",
                        f"{_R4}Organization-identifier",
                        "NPI, tax id, NAIC, CLIA, or the payer's own.",
                    ),
                    string_parameter("name", f"{_R4}Organization-name", "Start of the name."),
                ),
                (),
                f"A payer, provider or facility. {_DIRECTORY}",
                shared=True,
            ),
            resource_type(
                "Practitioner",
                ("C4BB-Practitioner",),
                (
                    token_parameter(
                        "identifier",
                        f"{_R4}Practitioner-identifier",
                        "NPI, tax id, or the payer's own.",
                    ),
                    string_parameter(
                        "name",
                        f"{_R4}Practitioner-name",
                        "Start of a family or given name.",
                    ),
                ),
                (),
                f"A person who gives care. {_DIRECTORY}",
                shared=True,
            ),
            resource_type(
                "PractitionerRole",
                (f"{US_CORE.canonical}us-core-practitionerrole",),
                (
                    reference_parameter(
                        "practitioner",
                        f"{_R4}PractitionerRole-practitioner",
                        "The person",
                        "Practitioner",
                    ),
                    reference_parameter(
                        "organization",
                        f"{_R4}PractitionerRole-organization",
                        "The organization",
                        *_ORGANIZATIONS,
                    ),
                    reference_parameter(
                        "location",
                        f"{_R4}PractitionerRole-location",
                        "The place",
                        "Location",
                    ),
                    token_parameter(
                        "specialty",
                        f"{_R4}PractitionerRole-specialty",
                        "NUCC taxonomy code.",
                    ),
                ),
                ("practitioner", "organization", "location"),
                "What a practitioner does for an organization. Shared by all members. Any can be "
                "read by its id, and be searched for by `_id`; other searches look through those "
                "of the practitioners that the member's own claims refer to.",
                shared=True,
                through=("Practitioner", "role"),
            ),
            resource_type(
                "Location",
                (f"{US_CORE.canonical}us-core-location",),
                (
                    string_parameter("name", f"{_R4}Location-name", "Start of the name."),
                    reference_parameter(
                        "organization",
                        f"{_R4}Location-organization",
                        "Who runs it",
                        *_ORGANIZATIONS,
                    ),
                ),
                ("organization",),
                "Where care is given. Shared by all members. Any can be read by its id, and be "
                "searched for by `_id`; other searches look through those of the organizations "
                "that the member's own claims and coverages refer to.",
                shared=True,
                through=("Organization", "location"),
            ),
        )
    }
)

_ADDED: Final = frozenset(
    {
        ("ExplanationOfBenefit", "status"),
        ("ExplanationOfBenefit", "created"),
        ("Coverage", "subscriber"),
        ("Patient", "name"),
        ("Patient", "birthdate"),
        ("PractitionerRole", "location"),
        ("Practitioner", "role"),
        ("Organization", "location"),
    }
)
"""Columns that indexes lack in trees that do not record their columns."""


def answerable(kind: ResourceType, columns: frozenset[str] | None) -> ResourceType:
    """Return a type with the parameters that a release can be searched by.

    Args:
        kind: the type.
        columns: index columns that the release records; None where it records none.
    """

    def has(name: str) -> bool:
        if name in _OF_EVERY_INDEX:
            return True
        return name in columns if columns is not None else (kind.name, name) not in _ADDED

    parameters = {
        name: _answerable_parameter(parameter, columns or frozenset())
        for name, parameter in kind.parameters.items()
        if has(name)
    }
    if parameters == kind.parameters:
        return kind
    return replace(
        kind,
        parameters=MappingProxyType(parameters),
        includes=tuple(include for include in kind.includes if has(include.parameter)),
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


def revincludes(kind: ResourceType, kinds: Iterable[ResourceType]) -> tuple[SearchInclude, ...]:
    """Return the references of some types that lead to one: the values of its `_revinclude`."""
    return tuple(inc for source in kinds for inc in source.includes if kind.name in inc.targets)


_OF_EVERY_INDEX: Final = ("_id", "_lastUpdated")

RESULT_PARAMETERS: Final = (
    ResultParameter("_count", "Matches a page, from 0; more than the server's most is that most."),
    ResultParameter(
        "_sort", "`_lastUpdated`, `_id` or a date parameter; `-` before it for descending; a list."
    ),
    ResultParameter("_summary", "`count` for the total alone, `true`, `text`, `data` or `false`."),
    ResultParameter("_elements", "Top-level elements of the matches, beside the mandatory ones."),
    ResultParameter("_total", "`accurate` and `estimate` give the number of matches, `none` none."),
    ResultParameter("_include", "`Type:parameter`, `Type:parameter:Target`, `Type:*` or `*`."),
    ResultParameter("_include:iterate", "The same, followed from what was included as well."),
)

REVINCLUDE: Final = ResultParameter(
    "_revinclude", "`Type:parameter`: what refers to a match by that parameter, of a directory."
)

EVERYTHING: Final = Operation(
    "everything",
    "Patient",
    "http://hl7.org/fhir/OperationDefinition/Patient-everything",
    ("start", "end", "_since", "_type", "_count"),
    "The member's Patient, coverages, related persons and claims, and what they refer to in the "
    "directory. With `_since`, the `meta.lastUpdated` of an earlier answer: what is new and gone.",
)

OPERATIONS: Final = (EVERYTHING,)

BULK_PUBLISH: Final = Operation(
    "bulk-publish",
    "",
    "http://hl7.org/fhir/uv/bulkdata/OperationDefinition/bulk-publish",
    (),
    "The files that make up the directory: a manifest of HL7 Bulk Data, 4.0.0 ballot.",
)
"""Of a payer's directory."""
