"""The report and the quarantine of a run, as files of a folder."""

from __future__ import annotations

import gzip
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow.csv import WriteOptions, write_csv

from etl.certificate.certificate import Certificate, carried_money
from etl.certificate.source import amount_tables
from etl.certificate.sums import COUNTED
from etl.certificate.timeliness import MAX_BUSINESS_DAYS, count_delays, percentile
from etl.columns.places import place_keys
from etl.engine.element_counts import ElementCounts
from etl.errors import DataRejected
from etl.model.canonical_tables import FILE_COLUMN, ROW_COLUMN
from etl.pipeline.certificate import CERTIFICATE_LIMIT, PieceFiles, differences_csv, late_csv
from etl.pipeline.context import REJECTED, PartitionedExtract, RunContext
from etl.pipeline.process import ProcessedExtract
from etl.pipeline.progress import Emit, StageAdvanced, StageBegan, StageExtended, ignore
from etl.pipeline.reporting.suites import RanSuites, run_stage, sample_of
from etl.publish.manifest import Changes, Manifest, id_time_after
from etl.quality.quarantine import quarantine_csv, reasons
from etl.quality.suites.plan import SuiteResult
from etl.quality.totals.limits import REJECTION_LIMITS, refusal
from etl.reports import report_values as values
from etl.reports.certificate import CertificateFacts, FileMoney, TimelinessFacts
from etl.reports.directory import DirectoryFacts
from etl.reports.document import write_report
from etl.reports.small_cells import exact_csv, shown_money
from etl.sources.extract.opening import Extract
from etl.sources.layout.names import RAGGED_ROW
from etl.sources.partition.partitions import Partitions

REPORT: Final = "report"
QUARANTINE: Final = "quarantine"
_DOCS: Final = "data-docs"
_DIFFERENCES: Final = "differences.csv.gz"
_LATE: Final = "late-claims.csv.gz"
_PERCENTILES: Final = (50, 90, 95, 99, 100)
_FINDINGS: Final = "findings.csv.gz"
_DIRECTORY_ROWS: Final = "directory-quality.csv.gz"
_EXACT_MONEY: Final = "sums/money.csv"
"""In the quarantine's folder. Files of rejected rows are in no subfolder, so names can't clash."""
_REPORT_STEPS: Final = 2
"""Steps of the report stage besides quarantine files and pages of rules."""
MOST_CAUSES: Final = 5
"""Most first causes that a message lists."""
_POSITION: Final = (FILE_COLUMN, ROW_COLUMN)


@dataclass(frozen=True, slots=True)
class About:
    """Facts of a report about the run itself.

    Attributes:
        run: ID of the run.
        when: start of the run.
        release: ID of the release that it made; None if it published nothing.
        parent: ID of the previous release.
        resources: FHIR type -> how many were made.
        elements: how many resources have each must-support element.
        quarantine: path of the quarantine's folder, relative to the report.
        default_stamp: of resources that state none; None if nothing is published.
        previous: the release that the run builds on; None without one.
        all_reports: path of the page of all reports, relative to the report; empty without one.
        notes: sentences for the publisher about settings of the run.
        visible_day: the day on which readers see the release, UTC; None if it publishes nothing.
    """

    run: str
    when: datetime
    release: str | None
    parent: str | None
    resources: Mapping[str, int]
    elements: ElementCounts
    quarantine: str
    default_stamp: values.DefaultStamp | None = None
    previous: values.ReleaseBefore | None = None
    all_reports: str = ""
    notes: tuple[str, ...] = ()
    visible_day: date | None = None


class LimitBroken(DataRejected):
    """A limit does not hold, and nothing was published.

    Attributes:
        processed: the extract, checked and mapped.
        report: contents of the report; None if none was written.
        page: location of the report's page; empty if none was written.
    """

    def __init__(
        self, processed: ProcessedExtract, report: values.Report | None = None, page: str = ""
    ) -> None:
        self.processed, self.report, self.page = processed, report, page
        causes = processed.rejected.sentence(MOST_CAUSES)
        broken = {
            verdict.limit.partition(".")[0] for verdict in processed.verdicts if not verdict.holds
        }
        if causes and not broken.intersection(REJECTION_LIMITS):
            causes = f"In addition, rows were rejected. {causes}"
        sentences = [refusal(processed.verdicts), causes]
        sentences.append(f"The report: {page}" if page else "`cpcds validate` writes the report.")
        super().__init__(" ".join(part for part in sentences if part))


@dataclass(frozen=True, slots=True)
class WrittenReport:
    """Files of a report.

    Attributes:
        report: the report's contents.
        folder: the folder with `report/` and `quarantine/`.
        suites: the results of the suites.
    """

    report: values.Report
    folder: Path
    suites: tuple[SuiteResult, ...]

    @property
    def page(self) -> Path:
        """The HTML page."""
        return self.folder / REPORT / "index.html"


