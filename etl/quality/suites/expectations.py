"""Run the planned suites with Great Expectations, and write their Data Docs.

No value of a member reaches a result: `BASIC` results without samples contain only counts and
percentages. The library takes seconds to import, so it is imported when a suite runs. It is kept
quiet.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import pyarrow as pa

from etl.model.canonical_tables import TABLES
from etl.quality.suites.pages import write_pages
from etl.quality.suites.plan import Expectation, ExpectationResult, Suite, SuiteResult
from etl.quality.suites.sample import SuiteRows


def load_library() -> None:
    """Load Great Expectations, so that this process can run suites at once."""
    with silence_library():
        quiet_context()


@contextmanager
def silence_library() -> Iterator[None]:
    """Suppress the library's warnings, log lines and analytics."""
    analytics = os.environ.get("GX_ANALYTICS_ENABLED")
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    previous_level = logging.root.manager.disable
    logging.disable(logging.WARNING)  # its loggers set levels of their own
    try:
        with warnings.catch_warnings(), _without_spark():
            # Its dependencies use what Python has deprecated, and pandas warns of groups in a
            # regex. An expectation that meets a warning made an error is counted as broken.
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous_level)
        if analytics is None:
            del os.environ["GX_ANALYTICS_ENABLED"]
        else:
            os.environ["GX_ANALYTICS_ENABLED"] = analytics


@contextmanager
def _without_spark() -> Iterator[None]:
    """Hide pyspark from the library, whose import of it would end a process without grpc.

    `pyspark.sql.connect` takes the import for that of a test, and calls `sys.exit`.
    """
    loaded = {name: sys.modules.pop(name) for name in list(sys.modules) if _is_spark_module(name)}
    sys.modules["pyspark"] = None  # type: ignore[assignment] # how Python marks what is not there
    try:
        yield
    finally:
        del sys.modules["pyspark"]
        sys.modules.update(loaded)


def _is_spark_module(module: str) -> bool:
    return module.partition(".")[0] == "pyspark"


@cache
def quiet_context() -> Any:
    """Return this process's context: in memory, without data docs or progress bars."""
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    for name, site in dict(context.variables.data_docs_sites or {}).items():
        # The library creates a folder for its pages and never deletes it.
        shutil.rmtree(site["store_backend"]["base_directory"], ignore_errors=True)
        context.delete_data_docs_site(name)
    return context


RESULT_FORMAT: Final[Mapping[str, Any]] = {"result_format": "BASIC", "partial_unexpected_count": 0}
"""Counts and percentages, without samples of failing values."""


@dataclass(frozen=True, slots=True)
class SuiteRun:
    """A suite to run over the sampled rows of its table; can be pickled.

    Attributes:
        suite: the suite.
        rows: the rows (`SuiteRows.rows`).
        digest: of the rows (`SuiteRows.digest`).
    """

    suite: Suite
    rows: pa.Table
    digest: str


def run_each(runs: Sequence[SuiteRun]) -> Iterable[SuiteResult]:
    """Yield the result of each suite, in their order: one after the other in this process."""
    return map(run_suite, runs)


def suite_digests(rows: SuiteRows) -> dict[str, str]:
    """Return a digest of what each suite is run over: rows, rules, program and library."""
    library = version("great_expectations")
    return {table: rows.digest(table, library) for table in TABLES if rows.covered.get(table)}


def find_stale(digests: Mapping[str, str], prior: Mapping[str, SuiteResult]) -> set[str]:
    """Return the tables whose suites must run, because no previous result matches."""
    return {
        table
        for table, digest in digests.items()
        if table not in prior or prior[table].digest != digest
    }


def run_suites(
    rows: SuiteRows,
    out: Path,
    *,
    run_name: str,
    run_time: datetime,
    prior: Mapping[str, SuiteResult] = MappingProxyType({}),
    runner: Callable[[Sequence[SuiteRun]], Iterable[SuiteResult]] = run_each,
) -> tuple[SuiteResult, ...]:
    """Run the suite of every table that has rows, and build the Data Docs.

    Reuses previous results over the same rows with the same rules, program and library.

    Args:
        rows: the sampled rows.
        out: folder for the pages, starting with `index.html`; created if missing.
        run_name: the name of the run on the pages.
        run_time: when the run began, with its zone.
        prior: table -> the previous result of its suite.
        runner: runs suites as `run_each` does, here or elsewhere.

    Returns:
        One result a table, in the order of the canonical tables.
    """
    digests = suite_digests(rows)
    results = {table: prior[table] for table in digests if table not in find_stale(digests, prior)}
    runs = [
        SuiteRun(rows.suites[table], rows.rows(table), digest)
        for table, digest in digests.items()
        if table not in results
    ]
    # The longest first, so that all processes end at about the same time.
    runs.sort(key=lambda run: -len(run.suite.expectations))
    results |= {result.table: result for result in runner(runs)}
    ordered = tuple(results[table] for table in digests)
    write_pages(out, ordered, rows.row_counts, run_name=run_name, run_time=run_time)
    return ordered


