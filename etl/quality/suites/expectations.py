"""The planned suites, run by Great Expectations, and their Data Docs.

No value of a member reaches a result: `BASIC` results with no samples hold counts and percentages.
The library takes seconds to import, so it is imported when a suite is run and not before; and it is
kept quiet.
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
from etl.quality.suites.plan import ExpectationResult, Suite, SuiteResult, Wanted
from etl.quality.suites.sample import SuiteRows


def load_library() -> None:
    """Load Great Expectations: a process that has done so is ready."""
    with quiet():
        quiet_context()


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the library's warnings, log lines and settings of other homes to itself."""
    analytics = os.environ.get("GX_ANALYTICS_ENABLED")
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # its loggers set levels of their own
    try:
        with warnings.catch_warnings(), _without_spark():
            # Its dependencies use what Python has deprecated, and pandas warns of groups in a
            # regex. An expectation that meets a warning made an error is counted as broken.
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
        if analytics is None:
            del os.environ["GX_ANALYTICS_ENABLED"]
        else:
            os.environ["GX_ANALYTICS_ENABLED"] = analytics


@contextmanager
def _without_spark() -> Iterator[None]:
    """Let the library find no pyspark: it would load it, which ends processes where grpc is absent.

    `pyspark.sql.connect` takes the import for that of a test, and calls `sys.exit`.
    """
    loaded = {name: sys.modules.pop(name) for name in list(sys.modules) if _is_of_spark(name)}
    sys.modules["pyspark"] = None  # type: ignore[assignment] # how Python marks what is not there
    try:
        yield
    finally:
        del sys.modules["pyspark"]
        sys.modules.update(loaded)


def _is_of_spark(module: str) -> bool:
    return module.partition(".")[0] == "pyspark"


@cache
def quiet_context() -> Any:
    """Return this process's context: in memory, without pages of its own or progress bars."""
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    made = gx.get_context(mode="ephemeral")
    made.variables.progress_bars = ProgressBarsConfig(globally=False)
    for name, site in dict(made.variables.data_docs_sites or {}).items():
        # It makes a folder for its pages, and leaves it behind.
        shutil.rmtree(site["store_backend"]["base_directory"], ignore_errors=True)
        made.delete_data_docs_site(name)
    return made


RESULT_FORMAT: Final[Mapping[str, Any]] = {"result_format": "BASIC", "partial_unexpected_count": 0}
"""Counts and percentages, and not one sample of what failed."""


@dataclass(frozen=True, slots=True)
class SuiteRun:
    """A suite to be run over the sampled rows of its table; can be sent to another process.

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


def due(digests: Mapping[str, str], known: Mapping[str, SuiteResult]) -> set[str]:
    """Return the tables with suites that have to be run: no result over the same is known."""
    return {
        table
        for table, digest in digests.items()
        if table not in known or known[table].digest != digest
    }


def run_suites(
    rows: SuiteRows,
    out: Path,
    *,
    run_name: str,
    run_time: datetime,
    known: Mapping[str, SuiteResult] = MappingProxyType({}),
    each: Callable[[Sequence[SuiteRun]], Iterable[SuiteResult]] = run_each,
) -> tuple[SuiteResult, ...]:
    """Run the suite of every table that has rows, and build the Data Docs.

    Where a suite was run over the same rows before, with the same rules, program and library, its
    result is the same, and it is not run again.

    Args:
        rows: the sampled rows.
        out: folder for the pages; `index.html` is the way in. Made if it is not there.
        run_name: what the pages call the run.
        run_time: when the run began, with its zone; the clock is not read.
        known: table -> the previous result of its suite.
        each: runs suites as `run_each` does, here or elsewhere.

    Returns:
        One result a table, in the order of the canonical tables.
    """
    digests = suite_digests(rows)
    results = {table: known[table] for table in digests if table not in due(digests, known)}
    wanted = [
        SuiteRun(rows.suites[table], rows.rows(table), digest)
        for table, digest in digests.items()
        if table not in results
    ]
    # The longest first, so that processes end together.
    wanted.sort(key=lambda run: -len(run.suite.wanted))
    results |= {result.table: result for result in each(wanted)}
    found = tuple(results[table] for table in digests)
    write_pages(out, found, rows.of, run_name=run_name, run_time=run_time)
    return found


def run_suite(run: SuiteRun) -> SuiteResult:
    """Run a suite over its rows.

    Nothing is stored: the library would write suite and result as JSON several times, to read
    them again.
    """
    with quiet():
        context = quiet_context()

        import great_expectations as gx

        table = run.suite.table
        source = context.data_sources.add_pandas(table)
        try:
            rows = source.add_dataframe_asset(table).add_batch_definition_whole_dataframe("rows")
            batch = rows.get_batch(batch_parameters={"dataframe": _frame(run)})
            suite = gx.ExpectationSuite(
                name=table, expectations=[_expectation(wanted) for wanted in run.suite.wanted]
            )
            found = batch.validate(suite, result_format=dict(RESULT_FORMAT)).results
        finally:
            context.data_sources.delete(table)
    # The library groups results by column.
    by_number = {each.expectation_config.meta["number"]: each for each in found}
    expectations = tuple(
        _result(run.suite.table, wanted, by_number[_number(wanted)]) for wanted in run.suite.wanted
    )
    return SuiteResult(run.suite.table, run.digest, run.rows.num_rows, expectations)


def _result(table: str, wanted: Wanted, found: Any) -> ExpectationResult:
    rule, counts = wanted.rule, found.result
    if "unexpected_count" not in counts:  # it did not fail: it broke
        raise RuntimeError(f"suite of {table}: the expectation of {rule.id} broke")
    return ExpectationResult(
        rule.id,
        rule.severity.value,
        rule.says,
        ", ".join(wanted.columns),
        found.expectation_config.type,
        int(counts["element_count"]) - int(counts.get("missing_count") or 0),
        int(counts["unexpected_count"]),
    )


def _number(wanted: Wanted) -> str:
    return f"{wanted.rule.id}: {', '.join(wanted.columns)}"


def _expectation(wanted: Wanted) -> Any:
    from great_expectations import expectations

    gxe: Any = expectations  # its names are exported, but not so that a type checker sees it
    rule, columns = wanted.rule, wanted.columns
    common: dict[str, Any] = {
        "meta": {"number": _number(wanted)},
        "severity": "critical" if rule.severity.rejects else "warning",
    }
    match wanted.form:
        case "not-null":
            return gxe.ExpectColumnValuesToNotBeNull(column=columns[0], **common)
        case "regex":
            pattern = wanted.values[0]
            return gxe.ExpectColumnValuesToMatchRegex(column=columns[0], regex=pattern, **common)
        case "not-regex":
            pattern = wanted.values[0]
            return gxe.ExpectColumnValuesToNotMatchRegex(column=columns[0], regex=pattern, **common)
        case "in-set":
            values = list(wanted.values)
            return gxe.ExpectColumnValuesToBeInSet(column=columns[0], value_set=values, **common)
        case "not-in-set":
            values = list(wanted.values)
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


def _frame(run: SuiteRun) -> Any:
    """Return a pandas frame: text as pandas' own `str`.

    Arrow-backed types (`ArrowDtype`) are twice as slow here, and pair expectations break on them.
    """
    import pandas as pd

    columns: dict[str, Any] = {
        name: run.rows.column(name).to_pandas().astype("str") for name in run.suite.texts
    }
    return pd.DataFrame(columns, index=pd.RangeIndex(run.rows.num_rows))
