"""Data models: the kinds of extract, and what each is processed with.

The layout of an extract determines its model. All differences between the models are fields here,
so that code for rows works with any tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from etl.model.canonical_tables import CLAIMS_TABLES, EXTRACT_TABLES, MEMBERLESS
from etl.model.tables import Table

_MODEL: Final = "model"


@dataclass(frozen=True, slots=True)
class DataModel:
    """One kind of extract.

    Attributes:
        name: its name in rules and reports.
        layout: name of its canonical layout.
        title: a few words for a list of layouts.
        contents: the contents of a target with such extracts, for sentences.
        page: the page that describes its canonical layout.
        tables: its tables by name, in the order of documentation and loading.
        one_of: an extract needs at least one of these tables, besides the compulsory ones.
        filled: the table that must have rows.
        main: the table to name in a message if none is found.
        rules: folder of its rules in `mappings/rules/`; empty: `mappings/rules/` itself.
        mappings: folder of its mapping set in `mappings/`, and file of its API in `etl/gateway/`.
        guide: id of the guide that its resources follow.
        version: the setting in `publish` that selects a version or view of the guide; empty: none.
        path: path of its API; without the slash, the setting in `serve` that names its target.
        has_plan_finder: whether its public files include those of Medicare's Plan Finder.
    """

    name: str
    layout: str
    title: str
    contents: str
    page: str
    tables: Mapping[str, Table]
    one_of: tuple[str, ...]
    filled: str
    main: str
    rules: str
    mappings: str
    guide: str
    version: str
    path: str
    has_plan_finder: bool = False

    @property
    def has_members(self) -> bool:
        """Whether rows belong to members, which are then split into partitions."""
        return not self.tables.keys() <= MEMBERLESS

    @property
    def stated(self) -> Mapping[str, str]:
        """Facts that a release states about its model; none for claims."""
        return {} if self.has_members else {_MODEL: self.name}

    def __reduce__(self) -> tuple[object, tuple[str]]:
        """Pickle by name; the other process has the same models."""
        return data_model, (self.name,)


CLAIMS: Final = DataModel(
    name="claims",
    layout="cpcds",
    title="Canonical CPCDS layout",
    contents="claims",
    page="docs/canonical-layout.md",
    tables=CLAIMS_TABLES,
    one_of=(),
    filled="member",
    main="claim",
    rules="",
    mappings="c4bb",
    guide="carin-bb",
    version="view",
    path="/fhir",
)
DIRECTORY: Final = DataModel(
    name="directory",
    layout="cpcds-directory",
    title="Canonical layout of a provider directory",
    contents="a provider directory",
    page="docs/directory.md",
    tables=EXTRACT_TABLES["directory"],
    one_of=("network", "directory_practitioner", "location"),
    filled="directory_organization",
    main="directory_organization",
    rules="directory",
    mappings="plan-net",
    guide="davinci-pdex-plan-net",
    version="plan_net",
    path="/directory",
    has_plan_finder=True,
)
FORMULARY: Final = DataModel(
    name="formulary",
    layout="cpcds-formulary",
    title="Canonical layout of a drug formulary",
    contents="a drug formulary",
    page="docs/formulary.md",
    tables=EXTRACT_TABLES["formulary"],
    one_of=(),
    filled="formulary_item",
    main="formulary",
    rules="formulary",
    mappings="drug-formulary",
    guide="davinci-drug-formulary",
    version="",
    path="/formulary",
)
DATA_MODELS: Final = (CLAIMS, DIRECTORY, FORMULARY)
"""All data models, the default first."""


def data_model(name: str) -> DataModel:
    """Find a data model by name."""
    return next(model for model in DATA_MODELS if model.name == name)


def stated_model(facts: Mapping[str, object]) -> DataModel:
    """Find the data model of a release by its facts (`DataModel.stated`)."""
    return data_model(str(facts.get(_MODEL, CLAIMS.name)))


def model_of(tables: Mapping[str, object]) -> DataModel:
    """Find the data model with the given canonical tables."""
    return next(model for model in DATA_MODELS if tables.keys() <= model.tables.keys())
