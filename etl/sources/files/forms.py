"""Physical forms of files, detected from their first bytes: how they are written.

Files that payers send are often not written as their endings say. Each such form has a name here,
so that it is reported as what it is, not as a layout that does not fit.
"""

from __future__ import annotations

import csv
import re
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

PAGE: Final = "docs/layouts.md, A file nobody has seen"
HEAD_BYTES: Final = 1 << 16
"""Number of bytes of a file that are examined."""
DELIMITER_NAMES: Final = {",": "commas", "|": "|", ";": ";", "\t": "tabs", "~": "~", "^": "^"}
DELIMITERS: Final = tuple(DELIMITER_NAMES)
ENDING_OF: Final = {",": ".csv", "|": ".psv", "\t": ".tsv"}
"""What stands between the cells of a file -> the ending that says so."""
_UTF16: Final = (b"\xff\xfe", b"\xfe\xff")
OTHER_FORMS: Final = frozenset({"xlsx", "xls", "zip", "tar", "gzip", "zstd", "UTF-16", "PDF"})
"""Kinds of files that hold no delimited text, whatever they are called."""
_REMOTE: Final = re.compile(r"(?P<scheme>s3|gs|gcs|az|abfss?|wasbs?|sftp|https?):/+(?P<rest>.*)")
_VALUE: Final = re.compile(r"[-+$(]*\d[\d.,/:-]*\)?|\d{1,2}-[A-Za-z]{3}-\d{2,4}")
_LINES: Final = 50
_MOST_ALIKE: Final = 0.9
_FEWEST_EVEN: Final = 3
_SHORTEST_EVEN: Final = 20


@dataclass(frozen=True, slots=True)
class Physical:
    """The physical form of a file.

    Attributes:
        kind: `delimited`, `fixed width`, `one column`, `UTF-16`, `xlsx`, `zip`, `tar`, `gzip`,
            `zstd`, `parquet`, `JSON`, `XML`, `PDF`, `binary` or `empty`.
        delimiter: what stands between the cells of a delimited file; "" otherwise.
    """

    kind: str
    delimiter: str = ""


def recognize(head: bytes) -> Physical:
    """Return the physical form of a file, given its first bytes, unpacked where it is gzip."""
    kind = _signature(head)
    if kind:
        return Physical(kind)
    text = head.removeprefix(b"\xef\xbb\xbf").decode("utf-8", errors="replace")
    lines = [line for line in text.splitlines()[:_LINES] if line.strip()]
    if len(head) >= HEAD_BYTES and len(lines) > 1:
        lines.pop()  # it may be cut off
    start = text.lstrip()[:1]
    if start in ("{", "[") and '"' in text[:200]:
        return Physical("JSON")
    if start == "<":
        return Physical("XML")
    delimiter = delimiter_of(lines)
    if delimiter and not is_fixed_width(lines):
        return Physical("delimited", delimiter)
    if len({len(line) for line in lines}) == 1 and is_fixed_width(lines):
        return Physical("fixed width")
    return Physical("one column")


def _signature(head: bytes) -> str:
    if not head:
        return "empty"
    if head.startswith(b"PK\x03\x04"):
        return "xlsx" if b"xl/" in head or b"[Content_Types].xml" in head[:200] else "zip"
    signatures = {
        b"\x1f\x8b": "gzip",
        b"\x28\xb5\x2f\xfd": "zstd",
        b"PAR1": "parquet",
        b"%PDF": "PDF",
        b"\xd0\xcf\x11\xe0": "xls",
    }
    for signature, kind in signatures.items():
        if head.startswith(signature):
            return kind
    if head.startswith(_UTF16):
        return "UTF-16"
    if head[257:262] == b"ustar":
        return "tar"
    zeros = head[:4096].count(0)
    if zeros:
        # Text of one byte a character in UTF-16 is half NUL bytes.
        return "UTF-16" if 0.3 < zeros / len(head[:4096]) < 0.6 else "binary"
    return ""


def delimiter_of(lines: list[str]) -> str:
    """Return what stands between the cells of lines; "" where nothing does so on all of them."""
    candidates: list[tuple[float, int, str]] = []
    for delimiter in DELIMITERS:
        counts = cell_counts(lines, delimiter)
        if not counts:
            continue
        cells, often = counts.most_common(1)[0]
        if cells > 1:
            candidates.append((often / counts.total(), cells, delimiter))
    steady = [candidate for candidate in candidates if candidate[0] >= _MOST_ALIKE] or candidates
    return max(steady, key=lambda candidate: (candidate[1], candidate[0]))[2] if steady else ""


