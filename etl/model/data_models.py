"""Data models: what kinds of extract there are, and what each is processed with.

An extract is of one model, which its layout says. Everything that holds for one of them alone is a
field here; code that handles rows takes tables by name and needs no more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from etl.model.canonical_tables import CLAIMS_TABLES, LISTED_TABLES, MEMBERLESS
from etl.model.tables import Table

_MODEL: Final = "model"


@dataclass(frozen=True, slots=True)
class DataModel:
    """One kind of extract.

    Attributes:
        name: as rules and reports call it.
        layout: name of its canonical layout.
        title: a few words for a list of layouts.
        what: what a target with such extracts holds, in a sentence.
        page: the page that describes its canonical layout.
        tables: its tables by name, in the order in which they are documented and loaded.
        one_of: tables of which an extract must have one at least, beside the compulsory ones.
        filled: the table that must have rows.
        main: the table that a message names where none is there.
        rules: folder of rules for it alone below `mappings/rules/`; empty: those right there.
        mappings: folder of its mapping set below `mappings/`.
    """

    name: str
    layout: str
    title: str
    what: str
    page: str
    tables: Mapping[str, Table]
    one_of: tuple[str, ...]
    filled: str
    main: str
    rules: str
    mappings: str

    @property
    def has_members(self) -> bool:
        """Whether rows belong to members, by whom they are cut into partitions."""
        return not self.tables.keys() <= MEMBERLESS

    @property
    def stated(self) -> Mapping[str, str]:
        """Facts of a release about the model that it was made of: none where that is claims."""
        return {} if self.has_members else {_MODEL: self.name}

    def __reduce__(self) -> tuple[object, tuple[str]]:
        """Pickle by name: another process uses the tables of its own program."""
        return data_model, (self.name,)


CLAIMS: Final = DataModel(
    name="claims",
    layout="cpcds",
    title="Canonical CPCDS layout",
    what="claims",
    page="docs/canonical-layout.md",
    tables=CLAIMS_TABLES,
    one_of=(),
    filled="member",
    main="claim",
    rules="",
    mappings="c4bb",
)
DIRECTORY: Final = DataModel(
    name="directory",
    layout="cpcds-directory",
    title="Canonical layout of a provider directory",
    what="a provider directory",
    page="docs/directory.md",
    tables=LISTED_TABLES,
    one_of=("network", "directory_practitioner", "location"),
    filled="directory_organization",
    main="directory_organization",
    rules="directory",
    mappings="plan-net",
)
DATA_MODELS: Final = (CLAIMS, DIRECTORY)
"""All of them, the default first."""


def data_model(name: str) -> DataModel:
    """Return the data model of a name."""
    return next(model for model in DATA_MODELS if model.name == name)


def stated_model(facts: Mapping[str, object]) -> DataModel:
    """Return the data model of a release, from what it states (`DataModel.stated`)."""
    return data_model(str(facts.get(_MODEL, CLAIMS.name)))


def model_of(tables: Mapping[str, object]) -> DataModel:
    """Return the data model that some canonical tables belong to."""
    return next(model for model in DATA_MODELS if tables.keys() <= model.tables.keys())
