"""Explain the lineage of published data from kept rows, row positions, or extracts."""

from __future__ import annotations

import csv
import io
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from etl.bootstrap import opened_extract, use_cases
from etl.bootstrap.definitions import load_definitions
from etl.bootstrap.extracts import extract_files, layout_of_rows
from etl.bootstrap.settings import Settings, target_store
from etl.bootstrap.use_cases import check_view
from etl.errors import NotFound, UsageError
from etl.local.executor import LocalExecutor
from etl.local.workers import Workers
from etl.pipeline.context import RunContext
from etl.pipeline.deltas.layers import kept_layers, layer_of
from etl.pipeline.deltas.merge import write_merged_origins
from etl.pipeline.lineage.explain import Explainer, require_same
from etl.pipeline.lineage.row_places import ExtractRows, LayerRows
from etl.pipeline.progress import Emit
from etl.pipeline.read import open_with, read
from etl.pipeline.sidecar.answers import SidecarExplainer
from etl.pipeline.sidecar.pieces import SIDECAR
from etl.publish.reader import open_current
from etl.publish.run_reports import latest_report
from etl.reports.lineage import HeaderSubject, Lineage, Reason, RowFate, Subject
from etl.sources.files.listed_files import open_files
from etl.sources.files.stored_files import ExtractFiles
from etl.storage.port import Store


def explain_subject(
    settings: Settings, extracts: Sequence[Path], subject: Subject, emit: Emit
) -> Lineage:
    """Return the lineage of a resource, claim or row in the current release.

    Args: as for `explainer_of`; the subject is the resource, claim or row.

    A claim or prior authorization is also looked up in the quarantine of the latest run, which
    may have published nothing.

    Raises:
        UsageError: as `explainer_of`; or the subject is not in the extract.
        StoreError: the target cannot be read.
    """
    store = target_store(settings)
    latest = latest_report(store) if isinstance(subject, HeaderSubject) else None
    if latest is None or not isinstance(subject, HeaderSubject):
        with explainer_of(settings, extracts, emit) as explainer:
            return explainer.explain(subject)
    release = open_current(store).release
    searched = [f"the quarantine of {_describe_run(latest)}"]
    if release is not None:
        searched.insert(0, f"the extract of release {release.id}")
    rows = tuple(_quarantined_rows(store, latest, subject.number))
    try:
        with explainer_of(settings, extracts, emit) as explainer:
            lineage = explainer.explain(subject)
    except UsageError as error:
        if not rows:
            raise UsageError(f"{error}; searched {' and '.join(searched)}") from None
        lineage = Lineage(str(subject), (), (), "quarantine")
    if lineage.rows and release is not None and latest["run"] == release.id:
        rows = ()  # the release's own quarantine is among its rows
    return replace(lineage, rows=(*lineage.rows, *rows), searched=tuple(searched))


def _describe_run(report: Mapping[str, Any]) -> str:
    extract, outcome = report["extract"], "published" if report["release"] else "stopped"
    as_of = f" as of {extract['as_of']}" if extract["as_of"] else ""
    return f"run {report['run']} ({outcome}; {extract['kind']} extract{as_of})"


def _quarantined_rows(store: Store, report: Mapping[str, Any], number: str) -> Iterator[RowFate]:
    """Yield the rows in a run's quarantine that have a number in any of their cells.

    A malformed row is one cell, in which the number stands by itself.
    """
    sentences = {rule["rule"]: rule["says"] for rule in report["rules"]}
    stands_alone = re.compile(rf"(?<![\w-]){re.escape(number)}(?![\w-])")
    for file in report["quarantine"]:
        key = posixpath.normpath(f"reports/{report['run']}/{file['path']}")
        try:
            text = store.get(key).decode()
        except NotFound:  # it has expired
            continue
        find = stands_alone.search if key.endswith(".ragged.csv") else stands_alone.fullmatch
        for row in csv.DictReader(io.StringIO(text, newline="")):
            if not any(find(cell.strip()) for cell in row.values()):
                continue
            rules = row["cpcds_rules"].split(";")
            reasons = (Reason(rule, sentences.get(rule, ""), is_cause=False) for rule in rules)
            position = file["source"], int(row["cpcds_row"])
            run = _describe_run(report)
            yield RowFate(*position, "*", "quarantined", tuple(reasons), extract=run)


@contextmanager
def explainer_of(
    settings: Settings, extracts: Sequence[Path], emit: Emit
) -> Iterator[Explainer | SidecarExplainer]:
    """Yield an explainer of the current release's lineage.

    Args:
        settings: name the target; the mappings must be those of the release.
        extracts: folders that the release was made from. None are needed if the target keeps its
            rows (then extracts add the cells as written) or its row positions (then only these
            are shown).
        emit: takes events.

    Raises:
        UsageError: nothing was published, an extract is another one, or rows were not kept.
        StoreError: the target cannot be read.
    """
    base = open_current(target_store(settings))
    if base.release is None:
        raise UsageError(f"{settings.target}: nothing has been published yet")
    model = base.release.manifest.subject.model
    definitions = load_definitions(settings, model)
    check_view(settings, base, definitions.mappings)
    layers = kept_layers(base.release)
    if not layers and not extracts:
        sidecar = base.release.read(SIDECAR)
        if sidecar is None:
            raise UsageError(
                f"{settings.target}: neither rows nor row positions of {base.release.id} were "
                "kept; use --extract with the extract that it was made from"
            )
        yield SidecarExplainer(base.release, sidecar, definitions.mappings.plans)
        return
    executor = LocalExecutor(Workers(1, partial(load_definitions, settings, model)))
    with ExitStack() as until_the_end:
        work = Path(
            until_the_end.enter_context(
                TemporaryDirectory(prefix="cpcds-explain-", dir=settings.run.work)
            )
        )

        def context(stored_files: ExtractFiles, layout: str | None) -> RunContext:
            files = open_with(stored_files, definitions, layout, emit)
            return opened_extract.OpenedExtract(
                settings, files, definitions, executor, emit
            ).context(work, use_cases.now())

        contexts = [
            context(
                until_the_end.enter_context(extract_files(settings, extract, None)),
                layout_of_rows(settings),
            )
            for extract in extracts
        ]
        if len(layers) > 1 or not extracts:
            rows = LayerRows(
                layers, write_merged_origins(base.release.tree, layers, work / "merged", model)
            )
            merged = context(open_files(work / "merged"), model.layout)
            by_layer = {layer_of(layers, run.extract): ExtractRows(read(run)) for run in contexts}
            yield Explainer(merged, base.release, rows, by_layer)
            return
        if len(extracts) > 1:
            raise UsageError(f"{base.release.id} was made from one extract: give only that one")
        require_same(contexts[0].extract, base.release, str(extracts[0]))
        yield Explainer(contexts[0], base.release)
