"""Great Expectations, loaded without what no rule asks of it, and kept from doing work over again.

It takes seconds to import, so it is imported when a suite is run and not before.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import shutil
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any, Final

LATE: Final = frozenset({"altair", "jsonschema", "scipy.stats"})
"""Modules that it imports for expectations that no rule is planned as (charts of distributions,
statistical tests, JSON in cells). They are a third of its own import, and are executed once
something of theirs is used."""


def load_library() -> None:
    """Load Great Expectations: a process that has done so is ready."""
    with quiet():
        context()
        renderers()


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
def context() -> Any:
    """Return this process's context: in memory, without pages of its own or progress bars."""
    with _imported_late():
        import great_expectations as gx
        from great_expectations.data_context.types.base import ProgressBarsConfig

    made = gx.get_context(mode="ephemeral")
    made.variables.progress_bars = ProgressBarsConfig(globally=False)
    for name, site in dict(made.variables.data_docs_sites or {}).items():
        # It makes a folder for its pages, and leaves it behind.
        shutil.rmtree(site["store_backend"]["base_directory"], ignore_errors=True)
        made.delete_data_docs_site(name)
    return made


@cache
def renderers() -> tuple[Any, Any, Any]:
    """Return what renders results, what renders suites, and the view that writes both as HTML.

    They are those of the library's own Data Docs. A view keeps the templates that it compiled.
    """
    from great_expectations.render import renderer, view

    of_pages: Any = renderer  # their names are exported, but not so that a type checker sees it
    views: Any = view
    return (
        of_pages.ValidationResultsPageRenderer(),
        of_pages.ExpectationSuitePageRenderer(),
        views.DefaultJinjaPageView(),
    )


@contextmanager
def configured_once() -> Iterator[None]:
    """Let an expectation make its configuration once while a suite is validated.

    Each is asked for it some eighty times, and makes it anew from fields that do not change.
    """
    from great_expectations.expectations.expectation import Expectation

    kept: dict[int, tuple[Any, Any]] = {}  # with its expectation, so that no other gets its id
    plain: Any = Expectation.configuration

    def configuration(expectation: Any) -> Any:
        known = kept.get(id(expectation))
        if known is None:
            known = kept[id(expectation)] = (expectation, plain.fget(expectation))
        return known[1]

    of_class: Any = Expectation
    of_class.configuration = property(configuration)
    try:
        yield
    finally:
        of_class.configuration = plain


class _LateImports:
    """Finds modules that are to be executed late, before any other finder does."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in LATE:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = importlib.util.LazyLoader(spec.loader)
        return spec


@contextmanager
def _imported_late() -> Iterator[None]:
    sys.meta_path.insert(0, _LateImports)
    try:
        yield
    finally:
        sys.meta_path.remove(_LateImports)