@dataclass(frozen=True, slots=True)
class RunResult:
    """The result of a run.

    Attributes:
        release: ID of the current release.
        manifest: its manifest; None if the same files were published before.
        reported: the report; None if the same files were published before.
        changes: members and resources that the run added, changed and retracted.
        money: net sums before and now, from `etl.reports.changes.money_changes`; None if the
            previous release's report is missing.
    """

    release: str
    manifest: Manifest | None
    reported: WrittenReport | None
    changes: Changes = field(default_factory=Changes)
    money: Sequence[Mapping[str, Any]] | None = None


def run_id(when: datetime, read: PartitionedExtract, parent: str | None = None) -> str:
    """Return the ID of a run that publishes nothing: its time, and a hash of its input.

    It sorts after the ID of `parent`, the release that readers have, even if the clock went back.
    """
    return f"{id_time_after(when, parent):%Y%m%dT%H%M%SZ}-{read.work.name[:8]}"


def page_of(target: str, run: str) -> str:
    """Return the location of a run's report page in a target."""
    return f"{target.rstrip('/')}/reports/{run}/index.html"


def write_quarantine(
    processed: ProcessedExtract, folder: Path, emit: Emit = ignore
) -> tuple[tuple[str, int, str], ...]:
    """Write rejected rows unchanged, one file per source file.

    Returns:
        Source file, number of rows, and name of each file.
    """
    partitions = processed.read.partitions
    reasons_by_file = reasons(processed.totals.rejected)
    ragged = partitions.malformed_rows()
    unreadable = set(zip(*(ragged.column(name).to_pylist() for name in _POSITION), strict=True))
    written = []
    emit(StageExtended(len(reasons_by_file)))
    for file_id, rejected in reasons_by_file.items():
        emit(StageAdvanced(1))
        rows = {row: rules for row, rules in rejected.items() if (file_id, row) not in unreadable}
        if not rows:
            continue
        source = partitions.facts.files[file_id]
        name = f"{_stem(source.name)}.csv"
        pieces = quarantine_csv(_rejected_rows(processed, file_id), source.columns, rows, file_id)
        _write_private(folder / name, pieces)
        written.append((source.title, len(rows), name))
    return (*written, *_write_ragged(partitions, reasons_by_file, folder))


def _rejected_rows(processed: ProcessedExtract, file_id: int) -> Iterator[pa.Table]:
    """Yield the rejected rows of a source file: directory rows, then those of each task."""
    partitions, rejected_rows = processed.read.partitions, processed.directory.rejected
    if pc.any(pc.equal(rejected_rows.column("file"), file_id)).as_py():
        positions = np.unique(place_keys(rejected_rows.column("file"), rejected_rows.column("row")))
        rows = partitions.raw_rows(partitions.facts.count, positions)
        yield from (rows[name] for name in (partitions.facts.files[file_id].name,) if name in rows)
    for task_files in processed.files:
        path = task_files.get(f"{REJECTED}{file_id:05d}")
        if path is not None:
            with pa.memory_map(str(path)) as file, pa.ipc.open_stream(file) as reader:
                yield reader.read_all()


def _write_ragged(
    partitions: Partitions, reasons_by_file: Mapping[int, Mapping[int, str]], folder: Path
) -> Iterator[tuple[str, int, str]]:
    ragged = partitions.malformed_rows()
    files = np.asarray(ragged.column("_file").to_numpy())
    for file_id in np.unique(files).tolist():
        lines = ragged.filter(pa.array(files == file_id))
        source = partitions.facts.files[file_id].name
        name = f"{_stem(source)}.ragged.csv"
        by_row = reasons_by_file.get(file_id, {})
        rules = {row: by_row.get(row, RAGGED_ROW) for row in lines.column("_row").to_pylist()}
        _write_private(folder / name, quarantine_csv([lines], ["text"], rules, file_id))
        yield source, lines.num_rows, name


def _stem(name: str) -> str:
    """Turn a source file's path into a file name without its ending.

    The name of a record type (`file#type`) is appended.
    """
    file, _, part = name.partition("#")
    stem = file.removesuffix(".gz").rpartition(".")[0].replace("/", "-") or file
    return f"{stem}-{part}" if part else stem


def _write_private(path: Path, parts: Iterator[bytes]) -> None:
    for folder in reversed(path.parents):  # mkdir(parents=True) sets the mode of the last one only
        folder.mkdir(exist_ok=True, mode=0o700)
    descriptor = os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        for part in parts:
            file.write(part)


