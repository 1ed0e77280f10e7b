"""Parse JSON into values that keep their lines and columns."""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from typing import Any, Final

from etl.documents.yaml_text import MOST_DEPTH, Map, Mark, Seq
from etl.errors import UsageError

_BLANKS: Final = re.compile(r"[ \t\n\r]*")


def read_json(text: str, file: str) -> Any:
    """Parse a JSON text; objects become `Map`, arrays `Seq`.

    Args:
        file: the file's name in messages.

    Raises:
        UsageError: the text isn't JSON, has duplicate keys, or is nested too deeply.
    """
    return _JsonReader(text, file).read_document()


class _JsonReader:
    """A parser that tracks positions, which `json` doesn't.

    Args:
        file: the file's name in messages.
    """

    def __init__(self, text: str, file: str) -> None:
        self._text, self._file = text, file
        self._breaks = [match.start() for match in re.finditer("\n", text)]
        self._decoder = json.JSONDecoder()

    def read_document(self) -> Any:
        value, end = self._parse_value(self._skip_blanks(0), 1)
        if self._skip_blanks(end) < len(self._text):
            raise self._error(self._skip_blanks(end), "something follows the end of the document")
        return value

    def _parse_value(self, start: int, depth: int) -> tuple[Any, int]:
        """Parse the value that begins at an offset; return it and its end."""
        opening = self._text[start : start + 1]
        if opening not in ("{", "["):
            return self._parse_scalar(start)
        if depth > MOST_DEPTH:
            message = f"nested too deep: more than {MOST_DEPTH} objects and lists within each other"
            raise UsageError(f"{self._mark(start)}: {message}")
        parse = self._parse_map if opening == "{" else self._parse_seq
        return parse(start, depth + 1)

    def _parse_scalar(self, start: int) -> tuple[Any, int]:
        try:
            return self._decoder.raw_decode(self._text, start)
        except json.JSONDecodeError as error:
            raise self._error(error.pos, error.msg[:1].lower() + error.msg[1:]) from None
        except ValueError:  # int() refuses very long numbers
            raise self._error(start, "a number is too long") from None

    def _parse_map(self, start: int, depth: int) -> tuple[Map, int]:
        result = Map()
        result.mark, result.marks = self._mark(start), {}
        end, has_entry = self._open_container(start, "}")
        while has_entry:
            mark = self._mark(end)
            if self._text[end : end + 1] != '"':
                raise self._error(end, "a key in double quotes is missing")
            key, end = self._parse_scalar(end)
            if key in result:
                raise UsageError(f"{mark}: key {key!r} appears twice; remove one of them")
            end = self._skip_blanks(end)
            if self._text[end : end + 1] != ":":
                raise self._error(end, "a colon is missing")
            result[key], end = self._parse_value(self._skip_blanks(end + 1), depth)
            result.marks[key] = mark
            end, has_entry = self._next_entry(end, "}")
        return result, end

    def _parse_seq(self, start: int, depth: int) -> tuple[Seq, int]:
        result = Seq()
        result.mark, result.marks = self._mark(start), []
        end, has_entry = self._open_container(start, "]")
        while has_entry:
            result.marks.append(self._mark(end))
            value, end = self._parse_value(end, depth)
            result.append(value)
            end, has_entry = self._next_entry(end, "]")
        return result, end

    def _open_container(self, start: int, closing: str) -> tuple[int, bool]:
        """Return the offset of the first entry, and whether there is one."""
        end = self._skip_blanks(start + 1)
        is_closed = self._text[end : end + 1] == closing
        return end + is_closed, not is_closed

    def _next_entry(self, end: int, closing: str) -> tuple[int, bool]:
        """Return the offset of the next entry, and whether there is one."""
        end = self._skip_blanks(end)
        char = self._text[end : end + 1]
        if char not in (",", closing):
            raise self._error(end, f"a comma or {closing} is missing")
        return (self._skip_blanks(end + 1), True) if char == "," else (end + 1, False)

    def _skip_blanks(self, start: int) -> int:
        blanks = _BLANKS.match(self._text, start)
        return start if blanks is None else blanks.end()

    def _mark(self, offset: int) -> Mark:
        line = bisect_left(self._breaks, offset)
        column = offset - (self._breaks[line - 1] if line else -1)
        return Mark(self._file, line + 1, column=column)

    def _error(self, offset: int, message: str) -> UsageError:
        return UsageError(f"{self._mark(offset)}: not JSON: {message}")