def is_even(lines: Sequence[str]) -> bool:
    """Return whether most lines are of one length, which is no short one."""
    if len(lines) < _FEWEST_EVEN:
        return False
    length, often = Counter(map(len, lines)).most_common(1)[0]
    return length >= _SHORTEST_EVEN and often >= _MOST_ALIKE * len(lines)


def is_fixed_width(lines: Sequence[str]) -> bool:
    """Return whether lines are padded to one length and no delimiter stands at fixed places.

    Commas in names do so at other places on each line; those between padded cells do not.
    """
    if not is_even(lines):
        return False
    length = Counter(map(len, lines)).most_common(1)[0][0]
    even = [line for line in lines if len(line) == length]
    for delimiter in DELIMITERS:
        places = [{at for at, char in enumerate(line) if char == delimiter} for line in even]
        if set.intersection(*places):
            return False
        if any(places) and sum("  " in line for line in even) < 0.5 * len(even):
            return False
    return True


def cell_counts(lines: list[str], delimiter: str) -> Counter[int]:
    """Return how many lines have how many cells."""
    try:
        return Counter(len(row) for row in csv.reader(lines, delimiter=delimiter) if row)
    except csv.Error:
        return Counter(line.count(delimiter) + 1 for line in lines)


def said_of(physical: Physical, name: str, ending_says: str) -> str:
    """Return what a file is, and what to do, where it is not written as its ending says; else "".

    Args:
        physical: how it is written.
        name: its name.
        ending_says: what stands between its cells by its ending; "" where that says nothing.
    """
    is_parquet = name.lower().endswith(".parquet")
    rest = {
        "xlsx": "is an Excel workbook beside files of another form; save each sheet as CSV UTF-8",
        "xls": "is an old Excel workbook, or one with a password; save each sheet as CSV UTF-8",
        "zip": "is a ZIP archive inside an extract; name the archive alone, or unpack it",
        "tar": "is a tar archive inside an extract; name the archive alone, or unpack it",
        "gzip": "is gzip data; give it the ending .gz behind .csv, .psv or .tsv",
        "zstd": "is Zstandard data; give it the ending .zst behind .csv, .psv or .tsv",
        "UTF-16": f"is text in UTF-16; write it as UTF-8 (iconv -f UTF-16 -t UTF-8 {name})",
        "JSON": "is JSON, not a delimited file",
        "XML": "is XML, not a delimited file",
        "PDF": "is a PDF, not a delimited file",
        "binary": "is no text: it holds NUL bytes; export it as CSV",
        "parquet": "" if is_parquet else "is Parquet; give it the ending .parquet",
        "fixed width": "has columns of fixed width, nothing stands between them; a layout with "
        "fixed_width reads it",
    }.get(physical.kind, "")
    if rest:
        return f"{name} {rest}"
    if physical.kind == "delimited" and physical.delimiter != ending_says:
        between, ending = physical.delimiter, "but no ending that says so"
        if ending_says:
            ending = f"where its ending says {DELIMITER_NAMES[ending_says]}"
        advised = f'a layout with delimiter: "{between}" reads it'
        if between in ENDING_OF:
            advised = f"call it {ENDING_OF[between]}"
        return f"{name} has {DELIMITER_NAMES[between]} between its cells, {ending}; {advised}"
    return ""


def lacks_header(head: bytes, physical: Physical) -> bool:
    """Return whether the first row of a delimited file holds values: numbers or dates."""
    line = head.removeprefix(b"\xef\xbb\xbf").split(b"\n", 1)[0].decode("utf-8", errors="replace")
    row = next(csv.reader([line.strip()], delimiter=physical.delimiter), [])
    return any(_VALUE.fullmatch(cell.strip()) for cell in row)


def remote_address(text: str) -> str:
    """Return the remote address that a path stands for; "" for a local path."""
    match = _REMOTE.match(text)
    return f"{match['scheme']}://{match['rest']}" if match else ""


def advice(extract: str) -> str:
    """Return the next step for files that are not understood."""
    return f"`cpcds doctor {shlex.quote(extract)}` looks at every file and starts a layout ({PAGE})"
