"""Totals of a run: sums over its partitions, in memory that does not grow with them."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from etl.engine.noticed import Mention
from etl.pipeline.work import Outcome
from etl.quality import MoneyKey, MoneyTotals, RowCounts, add_counts, add_money
from etl.quality.sample import Sample
from etl.rows import no_findings

_EXAMPLES: Final = 50


@dataclass
class Totals:
    """What is known after some partitions.

    Attributes:
        counts: table -> what became of its rows.
        money: sums by level, claim type and category.
        filled: table -> column -> accepted rows in which it is filled.
        resources: FHIR type -> how many were made.
        findings: rule -> how many.
        examples: rule -> the first findings, by file and row.
        missing: directory resources that are referred to and have no row.
        samples: table -> rows for the suites, at most `sample_rows` each.
    """

    sample_rows: int = 0
    counts: dict[str, RowCounts] = field(default_factory=dict)
    money: dict[MoneyKey, MoneyTotals] = field(default_factory=dict)
    filled: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    resources: Counter[str] = field(default_factory=Counter)
    findings: Counter[str] = field(default_factory=Counter)
    examples: dict[str, pa.Table] = field(default_factory=dict)
    missing: set[Mention] = field(default_factory=set)
    samples: dict[str, list[Sample]] = field(default_factory=lambda: defaultdict(list))

    def add(self, outcome: Outcome) -> None:
        """Count one more partition."""
        checked = outcome.checked
        self.counts = add_counts([self.counts, checked.counts])
        self.money = add_money([self.money, checked.money])
        for table, columns in checked.filled.items():
            self.filled[table].update(columns)
        self.resources.update(outcome.resources)
        self.missing |= outcome.missing
        self.note(checked.findings)
        self.note(outcome.unmapped)
        for table, sample in checked.samples.items():
            have = sum(one.rows.num_rows for one in self.samples[table])
            if have < self.sample_rows:
                self.samples[table].append(sample)

    def note(self, found: pa.Table) -> None:
        """Count findings, and keep the first of each rule as examples."""
        for count in found.column("rule").value_counts().to_pylist():
            rule = count["values"]
            self.findings[rule] += count["counts"]
            mine = found.filter(pc.equal(found.column("rule"), rule))
            both = pa.concat_tables([self.examples.get(rule, no_findings()), mine])
            ordered = both.sort_by([("file", "ascending"), ("row", "ascending")])
            self.examples[rule] = ordered.slice(0, _EXAMPLES)

    def of(self, table: str) -> RowCounts:
        """Return what became of the rows of a table."""
        return self.counts.get(table, RowCounts())
