"""Layouts, rules, crosswalks and mappings of a payer, loaded once in each process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from etl.mapping.coverage import WrittenColumns
from etl.mapping.must_support import MustSupport
from etl.mapping.plan import MappingSet, Plan
from etl.mapping.row_tests import Obligation
from etl.model.crosswalks import Crosswalk
from etl.model.data_models import CLAIMS, DataModel
from etl.model.sensitive_codes import SensitiveCodes
from etl.publish.kept_definitions import KeptDefinitions
from etl.quality.rules.book import RuleBook
from etl.sources.layout.model import Layout


@dataclass(frozen=True, slots=True)
class Definitions:
    """The rules and mappings that a payer's settings select.

    Attributes:
        layouts: the dialects that are known.
        crosswalks: by name.
        book: the rules, with the payer's severities and limits.
        mappings: the compiled mappings.
        obligations: mapping -> obligations of its profile that rows could break.
        elements: mapping -> must-support elements of its profile.
        columns: mapping -> the columns that it writes into each element.
        payer: the payer's id.
        id_key: key of the hash behind logical ids. Not printed.
        fingerprint: hash of everything that these were made of.
        sensitive: codes that are not published.
        leave_out_superseded: whether claims that another of their chain replaced are left out.
        dictionary: the data dictionary, as a release has it.
        hashed_lines: hashes of the lines that these were made of (`publish.kept_definitions`).
        model: the data model of the rows that they process.
    """

    layouts: tuple[Layout, ...]
    crosswalks: Mapping[str, Crosswalk]
    book: RuleBook
    mappings: MappingSet
    obligations: Mapping[str, tuple[Obligation, ...]]
    elements: Mapping[str, MustSupport]
    columns: Mapping[str, WrittenColumns]
    payer: str
    id_key: bytes
    fingerprint: str
    dictionary: bytes
    hashed_lines: KeptDefinitions
    sensitive: SensitiveCodes = field(default_factory=SensitiveCodes)
    leave_out_superseded: bool = False
    model: DataModel = CLAIMS

    def __repr__(self) -> str:
        return f"Definitions(payer={self.payer!r}, mappings={self.mappings.name!r})"

    @property
    def patient_plans(self) -> tuple[Plan, ...]:
        """Plans of what lies in patients' blocks."""
        return tuple(plan for plan in self.mappings.plans if plan.compartment is not None)

    @property
    def directory_plans(self) -> tuple[Plan, ...]:
        """Plans of what lies in the shared directory."""
        return tuple(plan for plan in self.mappings.plans if plan.compartment is None)


LoadDefinitions: TypeAlias = Callable[[], Definitions]
"""Loads the definitions; can be sent to another process."""
