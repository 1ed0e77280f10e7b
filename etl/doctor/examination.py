"""Examine an extract: read samples of its files, match their columns, and find joins."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from types import MappingProxyType
from typing import Final, TypeAlias

from etl.doctor.elements import NOTHING, Elements, KnownElement
from etl.doctor.matching import Candidate, FileMatch, Match, Matcher
from etl.doctor.reading import FileFormat, FileSample, read_sample
from etl.doctor.shapes import READ_DATES, ColumnProfile, pool_values, profile_values
from etl.model.canonical_tables import CLAIMS_TABLES
from etl.sources.files.listed_files import list_files
from etl.sources.files.stored_files import ExtractFiles

_MOST_COLUMNS: Final = 1_000
_SHORTEST_KEY: Final = 3
_JOINED: Final = 0.8
_MIN_LEAD: Final = 0.2
_KEYS: Final = (
    "member.member_id",
    "coverage.coverage_id",
    "claim.claim_id",
    "organization.organization_id",
    "practitioner.practitioner_id",
)
_FEWEST_CLAIMS: Final = 3
_MOST_BY_HEADER: Final = 0.5
_Key: TypeAlias = tuple[str, frozenset[str], bool]
"""The file that has a key, the key's values, and whether these are all."""


@dataclass(frozen=True, slots=True)
class ExaminedColumn:
    """A column of a file with its match.

    Attributes:
        position: number of the column, from 1.
        header: header in the file; `column 3` if it has none.
        number: its number among several of its kind; None for a single one.
        match: the element that it is.
        profile: profile of its values, pooled with the others of its kind.
        has_values: whether any of its cells is filled.
    """

    position: int
    header: str
    number: int | None
    match: Match
    profile: ColumnProfile
    has_values: bool = True

    @property
    def confidence(self) -> float:
        """The confidence of its match; 0.5 at most if its header alone speaks for it."""
        confidence = self.match.confidence
        return confidence if self.has_values else min(confidence, _MOST_BY_HEADER)

    @property
    def element(self) -> str:
        """The canonical column, with its number; "" if it has none."""
        element = self.match.element
        if element is None or element.table == NOTHING:
            return ""
        return element.key.replace("#", str(self.number or 1))

    @property
    def advice(self) -> str:
        """How its values should be written instead; "" if they can be read."""
        if self.profile.date and self.profile.date not in READ_DATES:
            return f"dates are {self.profile.date}, write them YYYY-MM-DD"
        if self.match.element and self.match.element.amount and self.profile.is_formatted:
            return "amounts are not plain decimals, write them 1234.56"
        if self.match.element and self.match.element.amount and self.profile.may_be_cents:
            return "no amount has a decimal sign; if these are cents, set number: { implied: 2 }"
        return ""


@dataclass(frozen=True, slots=True)
class ExaminedFile:
    """A file with its kind and columns.

    Attributes:
        name: name of the file.
        form: its format.
        kind: what its rows are, one of `etl.doctor.elements.KINDS`; "" if unknown.
        rows: number of examined rows.
        is_complete: whether these are all rows.
        columns: its columns in order.
    """

    name: str
    form: FileFormat
    kind: str
    rows: int
    is_complete: bool
    columns: tuple[ExaminedColumn, ...]


@dataclass(frozen=True, slots=True)
class KeyJoin:
    """A column whose values are keys of another file.

    Attributes:
        file: file of the column.
        header: header of the column.
        to_file: the other file.
        to_header: header of the key column.
        share: share of the different values that are keys.
        many: whether several rows have the same key.
    """

    file: str
    header: str
    to_file: str
    to_header: str
    share: float
    many: bool


@dataclass(frozen=True, slots=True)
class Examination:
    """The findings of the doctor in an extract.

    Attributes:
        files: in the order of their names.
        joins: columns with keys of other files.
        missing: canonical table -> columns that C4BB requires and that no file has.
    """

    files: tuple[ExaminedFile, ...]
    joins: tuple[KeyJoin, ...]
    missing: Mapping[str, tuple[str, ...]]

    @property
    def questions(self) -> tuple[tuple[ExaminedFile, ExaminedColumn], ...]:
        """Columns that are not named because several elements cannot be distinguished."""
        return tuple(
            (file, column)
            for file in self.files
            for column in file.columns
            if column.match.question
        )


@dataclass(slots=True)
class _MatchedFile:
    sample: FileSample
    groups: tuple[tuple[int, ...], ...]
    profiles: tuple[ColumnProfile, ...]
    matched: FileMatch


