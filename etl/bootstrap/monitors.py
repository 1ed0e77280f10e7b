"""Hooks of the settings, called when a run begins and when it is over.

None of them can fail a run: an error is logged. What only one hook needs is imported there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from etl.bootstrap.definitions import load_definitions
from etl.bootstrap.settings import Settings, target_store
from etl.errors import EtlError
from etl.pipeline.reporting.run_record import GOOD, RunRecord, RunStart
from etl.publish import object_keys
from etl.publish.reader import open_current

if TYPE_CHECKING:
    from etl.monitoring.openlineage_events import LineageOptions

log = logging.getLogger(__name__)

HOOK_SECONDS: Final = 10.0
"""Time limit of each hook."""


def run_began(settings: Settings, start: RunStart) -> None:
    """Notify monitors of the start of a run."""
    if settings.lineage.to:
        _tried("lineage", lambda: _emit_start(settings, start))


def run_ended(settings: Settings, record: RunRecord) -> None:
    """Notify monitors of the result of a run."""
    wanted, is_good = settings.monitoring, record.verdict in GOOD
    if wanted.textfile is not None:
        path = wanted.textfile
        _tried("textfile", lambda: _write_textfile(path, record))
    if settings.publish.timestamp_url and is_good:
        url = settings.publish.timestamp_url.get_secret_value()
        _tried("timestamp_url", lambda: _stamp(settings, url))
    if wanted.notify_on == "always" or not is_good:
        _notify(settings, record)
    if settings.lineage.to:
        _tried("lineage", lambda: _emit_end(settings, record))


def _write_textfile(path: Path, record: RunRecord) -> None:
    from etl.monitoring.textfile import write_textfile  # prometheus_client, for this alone

    write_textfile(path, record)


def _stamp(settings: Settings, url: str) -> None:
    """Have the present release stamped, unless it is."""
    from etl.monitoring.notification import exchange
    from etl.publish.signatures import MEDIA_TYPE, StampRequest

    store = target_store(settings)
    release = open_current(store).release
    if release is None or any(store.list(object_keys.time_stamp(release.id))):
        return
    request = StampRequest.of(store.get(release.manifest.key))
    answer = exchange(url, HOOK_SECONDS, request.body, MEDIA_TYPE)
    request.check(answer)
    store.put(object_keys.time_stamp(release.id), answer)
    store.sync()


def _notify(settings: Settings, record: RunRecord) -> None:
    wanted = settings.monitoring
    if not (wanted.notify_command or wanted.notify_services):
        return
    from etl.monitoring.notification import notify_services, run_command

    if wanted.notify_command:
        _tried("notify_command", lambda: run_command(wanted.notify_command, record, HOOK_SECONDS))
    if wanted.notify_services:
        services = [each.get_secret_value() for each in wanted.notify_services]
        _tried("notify_services", lambda: notify_services(services, record))


def _lineage(settings: Settings) -> LineageOptions:
    from etl.monitoring.openlineage_events import LineageOptions

    wanted = settings.lineage
    key = wanted.api_key.get_secret_value()
    return LineageOptions(wanted.to, wanted.namespace, key, HOOK_SECONDS)


def _emit_start(settings: Settings, start: RunStart) -> None:
    from etl.monitoring.openlineage_events import emit_start

    emit_start(_lineage(settings), start)


def _emit_end(settings: Settings, record: RunRecord) -> None:
    from etl.monitoring.openlineage_events import emit_end

    published = record.verdict == "published"
    plans = load_definitions(settings).mappings.plans if published else ()
    emit_end(_lineage(settings), record, plans)


def _tried(name: str, hook: Callable[[], None]) -> None:
    try:
        hook()
    except EtlError as error:
        log.warning("%s: %s; the run is not affected", name, error)
    except ModuleNotFoundError as error:
        missing = f"the package {error.name} is not installed"
        log.warning("%s: %s; the run is not affected", name, missing)
    except Exception as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else ""
        log.warning("%s: %s; the run is not affected", name, reason.lower() or type(error).__name__)
