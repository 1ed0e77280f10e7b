"""OpenLineage events of runs: inputs, outputs, and which column goes to which FHIR path.

https://openlineage.io/docs/spec/object-model: START when a run begins; COMPLETE, FAIL or ABORT when
it ends. Inputs are the canonical tables of an extract, outputs the resource types of a target.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from uuid import NAMESPACE_URL, uuid5

from etl.mapping.dictionary import build_dictionary
from etl.mapping.plan import Plan
from etl.model.canonical_tables import TABLES
from etl.monitoring.notification import HookFailed
from etl.pipeline.reporting.run_record import RunRecord, RunStart

_PRODUCER: Final = "urn:cpcds-bluebutton"
_JOB_NAME: Final = "cpcds-run"


@dataclass(frozen=True, slots=True)
class LineageOptions:
    """Destination of events.

    Attributes:
        to: `http://` or `https://` URL of an OpenLineage API, or the path of a file to which each
            event is added as a line.
        namespace: namespace of the job.
        api_key: bearer token for the API; empty for none.
        seconds: time limit of a call.
    """

    to: str
    namespace: str
    api_key: str = ""
    seconds: float = 10.0


def emit_start(options: LineageOptions, start: RunStart) -> None:
    """Emit the event for the start of a run.

    Raises:
        HookFailed: the event was refused.
        ModuleNotFoundError: openlineage-python is not installed.
    """
    from openlineage.client.event_v2 import RunState

    _emit_event(options, start, RunState.START, start.began.isoformat())


def emit_end(options: LineageOptions, record: RunRecord, plans: Iterable[Plan]) -> None:
    """Emit the event for the end of a run.

    Args:
        options: destination of the event.
        record: the run.
        plans: the compiled mappings, for the lineage of columns; none for a failed run.

    Raises:
        HookFailed: the event was refused.
        ModuleNotFoundError: openlineage-python is not installed.
    """
    from openlineage.client.event_v2 import RunState
    from openlineage.client.facet_v2 import error_message_run

    states = {"published": RunState.COMPLETE, "unchanged": RunState.COMPLETE}
    state = states.get(record.verdict, RunState.FAIL)
    if record.verdict == "interrupted":
        state = RunState.ABORT
    facets: dict[str, Any] = {}
    if record.error:
        facets["errorMessage"] = error_message_run.ErrorMessageRunFacet(record.error, "en")
    inputs = _input_datasets(record)
    outputs = _output_datasets(record, plans) if record.verdict == "published" else []
    _emit_event(options, record, state, record.ended_at.isoformat(), facets, inputs, outputs)


def _input_datasets(record: RunRecord) -> list[Any]:
    """Return the extract's tables, with row counts and failed rules."""
    from openlineage.client.event_v2 import InputDataset
    from openlineage.client.facet_v2 import data_quality_assertions_dataset as assertions
    from openlineage.client.facet_v2 import data_quality_metrics_input_dataset as metrics
    from openlineage.client.facet_v2 import input_statistics_input_dataset as statistics

    totals = record.totals
    if totals is None:
        return []
    assertions_by_table: dict[str, list[Any]] = defaultdict(list)
    for rule, tables in totals.findings.rules.items():
        for table, count in tables.items():
            assertions_by_table[table].append(
                assertions.Assertion(assertion=rule, success=False, actual=f"{count} findings")
            )
    return [
        InputDataset(
            _namespace(record.extract),
            table,
            inputFacets={
                "inputStatistics": statistics.InputStatisticsInputDatasetFacet(rowCount=rows["in"]),
                "dataQualityMetrics": metrics.DataQualityMetricsInputDatasetFacet(
                    columnMetrics={}, rowCount=rows["in"]
                ),
                "dataQualityAssertions": assertions.DataQualityAssertionsDatasetFacet(
                    assertions_by_table[table]
                ),
            },
        )
        for table, rows in totals.tables.items()
    ]