def write_reports(
    context: RunContext,
    processed: ProcessedExtract,
    about: About,
    known_results: Mapping[str, SuiteResult] = MappingProxyType({}),
) -> WrittenReport:
    """Write the report, its Data Docs and the quarantine into the run's folder.

    Args:
        context: the run's context.
        processed: the extract, checked and mapped.
        about: facts about the run.
        known_results: table -> the result of its suite in the previous run, with the same rules
            and program.

    Raises:
        CountsDoNotAddUp: rows or cents got lost (a bug). No report is written.
    """
    folder, definitions, emit = processed.read.work, context.definitions, context.emit
    # Suites first: a table's page of Data Docs is linked from the report.
    suites = RanSuites((), {})
    sample = sample_of(processed.read, context.options)
    if sample is not None:
        docs = folder / REPORT / _DOCS
        suites = run_stage(
            context, processed, sample, docs, run_name=about.run, previous=known_results
        )
    # Rejected rows and finding places come next: the report lists their files.
    rules = processed.totals.tally.rules(definitions.book)
    pages = sum(bool(rule.findings) for rule in rules)
    emit(StageBegan("report", pages + _REPORT_STEPS))
    quarantined = write_quarantine(processed, folder / QUARANTINE, emit)
    findings, names = processed.totals.finding_places, processed.read.extract.names
    csv_files = findings.write(folder / REPORT / _FINDINGS, names) if findings is not None else {}
    emit(StageAdvanced(1))
    # The report's values: the only input of `report.json` and its pages.
    tally = processed.totals.tally
    report = values.Report(
        run=about.run,
        release=about.release,
        parent=about.parent,
        when=about.when,
        program=f"cpcds-bluebutton {version('cpcds-bluebutton')}",
        extract=_extract_facts(processed),
        mapping=values.MappingFacts(
            definitions.mappings.name,
            definitions.mappings.version,
            definitions.fingerprint,
            tuple(dict.fromkeys(plan.profile for plan in definitions.mappings.plans)),
        ),
        counts=tally.counts,
        rules=rules,
        rules_looked_at=len(definitions.book.rules),
        verdicts=processed.verdicts,
        money=tally.money,
        resources={name: count for name, count in about.resources.items() if count},
        filled=tally.filled,
        unmapped=processed.totals.unmapped(),
        suites=tuple(_suite_lines(suites)),
        quarantine=tuple(
            values.QuarantineFile(source, rows, f"{about.quarantine}/{name}")
            for source, rows, name in quarantined
        ),
        data_docs=f"{_DOCS}/index.html" if suites.results else "",
        notes=about.notes,
        default_stamp=about.default_stamp,
        findings_file=_FINDINGS if csv_files else "",
        advice=processed.rejected.advice,
        small_cells=context.options.small_cells,
        missing=processed.missing_cells,
        empty_crosswalks=processed.empty_crosswalks,
        must_support=tuple(
            profile for profile in processed.must_support(about.elements) if profile.resources
        ),
        previous=about.previous,
        all_reports=about.all_reports,
        certificate=_certificate_facts(processed, folder / REPORT),
        timeliness=_timeliness(processed, folder / REPORT, about),
        directory=_directory(processed, folder / REPORT, about),
    )
    # The withheld sums go next to the rejected rows: both are confidential.
    if shown_money(report.money, report.small_cells).withheld:
        report = replace(report, exact_money=f"{about.quarantine}/{_EXACT_MONEY}")
        _write_private(
            folder / QUARANTINE / _EXACT_MONEY, iter([exact_csv(report.money, definitions.id_key)])
        )
    write_report(report, folder / REPORT, csv_files)
    emit(StageAdvanced(pages + 1))
    return WrittenReport(report, folder, suites.results)


def _certificate_facts(processed: ProcessedExtract, folder: Path) -> CertificateFacts | None:
    """Return the certificate for the report; write its differences to a file."""
    certificate, counts = processed.certificate, processed.totals.tally.counts
    if certificate is None:
        return None
    has_differences = bool(certificate.reasons or certificate.unexplained)
    if has_differences:
        names = processed.read.extract.names
        _write_private(folder / _DIFFERENCES, differences_csv(PieceFiles(processed.files), names))
    release = certificate.release
    return CertificateFacts(
        files=tuple(_money_by_file(certificate, processed.read.extract)),
        payers=_payer_names(certificate, processed),
        facts=certificate.facts,
        sums=certificate.sums,
        carried=certificate.carried,
        counted={
            table: (counts[table].published, release.counts.get(table, 0)) for table in COUNTED
        },
        reasons=certificate.reasons,
        money=release.money,
        joint=release.joint,
        differences=_DIFFERENCES if has_differences else "",
        holds=all(one.found == "0" for one in processed.verdicts if one.limit == CERTIFICATE_LIMIT),
    )


