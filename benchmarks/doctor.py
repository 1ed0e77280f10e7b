"""How many columns of files that it has not seen `cpcds doctor` names rightly.

`python -m benchmarks.doctor` writes every known layout with made-up rows, asks the doctor, and
compares with `benchmarks/doctor_truth/`, or with what the layout's file makes of its columns; then
variants of them that a seed has spoilt: renamed, reordered, merged, split, with other dates,
numbers, delimiters and encodings. The doctor reads no layout file.

Three figures a layout: with the names as they are shipped; held out, without names that only it
can have given us: those that spell a header of it and are neither the CPCDS Data Dictionary's nor
the canonical layout's; blind, without any name that spells a header. Exits with 1 where what is
held out or the variants are below 90 %.
"""

from __future__ import annotations

import argparse
import csv
import random
import re
import tempfile
from calendar import month_abbr
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Final

from benchmarks.layout_columns import NOTHING, elements_of, shipped_layout
from etl.bootstrap.mappings import read_crosswalks, shipped
from etl.doctor.elements import Elements, read_elements
from etl.doctor.examination import ExaminedColumn, examine
from etl.model.canonical_tables import CLAIM_TABLES, CLAIMS_TABLES, DIRECTORY_TABLES, TABLES

TRUTH: Final = Path(__file__).parent / "doctor_truth"
SAMPLES: Final = Path(__file__).parent.parent / "cpcds_samples"
DERIVED: Final = ("tuva-input", "cms-idr")
"""Layouts whose columns are taken from their layout files; those of others stand in `TRUTH`."""
LEAST: Final = 0.9
VARIANTS: Final = 40
SEED: Final = 20_240_229
_CLAIMS: Final = 250
_ELEMENT: Final = re.compile(r"(\w+)\.(\w+?)(?:\[(\w+)\])?")
Row = Mapping[str, str]


@dataclass(frozen=True)
class Column:
    """A column of a made-up file: what it is called, may be, and how its cells are written."""

    header: str
    elements: tuple[str, ...]
    write: Callable[[str], str] = field(default=lambda text: text)
    second: str = ""

    @property
    def source(self) -> str:
        """The element that its cells are made of; "" where it is none."""
        return next((one for one in self.elements if one != NOTHING), "")


@dataclass(frozen=True)
class Made:
    """A made-up extract: its files, how they are written, and what was done to it."""

    name: str
    files: Mapping[str, tuple[Column, ...]]
    delimiter: str = ","
    encoding: str = "utf-8"
    done: tuple[str, ...] = ()


@dataclass(frozen=True)
class Score:
    """How many columns were named rightly, asked about, and named wrongly."""

    right: int = 0
    asked: int = 0
    wrong: int = 0
    amounts_wrong: int = 0
    mistakes: tuple[str, ...] = ()

    def __add__(self, other: Score) -> Score:
        return Score(
            self.right + other.right,
            self.asked + other.asked,
            self.wrong + other.wrong,
            self.amounts_wrong + other.amounts_wrong,
            self.mistakes + other.mistakes,
        )

    @property
    def columns(self) -> int:
        """How many columns there were."""
        return self.right + self.asked + self.wrong

    @property
    def share(self) -> float:
        """The share of columns that were named rightly."""
        return self.right / max(self.columns, 1)


# --- rows


@cache
def tables() -> Mapping[str, tuple[Row, ...]]:
    """Return the rows of the canonical samples, by table."""
    found = {}
    for path in sorted(SAMPLES.glob("*.csv")):
        with path.open(encoding="utf-8", newline="") as stream:
            found[path.stem] = tuple(csv.DictReader(stream))
    return found


@cache
def _of_claims() -> Mapping[tuple[str, str], tuple[Row, ...]]:
    found: dict[tuple[str, str], list[Row]] = {}
    for table in CLAIM_TABLES:
        for row in tables()[table]:
            found.setdefault((table, row["claim_id"]), []).append(row)
    return {key: tuple(rows) for key, rows in found.items()}


@cache
def _members(table: str, key: str) -> Mapping[str, Row]:
    return {row[key]: row for row in tables()[table]}


