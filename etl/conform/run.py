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

_OFTEN: Final = 500
"""Records of a source between two reports of progress."""


def conform(
    sources: Iterable[Source],
    *,
    profiles: Iterable[str] = (),
    whole: bool = False,
    strict: bool = False,
    keep: int = 20,
    progress: Callable[[str, int], None] | None = None,
) -> ConformanceReport:
    """Check every resource of the sources, and then the rules across resources.

    Args:
        sources: files (`reading.file_sources`) or blocks of a published tree (`reading.Lines`).
        profiles: names or canonicals to check all resources of their types against, whatever
            meta.profile says.
        whole: the sources are all there is: every relative reference must resolve. If not, those
            to types that do not occur at all are not checked.
        strict: what the guide says in words only counts as an error everywhere.
        keep: how many findings of one kind are kept; all are counted.
        progress: called after each source, and now and then within a large one, with its name and
            the resources checked so far.

    Raises:
        UsageError: a profile is not known, or a source cannot be read.
    """
    checker = Checker(profiles, strict=strict)
    population = Population()
    report = ConformanceReport(keep=keep)
    for source in sources:
        for number, record in enumerate(source.records(), 1):
            for finding in _findings(checker, population, report, source.name, record):
                report.add(finding)
            if progress is not None and number % _OFTEN == 0:
                progress(source.name, report.resources.total())
        if progress is not None:
            progress(source.name, report.resources.total())
    for finding in population.findings(is_complete=whole):
        report.add(finding)
    return report


def _findings(
    checker: Checker, population: Population, report: ConformanceReport, file: str, record: Record
) -> Iterator[ConformFinding]:
    """Check one record; count it, and yield its findings."""
    if record.fault is not None:
        yield _finding(file, record, "", Issue(record.fault))
        if record.fault is not BYTE_ORDER_MARK:  # what follows it is read
            report.skipped[record.fault.id] += 1
    if record.resource is UNREAD:
        return
    checked = checker.check(record.resource)
    for profile, issue in checked.issues:
        yield _finding(file, record, profile, issue)
    if checked.skipped or not checked.kind:
        report.skipped[checked.skipped or "resource"] += 1
        return
    report.resources[checked.kind] += 1
    report.profiles.update(checked.profiles)
    place = Occurrence(file, record.line, record.above or checked.kind, _first(checked))
    yield from population.add(record.resource, checked.references, place, record.url)


def _first(checked: CheckedResource) -> str:
    return checked.profiles[0] if checked.profiles else ""


def _finding(file: str, record: Record, profile: str, issue: Issue) -> ConformFinding:
    path = issue.path
    if record.above:
        path = record.above + ("." + path.partition(".")[2] if "." in path else "")
    rule = issue.rule
    return ConformFinding(file, record.line, path, profile, rule.id, rule.severity, rule.text)