def _output_datasets(record: RunRecord, plans: Iterable[Plan]) -> list[Any]:
    """Return the resource types of a release, with the lineage of their columns."""
    from openlineage.client.event_v2 import OutputDataset
    from openlineage.client.facet_v2 import (
        column_lineage_dataset,
        dataset_version_dataset,
        output_statistics_output_dataset,
    )

    totals = record.totals
    if totals is None or record.release is None:
        return []
    sources_by_path = column_sources(
        plan for plan in plans if plan.table in totals.tables or not TABLES[plan.table].optional
    )
    source_namespace = _namespace(record.extract)
    outputs = []
    for resource_type, count in totals.resources.items():
        fields = {
            path: column_lineage_dataset.Fields(
                inputFields=[_input_field(source_namespace, source) for source in sources]
            )
            for path, sources in sources_by_path.get(resource_type, {}).items()
        }
        statistics = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(count)
        release = dataset_version_dataset.DatasetVersionDatasetFacet(record.release)
        lineage = column_lineage_dataset.ColumnLineageDatasetFacet(fields)
        outputs.append(
            OutputDataset(
                _namespace(record.target),
                resource_type,
                outputFacets={"outputStatistics": statistics},
                facets={"version": release, "columnLineage": lineage},
            )
        )
    return outputs


Source = tuple[str, str, str, tuple[int, ...]]
"""Table, column, role (`value` or `decides`) and MapIDs."""


def _input_field(namespace: str, source: Source) -> Any:
    from openlineage.client.facet_v2 import column_lineage_dataset

    table, column, role, map_ids = source
    transformation = column_lineage_dataset.Transformation(
        type="DIRECT" if role == "value" else "INDIRECT",
        subtype="TRANSFORMATION" if role == "value" else "CONDITIONAL",
        description=f"CPCDS MapID {', '.join(map(str, map_ids))}" if map_ids else "",
    )
    return column_lineage_dataset.InputField(namespace, table, column, [transformation])


def column_sources(plans: Iterable[Plan]) -> Mapping[str, Mapping[str, tuple[Source, ...]]]:
    """Return resource type -> FHIR path -> source columns, over all profiles."""
    sources_by_type: dict[str, dict[str, set[Source]]] = defaultdict(lambda: defaultdict(set))
    for row in build_dictionary(plans):
        if row.column:
            resource_type = row.path.partition(".")[0]
            source = (row.table, row.column, row.role, row.map_ids)
            sources_by_type[resource_type][row.path].add(source)
    return {
        resource_type: {path: tuple(sorted(sources)) for path, sources in sorted(paths.items())}
        for resource_type, paths in sources_by_type.items()
    }


def _namespace(location: str) -> str:
    """Return a folder or bucket as an OpenLineage namespace."""
    return location if "://" in location else Path(location).resolve().as_uri()


def _emit_event(
    options: LineageOptions,
    run: RunStart | RunRecord,
    state: Any,
    time: str,
    facets: Mapping[str, Any] = MappingProxyType({}),
    inputs: Sequence[Any] = (),
    outputs: Sequence[Any] = (),
) -> None:
    from openlineage.client.event_v2 import Job, Run, RunEvent

    event = RunEvent(
        eventTime=time,
        producer=f"{_PRODUCER}:{version('cpcds-bluebutton')}",
        eventType=state,
        # The id of a run is a name; the specification requires a UUID, the same in both events.
        run=Run(str(uuid5(NAMESPACE_URL, f"cpcds:{run.target}:{run.run}")), dict(facets)),
        job=Job(options.namespace, _JOB_NAME),
        inputs=list(inputs),
        outputs=list(outputs),
    )
    try:
        _build_transport(options).emit(event)
    except Exception as error:
        raise HookFailed(f"the event was refused: {type(error).__name__}") from None


def _build_transport(options: LineageOptions) -> Any:
    from openlineage.client.transport.file import FileConfig, FileTransport
    from openlineage.client.transport.http import (
        ApiKeyTokenProvider,
        HttpConfig,
        HttpTransport,
        TokenProvider,
    )

    if "://" not in options.to:
        return FileTransport(FileConfig(log_file_path=options.to, append=True))
    auth = (
        ApiKeyTokenProvider({"apiKey": options.api_key}) if options.api_key else TokenProvider({})
    )
    retry = {"total": 1, "allowed_methods": ["POST"]}
    return HttpTransport(HttpConfig(options.to, timeout=options.seconds, auth=auth, retry=retry))
