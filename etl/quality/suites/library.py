"""Great Expectations, kept quiet.

It takes seconds to import, so it is imported when a suite is run and not before.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any


def load_library() -> None:
    """Load Great Expectations: a process that has done so is ready."""
    with quiet():
        context()


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
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    made = gx.get_context(mode="ephemeral")
    made.variables.progress_bars = ProgressBarsConfig(globally=False)
    for name, site in dict(made.variables.data_docs_sites or {}).items():
        # It makes a folder for its pages, and leaves it behind.
        shutil.rmtree(site["store_backend"]["base_directory"], ignore_errors=True)
        made.delete_data_docs_site(name)
    return made