def _base(columns: Sequence[Column]) -> str:
    """Return the table that has a row for each row of a file."""
    named = {found[1] for one in columns if (found := _ELEMENT.fullmatch(one.source))}
    for table in ("claim_line", "claim", "coverage", "member", *DIRECTORY_TABLES):
        if table in named:
            return table
    return min(named, default="claim")


def _cell(column: Column, base: str, row: Row, place: int) -> str:
    if not column.source:
        return _of_no_element(
            column.header, place + int(re.sub(r"\D", "", row.get("claim_id", "")) or 0)
        )
    found = _ELEMENT.fullmatch(column.source)
    if found is None:
        raise ValueError(f"{column.source} is no element")
    table, name, qualifier = found[1], found[2], found[3]
    number = re.search(r"([0-9]+)$", column.header)
    claim = (
        row if base == "claim" else _members("claim", "claim_id").get(row.get("claim_id", ""), {})
    )
    if name == "full_name" and "full_name" in (row if base == table else {}):
        return row["full_name"] or f"{row['given_name']} {row['family_name']}".strip()
    if table == base or (name in ("claim_id",) and name in row):
        return row.get(name, "")
    if table == "claim":
        return claim.get(name, "")
    if table == "member":
        member = _members("member", "member_id").get(row.get("member_id", ""), {})
        if name == "full_name":
            return f"{member['given_name']} {member['family_name']}".strip()
        return member.get(name, "")
    if table == "member_address":
        return row.get(name, "") if qualifier == "billing" else ""
    if table == "coverage":
        return _members("coverage", "member_id").get(row.get("member_id", ""), {}).get(name, "")
    rows = _of_claims().get((table, claim.get("claim_id", "")), ())
    if table == "claim_care_team":
        return next((one["provider_id"] for one in rows if one["role"] == qualifier), "")
    at = int(number[1]) - 1 if number else place
    return rows[at].get(name, "") if at < len(rows) else ""


def _of_no_element(header: str, number: int) -> str:
    """Return a cell of a column that no element carries: of the kind that its header says it is."""
    words = {word.lower() for word in _words(header)}
    if words & {"amount", "amt", "cost", "fee", "am"}:
        return f"{number * 37 % 900}.{number % 100:02}"
    if words & {"date", "dt", "ts"}:
        return f"2023-{1 + number % 12:02}-{1 + number % 28:02}"
    if words & {"cnt", "qty"}:
        return str(number % 9)
    return ("A", "01", "", "file7")[len(header) % 4]


def write(made: Made, folder: Path) -> None:
    """Write the files of an extract."""
    for file, columns in made.files.items():
        base, places = _base(columns), dict[str, int]()
        with (folder / file).open("w", encoding=made.encoding, newline="", errors="replace") as out:
            writer = csv.writer(out, delimiter=made.delimiter, lineterminator="\n")
            writer.writerow([column.header for column in columns])
            for row in tables()[base][: _CLAIMS * (2 if base == "claim_line" else 1)]:
                place = places[row.get("claim_id", "")] = (
                    places.get(row.get("claim_id", ""), -1) + 1
                )
                cells = []
                for column in columns:
                    cell = _cell(column, base, row, place)
                    cells.append(column.write(cell) if cell else cell)
                writer.writerow(cells)


# --- layouts and variants


def known_layouts() -> dict[str, Made]:
    """Return every layout whose columns are known, the canonical one first."""
    canonical = {
        f"{table.name}.csv": tuple(
            Column(name, (f"{table.name}.{name}",))
            for name in table.names
            if name != "record_action"
        )
        for table in CLAIMS_TABLES.values()
    }
    found = {"cpcds": Made("cpcds", canonical)}
    for path in sorted(TRUTH.glob("*.csv")):
        files: dict[str, list[Column]] = {}
        with path.open(encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream):
                column = Column(row["header"], tuple(row["elements"].split(";")))
                files.setdefault(row["file"], []).append(column)
        held = {name: tuple(columns) for name, columns in files.items()}
        found[path.stem] = Made(path.stem, held, "|" if path.stem == "healthsparq" else ",")
    return found | {name: _of_layout(name) for name in DERIVED}


