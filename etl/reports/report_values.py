"""The values of a report: names, counts, places and hashes, but never a cell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Literal

from etl.mapping.coverage import ProfileCoverage
from etl.model.severity import Severity
from etl.publish.manifest import Changes
from etl.quality.totals.counts import FilledKey, RowCounts
from etl.quality.totals.limits import Verdict
from etl.quality.totals.money import MoneyKey, MoneyTotals
from etl.reports.certificate import CertificateFacts, TimelinessFacts
from etl.reports.directory import DirectoryFacts
from etl.reports.small_cells import SMALL_CELLS


@dataclass(frozen=True, slots=True)
class ExtractFile:
    """One file of the extract.

    Attributes:
        name: path inside the extract.
        rows: rows below the header.
        unowned_rows: orphan rows: unreadable rows without a known owner.
        sha256: hash of the file's bytes.
    """

    name: str
    rows: int
    unowned_rows: int
    sha256: str


@dataclass(frozen=True, slots=True)
class ExtractFacts:
    """The extract of a run.

    Attributes:
        layout: name of the layout in `cpcds layouts`.
        kind: `full` or `delta`.
        as_of: day of the extract; None if it is not stated.
        payer: name of the payer, as the manifest states it, or empty.
        files: in the order of the file numbers in findings.
    """

    layout: str
    kind: str
    as_of: date | None
    payer: str
    files: tuple[ExtractFile, ...]


@dataclass(frozen=True, slots=True)
class DefaultStamp:
    """The `meta.lastUpdated` of resources whose source states none.

    Attributes:
        instant: FHIR instant.
        source: `as_of`: the day of the extract; `newest_stamp`: its newest `last_updated`; `clock`:
            the start of the run.
    """

    instant: str
    source: Literal["as_of", "newest_stamp", "clock"]


@dataclass(frozen=True, slots=True)
class MappingFacts:
    """The mappings of a run.

    Attributes:
        set: name of the mapping set.
        version: version of the guide that it maps to.
        sha256: hash of the compiled mappings and crosswalks.
        profiles: canonical URL and version of each profile.
    """

    set: str
    version: str
    sha256: str
    profiles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, order=True)
class Example:
    """Place in a file of the extract.

    Attributes:
        file: number of the file.
        row: row number as a spreadsheet shows it; None for a whole file.
        column: canonical column; empty for a whole row.
    """

    file: int
    row: int | None
    column: str = ""


@dataclass(frozen=True, slots=True)
class RuleTotals:
    """Findings of one rule.

    Attributes:
        rule: its ID.
        severity: the payer's setting.
        default: the severity in the rule file.
        says, spoils: its two sentences.
        findings: how many, in all tables.
        tables: table -> how many findings.
        rejected_rows: rows in quarantine whose first cause is this rule.
        rejected_claims: claims among them; all rules together have all claims in quarantine.
        examples: the first places, in the order of the files.
    """

    rule: str
    severity: Severity
    default: Severity
    says: str
    spoils: str
    findings: int
    tables: Mapping[str, int]
    rejected_rows: int
    examples: tuple[Example, ...]
    rejected_claims: int = 0


@dataclass(frozen=True, slots=True)
class Unmapped:
    """A word that a crosswalk does not contain: how many cells have it, and where.

    Attributes:
        crosswalk: its name.
        count: how many cells have the word.
        examples: the first places.
        word: a keyed hash of the word; empty if words are not distinguished.
    """

    crosswalk: str
    count: int
    examples: tuple[Example, ...] = ()
    word: str = ""

    @property
    def first(self) -> tuple[int, int, str]:
        """Sort key of equally frequent words: the first place."""
        if not self.examples:
            return (0, 0, "")
        example = self.examples[0]
        return (example.file or 0, example.row or 0, example.column)


@dataclass(frozen=True, slots=True)
class SuiteLine:
    """Result of one table's suite of expectations.

    Attributes:
        table: the table.
        rows: rows of the table.
        looked_at: rows checked.
        expectations: how many there are.
        met: how many of them are met.
        page: path of its page, relative to the report; None if there is none.
    """

    table: str
    rows: int
    looked_at: int
    expectations: int
    met: int
    page: str | None = None


@dataclass(frozen=True, slots=True)
class QuarantineFile:
    """One file of rejected rows.

    Attributes:
        source: the file of the extract.
        rows: rows in it.
        path: its path, relative to the report.
    """

    source: str
    rows: int
    path: str


@dataclass(frozen=True, slots=True)
class MissingCells:
    """Required cells that are empty or unreadable.

    Attributes:
        rule: the rule that requires them.
        table: their table.
        column: their column; None if one of several columns would do.
        cells: how many there are.
    """

    rule: str
    table: str
    column: str | None
    cells: int


@dataclass(frozen=True, slots=True)
class EmptyCrosswalk:
    """A crosswalk of the layout without any code, although cells use it.

    Attributes:
        crosswalk: its name.
        columns: canonical columns of the cells (`claim_diagnosis.code`).
        cells: how many cells.
    """

    crosswalk: str
    columns: tuple[str, ...]
    cells: int


@dataclass(frozen=True, slots=True)
class ReleaseBefore:
    """The release that a run builds on.

    Attributes:
        release: its ID.
        changes: members and resources that the run added, changed and retracted; None if it
            published nothing.
        document: the contents of its `report.json`; None if that cannot be read.
    """

    release: str
    changes: Changes | None
    document: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """Contents of a report about one run.

    Attributes:
        run: ID of the run.
        release: ID of the release that it made; None if it published nothing.
        parent: ID of the previous release.
        when: start of the run, with its zone.
        program: name and version of the program.
        extract: the extract.
        mapping: the mappings; None for a run that only checks.
        counts: table -> counts of its rows, by fate.
        rules: every rule with findings or a limit.
        rules_looked_at: how many rules there are.
        verdicts: every limit that is set.
        money: sums by level, claim type and category.
        resources: resource type -> how many were published.
        filled: filled cells of accepted rows.
        unmapped: words that crosswalks do not contain.
        suites: results of the suites.
        quarantine: files of rejected rows.
        data_docs: path of the Data Docs, relative to the report; empty if there are none.
        notes: further sentences for the reader.
        default_stamp: `meta.lastUpdated` if the source states none; None if nothing was published.
        findings_file: path of the file with every place of every finding, relative to the report;
            empty if there are none.
        advice: what to do if a whole table or over half of the claims was rejected.
        small_cells: sums of money over at most this many claims are withheld; 0 to withhold none.
        exact_money: path of the exact sums, relative to the report; empty if none is withheld.
        missing: empty required cells.
        empty_crosswalks: crosswalks of the layout without any code.
        must_support: how many resources have each must-support element, by profile.
        previous: the release that the run builds on; None without one.
        all_reports: path of the page of all reports, relative to the report; empty without one.
        certificate: comparison of published bytes and source; None if nothing was written.
        timeliness: how soon claims were visible; None before the first release.
        directory: quality of a provider directory; None for claims.
    """

    run: str
    release: str | None
    parent: str | None
    when: datetime
    program: str
    extract: ExtractFacts
    mapping: MappingFacts | None
    counts: Mapping[str, RowCounts]
    rules: tuple[RuleTotals, ...]
    rules_looked_at: int
    verdicts: tuple[Verdict, ...]
    money: Mapping[MoneyKey, MoneyTotals]
    resources: Mapping[str, int] = field(default_factory=dict)
    filled: Mapping[FilledKey, int] = field(default_factory=dict)
    unmapped: tuple[Unmapped, ...] = ()
    suites: tuple[SuiteLine, ...] = ()
    quarantine: tuple[QuarantineFile, ...] = ()
    data_docs: str = ""
    notes: tuple[str, ...] = ()
    default_stamp: DefaultStamp | None = None
    findings_file: str = ""
    advice: tuple[str, ...] = ()
    small_cells: int = SMALL_CELLS
    exact_money: str = ""
    missing: tuple[MissingCells, ...] = ()
    empty_crosswalks: tuple[EmptyCrosswalk, ...] = ()
    must_support: tuple[ProfileCoverage, ...] = ()
    previous: ReleaseBefore | None = None
    all_reports: str = ""
    certificate: CertificateFacts | None = None
    timeliness: TimelinessFacts | None = None
    directory: DirectoryFacts | None = None

    @property
    def stopped(self) -> bool:
        """Whether a limit kept the run from publishing."""
        return any(not verdict.holds for verdict in self.verdicts)
