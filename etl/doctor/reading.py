"""The first rows of a file, however it is written."""

from __future__ import annotations

import contextlib
import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

import charset_normalizer
from clevercsv.detect import Detector

from etl.doctor.shapes import SHAPES
from etl.errors import ExtractError
from etl.sources.files.listed_files import COMPRESSION_ERRORS, ListedFile, open_unpacked
from etl.sources.files.stored_files import (
    DELIMITERS,
    PhysicalFormat,
    count_cells,
    guess_delimiter,
    has_even_lines,
    is_fixed_width,
    recognize_format,
)
from etl.sources.parsing.parquet import read_batches, read_parquet_headers

SAMPLE_BYTES: Final = 4 << 20
SAMPLE_ROWS: Final = 5_000
_LINES: Final = 200
_ENCODINGS: Final = ["cp1252", "mac_roman", "cp850", "cp037"]
_WESTERN: Final = "\u2018\u2019\u201c\u201d\u2013\u2014\u20ac\xb0\xb7"
_NOTHING: Final = frozenset({"", "null", "na", "n/a", "none", "unknown", "unk", "nil", "?"})
_LONG_NUMBER: Final = re.compile(r"\d{4}")
_TEXT_KINDS: Final = ("delimited", "fixed width", "one column", "UTF-16")
NOT_DRAFTED: Final = "{}; such a file needs a header or a layout"
"""The sentence about files that the doctor does not draft."""


@dataclass(frozen=True, slots=True)
class FileFormat:
    """The format of a file.

    Attributes:
        physical: format according to its first bytes.
        encoding: encoding of its text; "" if it isn't text.
        quoted: whether cells are quoted.
        extra_cells: number of empty cells at the end of each row, beyond the headers.
        not_drafted: a sentence why no layout can be drafted; "" if one can.
        notes: further remarks, one sentence each.
    """

    physical: PhysicalFormat
    encoding: str = ""
    quoted: bool = False
    extra_cells: int = 0
    not_drafted: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FileSample:
    """The first rows of a file.

    Attributes:
        name: name of the file.
        form: its format.
        headers: headers of its columns; `column 3` for a column without one.
        columns: trimmed cells of each column, in the order of the rows.
        is_complete: whether these are all rows.
    """

    name: str
    form: FileFormat
    headers: tuple[str, ...] = ()
    columns: tuple[tuple[str, ...], ...] = ()
    is_complete: bool = True

    @property
    def rows(self) -> int:
        """The number of rows that were read."""
        return len(self.columns[0]) if self.columns else 0


def read_sample(listed: ListedFile, words: frozenset[str], names: Iterable[str]) -> FileSample:
    """Return the first rows of a file.

    The sample has no columns if the file cannot be read as a table with a header.

    Args:
        words: words that names of elements are made of, abbreviations included.
        names: known headers, as written.

    Raises:
        ExtractError: it cannot be read.
    """
    head, is_whole = _read_head(listed)
    physical = recognize_format(head[:65536])
    if physical.kind == "parquet":
        return _parquet_sample(listed)
    if physical.kind not in _TEXT_KINDS:
        return FileSample(listed.name, FileFormat(physical))
    encoding, text = _decode(head, is_whole=is_whole)
    lines = text.splitlines()
    if not is_whole and len(lines) > 1:
        lines.pop()
    some = [line for line in lines[:_LINES] if line.strip()]
    delimiter = "" if is_fixed_width(some) else _find_delimiter(some)
    if delimiter:
        kind = "UTF-16" if physical.kind == "UTF-16" else "delimited"
        physical = PhysicalFormat(kind, delimiter)
    elif physical.kind == "fixed width" or has_even_lines(some):
        sentence = f"{NOT_DRAFTED.format('it has columns of fixed width')} with `fixed_width`"
        form = FileFormat(PhysicalFormat("fixed width"), encoding, not_drafted=sentence)
        return FileSample(listed.name, form)
    quoted = any(part.startswith('"') for line in some for part in line.split(delimiter or "\0"))
    rows = _parse_rows(text if is_whole else "\n".join(lines), delimiter, quoted=quoted)
    is_whole = is_whole and len(rows) <= SAMPLE_ROWS
    extra_cells = _extra_cells(rows)
    rows = [rows[0], *(row[: len(row) - extra_cells] for row in rows[1:])] if rows else []
    if not _has_header(rows, words, frozenset(name.lower() for name in names)):
        sentence = NOT_DRAFTED.format("it has no header")
        form = FileFormat(physical, encoding, quoted, not_drafted=sentence)
        return FileSample(listed.name, form)
    headers, cells = _columns_of_rows(rows)
    notes = []
    if ragged := sum(len(row) != len(headers) for row in rows):
        notes.append(f"{ragged:,} of {len(rows):,} rows have a different number of cells")
    if extra_cells:
        notes.append(f"each row ends in more cells than the header, all empty: {extra_cells}")
    has_trailer = is_whole and len(rows[-1]) != len(headers)
    sentence = NOT_DRAFTED.format("it ends with a trailer") if has_trailer else ""
    form = FileFormat(physical, encoding, quoted, extra_cells, sentence, tuple(notes))
    return FileSample(listed.name, form, headers, cells, is_whole)


