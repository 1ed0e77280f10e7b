"""The reports of earlier runs into the same target."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any, Final

from etl.errors import NotFound, StoreError
from etl.publish.change_counts import Changes
from etl.publish.reader import Current, Release, checked
from etl.reports import ReleaseBefore

log = logging.getLogger(__name__)

REPORT_FILE: Final = "/report.json"


def release_before(base: Current, changes: Changes | None) -> ReleaseBefore | None:
    """Return the release that a run was made on top of, with its report where that is there.

    Args:
        base: what readers see when the run begins.
        changes: what the run changes of it; None where nothing is published.
    """
    if base.release is None:
        return None
    return ReleaseBefore(base.release.id, changes, _document(base.release))


def _document(release: Release) -> Mapping[str, Any] | None:
    """Return what the report of a release holds.

    A rollback names the report of the release that it went back to.
    """
    for each in release.manifest.facts.reports:
        if each.key.startswith("reports/") and each.key.endswith(REPORT_FILE):
            try:
                document = json.loads(checked(release.store, each.key, each.sha256))
            except NotFound:
                return None
            except (StoreError, ValueError) as error:
                log.warning("%s: changes of rules and words are not reported", error)
                return None
            return document if isinstance(document, dict) else None
    return None
