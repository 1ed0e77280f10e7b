"""Prior-authorization metrics from the rows that a target keeps."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from msgspec import structs

from etl.bootstrap.settings import Settings, target_store
from etl.errors import UsageError
from etl.pipeline.deltas.layers import kept_layers
from etl.pipeline.deltas.merge import write_merged_extract
from etl.publish.reader import open_current
from etl.reports.prior_auth import PRIOR_AUTH_TABLES, count_prior_auth, prior_auth_document
from etl.rows import empty_table


def prior_auth_metrics(settings: Settings, year: int, *, has_counts: bool) -> dict[str, Any]:
    """Return the metrics of a year from the current release's rows.

    Args:
        settings: name the target.
        year: calendar year.
        has_counts: whether counts are shown, so that small ones are withheld.

    Raises:
        UsageError: nothing was published, or no claims were; rows were not kept, or none are
            of prior authorizations.
        StoreError: the target cannot be read.
    """
    store = target_store(settings)
    release = open_current(store).release
    if release is None:
        raise UsageError(f"{settings.target}: nothing has been published yet")
    model = release.manifest.subject.model
    if not model.has_members:
        raise UsageError(
            f"{settings.target} contains {model.contents}; use the target with member data"
        )
    layers = kept_layers(release)
    if not layers:
        raise UsageError(
            f"{settings.target}: the rows of {release.id} were not kept; set publish.deltas, and "
            "publish a full extract"
        )
    # Members' rows are needed too: what was deleted with a member does not count.
    wanted = {"member", *PRIOR_AUTH_TABLES}
    few = [
        structs.replace(
            layer,
            tables={name: ref for name, ref in layer.tables.items() if name in wanted},
            places={},
        )
        for layer in layers
    ]
    if not any("prior_auth" in layer.tables for layer in few):
        raise UsageError(f"{settings.target}: {release.id} has no rows of prior_auth")
    with TemporaryDirectory(prefix="cpcds-report-", dir=settings.run.work) as work:
        write_merged_extract(release.tree, few, Path(work))
        requests, lines, required = (_read(Path(work), name) for name in PRIOR_AUTH_TABLES)
    counted = count_prior_auth(requests, lines, required, year)
    as_of, most = layers[-1].time[:10], settings.report.small_cells if has_counts else None
    return prior_auth_document(counted, year, settings.payer.name, as_of, most)


def _read(folder: Path, table: str) -> pa.Table:
    file = folder / f"{table}.parquet"
    return pq.read_table(file) if file.exists() else empty_table(table)