def _read_head(listed: ListedFile) -> tuple[bytes, bool]:
    """Return the first bytes of a file, unpacked, and whether they are the whole file."""
    try:
        with listed.open() as raw:
            head = raw.read(SAMPLE_BYTES + 1)
        packing = "gzip" if head.startswith(b"\x1f\x8b") else listed.compression
        if packing:
            with listed.open() as raw, open_unpacked(raw, packing, listed.name) as stream:
                head = stream.read(SAMPLE_BYTES + 1)
    except (OSError, *COMPRESSION_ERRORS) as error:
        reason = getattr(error, "strerror", None) or "its compression is broken"
        raise ExtractError(f"{listed.name} cannot be read: {reason}") from None
    return head[:SAMPLE_BYTES], len(head) <= SAMPLE_BYTES


def _decode(head: bytes, *, is_whole: bool) -> tuple[str, str]:
    """Return the encoding of some text, and the text."""
    if head.startswith(b"\xef\xbb\xbf"):
        return "UTF-8 with byte order mark", head[3:].decode("utf-8", errors="replace")
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "UTF-16", head.decode("utf-16", errors="replace")
    if b"\0" in head[:4096]:
        little = head[1:4096:2].count(0) >= head[0:4096:2].count(0)
        return "UTF-16", head.decode("utf-16-le" if little else "utf-16-be", errors="replace")
    try:
        return "UTF-8", head.decode("utf-8")
    except UnicodeDecodeError as error:
        if not is_whole and error.start >= len(head) - 3:
            return "UTF-8", head[: error.start].decode("utf-8")
    western = head.decode("cp1252", errors="replace")
    if all(char.isascii() or char.isalpha() or char in _WESTERN for char in western):
        return "cp1252", western  # a few letters are too little to weigh encodings by
    best = charset_normalizer.from_bytes(head[:200_000], cp_isolation=_ENCODINGS).best()
    encoding = best.encoding if best is not None else "cp1252"
    return encoding, head.decode(encoding, errors="replace")


def _find_delimiter(lines: list[str]) -> str:
    """Return the delimiter of cells; if several are possible, clevercsv decides by cell types."""
    able = []
    for delimiter in DELIMITERS:
        counts = count_cells(lines, delimiter)
        cells, often = counts.most_common(1)[0] if counts else (0, 0)
        if cells > 1 and often >= 0.9 * counts.total():
            able.append(delimiter)
    if len(able) > 1:
        sample = "\n".join(lines[:60])[:20_000]
        dialect = Detector().detect(sample, delimiters=able)
        if dialect is not None and dialect.delimiter in able:
            return str(dialect.delimiter)
    if able:
        return able[0] if len(able) == 1 else guess_delimiter(lines)
    if lines and all(delimiter not in lines[0] for delimiter in DELIMITERS):
        return ""
    # Rows of several types, or a trailer: what most often stands there.
    return "" if has_even_lines(lines) else guess_delimiter(lines)


