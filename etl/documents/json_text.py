"""Hand-written JSON text into values that keep their lines and columns."""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from typing import Any, Final

from etl.documents.yaml_text import MOST_DEPTH, Map, Mark, Seq
from etl.errors import UsageError

_BLANKS: Final = re.compile(r"[ \t\n\r]*")


def read_json(text: str, file: str) -> Any:
    """Return the value of a JSON text; objects are `Map`, arrays `Seq`.

    Args:
        text: the document.
        file: what messages call the file.

    Raises:
        UsageError: it is no JSON, an object has a key twice, or it is nested too deep.
    """
    return _Reading(text, file).document()


class _Reading:
    """One document, turned into values.

    Args:
        text: the document.
        file: what messages call the file.
    """

    def __init__(self, text: str, file: str) -> None:
        self._text, self._file = text, file
        self._breaks = [match.start() for match in re.finditer("\n", text)]
        self._decoder = json.JSONDecoder()

    def document(self) -> Any:
        value, end = self._value(self._skipped(0), 1)
        if self._skipped(end) < len(self._text):
            raise self._not_json(self._skipped(end), "something follows the end of the document")
        return value

    def _value(self, start: int, depth: int) -> tuple[Any, int]:
        """Return the value that begins at a character, and where it ends."""
        opening = self._text[start : start + 1]
        if opening not in ("{", "["):
            return self._scalar(start)
        if depth > MOST_DEPTH:
            what = f"nested too deep: more than {MOST_DEPTH} objects and lists within each other"
            raise UsageError(f"{self._mark(start)}: {what}")
        return self._map(start, depth + 1) if opening == "{" else self._seq(start, depth + 1)

    def _scalar(self, start: int) -> tuple[Any, int]:
        try:
            return self._decoder.raw_decode(self._text, start)
        except json.JSONDecodeError as error:
            raise self._not_json(error.pos, error.msg[:1].lower() + error.msg[1:]) from None
        except ValueError:  # int(): more digits than Python turns into a number
            raise self._not_json(start, "a number is too long") from None

    def _map(self, start: int, depth: int) -> tuple[Map, int]:
        result = Map()
        result.mark, result.marks = self._mark(start), {}
        end, more = self._opened(start, "}")
        while more:
            mark = self._mark(end)
            if self._text[end : end + 1] != '"':
                raise self._not_json(end, "a key in double quotes is missing")
            key, end = self._scalar(end)
            if key in result:
                raise UsageError(f"{mark}: key {key!r} appears twice; remove one of them")
            end = self._skipped(end)
            if self._text[end : end + 1] != ":":
                raise self._not_json(end, "a colon is missing")
            result[key], end = self._value(self._skipped(end + 1), depth)
            result.marks[key] = mark
            end, more = self._continued(end, "}")
        return result, end

    def _seq(self, start: int, depth: int) -> tuple[Seq, int]:
        result = Seq()
        result.mark, result.marks = self._mark(start), []
        end, more = self._opened(start, "]")
        while more:
            result.marks.append(self._mark(end))
            value, end = self._value(end, depth)
            result.append(value)
            end, more = self._continued(end, "]")
        return result, end

    def _opened(self, start: int, closing: str) -> tuple[int, bool]:
        """Return where the first entry begins, and whether there is any."""
        end = self._skipped(start + 1)
        is_closed = self._text[end : end + 1] == closing
        return end + is_closed, not is_closed

    def _continued(self, end: int, closing: str) -> tuple[int, bool]:
        """Return where the next entry begins, and whether there is another."""
        end = self._skipped(end)
        char = self._text[end : end + 1]
        if char not in (",", closing):
            raise self._not_json(end, f"a comma or {closing} is missing")
        return (self._skipped(end + 1), True) if char == "," else (end + 1, False)

    def _skipped(self, start: int) -> int:
        blanks = _BLANKS.match(self._text, start)
        return start if blanks is None else blanks.end()

    def _mark(self, offset: int) -> Mark:
        line = bisect_left(self._breaks, offset)
        column = offset - (self._breaks[line - 1] if line else -1)
        return Mark(self._file, line + 1, column=column)

    def _not_json(self, offset: int, what: str) -> UsageError:
        return UsageError(f"{self._mark(offset)}: not JSON: {what}")