def _unused(name: str) -> Mapping[str, tuple[str, ...]]:
    """Return elements that columns of a layout are though it uses others for them."""
    with (TRUTH / "unused_columns.txt").open(encoding="utf-8", newline="") as stream:
        return {
            row["header"]: tuple(row["elements"].split(";"))
            for row in csv.DictReader(stream)
            if row["layout"] == name
        }


def _of_layout(name: str) -> Made:
    """Return a layout whose columns are what its layout file says."""
    layout = shipped_layout(name)
    files, unused = {}, _unused(name)
    for raw, columns in elements_of(layout).items():
        table = layout.raw[raw]
        stem = table.name_patterns[0].strip("*") if table.name_patterns else raw
        files[f"{stem}.csv"] = tuple(
            Column(header, (*unused.get(header, ()), *right) if NOTHING in right else right)
            for header, right in columns.items()
        )
    return Made(name, files, layout.delimiter or ",")


_SYNONYMS: Final = {
    "identifier": "number",
    "id": "key",
    "member": "enrollee",
    "patient": "member",
    "start": "begin",
    "end": "thru",
    "from": "start",
    "payer": "carrier",
    "submitted": "billed",
    "provider": "prov",
    "physician": "doctor",
    "gender": "sex",
    "family": "last",
    "given": "first",
    "postal": "zip",
    "copay": "copayment",
    "units": "quantity",
    "eligible": "allowed",
    "thru": "through",
    "paid": "payment",
    "description": "desc",
    "unique": "internal",
    "plan": "benefit plan",
}


def _words(header: str) -> list[str]:
    return re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+", header)


def _renamed(style: str, chance: random.Random, header: str) -> str:
    words = [word.lower() for word in _words(header)]
    if style == "upper":
        return "_".join(words).upper()
    if style == "camel":
        return "".join([words[0], *(word.capitalize() for word in words[1:])])
    if style == "vowels":
        bare = [
            word[0] + re.sub("[aeiou]", "", word[1:]) if len(word) > 4 else word for word in words
        ]
        return "_".join(bare)
    if style == "short":
        return "_".join(word[:4] if len(word) > 5 else word for word in words)
    if style == "synonyms":
        return " ".join(_SYNONYMS.get(word, word) for word in words)
    if style == "prefix":
        return "src_" + "_".join(words)
    if style == "typos":
        at = chance.randrange(len(words))
        word = words[at]
        if len(word) > 4:
            cut = chance.randrange(1, len(word) - 1)
            words[at] = word[:cut] + word[cut + 1 :]
        return " ".join(words)
    return header


STYLES: Final = ("upper", "camel", "vowels", "short", "synonyms", "prefix", "typos")
_DATES: Final[Mapping[str, Callable[[str, str, str], str]]] = {
    "MM/DD/YYYY": lambda y, m, d: f"{m}/{d}/{y}",
    "YYYYMMDD": lambda y, m, d: f"{y}{m}{d}",
    "DD-Mon-YYYY": lambda y, m, d: f"{d}-{month_abbr[int(m)]}-{y}",
}


def _redated(form: str) -> Callable[[str], str]:
    def write_date(text: str) -> str:
        found = re.fullmatch(r"(\d{4})-(\d\d)-(\d\d)(.*)", text)
        return _DATES[form](found[1], found[2], found[3]) if found else text

    return write_date


def _dollars(text: str) -> str:
    if not re.fullmatch(r"-?\d+\.\d\d", text):
        return text
    whole = f"{abs(float(text)):,.2f}"
    return f"(${whole})" if text.startswith("-") else f"${whole}"


def _columns(made: Made, change: Callable[[Column], Column]) -> Made:
    files = {name: tuple(map(change, columns)) for name, columns in made.files.items()}
    return replace(made, files=files)


def _merge_files(made: Made) -> Made:
    """Put members and their coverages into one file, and claims beside their lines."""
    files = dict(made.files)
    for first, second in (("member", "coverage"), ("claim", "claim_line")):
        one, two = files.pop(f"{first}.csv"), files.pop(f"{second}.csv")
        shared = {column.header for column in two}
        marked = [
            replace(column, header=f"{first} {column.header}")
            if column.header in shared and column.header not in ("member_id", "claim_id")
            else column
            for column in one
            if column.header not in ("member_id", "claim_id", "last_updated")
        ]
        renamed = [
            replace(column, header=f"line {column.header}")
            if first == "claim" and column.header in {old.header for old in one} - {"claim_id"}
            else column
            for column in two
            if column.header != "last_updated"
        ]
        keys = {"member_id": "member.member_id", "claim_id": "claim.claim_id"}
        files[f"{second}.csv"] = tuple(
            replace(column, elements=(*column.elements, keys[column.header]))
            if column.header in keys
            else column
            for column in (*marked, *renamed)
        )
    return replace(made, files=files, done=(*made.done, "files merged"))