def _parse_rows(text: str, delimiter: str, *, quoted: bool) -> list[list[str]]:
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=delimiter or "\0",
        quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
    )
    rows: list[list[str]] = []
    with contextlib.suppress(csv.Error):  # the rows read before are enough
        rows.extend([cell.strip() for cell in row] for row in islice(reader, SAMPLE_ROWS + 1))
    return [row for row in rows if any(row)]


def _extra_cells(rows: Sequence[Sequence[str]]) -> int:
    """Return the number of empty cells that every row has after the last header."""
    extra = {len(row) - len(rows[0]) for row in rows[1:]}
    count = max(0, *extra) if extra else 0
    is_empty = not any(cell for row in rows[1:] for cell in row[len(rows[0]) :])
    return count if len(extra) == 1 and is_empty else 0


def _has_header(
    rows: Sequence[Sequence[str]], words: frozenset[str], names: frozenset[str]
) -> bool:
    """Return whether the first row is a header; in doubt, it may be a member's.

    A header has as many cells as most rows, and a name is no number or date. Either most are made
    of words of the field, or they are words above cells of another kind: numbers and dates.
    """
    if not rows or len(rows[0]) != Counter(map(len, rows)).most_common(1)[0][0]:
        return False
    first, body = rows[0], rows[1:200]
    filled = [cell for cell in first if cell]
    if any(_is_value(cell) for cell in filled):
        return False
    named = sum(_is_named(cell, words, names) for cell in filled)
    if filled and named >= 0.5 * len(filled):
        return True
    contrast = numbers = 0
    for at, cell in enumerate(first):
        below = [row[at] for row in body if at < len(row) and row[at].lower() not in _NOTHING]
        if len(below) >= 2 and sum(map(_is_value, below)) >= 0.9 * len(below):
            numbers += 1
            contrast += cell.lower() not in _NOTHING and _has_few_digits(cell)
    return numbers > 0 and contrast == numbers


def _has_few_digits(cell: str) -> bool:
    """Return whether a cell can be an unknown name (`Q4 total`, not `555Q6`)."""
    return sum(character.isdigit() for character in cell) <= 2


def _is_named(cell: str, words: frozenset[str], names: frozenset[str]) -> bool:
    if cell.lower() in names:
        return True
    parts = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", cell)
    return bool(parts) and any(part.lower() in words for part in parts)


def _is_value(cell: str) -> bool:
    return bool(_LONG_NUMBER.search(cell) or SHAPES["number"](cell) or SHAPES["date"](cell)) or (
        "@" in cell
    )


def _columns_of_rows(
    rows: Sequence[Sequence[str]],
) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Return headers, and cells by column, without rows of other lengths."""
    headers = tuple(name or f"column {at}" for at, name in enumerate(rows[0], start=1))
    body = [row for row in rows[1:] if len(row) == len(headers)]
    return headers, tuple(tuple(row[at] for row in body) for at in range(len(headers)))


def _parquet_sample(listed: ListedFile) -> FileSample:
    headers = read_parquet_headers(listed)
    columns: list[list[str]] = [[] for _ in headers]
    distinct = tuple(f"{at} {name}" for at, name in enumerate(headers))
    is_whole = True
    for batch in read_batches(listed, distinct, 1):
        for at, held in enumerate(columns):
            held.extend(str(cell).strip() for cell in batch.rows.column(at).to_pylist())
        if batch.rows.num_rows and len(columns[0]) >= SAMPLE_ROWS:
            is_whole = False
            break
    form = FileFormat(PhysicalFormat("parquet"))
    return FileSample(listed.name, form, headers, tuple(map(tuple, columns)), is_whole)