def examine(extract: Path | ExtractFiles, elements: Elements) -> Examination:
    """Examine the files of an extract. Nothing is written; no value is kept.

    Raises:
        ExtractError: there is no such folder, or a file cannot be read.
    """
    listed = list_files(extract)
    return examine_samples(
        [read_sample(file, elements.words, elements.written) for file in listed], elements
    )


def examine_samples(samples: Iterable[FileSample], elements: Elements) -> Examination:
    """Examine samples of files."""
    matching = Matcher(elements)
    files = [_group_columns(sample, elements, matching) for sample in samples]
    for file in files:
        file.matched = _match_file(file, elements, matching, {})
    keys: dict[str, _Key] | None = None
    for _ in range(2):
        # The kind of one file decides the keys of another; two rounds are enough.
        previous_keys, keys = keys, _key_values(files)
        if previous_keys == keys:
            break
        for file in files:
            file.matched = _match_file(file, elements, matching, keys)
    examined = tuple(_examined_file(file, elements) for file in files)
    return Examination(examined, _find_joins(files), MappingProxyType(_column_errors(examined)))


def _match_file(
    file: _MatchedFile, elements: Elements, matching: Matcher, keys: Mapping[str, _Key]
) -> FileMatch:
    """Match the columns of a file to elements."""
    stem = file.sample.name.partition(".")[0]
    return matching.match(_build_candidates(file, elements, keys), stem)


def _group_columns(sample: FileSample, elements: Elements, matching: Matcher) -> _MatchedFile:
    """Return a file with its numbered columns of a kind combined."""
    groups: dict[object, list[int]] = {}
    for index, name in enumerate(sample.headers[:_MOST_COLUMNS]):
        header = elements.vocabulary.read_header(name)
        repeats = header.number is not None and matching.is_repeated(header)
        groups.setdefault((header.known_words, True) if repeats else index, []).append(index)
    column_groups = tuple(tuple(group) for group in groups.values())
    profiles = tuple(
        profile_values(
            pool_values(sample.columns[index] for index in group) if sample.columns else []
        )
        for group in column_groups
    )
    return _MatchedFile(sample, column_groups, profiles, FileMatch("", ()))


def _build_candidates(
    file: _MatchedFile, elements: Elements, keys: Mapping[str, _Key]
) -> list[Candidate]:
    sample, candidates = file.sample, []
    claims = _column_values(file, "claim.claim_id", "claim_line.claim_id")
    for group, profile in zip(file.groups, file.profiles, strict=True):
        values = sample.columns[group[0]] if sample.columns else ()
        joins, clashes = {}, set()
        for key, (owner, key_values, is_complete) in keys.items():
            share = _share_within(values, key_values)
            if owner == sample.name or share is None or not key_values:
                continue
            if share >= _JOINED:
                joins[key] = share
            elif share < _MIN_LEAD and is_complete:
                clashes.add(key)
        headers = [elements.vocabulary.read_header(sample.headers[index]) for index in group]
        candidates.append(
            Candidate(
                columns=group,
                numbers=tuple(header.number for header in headers),
                header=headers[0],
                profile=profile,
                joins=MappingProxyType(joins),
                clashes=frozenset(clashes),
                constant_share=_share_constant(claims, values) if len(group) == 1 else None,
                distinct_share=len(set(values)) / len(values) if values else 1.0,
            )
        )
    return candidates


def _share_within(values: Sequence[str], keys: frozenset[str]) -> float | None:
    """Return the share of distinct values that are keys; None if none can be one."""
    distinct = {value for value in values if len(value) >= _SHORTEST_KEY}
    return len(distinct & keys) / len(distinct) if distinct else None


def _column_index(file: _MatchedFile, keys: Sequence[str]) -> int | None:
    """Return the index of the column that matched one of some elements."""
    for group, match in zip(file.groups, file.matched.matches, strict=False):
        if match.element is not None and match.element.key in keys:
            return group[0]
    return None


def _column_values(file: _MatchedFile, *keys: str) -> tuple[str, ...]:
    index = _column_index(file, keys)
    return file.sample.columns[index] if file.sample.columns and index is not None else ()


def _share_constant(claims: Sequence[str], values: Sequence[str]) -> float | None:
    """Return the share of claims with several rows within which a value is constant.

    Claims with only zeros are left out: an amount that nobody paid is the same on every line.
    """
    if not claims:
        return None
    rows: dict[str, int] = {}
    held: dict[str, set[str]] = {}
    for claim, value in zip(claims, values, strict=True):
        rows[claim] = rows.get(claim, 0) + 1
        if value:
            held.setdefault(claim, set()).add(value)
    several = [
        claim
        for claim, count in rows.items()
        if count > 1 and any(value.strip("$0.,") for value in held.get(claim, ()))
    ]
    if len(several) < _FEWEST_CLAIMS:
        return None
    return sum(len(held[claim]) == 1 for claim in several) / len(several)


