"""The values that a report is made of. They hold names, counts, places and hashes; never a cell."""

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
        unowned_rows: rows of those that cannot be read and have no known owner.
        sha256: of the file as it lies there.
    """

    name: str
    rows: int
    unowned_rows: int
    sha256: str


@dataclass(frozen=True, slots=True)
class ExtractFacts:
    """The extract of a run.

    Attributes:
        layout: the dialect, as `cpcds layouts` calls it.
        kind: `full` or `delta`.
        as_of: day of the extract, where it is stated.
        payer: name of the payer, or empty.
        files: in the order in which findings number them.
    """

    layout: str
    kind: str
    as_of: date | None
    payer: str
    files: tuple[ExtractFile, ...]


@dataclass(frozen=True, slots=True)
class DefaultStamp:
    """The `meta.lastUpdated` of resources of which the source states none.

    Attributes:
        instant: FHIR instant.
        source: `as_of`: the day of the extract; `newest_stamp`: the newest `last_updated` in it;
            `clock`: when the run began.
    """

    instant: str
    source: Literal["as_of", "newest_stamp", "clock"]


@dataclass(frozen=True, slots=True)
class MappingFacts:
    """The mappings of a run.

    Attributes:
        set: name of the mapping set.
        version: version of the guide that it maps to.
        sha256: of the compiled mappings and crosswalks.
        profiles: canonical with its version, each profile once.
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
        row: row as a spreadsheet shows it; None for a whole file.
        column: canonical column; empty for a whole row.
    """

    file: int
    row: int | None
    column: str = ""


@dataclass(frozen=True, slots=True)
class RuleTotals:
    """Findings of one rule.

    Attributes:
        rule: its id.
        severity: as the payer set it.
        default: as the rule file has it.
        says, spoils: its two sentences.
        findings: how many, over all tables.
        tables: table -> how many.
        rejected_rows: rows in quarantine for which this rule began the chain.
        rejected_claims: claims among them; over all rules they sum to the claims in quarantine.
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
    """A word that a crosswalk does not contain: how many cells, and where; not which word.

    Attributes:
        crosswalk: its name.
        count: cells.
        examples: the first places.
        word: a keyed hash of the word; empty where it is not distinguished from others.
    """

    crosswalk: str
    count: int
    examples: tuple[Example, ...] = ()
    word: str = ""

    @property
    def first(self) -> tuple[int, int, str]:
        """Order of words that are equally frequent: the first place of each."""
        if not self.examples:
            return (0, 0, "")
        place = self.examples[0]
        return (place.file or 0, place.row or 0, place.column)


@dataclass(frozen=True, slots=True)
class SuiteLine:
    """Result of one table's suite of expectations.

    Attributes:
        table: the table.
        rows: rows there are.
        looked_at: rows checked.
        expectations: how many.
        met: how many of them hold.
        page: path of its page, relative to the report; None where there is none.
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
        path: where it is, relative to the report.
    """

    source: str
    rows: int
    path: str


@dataclass(frozen=True, slots=True)
class MissingCells:
    """Cells that must be filled, and are empty or cannot be read.

    Attributes:
        rule: the rule that requires them.
        table, column: which; the column is None where one of several would do.
        cells: how many.
    """

    rule: str
    table: str
    column: str | None
    cells: int


@dataclass(frozen=True, slots=True)
class EmptyCrosswalk:
    """A crosswalk of the layout without any code, through which cells went.

    Attributes:
        crosswalk: its name.
        columns: canonical columns of the cells (`claim_diagnosis.code`).
        cells: how many.
    """

    crosswalk: str
    columns: tuple[str, ...]
    cells: int


@dataclass(frozen=True, slots=True)
class ReleaseBefore:
    """The release that a run was made on top of.

    Attributes:
        release: its id.
        changes: members and resources that the run added, changed and retracted; None where it
            published nothing.
        document: what its `report.json` holds; None where that cannot be read.
    """

    release: str
    changes: Changes | None
    document: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """Contents of a report about one run.

    Attributes:
        run: id of the run.
        release: id of the release that it made; None where nothing was published.
        parent: id of the release before it.
        when: when the run began, with its zone.
        program: name and version of the program.
        extract: what was loaded.
        mapping: what it was mapped with; None for a run that only checks.
        counts: table -> counts of its rows, by fate.
        rules: every rule that found something, and those with a limit.
        rules_looked_at: how many rules there are.
        verdicts: every limit that is set.
        money: sums by level, claim type and category.
        resources: resource type -> how many were published.
        filled: filled cells of accepted rows.
        unmapped: words that crosswalks do not contain.
        suites: how the suites did.
        quarantine: files of rejected rows.
        data_docs: path of the Data Docs, relative to the report; empty where there are none.
        notes: further sentences for the reader.
        default_stamp: `meta.lastUpdated` where the source states none; None where nothing was
            published.
        findings_file: path of the file with every place of every finding, relative to the report;
            empty where there are none.
        advice: what to do where a whole table, or over half of the claims, was rejected.
        small_cells: sums of money over at most so many claims are withheld; 0 where none is.
        exact_money: path of the exact sums, relative to the report; empty where none is withheld.
        missing: cells that must be filled and are not.
        empty_crosswalks: crosswalks of the layout that are to be filled.
        must_support: how many resources have each must-support element, of profiles with resources.
        before: the release that the run was made on top of; None without one.
        all_reports: path of the page of all reports, relative to the report; empty without one.
        certificate: the published bytes compared with their source; None where nothing was written.
        timeliness: how soon claims were visible; None before there is a release to be new to.
        directory: quality of a directory of providers; None where the run was of claims.
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
    before: ReleaseBefore | None = None
    all_reports: str = ""
    certificate: CertificateFacts | None = None
    timeliness: TimelinessFacts | None = None
    directory: DirectoryFacts | None = None

    @property
    def stopped(self) -> bool:
        """Whether a limit kept the run from publishing."""
        return any(not verdict.holds for verdict in self.verdicts)
