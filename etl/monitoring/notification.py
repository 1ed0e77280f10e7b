"""Notifications of a run by a command or services of apprise, and the HTTP calls of hooks."""

from __future__ import annotations

import json
import subprocess
import warnings
from collections.abc import Sequence
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from etl.errors import EtlError, counted
from etl.pipeline.reporting.run_record import GOOD, RunRecord

_MOST = 65_536
"""Bytes of an answer that are read."""


class HookFailed(EtlError):
    """A hook did not work: one sentence, without what a URL keeps secret."""


def exchange(url: str, seconds: float, data: bytes, media_type: str) -> bytes:
    """Post some bytes, and return the beginning of the answer, 64 KB at most.

    Args:
        url: http or https. Only its host is named in errors: paths of such URLs are often secrets.
        seconds: time limit of the connection and of each wait for an answer.
        data: what is posted.
        media_type: of the data.

    Raises:
        HookFailed: the URL is none, no answer came, or one of an error.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise HookFailed("the URL is not http:// or https:// with a host")
    headers = {"User-Agent": "cpcds-bluebutton", "Content-Type": media_type}
    request = Request(url, data, headers)  # noqa: S310 - http and https alone
    try:
        with urlopen(request, timeout=seconds) as answer:  # noqa: S310
            body: bytes = answer.read(_MOST)
            return body
    except HTTPError as error:
        with error:
            raise HookFailed(f"{parts.hostname} answered {error.code}") from None
    except (URLError, OSError, ValueError) as error:
        reason = error.reason if isinstance(error, URLError) else error
        raise HookFailed(f"{parts.hostname}: {_words(reason)}") from None


def _words(reason: object) -> str:
    if isinstance(reason, TimeoutError):
        return "no answer in time"
    if isinstance(reason, OSError) and reason.strerror:
        return reason.strerror.lower()
    return type(reason).__name__


_MOST_CAUSES = 3


def title_of(record: RunRecord) -> str:
    """Return the run in a line."""
    return f"cpcds run {record.verdict}: {record.target}"


def summary_lines(record: RunRecord) -> list[str]:
    """Return the result of the run, a sentence a line."""
    lines = [f"Run {record.run}: {record.verdict} after {record.seconds:,.0f} s."]
    totals = record.totals
    if totals is not None:
        lines.append(
            f"Claims: {totals.claims:,} came in, {totals.rejected_claims:,} were rejected; "
            f"rows rejected: {totals.rejected_rows:,}."
        )
        if totals.causes:
            worst = [f"{cause.rule} ({counted(cause.claims, 'claim')})" for cause in totals.causes]
            lines.append(f"First causes: {', '.join(worst[:_MOST_CAUSES])}.")
        proof = "all add up" if totals.money.adds_up else "not all add up"
        lines.append(f"Money: {counted(totals.money.compared, 'sum')}, {proof}.")
        lines += [f"Limit broken: {each}" for each in totals.broken_limits]
    if record.changes is not None:
        members = record.changes["patients"]
        lines.append(
            f"Members: {members['added']:,} added, {members['changed']:,} changed, "
            f"{members['retracted']:,} retracted."
        )
    if record.release is not None:
        lines.append(f"Readers see release {record.release}.")
    if record.error and not (totals and totals.broken_limits):
        lines.append(f"Error: {record.error}")
    if record.report is not None:
        lines.append(f"Report: {record.target.rstrip('/')}/{record.report}")
    return lines


def message_of(record: RunRecord) -> dict[str, Any]:
    """Return the message of a notification: title, text, and the record itself."""
    return {
        "title": title_of(record),
        "text": "\n".join(summary_lines(record)),
        "run": record.to_json(),
    }


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
