"""The only home of Great Expectations: runs the planned suites and builds their Data Docs.

The library takes seconds to import, so it is imported when a suite is run and not before. No value
of a member reaches a result: `BASIC` results with no samples hold counts and percentages.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, cast

from etl.model.canonical_tables import TABLES
from etl.quality.suites import pages
from etl.quality.suites.pages import Page
from etl.quality.suites.plan import Suite, Wanted
from etl.quality.suites.rows import SuiteRows, passed

RESULT_FORMAT: Final[Mapping[str, Any]] = {"result_format": "BASIC", "partial_unexpected_count": 0}
"""Counts and percentages, and not one sample of what failed."""


@dataclass(frozen=True, slots=True)
class SuiteResult:
    """Result of one table's suite.

    Attributes:
        table: the table.
        digest: of the rows that the suite looked at, and of the library (`SuiteRows.digest`).
        covered: how many they are.
        expectations: how many there are.
        passed: how many hold for every row looked at.
        unexpected: (rule id, columns joined by `, `) -> rows that fail, where some do.
    """

    table: str
    digest: str
    covered: int
    expectations: int
    passed: int
    unexpected: Mapping[tuple[str, str], int]
    page: Page


def run_suites(
    rows: SuiteRows,
    out: Path,
    *,
    run_name: str,
    run_time: datetime,
    known: Mapping[str, SuiteResult] = MappingProxyType({}),
) -> tuple[SuiteResult, ...]:
    """Run the suite of every table that has rows, and build the Data Docs.

    Where a suite was run over the same rows before, with the same rules, program and library, it
    came to the same, and is not run again.

    Args:
        rows: the sampled rows.
        out: folder for the pages; `index.html` is the way in. Made if it is not there.
        run_name: what the pages call the run.
        run_time: when the run began, with its zone; nothing asks the clock.
        known: table -> what its suite came to before.

    Returns:
        One result a table, in the order of the canonical tables.
    """
    library = version("great_expectations")
    digests = {table: rows.digest(table, library) for table in TABLES if rows.covered.get(table)}
    results = {
        table: known[table]
        for table, digest in digests.items()
        if table in known and known[table].digest == digest
    }
    wanted = {table: digest for table, digest in digests.items() if table not in results}
    if wanted:
        results |= _run_all(rows, wanted, run_name, run_time)
    found = tuple(results[table] for table in digests)
    lines = [
        pages.SummaryLine(
            each.table, each.covered, rows.of[each.table], each.expectations, each.passed
        )
        for each in found
    ]
    built = {each.table: each.page for each in found}
    pages.write(out, built, lines, run_name=run_name, run_time=run_time)
    return found


def _run_all(
    rows: SuiteRows, wanted: Mapping[str, str], run_name: str, run_time: datetime
) -> dict[str, SuiteResult]:
    """Return what the suites of some tables (table -> digest of its rows) come to.

    The pages are built once, at the end: each build makes the library compile its templates.
    """
    with tempfile.TemporaryDirectory(prefix="cpcds-data-docs-") as work, _quiet():
        site = Path(work) / "site"
        context = _context(site)
        found = {table: _validate(context, rows, table, run_name, run_time) for table in wanted}
        context.build_data_docs(build_index=False)
        return {
            table: SuiteResult(
                table=table,
                digest=digest,
                covered=rows.covered[table],
                expectations=len(rows.suites[table].wanted),
                passed=len(rows.suites[table].wanted) - len(found[table]),
                unexpected=found[table],
                page=_page(site, table),
            )
            for table, digest in wanted.items()
        }


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the library's warnings, log lines and settings of other homes to itself."""
    analytics = os.environ.get("GX_ANALYTICS_ENABLED")
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # its loggers set levels of their own
    try:
        with warnings.catch_warnings():
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


def _context(site: Path) -> Any:
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    for name, site_of_its_own in dict(context.variables.data_docs_sites or {}).items():
        # It makes a folder for its pages, and leaves it behind.
        shutil.rmtree(site_of_its_own["store_backend"]["base_directory"], ignore_errors=True)
        context.delete_data_docs_site(name)
    site_config: dict[str, Any] = {
        "class_name": "SiteBuilder",
        "show_how_to_buttons": False,
        "store_backend": {
            "class_name": "TupleFilesystemStoreBackend",
            "base_directory": str(site),
        },
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
    }
    context.add_data_docs_site(site_name="report", site_config=cast("Any", site_config))
    return context


