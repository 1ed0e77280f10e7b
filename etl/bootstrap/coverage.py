"""Must-support coverage of the configured mappings, and of their output for an extract."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

from etl.bootstrap.definitions import load_definitions
from etl.bootstrap.settings import Settings
from etl.bootstrap.use_cases import convert_extract
from etl.engine.must_support import add_element_counts
from etl.mapping.coverage import ProfileCoverage, coverage
from etl.model.data_models import DATA_MODELS
from etl.pipeline.events import Emit
from etl.pipeline.must_support import counted_coverage


def mapping_coverage(settings: Settings) -> tuple[ProfileCoverage, ...]:
    """Return the coverage that the mappings can reach, independent of any rows.

    Raises:
        MappingError: a mapping or setting is invalid.
    """
    sets = [load_definitions(settings, model).mappings for model in DATA_MODELS]
    return tuple(chain.from_iterable(coverage(each.plans, each.crosswalks) for each in sets))


def extract_coverage(settings: Settings, extract: Path, emit: Emit) -> tuple[ProfileCoverage, ...]:
    """Return the coverage of an extract's resources; it is converted for that.

    Raises:
        UsageError: there is no extract that can be read.
        MappingError: a mapping or setting is invalid.
        DataRejected: a limit does not hold.
    """
    with TemporaryDirectory(prefix="cpcds-coverage-", dir=settings.run.work) as folder:
        converted = convert_extract(settings, extract, Path(folder), emit)
    processed = converted.processed
    counts = add_element_counts([processed.totals.elements, converted.directory.elements])
    return counted_coverage(processed.definitions, counts)  # of the extract's data model
