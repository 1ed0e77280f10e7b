"""Explain the lineage of published data from kept rows, row positions, or extracts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from etl.bootstrap import opened_extract, use_cases
from etl.bootstrap.definitions import load_definitions
from etl.bootstrap.extracts import extract_files, layout_of_rows
from etl.bootstrap.settings import Settings, target_store
from etl.bootstrap.use_cases import check_view
from etl.errors import UsageError
from etl.local.executor import LocalExecutor
from etl.local.workers import Workers
from etl.model.data_models import CLAIMS
from etl.pipeline.context import RunContext
from etl.pipeline.deltas.layers import kept_layers, layer_of
from etl.pipeline.deltas.merge import write_merged_origins
from etl.pipeline.lineage.explain import Explainer, require_same
from etl.pipeline.lineage.row_places import ExtractRows, LayerRows
from etl.pipeline.progress import Emit
from etl.pipeline.read import open_with, read
from etl.pipeline.sidecar.answers import SidecarExplainer
from etl.pipeline.sidecar.pieces import sidecar_of
from etl.publish.reader import open_current
from etl.reports.lineage import Lineage, Subject
from etl.sources.files.listed_files import open_files
from etl.sources.files.stored_files import ExtractFiles


def explain_subject(
    settings: Settings, extracts: Sequence[Path], subject: Subject, emit: Emit
) -> Lineage:
    """Return the lineage of a resource, claim or row in the current release.

    Args: as for `explainer_of`; the subject is the resource, claim or row.

    Raises:
        UsageError: as `explainer_of`; or the subject is not in the extract.
        StoreError: the target cannot be read.
    """
    with explainer_of(settings, extracts, emit) as explainer:
        return explainer.explain(subject)


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
    definitions = load_definitions(settings)
    store = target_store(settings)
    base = open_current(store)
    if base.release is None:
        raise UsageError(f"{settings.target}: nothing has been published yet")
    if base.release.manifest.subject.model is not CLAIMS:
        raise UsageError(
            f"{settings.target} contains a provider directory, but only claims can be explained"
        )
    check_view(settings, base, definitions.mappings)
    layers = kept_layers(base.release)
    if not layers and not extracts:
        sidecar = sidecar_of(base.release)
        if sidecar is None:
            raise UsageError(
                f"{settings.target}: neither rows nor row positions of {base.release.id} were "
                "kept; use --extract with the extract that it was made from"
            )
        yield SidecarExplainer(base.release, sidecar, definitions.mappings.plans)
        return
    executor = LocalExecutor(Workers(1, partial(load_definitions, settings)))
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
            rows = LayerRows(layers, write_merged_origins(store, layers, work / "merged"))
            merged = context(open_files(work / "merged"), "cpcds")
            by_layer = {layer_of(layers, run.extract): ExtractRows(read(run)) for run in contexts}
            yield Explainer(merged, base.release, rows, by_layer)
            return
        if len(extracts) > 1:
            raise UsageError(f"{base.release.id} was made from one extract: give only that one")
        require_same(contexts[0].extract, base.release, str(extracts[0]))
        yield Explainer(contexts[0], base.release)
