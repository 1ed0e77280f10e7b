"""Pings and notifications of a run: a URL that is called, a command, services of apprise."""

from __future__ import annotations

import json
import subprocess
import warnings
from collections.abc import Sequence
from typing import Any, Literal

from etl.monitoring.http_calls import HookFailed, call
from etl.monitoring.summary_text import summary_lines, title_of
from etl.pipeline.run_record import GOOD, RunRecord

Moment = Literal["start", "success", "failure"]


def ping(url: str, moment: Moment, seconds: float) -> None:
    """Call the URL of a monitor of scheduled jobs.

    `URL/start`, `URL` after a success, `URL/fail` after a failure, as Healthchecks has them.

    Raises:
        HookFailed: it did not answer, or with an error.
    """
    ending = {"start": "/start", "success": "", "failure": "/fail"}[moment]
    call(url.rstrip("/") + ending, seconds)


def message_of(record: RunRecord) -> dict[str, Any]:
    """Return the message of a notification: title, text, and the record itself."""
    return {
        "title": title_of(record),
        "text": "\n".join(summary_lines(record)),
        "run": record.to_json(),
    }


def post(url: str, record: RunRecord, seconds: float) -> None:
    """Post the message to a URL as JSON.

    Raises:
        HookFailed: it did not answer, or with an error.
    """
    call(url, seconds, message_of(record))


def run_command(command: Sequence[str], record: RunRecord, seconds: float) -> None:
    """Call a program with the message as JSON on its standard input; no shell is between.

    Raises:
        HookFailed: it cannot be called, takes longer than the time limit, or fails.
    """
    data = json.dumps(message_of(record), ensure_ascii=False).encode()
    try:
        done = subprocess.run(  # noqa: S603 - the payer's own command, from the settings
            list(command), input=data, timeout=seconds, capture_output=True, check=False
        )
    except subprocess.TimeoutExpired:
        raise HookFailed(f"{command[0]} took longer than {seconds:g} s") from None
    except OSError as error:
        raise HookFailed(
            f"{command[0]}: {(error.strerror or 'cannot be called').lower()}"
        ) from None
    if done.returncode:
        raise HookFailed(f"{command[0]} ended with exit code {done.returncode}")


def notify_services(services: Sequence[str], record: RunRecord) -> None:
    """Send title and text to services of apprise, such as `mailto://` or `slack://`.

    Raises:
        HookFailed: apprise has no such service, or one refused.
        ModuleNotFoundError: apprise is not installed.
    """
    from apprise import Apprise, NotifyType

    kind = NotifyType.SUCCESS if record.verdict in GOOD else NotifyType.FAILURE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own and its dependencies'
        hub = Apprise()
        if not all(hub.add(each) for each in services):
            raise HookFailed("apprise does not know one of the services")
        text, title = "\n".join(summary_lines(record)), title_of(record)
        if not hub.notify(text, title=title, notify_type=kind):
            raise HookFailed("a service of apprise refused the message")
