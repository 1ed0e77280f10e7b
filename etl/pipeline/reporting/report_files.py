"""The report and the quarantine of a run, as files of a folder."""

from __future__ import annotations

import gzip
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
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
from etl.certificate.timeliness import MAX_BUSINESS_DAYS, percentile
from etl.columns.places import place_keys
from etl.engine.must_support import ElementCounts
from etl.errors import DataRejected
from etl.model.canonical_tables import FILE_COLUMN, ROW_COLUMN
from etl.pipeline.certificate import CERTIFICATE_LIMIT, PieceFiles, differences_csv, late_csv
from etl.pipeline.context import REJECTED, PartitionedExtract, RunContext
from etl.pipeline.process import ProcessedExtract
from etl.pipeline.progress import Emit, StageAdvanced, StageBegan, StageExtended, ignore
from etl.pipeline.reporting.suites import RanSuites, run_stage, sample_of
from etl.pipeline.totals import counted_coverage
from etl.publish.manifest import Changes, Manifest
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
_SHARES: Final = (50, 90, 95, 99, 100)
_FINDINGS: Final = "findings.csv.gz"
_DIRECTORY: Final = "directory-quality.csv.gz"
_EXACT_MONEY: Final = "sums/money.csv"
"""Below the quarantine; files of rejected rows are in no folder, so that none is called this."""
_PAGES: Final = 2
"""Files of a report that are steps of its stage beside quarantines and pages of rules."""
MOST_CAUSES: Final = 5
"""Most first causes that a message names."""
_PLACE: Final = (FILE_COLUMN, ROW_COLUMN)


@dataclass(frozen=True, slots=True)
class About:
    """Facts of a report about the run itself.

    Attributes:
        run: id of the run.
        when: when it began.
        release: id of the release that it made; None where nothing was published.
        parent: id of the release before it.
        resources: FHIR type -> how many were made.
        elements: how many of them have each must-support element.
        quarantine: path of the quarantine's folder, as the report links to it.
        default_stamp: of resources that state none; None where nothing is published.
        before: the release that the run was made on top of; None without one.
        all_reports: path of the page of all reports, as the report links to it; empty without one.
        notes: sentences for who publishes, on settings of the run.
    """

    run: str
    when: datetime
    release: str | None
    parent: str | None
    resources: Mapping[str, int]
    elements: ElementCounts
    quarantine: str
    default_stamp: values.DefaultStamp | None = None
    before: values.ReleaseBefore | None = None
    all_reports: str = ""
    notes: tuple[str, ...] = ()


class LimitBroken(DataRejected):
    """A limit does not hold, and nothing was published.

    Attributes:
        processed: the extract, checked and mapped.
        report: contents of the report; None where none was written.
        page: where the report's page is; empty where none was written.
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
        says = [refusal(processed.verdicts), causes]
        says.append(f"The report: {page}" if page else "`cpcds validate` writes the report.")
        super().__init__(" ".join(part for part in says if part))


@dataclass(frozen=True, slots=True)
class WrittenReport:
    """Files of a report.

    Attributes:
        report: its contents.
        folder: where it is: `report/` and `quarantine/` below.
        suites: the results of the suites.
    """

    report: values.Report
    folder: Path
    suites: tuple[SuiteResult, ...]

    @property
    def page(self) -> Path:
        """The page for people."""
        return self.folder / REPORT / "index.html"


@dataclass(frozen=True, slots=True)
class RunResult:
    """The result of a run.

    Attributes:
        release: id of the release that readers see.
        manifest: the release; None where the same was published before.
        reported: the report; None where the same was published before.
        changes: members and resources that it added, changed and retracted.
        money: net sums before and now, as `etl.reports.changes.money_changes` has them; None if the
            report of the release before is missing.
    """

    release: str
    manifest: Manifest | None
    reported: WrittenReport | None
    changes: Changes = field(default_factory=Changes)
    money: Sequence[Mapping[str, Any]] | None = None


def run_id(when: datetime, read: PartitionedExtract) -> str:
    """Return the id of a run: its time, and a hash of what it worked on."""
    return f"{when:%Y%m%dT%H%M%SZ}-{read.work.name[:8]}"


def page_of(target: str, run: str) -> str:
    """Return where in a target the page of a run's report is."""
    return f"{target.rstrip('/')}/reports/{run}/index.html"


def write_quarantine(
    processed: ProcessedExtract, folder: Path, emit: Emit = ignore
) -> tuple[tuple[str, int, str], ...]:
    """Write rejected rows as they were, a file a source file; return (source, rows, file name)."""
    partitions = processed.read.partitions
    reasons_by_file = reasons(processed.totals.rejected)
    ragged = partitions.ragged_rows()
    unreadable = set(zip(*(ragged.column(name).to_pylist() for name in _PLACE), strict=True))
    written = []
    emit(StageExtended(len(reasons_by_file)))
    for number, rejected in reasons_by_file.items():
        emit(StageAdvanced(1))
        rows = {row: rules for row, rules in rejected.items() if (number, row) not in unreadable}
        if not rows:
            continue
        source = partitions.facts.files[number]
        name = f"{_stem(source.name)}.csv"
        pieces = quarantine_csv(_rejected_of(processed, number), source.columns, rows, number)
        _write(folder / name, pieces)
        written.append((source.title, len(rows), name))
    return (*written, *_write_ragged(partitions, reasons_by_file, folder))