def run_suite(run: SuiteRun) -> SuiteResult:
    """Run a suite over its rows.

    Avoids the library's stores, which write and read suite and result as JSON several times.
    """
    with silence_library():
        context = quiet_context()

        import great_expectations as gx

        table = run.suite.table
        source = context.data_sources.add_pandas(table)
        try:
            rows = source.add_dataframe_asset(table).add_batch_definition_whole_dataframe("rows")
            batch = rows.get_batch(batch_parameters={"dataframe": _build_frame(run)})
            suite = gx.ExpectationSuite(
                name=table, expectations=[_translate(item) for item in run.suite.expectations]
            )
            outcomes = batch.validate(suite, result_format=dict(RESULT_FORMAT)).results
        finally:
            context.data_sources.delete(table)
    # The library reorders results by column.
    by_label = {outcome.expectation_config.meta["number"]: outcome for outcome in outcomes}
    expectations = tuple(
        _convert(run.suite.table, item, by_label[_label(item)]) for item in run.suite.expectations
    )
    return SuiteResult(run.suite.table, run.digest, run.rows.num_rows, expectations)


def _convert(table: str, expectation: Expectation, outcome: Any) -> ExpectationResult:
    rule, counts = expectation.rule, outcome.result
    if "unexpected_count" not in counts:  # it did not fail: it broke
        raise RuntimeError(f"suite of {table}: the expectation of {rule.id} broke")
    return ExpectationResult(
        rule.id,
        rule.severity.value,
        rule.says,
        ", ".join(expectation.columns),
        outcome.expectation_config.type,
        int(counts["element_count"]) - int(counts.get("missing_count") or 0),
        int(counts["unexpected_count"]),
    )


def _label(expectation: Expectation) -> str:
    return f"{expectation.rule.id}: {', '.join(expectation.columns)}"


def _translate(expectation: Expectation) -> Any:
    from great_expectations import expectations

    gxe: Any = expectations  # its names are exported, but not so that a type checker sees it
    rule, columns = expectation.rule, expectation.columns
    common: dict[str, Any] = {
        "meta": {"number": _label(expectation)},
        "severity": "critical" if rule.severity.rejects else "warning",
    }
    match expectation.form:
        case "not-null":
            return gxe.ExpectColumnValuesToNotBeNull(column=columns[0], **common)
        case "regex":
            pattern = expectation.values[0]
            return gxe.ExpectColumnValuesToMatchRegex(column=columns[0], regex=pattern, **common)
        case "not-regex":
            pattern = expectation.values[0]
            return gxe.ExpectColumnValuesToNotMatchRegex(column=columns[0], regex=pattern, **common)
        case "in-set":
            values = list(expectation.values)
            return gxe.ExpectColumnValuesToBeInSet(column=columns[0], value_set=values, **common)
        case "not-in-set":
            values = list(expectation.values)
            return gxe.ExpectColumnValuesToNotBeInSet(column=columns[0], value_set=values, **common)
        case "unique" if len(columns) == 1:
            return gxe.ExpectColumnValuesToBeUnique(column=columns[0], **common)
        case "unique":
            return gxe.ExpectCompoundColumnsToBeUnique(
                column_list=list(columns), ignore_row_if="any_value_is_missing", **common
            )
        case _:
            return gxe.ExpectColumnPairValuesAToBeGreaterThanB(
                column_A=columns[0],
                column_B=columns[1],
                or_equal=True,
                ignore_row_if="either_value_is_missing",
                **common,
            )


def _build_frame(run: SuiteRun) -> Any:
    """Build a pandas frame with text as pandas' own `str`.

    Arrow-backed types (`ArrowDtype`) are twice as slow here, and pair expectations break on them.
    """
    import pandas as pd

    columns: dict[str, Any] = {
        name: run.rows.column(name).to_pandas().astype("str") for name in run.suite.texts
    }
    return pd.DataFrame(columns, index=pd.RangeIndex(run.rows.num_rows))