def _validate(
    context: Any, rows: SuiteRows, table: str, run_name: str, run_time: datetime
) -> dict[tuple[str, str], int]:
    """Run a table's suite; return (rule id, columns) -> rows that fail, where some do."""
    import great_expectations as gx
    from great_expectations.core.run_identifier import RunIdentifier

    suite = rows.suites[table]
    asset = context.data_sources.add_pandas(table).add_dataframe_asset(table)
    batch = asset.add_batch_definition_whole_dataframe("rows")
    expectations = context.suites.add(
        gx.ExpectationSuite(name=table, expectations=[_expectation(each) for each in suite.wanted])
    )
    definition = context.validation_definitions.add(
        gx.ValidationDefinition(name=table, data=batch, suite=expectations)
    )
    result = definition.run(
        batch_parameters={"dataframe": _frame(rows, suite)},
        result_format=dict(RESULT_FORMAT),
        run_id=RunIdentifier(run_name=run_name, run_time=run_time),
    )
    unexpected: dict[tuple[str, str], int] = {}
    for wanted, each in zip(suite.wanted, _in_order(suite, result), strict=True):
        if not each.success:
            if "unexpected_count" not in each.result:  # it did not fail: it broke
                raise RuntimeError(f"suite of {table}: the expectation of {wanted.rule.id} broke")
            key = (wanted.rule.id, ", ".join(wanted.columns))
            unexpected[key] = int(each.result["unexpected_count"])
    return unexpected


def _in_order(suite: Suite, result: Any) -> list[Any]:
    """Return the results in the order of the plan: the library groups them by column."""
    by_number = {each.expectation_config.meta["number"]: each for each in result.results}
    return [by_number[_number(each)] for each in suite.wanted]


def _number(wanted: Wanted) -> str:
    return f"{wanted.rule.id}: {', '.join(wanted.columns)}"


def _expectation(wanted: Wanted) -> Any:
    from great_expectations import expectations

    gxe: Any = expectations  # its names are exported, but not so that a type checker sees it
    rule, columns = wanted.rule, wanted.columns
    told: dict[str, Any] = {
        "notes": f"{rule.id} ({rule.severity.value}). {rule.says} {rule.spoils}",
        "meta": {"number": _number(wanted), "rule": rule.id, "severity": rule.severity.value},
        "severity": "critical" if rule.severity.rejects else "warning",
    }
    match wanted.form:
        case "not-null":
            return gxe.ExpectColumnValuesToNotBeNull(column=columns[0], **told)
        case "regex":
            pattern = wanted.values[0]
            return gxe.ExpectColumnValuesToMatchRegex(column=columns[0], regex=pattern, **told)
        case "not-regex":
            pattern = wanted.values[0]
            return gxe.ExpectColumnValuesToNotMatchRegex(column=columns[0], regex=pattern, **told)
        case "in-set":
            values = list(wanted.values)
            return gxe.ExpectColumnValuesToBeInSet(column=columns[0], value_set=values, **told)
        case "not-in-set":
            values = list(wanted.values)
            return gxe.ExpectColumnValuesToNotBeInSet(column=columns[0], value_set=values, **told)
        case "unique" if len(columns) == 1:
            return gxe.ExpectColumnValuesToBeUnique(column=columns[0], **told)
        case "unique":
            return gxe.ExpectCompoundColumnsToBeUnique(
                column_list=list(columns), ignore_row_if="any_value_is_missing", **told
            )
        case "pair":
            return gxe.ExpectColumnPairValuesAToBeGreaterThanB(
                column_A=columns[0],
                column_B=columns[1],
                or_equal=True,
                ignore_row_if="either_value_is_missing",
                **told,
            )
        case _:
            return gxe.ExpectColumnValuesToBeInSet(column=columns[0], value_set=[True], **told)


def _frame(rows: SuiteRows, suite: Suite) -> Any:
    """Return a pandas frame: text as pandas' own `str`, results as plain booleans.

    Arrow-backed types (`ArrowDtype`) are twice as slow here, and pair expectations break on them.
    """
    import pandas as pd

    table = rows.rows(suite.table)
    columns: dict[str, Any] = {
        name: table.column(name).to_pandas().astype("str") for name in suite.texts
    }
    for wanted in suite.wanted:
        if wanted.form == "rule":
            columns[wanted.columns[0]] = passed(table, wanted.rule.id)
    return pd.DataFrame(columns, index=pd.RangeIndex(table.num_rows))


def _page(site: Path, table: str) -> Page:
    """Return what is kept of the two pages of a table."""
    (validation,) = (site / "validations" / table).rglob("*.html")
    (suite,) = (site / "expectations").rglob(f"{table}.html")
    return Page.of(validation, suite)


__all__ = ["RESULT_FORMAT", "SuiteResult", "run_suites"]