def _rejected_of(processed: ProcessedExtract, number: int) -> Iterator[pa.Table]:
    """Yield the rejected rows of a source file: of the directory, then of each unit."""
    partitions, rejected = processed.read.partitions, processed.directory.rejected
    if pc.any(pc.equal(rejected.column("file"), number)).as_py():
        places = np.unique(place_keys(rejected.column("file"), rejected.column("row")))
        rows = partitions.raw_rows(partitions.facts.count, places)
        yield from (rows[name] for name in (partitions.facts.files[number].name,) if name in rows)
    for files in processed.files:
        path = files.get(f"{REJECTED}{number:05d}")
        if path is not None:
            with pa.memory_map(str(path)) as file, pa.ipc.open_stream(file) as reader:
                yield reader.read_all()


def _write_ragged(
    partitions: Partitions, reasons_by_row: Mapping[int, Mapping[int, str]], folder: Path
) -> Iterator[tuple[str, int, str]]:
    ragged = partitions.ragged_rows()
    files = np.asarray(ragged.column("_file").to_numpy())
    for number in np.unique(files).tolist():
        mine = ragged.filter(pa.array(files == number))
        source = partitions.facts.files[number].name
        name = f"{_stem(source)}.ragged.csv"
        reasons_of = reasons_by_row.get(number, {})
        rules = {row: reasons_of.get(row, RAGGED_ROW) for row in mine.column("_row").to_pylist()}
        _write(folder / name, quarantine_csv([mine], ["text"], rules, number))
        yield source, mine.num_rows, name


def _stem(name: str) -> str:
    """Return a file's name without its ending, fit for the name of another.

    Records of one type in a file have the type's name behind it.
    """
    file, _, part = name.partition("#")
    stem = file.removesuffix(".gz").rpartition(".")[0].replace("/", "-") or file
    return f"{stem}-{part}" if part else stem


def _write(path: Path, pieces: Iterator[bytes]) -> None:
    for folder in reversed(path.parents):  # a mode given with `parents` is that of the last alone
        folder.mkdir(exist_ok=True, mode=0o700)
    descriptor = os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        for piece in pieces:
            file.write(piece)


def write_reports(
    context: RunContext,
    processed: ProcessedExtract,
    about: About,
    known_results: Mapping[str, SuiteResult] = MappingProxyType({}),
) -> WrittenReport:
    """Write the report, its Data Docs and the quarantine into the run's folder.

    Args:
        context: of the run.
        processed: the extract, checked and mapped.
        about: facts of the report about the run.
        known_results: table -> the result of its suite in the run before, with the same rules and
            program.

    Raises:
        CountsDoNotAddUp: rows or cents got lost (a bug); there is no report then.
    """
    folder, definitions, emit = processed.read.work, context.definitions, context.emit
    # Suites first: a table's page of Data Docs is linked from the report.
    suites = RanSuites((), {})
    sample = sample_of(processed.read, context.options)
    if sample is not None:
        docs = folder / REPORT / _DOCS
        suites = run_stage(
            context, processed, sample, docs, run_name=about.run, known=known_results
        )
    # Rejected rows, and places of findings: the report states which files of them there are.
    rules = processed.totals.tally.rules(definitions.book)
    pages = sum(bool(rule.findings) for rule in rules)
    emit(StageBegan("report", pages + _PAGES))
    quarantined = write_quarantine(processed, folder / QUARANTINE, emit)
    found, names = processed.totals.places, processed.read.extract.names
    places = found.write(folder / REPORT / _FINDINGS, names) if found is not None else {}
    emit(StageAdvanced(1))
    # The report's values: all that `report.json` and its pages are made of.
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
        findings_file=_FINDINGS if places else "",
        advice=processed.rejected.advice,
        small_cells=context.options.small_cells,
        missing=processed.missing_cells,
        empty_crosswalks=processed.empty_crosswalks,
        must_support=tuple(
            profile
            for profile in counted_coverage(definitions, about.elements)
            if profile.resources
        ),
        before=about.before,
        all_reports=about.all_reports,
        certificate=_certificate(processed, folder / REPORT),
        timeliness=_timeliness(processed, folder / REPORT, about),
        directory=_directory(processed, folder / REPORT, about),
    )
    # Sums that are withheld from the report stand beside the rejected rows, as confidential.
    if shown_money(report.money, report.small_cells).withheld:
        report = replace(report, exact_money=f"{about.quarantine}/{_EXACT_MONEY}")
        _write(
            folder / QUARANTINE / _EXACT_MONEY, iter([exact_csv(report.money, definitions.id_key)])
        )
    write_report(report, folder / REPORT, places)
    emit(StageAdvanced(pages + 1))
    return WrittenReport(report, folder, suites.results)