def _merge_names(made: Made) -> Made:
    files = dict(made.files)
    for name, columns in files.items():
        if {"family_name", "given_name", "full_name"} <= {column.header for column in columns}:
            files[name] = tuple(
                replace(column, header=f"{name.partition('.')[0]} name")
                if column.header == "full_name"
                else column
                for column in columns
                if column.header not in ("family_name", "given_name", "middle_name")
            )
    return replace(made, files=files, done=(*made.done, "names merged"))


_MOST_TOGETHER: Final = 5
"""Most files of a layout that has all of its claims in one."""


def _split_lines(made: Made) -> Made:
    """Part a wide file of claims into one of claims and one of their lines."""
    files = dict(made.files)
    for name, columns in made.files.items():
        parts: dict[bool, list[Column]] = {True: [], False: []}
        for column in columns:
            parts[column.source.startswith("claim_line.")].append(column)
        of_claim = any(column.source.startswith("claim.claim_type") for column in columns)
        if parts[True] and of_claim:
            key = next(column for column in columns if column.source == "claim.claim_id")
            both = replace(key, elements=(*key.elements, "claim_line.claim_id"))
            files[name] = tuple(parts[False])
            several = len(made.files) > _MOST_TOGETHER
            files[f"{name.partition('.')[0]}_lines.csv" if several else "Claim_Lines.csv"] = (
                both,
                *parts[True],
            )
    return replace(made, files=files, done=(*made.done, "lines split off"))


