"""Check what a partition's rows make against the profiles, before any of it is published."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.arrays import join
from etl.engine.evaluate import Values
from etl.engine.obligation_checks import broken_rows
from etl.engine.omitted_rows import OMITTED
from etl.engine.unmapped import MISSHAPEN, UNMAPPED, WITHOUT_CODE
from etl.mapping.obligations import Obligation
from etl.quality import RuleBook
from etl.rows import once_each

Obligations: TypeAlias = Mapping[str, tuple[Obligation, ...]]
"""Mapping -> obligations of its profile that rows could break."""

WHILE_MAPPING: Final = (UNMAPPED, MISSHAPEN, WITHOUT_CODE, OMITTED)
"""Rules of the findings that the engine makes while it maps."""

_STUBBED: Final = frozenset({"Organization", "Practitioner"})
"""Types of which a resource is made for whatever refers to one that has no row."""


@dataclass(slots=True)
class ObligationChecks:
    """Checks of what some plans make of one partition.

    Attributes:
        obligations: what is checked.
    """

    obligations: Obligations
    _made: pa.StringArray | None = None
    _types: frozenset[str] = frozenset()
    _found: list[pa.Table] = field(default_factory=list)

    def expect(self, values: Iterable[Values]) -> None:
        """Add the ids of all resources that will be made; references must lead to them."""
        made, types = [], set()
        for value in values:
            plan = value.plan
            types.add(plan.resource)
            if value.levels[0].size:
                ids = value.text(plan.id, 0)
                made.append(join(f"{plan.resource}/", ids, absent_as_empty=False))
        self._types = frozenset(types) - _STUBBED
        self._made = pa.concat_arrays(made) if made else pa.nulls(0, pa.string())

    def check(self, values: Values) -> None:
        """Check the rows of one plan, which has been rendered."""
        due = self.obligations.get(values.plan.name, ())
        self._found.append(broken_rows(values, due, made=self._made, types=self._types))

    def broken(
        self, findings: Iterable[pa.Table] = (), rejecting: frozenset[str] = frozenset()
    ) -> pa.Table:
        """Return the rows that are kept from being published, each once a rule.

        Args:
            findings: those of the engine about cells and rows.
            rejecting: those rules of theirs that reject.

        Returns:
            `etl.rows.FINDINGS_SCHEMA`: what breaks a profile, and what these rules reject.
        """
        if not rejecting:
            return once_each(self._found)
        rules = pa.array(sorted(rejecting), pa.string())
        rejected = (
            finding.filter(pc.is_in(finding.column("rule"), value_set=rules))
            for finding in findings
        )
        return once_each([*self._found, *rejected])


def rejecting_words(book: RuleBook) -> frozenset[str]:
    """Return the rules of findings made while mapping that a payer's policy has reject."""
    return frozenset(rule for rule in WHILE_MAPPING if book[rule].severity.rejects)


def with_broken(findings: pa.Table, broken: pa.Table) -> pa.Table:
    """Return findings with those about broken rows, which then keep the rows out.

    Raises:
        AssertionError: they had been found before, and did not keep the rows out (a bug).
    """
    both = once_each([findings, broken])
    if both.num_rows == once_each([findings]).num_rows:
        raise AssertionError("a row that breaks its profile was accepted again")
    return pa.concat_tables([findings, broken])