def _money_by_file(certificate: Certificate, extract: Extract) -> Iterator[FileMoney]:
    """Yield the amounts by file; amounts of an earlier run have no file unless only one has such.

    A full extract also has the rows of unchanged members. If only one file can have such rows,
    their amounts are attributed to it.
    """
    for (file, level, category), money in certificate.files.items():
        yield FileMoney(
            extract.names[file] if file >= 0 else None,
            level,
            category,
            money.claims,
            money.published,
            money.source,
            money.explained,
            money.differences,
        )
    for (level, category), (cents, claims) in sorted(carried_money(certificate).items()):
        tables = amount_tables(level, category)
        sources = frozenset().union(*map(extract.layout.source_files, tables))
        names = [file.title for file in extract.files if file.table in sources]
        yield FileMoney(names[0] if len(names) == 1 else None, level, category, claims, cents)


def _payer_names(certificate: Certificate, processed: ProcessedExtract) -> Mapping[str, str]:
    """Return reference -> name for the payers among the sums that have a name."""
    references = {value for by, value, _, _ in certificate.release.money if by == "payer"}
    rows, names = processed.providers.tables["organization"], dict[str, str]()
    environment = processed.providers.environment
    columns = (rows.column(name).to_pylist() for name in ("organization_id", "name"))
    for organization_id, name in zip(*columns, strict=True):
        reference = f"Organization/{environment.logical_id('Organization', organization_id)}"
        if name and reference in references:
            names[reference] = name
    return names


def _timeliness(processed: ProcessedExtract, folder: Path, about: About) -> TimelinessFacts | None:
    """Return timeliness for the report; write the late claims to a file."""
    certificate, visible_day = processed.certificate, about.visible_day
    if certificate is None or about.parent is None or visible_day is None:
        return None
    days = count_delays(certificate.adjudicated, visible_day)
    is_late = any(delay > MAX_BUSINESS_DAYS for delay in days)
    if is_late:
        names = processed.read.extract.names
        _write_private(folder / _LATE, late_csv(PieceFiles(processed.files), names, visible_day))
    return TimelinessFacts(
        visible_day,
        days,
        certificate.earlier_delays + days,
        MAX_BUSINESS_DAYS,
        {share: percentile(days, share) for share in _PERCENTILES} if days else {},
        _LATE if is_late else "",
    )


def _directory(processed: ProcessedExtract, folder: Path, about: About) -> DirectoryFacts | None:
    """Return the quality of networks for the report; write the rows behind it to a file.

    None for models without networks.
    """
    definitions, tables = processed.definitions, processed.providers.tables
    if "network" not in definitions.model.tables:
        return None
    from etl.engine.directory_rows import roles_in_networks
    from etl.quality.totals.directory import directory_quality

    extract = processed.read.extract
    roles = roles_in_networks(tables["provider_role"], tables["provider_role_network"])
    quality, findings = directory_quality(
        tables, roles, definitions.crosswalks, extract.as_of or about.when.date()
    )
    if not findings.num_rows:
        return DirectoryFacts(quality)
    findings, names = processed.directory_sources.of_findings(findings), pa.array(extract.names)
    rows = findings.set_column(0, "file", names.take(findings.column("file").combine_chunks()))
    csv_file = io.BytesIO()  # no time or name in the gzip header: the same rows give the same bytes
    csv_file.write(f"{','.join(rows.column_names)}\n".encode())
    write_csv(rows, csv_file, WriteOptions(include_header=False, quoting_style="needed"))
    _write_private(folder / _DIRECTORY_ROWS, iter([gzip.compress(csv_file.getvalue(), mtime=0)]))
    return DirectoryFacts(quality, _DIRECTORY_ROWS)


def _suite_lines(suites: RanSuites) -> Iterator[values.SuiteLine]:
    for suite_result in suites.results:
        yield values.SuiteLine(
            suite_result.table,
            suites.row_counts[suite_result.table],
            suite_result.covered,
            len(suite_result.expectations),
            suite_result.passed,
            f"{_DOCS}/{suite_result.table}.html",
        )


def _extract_facts(processed: ProcessedExtract) -> values.ExtractFacts:
    extract, rows = processed.read.extract, processed.read.partitions.facts.rows_read
    return values.ExtractFacts(
        layout=extract.layout.name,
        kind=extract.kind,
        as_of=extract.as_of,
        payer=extract.payer or "",
        files=tuple(
            values.ExtractFile(
                file.title,
                rows.get(file.name, 0) if file.table else file.rows or 0,
                processed.unowned.get(file.title, 0),
                file.sha256,
            )
            for file in extract.named_files
        ),
    )
