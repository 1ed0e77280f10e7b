"""Totals of a run: sums over its partitions, in memory that does not grow with them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa

from etl.engine.must_support import ElementCounts, add_element_counts
from etl.engine.omitted_rows import OMITTED
from etl.engine.unmapped import WITHOUT_CODE, Mention
from etl.pipeline.outcome import Outcome
from etl.pipeline.tally import Tally
from etl.reports import Example, FindingPlaces, Unmapped
from etl.rows import no_findings, once_each

_EXAMPLES: Final = 10


@dataclass
class Totals:
    """Totals after some partitions.

    Attributes:
        places: takes places of findings; None where no report is written.
        tally: counts, money and findings.
        resources: FHIR type -> how many were made.
        elements: how many of them have each must-support element.
        missing: directory resources that are referred to and have no row.
        rejected: tables of `REJECTED_SCHEMA`, of units that have any.
        owned: `place_keys` of rows that could not be read and that some rejected claim lacks.
    """

    places: FindingPlaces | None = None
    tally: Tally = field(default_factory=Tally)
    resources: Counter[str] = field(default_factory=Counter)
    elements: ElementCounts = field(default_factory=dict)
    missing: set[Mention] = field(default_factory=set)
    rejected: list[pa.Table] = field(default_factory=list)
    _unmapped: Counter[str] = field(default_factory=Counter)
    _where: dict[str, pa.Table] = field(default_factory=dict)

    def add(self, outcome: Outcome) -> None:
        """Count the outcome of one more unit, or of the directory."""
        self.tally.add(outcome.checked)
        if self.places is not None:
            self.places.add(outcome.checked.findings)
        self.add_findings(once_each(outcome.unmapped.values()))
        self.resources.update(outcome.resources)
        self.elements = add_element_counts([self.elements, outcome.elements])
        self.missing |= outcome.missing
        if outcome.checked.rejected.num_rows:
            self.rejected.append(outcome.checked.rejected)
        for crosswalk, words in outcome.unmapped.items():
            if crosswalk in (OMITTED, WITHOUT_CODE):
                continue  # rows, and words that crosswalks do contain
            self._unmapped[crosswalk] += words.num_rows
            before = self._where.get(crosswalk, no_findings())
            both = pa.concat_tables([before, words])
            ordered = both.sort_by([("file", "ascending"), ("row", "ascending")])
            self._where[crosswalk] = ordered.slice(0, _EXAMPLES)

    def add_findings(self, findings: pa.Table) -> None:
        """Count findings alone: those about whole files belong to no partition."""
        self.tally.add_findings(findings)
        if self.places is not None:
            self.places.add(findings)

    def unmapped(self) -> tuple[Unmapped, ...]:
        """Return words that crosswalks do not contain: of each crosswalk the commonest first."""
        words = [
            Unmapped(crosswalk, count, tuple(_examples(self._where[name])), word)
            for name, count in self._unmapped.items()
            for crosswalk, _, word in [name.partition("#")]
            if count
        ]
        return tuple(sorted(words, key=lambda word: (word.crosswalk, -word.count, word.first)))


def _examples(findings: pa.Table) -> list[Example]:
    return [
        Example(finding["file"], finding["row"], finding["column"] or "")
        for finding in findings.to_pylist()
    ]