def variant(number: int, layouts: Mapping[str, Made]) -> Made:
    """Return one spoilt layout; the same for the same number."""
    chance = random.Random(SEED + number)  # noqa: S311 # made-up files are no secrets
    names = [name for name in layouts if name != "synthea-2019-first"]
    made = layouts[names[number % len(names)]]
    if made.name == "cpcds":
        which = chance.choice(("files", "names", "both"))
        made = _merge_files(made) if which != "names" else made
        made = _merge_names(made) if which != "files" else made
    elif chance.random() < 0.5 and made.name != "healthsparq":
        made = _split_lines(made)
    style = STYLES[(number + number // len(names)) % len(STYLES)]
    made = _columns(made, lambda one: replace(one, header=_renamed(style, chance, one.header)))
    done = [f"renamed ({style})"]
    if chance.random() < 0.7:
        files = {name: tuple(chance.sample(held, len(held))) for name, held in made.files.items()}
        made = replace(made, files=files)
        done.append("reordered")
    form = chance.choice([*_DATES, ""])
    if form:
        made = _columns(made, lambda one: replace(one, write=_redated(form)))
        done.append(form)
    if chance.random() < 0.5:
        before: Callable[[str], str] = _redated(form) if form else str
        made = _columns(made, lambda one: replace(one, write=lambda text: _dollars(before(text))))
        done.append("$1,234.56")
    delimiter = chance.choice([",", "|", ";", "\t"])
    encoding = chance.choice(["utf-8", "cp1252", "utf-16", "utf-8-sig"])
    done += [repr(delimiter), encoding]
    return replace(made, delimiter=delimiter, encoding=encoding, done=(*made.done, *done))


# --- measuring


def plain(name: str) -> str:
    """Return the words of a name, short ones in full: `CLM_ID` is the name `claim id`."""
    return "".join(elements().vocabulary.name_words(name))


@cache
def standard_names() -> frozenset[str]:
    """Return the names of the CPCDS Data Dictionary and of the canonical layout."""
    names = (TRUTH / "dictionary.txt").read_text(encoding="utf-8").splitlines()
    own = [name for table in TABLES.values() for name in (*table.names, table.name)]
    return frozenset(map(plain, (*names, *own)))


def own_headers(made: Made) -> set[str]:
    """Return headers of a layout that are names which only it can have given."""
    headers = {column.header for columns in made.files.values() for column in columns}
    return {header for header in headers if plain(header) not in standard_names()}


@cache
def elements(without: frozenset[str] = frozenset()) -> Elements:
    """Return the doctor's elements, without names that spell headers under test."""
    text = (shipped() / "doctor" / "elements.yaml").read_text(encoding="utf-8")
    return read_elements(text, "elements.yaml", read_crosswalks([shipped()]), without=without)


def score(made: Made, known: Elements) -> Score:
    """Return how well the doctor reads an extract."""
    with tempfile.TemporaryDirectory() as name:
        write(made, Path(name))
        found = examine(Path(name), known)
    total = Score()
    for file in found.files:
        for column, truth in zip(file.columns, made.files[file.name], strict=True):
            total += _judged(column, truth, f"{made.name}/{file.name}")
    return total


def _judged(found: ExaminedColumn, truth: Column, where: str) -> Score:
    named = found.element or "-"
    plain = {re.sub(r"_\d+$", "_#", one) for one in truth.elements}
    children = {re.sub(r"^claim_\w+\.claim_id$", "claim.claim_id", one) for one in plain}
    right = re.sub(r"_\d+$", "_#", named) in plain | children
    right |= re.sub(r"^claim_\w+\.claim_id$", "claim.claim_id", named) in children
    if right and not found.match.question:
        return Score(right=1)
    line = f"{where}: {truth.header}: {named} for {truth.source or '-'}"
    if found.match.question:
        return Score(asked=1, mistakes=(f"{line} (asked)",))
    amount = ".amount" in named
    return Score(wrong=1, amounts_wrong=int(amount), mistakes=(line,))


def main() -> int:
    """Measure, print, and say whether it is enough."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.doctor", description=__doc__)
    parser.add_argument("--mistakes", action="store_true", help="name each wrong column")
    parser.add_argument("--layout", action="append", help="only these layouts and their variants")
    parser.add_argument("--variants", type=int, default=VARIANTS)
    options = parser.parse_args()
    layouts = {
        name: made
        for name, made in known_layouts().items()
        if options.layout is None or name in options.layout
    }
    known, show = elements(), options.mistakes
    heads = f"{'shipped':>9}{'held out':>10}{'asked':>7}{'wrong':>7}{'blind':>9}"
    print(f"{'layout':22}{'columns':>8}{heads}")
    whole, strict, unseen = Score(), Score(), Score()
    for made in layouts.values():
        headers = {one.header for columns in made.files.values() for one in columns}
        taken = ((), own_headers(made), headers)
        one, two, three = (score(made, elements(frozenset(without))) for without in taken)
        whole, strict, unseen = whole + one, strict + two, unseen + three
        _print(made.name, one, two, three)
        if show:
            _show(one, "")
            _show(two, "held out: ")
            _show(three, "blind: ")
    _print("all", whole, strict, unseen)
    print(
        f"amounts taken for others: shipped {whole.amounts_wrong}, held out "
        f"{strict.amounts_wrong}, blind {unseen.amounts_wrong}"
    )
    spoilt = Score()
    for number in range(options.variants):
        made = variant(number, layouts)
        one = score(made, known)
        spoilt += one
        print(f"{number:3} {made.name:18}{one.columns:8}{one.share:9.1%}  {', '.join(made.done)}")
        if show:
            _show(one, "")
    print(
        f"variants{spoilt.columns:22}{spoilt.share:9.1%}  asked {spoilt.asked}, "
        f"wrong {spoilt.wrong}, amounts wrong {spoilt.amounts_wrong}"
    )
    return int(min(whole.share, strict.share, spoilt.share) < LEAST)


def _print(name: str, as_shipped: Score, held_out: Score, blind: Score) -> None:
    print(
        f"{name:22}{as_shipped.columns:8}{as_shipped.share:9.1%}{held_out.share:10.1%}"
        f"{held_out.asked:7}{held_out.wrong:7}{blind.share:9.1%}"
    )


def _show(found: Score, before: str) -> None:
    for line in found.mistakes:
        print(f"    {before}{line}")


if __name__ == "__main__":
    raise SystemExit(main())
