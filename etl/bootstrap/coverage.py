"""Must-support coverage of the configured mappings, and of their output for an extract."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

from etl.bootstrap.definitions import load_definitions
from etl.bootstrap.settings import Settings
from etl.bootstrap.use_cases import convert_extract
from etl.conform.filled_elements import FilledElements
from etl.mapping.coverage import Filled, ProfileCoverage, coverage
from etl.pipeline.events import Emit


def mapping_coverage(settings: Settings) -> tuple[ProfileCoverage, ...]:
    """Return the coverage that the mappings can reach, independent of any rows.

    Raises:
        MappingError: a mapping or setting is invalid.
    """
    mappings = load_definitions(settings).mappings
    return coverage(mappings.plans, mappings.crosswalks)


def extract_coverage(settings: Settings, extract: Path, emit: Emit) -> tuple[ProfileCoverage, ...]:
    """Return the coverage of an extract's resources; it is converted for that.

    Raises:
        UsageError: there is no extract that can be read.
        MappingError: a mapping or setting is invalid.
        DataRejected: a limit does not hold.
    """
    found = FilledElements()
    with TemporaryDirectory(prefix="cpcds-coverage-", dir=settings.run.work) as folder:
        converted = convert_extract(settings, extract, Path(folder), emit)
        mappings = converted.processed.definitions.mappings  # of the extract's data model
        for path in converted.files.values():
            with path.open(encoding="utf-8") as lines:
                for line in lines:
                    found.add(json.loads(line))
    filled = {
        canonical: Filled(count, found.elements[canonical])
        for canonical, count in found.resources.items()
    }
    return coverage(mappings.plans, mappings.crosswalks, filled)