def _key_values(files: Sequence[_MatchedFile]) -> dict[str, _Key]:
    """Return key -> its file, its values, and whether these are complete."""
    keys: dict[str, _Key] = {}
    for key in _KEYS:
        for file in files:
            if key == "claim.claim_id" and file.matched.kind != "claims":
                continue
            values = frozenset(_column_values(file, key)) - {""}
            if len(values) > len(keys.get(key, ("", frozenset(), True))[1]):
                keys[key] = (file.sample.name, values, file.sample.is_complete)
    return keys


def _find_joins(files: Sequence[_MatchedFile]) -> tuple[KeyJoin, ...]:
    joins, keys = [], _key_values(files)
    for file in files:
        for group, match in zip(file.groups, file.matched.matches, strict=True):
            values = file.sample.columns[group[0]] if file.sample.columns else ()
            filled = [value for value in values if value]
            for key, (owner, key_values, _) in keys.items():
                share = _share_within(values, key_values)
                if owner == file.sample.name or share is None or match.element is None:
                    continue
                if share >= _JOINED:
                    other_file = next(file for file in files if file.sample.name == owner)
                    index = _column_index(other_file, (key,))
                    joins.append(
                        KeyJoin(
                            file=file.sample.name,
                            header=file.sample.headers[group[0]],
                            to_file=owner,
                            to_header="" if index is None else other_file.sample.headers[index],
                            share=share,
                            many=len(filled) > len(set(filled)),
                        )
                    )
    return (*joins, *_find_surrogate_joins(files))


def _find_surrogate_joins(files: Sequence[_MatchedFile]) -> Iterator[KeyJoin]:
    """Yield unmatched columns with the same header and values as a key of another file."""
    for file, other in permutations(files, 2):
        headers = {header.casefold(): index for index, header in enumerate(other.sample.headers)}
        for group, match in zip(file.groups, file.matched.matches, strict=True):
            header = file.sample.headers[group[0]]
            index = headers.get(header.casefold())
            if match.element is not None or index is None or not file.sample.columns:
                continue
            values = file.sample.columns[group[0]]
            keys = other.sample.columns[index] if other.sample.columns else ()
            is_key = len(set(values)) < len(values) and len(set(keys)) == len(keys)
            if is_key and set(values) - {""} <= set(keys):
                name, key = file.sample.name, other.sample.headers[index]
                yield KeyJoin(name, header, other.sample.name, key, 1.0, many=True)


def _examined_file(file: _MatchedFile, elements: Elements) -> ExaminedFile:
    sample = file.sample
    columns = []
    for group, match, profile in zip(file.groups, file.matched.matches, file.profiles, strict=True):
        for index in group:
            header = sample.headers[index]
            number = elements.vocabulary.read_header(header).number
            matched = match if _has_number(match.element, number) else Match(None, 0.0)
            has_values = any(sample.columns[index])
            columns.append(ExaminedColumn(index + 1, header, number, matched, profile, has_values))
    columns.sort(key=lambda column: column.position)
    kind = file.matched.kind
    return ExaminedFile(
        sample.name, sample.form, kind, sample.rows, sample.is_complete, tuple(columns)
    )


def _has_number(element: KnownElement | None, number: int | None) -> bool:
    """Return whether an element exists with a number: a line has four modifiers."""
    if element is None or not element.column.endswith("#"):
        return True
    column = element.column.replace("#", str(number or 1))
    return CLAIMS_TABLES[element.table].column(column) is not None


def _column_errors(files: Sequence[ExaminedFile]) -> dict[str, tuple[str, ...]]:
    """Return missing columns that C4BB requires, by table."""
    have: dict[str, set[str]] = {}
    for file in files:
        for column in file.columns:
            element: KnownElement | None = column.match.element
            if element is not None and element.table != NOTHING:
                have.setdefault(element.table, set()).add(element.column)
    missing = {}
    for table in CLAIMS_TABLES.values():
        if not table.compulsory:
            continue
        present = have.get(table.name, set())
        if table.name == "claim_line":  # it may be in one row with its claim
            present = {*present, "claim_id"}
        lacking = tuple(name for name in table.required if name not in present)
        if lacking:
            missing[table.name] = lacking
    return missing
