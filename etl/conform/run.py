"""Use case of `cpcds conform`: files in, a report out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from etl.conform.checker import CheckedResource, Checker
from etl.conform.findings import ConformanceReport, ConformFinding, Issue
from etl.conform.population import Occurrence, Population
from etl.conform.resource_files import BYTE_ORDER_MARK, UNREAD

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from etl.conform.resource_files import Record, Source

_PROGRESS_STEP: Final = 500
"""Records of a source between two reports of progress."""


def conform(
    sources: Iterable[Source],
    *,
    profiles: Iterable[str] = (),
    is_complete: bool = False,
    strict: bool = False,
    keep: int = 20,
    progress: Callable[[str, int], None] | None = None,
) -> ConformanceReport:
    """Check every resource of the sources, and then the rules across resources.

    Args:
        sources: files (`reading.file_sources`) or blocks of a published tree (`reading.Lines`).
        profiles: names or canonicals to check all resources of their types against, whatever
            meta.profile says.
        is_complete: the sources are complete, so every relative reference must resolve; otherwise
            references to types that don't occur aren't checked.
        strict: rules that the guide states only in words are always errors.
        keep: how many findings of one kind are kept; all are counted.
        progress: called after each source, and now and then within a large one, with its name and
            the resources checked so far.

    Raises:
        UsageError: a profile is unknown, or a source can't be read.
    """
    checker = Checker(profiles, strict=strict)
    population = Population()
    report = ConformanceReport(keep=keep)
    for source in sources:
        for number, record in enumerate(source.records(), 1):
            for finding in _check_record(checker, population, report, source.name, record):
                report.add(finding)
            if progress is not None and number % _PROGRESS_STEP == 0:
                progress(source.name, report.resources.total())
        if progress is not None:
            progress(source.name, report.resources.total())
    for finding in population.findings(is_complete=is_complete):
        report.add(finding)
    return report


def _check_record(
    checker: Checker, population: Population, report: ConformanceReport, file: str, record: Record
) -> Iterator[ConformFinding]:
    """Check and count one record; yield its findings."""
    if record.fault is not None:
        yield _build_finding(file, record, "", Issue(record.fault))
        if record.fault is not BYTE_ORDER_MARK:  # what follows it is read
            report.skipped[record.fault.id] += 1
    if record.resource is UNREAD:
        return
    checked = checker.check(record.resource)
    for profile, issue in checked.issues:
        yield _build_finding(file, record, profile, issue)
    if checked.skipped or not checked.kind:
        report.skipped[checked.skipped or "resource"] += 1
        return
    report.resources[checked.kind] += 1
    report.profiles.update(checked.profiles)
    type_name, profile = record.above or checked.kind, _first_profile(checked)
    occurrence = Occurrence(file, record.line, type_name, profile)
    yield from population.add(record.resource, checked.references, occurrence, record.url)


def _first_profile(checked: CheckedResource) -> str:
    return checked.profiles[0] if checked.profiles else ""


def _build_finding(file: str, record: Record, profile: str, issue: Issue) -> ConformFinding:
    path = issue.path
    if record.above:
        path = record.above + ("." + path.partition(".")[2] if "." in path else "")
    rule = issue.rule
    return ConformFinding(file, record.line, path, profile, rule.id, rule.severity, rule.text)
