"""HTTP calls of hooks: one attempt with a time limit."""

from __future__ import annotations

from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

_MOST = 65_536
"""Bytes of an answer that are read."""


class HookFailed(Exception):
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
