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

_MAX_ANSWER_BYTES = 65_536
"""Bytes of an answer that are read."""


class HookFailed(EtlError):
    """A hook failed; the message is one sentence without secret parts of URLs."""


def post(url: str, seconds: float, data: bytes, media_type: str) -> bytes:
    """Post bytes and return the first 64 KB of the answer.

    Args:
        url: http or https. Errors contain only its host, because paths are often secrets.
        seconds: time limit for the connection, and for each wait for an answer.
        data: body of the request.
        media_type: media type of the body.

    Raises:
        HookFailed: the URL is invalid, no answer came, or the answer is an error.
    """
    url_parts = urlsplit(url)
    if url_parts.scheme not in ("http", "https") or not url_parts.hostname:
        raise HookFailed("the URL is not http:// or https:// with a host")
    headers = {"User-Agent": "cpcds-bluebutton", "Content-Type": media_type}
    request = Request(url, data, headers)  # noqa: S310 - http and https alone
    try:
        with urlopen(request, timeout=seconds) as answer:  # noqa: S310
            body: bytes = answer.read(_MAX_ANSWER_BYTES)
            return body
    except HTTPError as error:
        with error:
            raise HookFailed(f"{url_parts.hostname} answered {error.code}") from None
    except (URLError, OSError, ValueError) as error:
        reason = error.reason if isinstance(error, URLError) else error
        raise HookFailed(f"{url_parts.hostname}: {_describe_reason(reason)}") from None


def _describe_reason(reason: object) -> str:
    if isinstance(reason, TimeoutError):
        return "no answer in time"
    if isinstance(reason, OSError) and reason.strerror:
        return reason.strerror.lower()
    return type(reason).__name__


_MAX_CAUSES = 3


def format_title(record: RunRecord) -> str:
    """Return a one-line title of a run."""
    return f"cpcds run {record.verdict}: {record.target}"


def summary_lines(record: RunRecord) -> list[str]:
    """Return the result of a run, one sentence per line."""
    lines = [f"Run {record.run}: {record.verdict} after {record.seconds:,.0f} s."]
    totals = record.totals
    if totals is not None:
        lines.append(
            f"Claims: {totals.claims:,} came in, {totals.rejected_claims:,} were rejected; "
            f"rows rejected: {totals.rejected_rows:,}."
        )
        if totals.causes:
            top_causes = [
                f"{cause.rule} ({counted(cause.claims, 'claim')})" for cause in totals.causes
            ]
            lines.append(f"First causes: {', '.join(top_causes[:_MAX_CAUSES])}.")
        money_result = "all add up" if totals.money.adds_up else "not all add up"
        lines.append(f"Money: {counted(totals.money.compared, 'sum')}, {money_result}.")
        lines += [f"Limit broken: {limit}" for limit in totals.broken_limits]
    if record.changes is not None:
        member_changes = record.changes["patients"]
        lines.append(
            f"Members: {member_changes['added']:,} added, {member_changes['changed']:,} changed, "
            f"{member_changes['retracted']:,} retracted."
        )
    if record.release is not None:
        lines.append(f"Readers see release {record.release}.")
    if record.error and not (totals and totals.broken_limits):
        lines.append(f"Error: {record.error}")
    if record.report is not None:
        lines.append(f"Report: {record.target.rstrip('/')}/{record.report}")
    return lines


def build_message(record: RunRecord) -> dict[str, Any]:
    """Return the message of a notification: title, text, and the record itself."""
    return {
        "title": format_title(record),
        "text": "\n".join(summary_lines(record)),
        "run": record.to_json(),
    }


def run_command(command: Sequence[str], record: RunRecord, seconds: float) -> None:
    """Run a program, without a shell, with the message as JSON on standard input.

    Raises:
        HookFailed: the program cannot be called, exceeds the time limit, or fails.
    """
    data = json.dumps(build_message(record), ensure_ascii=False).encode()
    try:
        process = subprocess.run(  # noqa: S603 - the payer's own command, from the settings
            list(command), input=data, timeout=seconds, capture_output=True, check=False
        )
    except subprocess.TimeoutExpired:
        raise HookFailed(f"{command[0]} took longer than {seconds:g} s") from None
    except OSError as error:
        raise HookFailed(
            f"{command[0]}: {(error.strerror or 'cannot be called').lower()}"
        ) from None
    if process.returncode:
        raise HookFailed(f"{command[0]} ended with exit code {process.returncode}")


def notify_services(services: Sequence[str], record: RunRecord) -> None:
    """Send title and text to services of apprise, such as `mailto://` or `slack://`.

    Raises:
        HookFailed: apprise does not know a service, or a service refused the message.
        ModuleNotFoundError: apprise is not installed.
    """
    from apprise import Apprise, NotifyType

    notify_type = NotifyType.SUCCESS if record.verdict in GOOD else NotifyType.FAILURE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own and its dependencies'
        notifier = Apprise()
        if not all(notifier.add(service) for service in services):
            raise HookFailed("apprise does not know one of the services")
        text, title = "\n".join(summary_lines(record)), format_title(record)
        if not notifier.notify(text, title=title, notify_type=notify_type):
            raise HookFailed("a service of apprise refused the message")