def _certificate(processed: ProcessedExtract, folder: Path) -> CertificateFacts | None:
    """Return the certificate for the report, and write its differences beside it."""
    made, counts = processed.certificate, processed.totals.tally.counts
    if made is None:
        return None
    has_differences = bool(made.reasons or made.unexplained)
    if has_differences:
        names = processed.read.extract.names
        _write(folder / _DIFFERENCES, differences_csv(PieceFiles(processed.files), names))
    return CertificateFacts(
        files=tuple(_money_by_file(made, processed.read.extract)),
        payers=_payer_names(made, processed),
        facts=made.facts,
        sums=made.sums,
        carried=made.carried,
        counted={
            table: (counts[table].published, made.release.counts.get(table, 0)) for table in COUNTED
        },
        reasons=made.reasons,
        money=made.release.money,
        joint=made.release.joint,
        differences=_DIFFERENCES if has_differences else "",
        holds=all(one.holds for one in processed.verdicts if one.limit == CERTIFICATE_LIMIT),
    )


def _money_by_file(made: Certificate, extract: Extract) -> Iterator[FileMoney]:
    """Yield the amounts by file; those of an earlier run under the file of all such rows, if any.

    An extract in full has the rows of members of whom nothing changed as well: where one file alone
    can have them, they are its rows.
    """
    for (file, level, category), each in made.files.items():
        yield FileMoney(
            extract.names[file] if file >= 0 else None,
            level,
            category,
            each.claims,
            each.published,
            each.source,
            each.explained,
            each.differences,
        )
    for (level, category), (cents, claims) in sorted(carried_money(made).items()):
        raw = frozenset().union(*map(extract.layout.feeding, amount_tables(level, category)))
        names = [file.title for file in extract.files if file.table in raw]
        yield FileMoney(names[0] if len(names) == 1 else None, level, category, claims, cents)


def _payer_names(made: Certificate, processed: ProcessedExtract) -> Mapping[str, str]:
    """Return reference -> name, of the payers of the sums whose Organization has a name."""
    wanted = {value for by, value, _, _ in made.release.money if by == "payer"}
    rows, found = processed.providers.tables["organization"], dict[str, str]()
    environment = processed.providers.environment
    columns = (rows.column(name).to_pylist() for name in ("organization_id", "name"))
    for key, name in zip(*columns, strict=True):
        reference = f"Organization/{environment.logical_id('Organization', key)}"
        if name and reference in wanted:
            found[reference] = name
    return found


def _timeliness(processed: ProcessedExtract, folder: Path, about: About) -> TimelinessFacts | None:
    """Return timeliness for the report, and write the late claims beside it."""
    made = processed.certificate
    if made is None or about.parent is None:
        return None
    if made.late:
        names = processed.read.extract.names
        _write(folder / _LATE, late_csv(PieceFiles(processed.files), names))
    days = made.days
    return TimelinessFacts(
        days,
        made.all_delays,
        MAX_BUSINESS_DAYS,
        {share: percentile(days, share) for share in _SHARES} if days else {},
        _LATE if made.late else "",
    )


def _directory(processed: ProcessedExtract, folder: Path, about: About) -> DirectoryFacts | None:
    """Return the quality of a directory for the report, and write the rows behind it beside it."""
    definitions, tables = processed.definitions, processed.providers.tables
    if definitions.model.has_members:
        return None
    from etl.engine.directory_rows import roles_in_networks
    from etl.quality.totals.directory import directory_quality

    extract = processed.read.extract
    roles = roles_in_networks(tables["provider_role"], tables["provider_role_network"])
    quality, places = directory_quality(
        tables, roles, definitions.crosswalks, extract.as_of or about.when.date()
    )
    if not places.num_rows:
        return DirectoryFacts(quality)
    places, names = processed.directory_sources.of_findings(places), pa.array(extract.names)
    named = places.set_column(0, "file", names.take(places.column("file").combine_chunks()))
    text = io.BytesIO()  # no time and no name in the header of gzip: the same rows, the same bytes
    text.write(f"{','.join(named.column_names)}\n".encode())
    write_csv(named, text, WriteOptions(include_header=False, quoting_style="needed"))
    _write(folder / _DIRECTORY, iter([gzip.compress(text.getvalue(), mtime=0)]))
    return DirectoryFacts(quality, _DIRECTORY)


def _suite_lines(suites: RanSuites) -> Iterator[values.SuiteLine]:
    for suite_result in suites.results:
        yield values.SuiteLine(
            suite_result.table,
            suites.of[suite_result.table],
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
