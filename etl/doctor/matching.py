"""Optimal assignment of elements to the columns of a file.

How well a column fits an element is a number from 0 to 1: how alike the names are, raised or
lowered by what the values look like. For each kind of file that it might be, the elements are given
to its columns so that the sum of the fourth powers is largest (each element once); the kind with
the highest score counts. That is an optimum over the whole file: a column gets its second choice
where another fits its first better, and the power keeps two weak matches from breaking a sure one.
Only an amount never gets its second choice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from scipy.optimize import linear_sum_assignment

from etl.doctor.elements import (
    KEYS,
    KINDS,
    NAMED_ONCE,
    NOTHING,
    Elements,
    KnownElement,
    possible_elements,
)
from etl.doctor.names import Header, differing_words
from etl.doctor.shapes import STRICT, TELLING, ColumnProfile
from etl.model.canonical_tables import CLAIMS_TABLES

LEAST: Final = 0.55
"""The least fit that is named."""
_UNLIKE: Final = 0.4
SURE: Final = 0.6
"""Least fit of an amount's name; a draft has columns of less confidence as questions."""
_APART: Final = 0.08
"""By how much the name of an amount must fit better than that of any other."""
_POWER: Final = 4
_STEADY: Final = 0.9
"""An amount of a claim is the same on this share of its lines at least."""
_CLOSE: Final = 0.93
_OTHER_LEVEL: Final = 0.9
_OTHER_USE: Final = 0.7
_RENDERING: Final = "claim_care_team.provider_id[rendering]"
_OF_LINES: Final = frozenset({"line", "revenue"})
"""Words of headers that state a line: a revenue center is one."""
_UNSAID: Final = frozenset(
    {"claim", "line", "revenue", "center", "total", "header", "amount", "source", "carrier"}
)
"""Words that do not make one amount of another: those of its level, and of where it is from."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A column, or the numbered columns of one kind, before anything is named.

    Attributes:
        places: which columns of the file they are, from 0.
        numbers: the numbers in their headers; None for a column that is none of a kind.
        header: of the first, taken apart.
        profile: of all their values.
        joins: canonical keys that have these values, as `member.member_id`, with the share.
        clashes: canonical keys of other files that do not have these values.
        steady: share of claims within which the value does not change; None: not known.
        unique: share of values that are different.
    """

    places: tuple[int, ...]
    numbers: tuple[int | None, ...]
    header: Header
    profile: ColumnProfile
    joins: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    clashes: frozenset[str] = frozenset()
    steady: float | None = None
    unique: float = 1.0

    @property
    def differs_within_claims(self) -> bool:
        """Whether the value changes within too many claims to be one of the claim."""
        return self.steady is not None and self.steady < _STEADY


@dataclass(frozen=True, slots=True)
class Match:
    """The element that a candidate was found to be.

    Attributes:
        element: None where nothing fits.
        confidence: 0 to 1.
        why: what speaks for it, a few words each.
        others: elements that fit almost as well.
        question: it is not named, because these cannot be distinguished.
    """

    element: KnownElement | None
    confidence: float
    why: tuple[str, ...] = ()
    others: tuple[KnownElement, ...] = ()
    question: bool = False


@dataclass(frozen=True, slots=True)
class Matched:
    """The kind of a file, and a match for each candidate.

    Attributes:
        kind: one of `elements.KINDS`; "" where nothing fits.
        matches: in the order of the candidates.
    """

    kind: str
    matches: tuple[Match, ...]


class Matching:
    """Fits columns to elements. Results are kept: a header fits the same in every file."""

    def __init__(self, elements: Elements) -> None:
        self._elements = elements
        every = elements.every
        self._is_telling = np.array([element.shape in TELLING for element in every])
        self._is_id = np.array([_is_key(element) for element in every])
        self._opened = {kind: possible_elements(every, tables) for kind, tables in KINDS.items()}

    def names(self, header: Header) -> Any:
        """Return how alike a header is to the names of each element; float64, shape (elements,)."""
        likeness = self._elements.likeness
        if header not in likeness:
            alike = self._elements.vocabulary.alike
            words = {word for options in header.words for word, _ in options}
            likeness[header] = np.array(
                [
                    max(
                        (
                            alike(header, name)
                            for name in element.names
                            if not words.isdisjoint(name)
                        ),
                        default=0.0,
                    )
                    for element in self._elements.every
                ]
            )
        return likeness[header]

    def is_repeated(self, header: Header) -> bool:
        """Return whether a numbered header is more like an element that repeats than another."""
        alike = self.names(header)
        repeated = np.array([element.is_repeated for element in self._elements.every])
        return bool(alike[repeated].max() >= max(alike[~repeated].max(), LEAST))

    def match(self, candidates: Sequence[Candidate], stem: str) -> Matched:
        """Return what the columns of a file are.

        Args:
            candidates: its columns.
            stem: name of the file without its ending.
        """
        every = self._elements.every
        if not candidates:
            return Matched("", ())
        names = np.array([self.names(candidate.header) for candidate in candidates])
        scores = np.zeros(names.shape)
        has_rows = any(candidate.profile.filled for candidate in candidates)
        for index, candidate in enumerate(candidates):
            # What is less alike can be raised by keys of other files, or by a telling shape.
            able = (names[index] >= _UNLIKE) | self._is_telling
            able |= bool(candidate.joins)
            for to in np.flatnonzero(able):
                scores[index, to] = self._element_score(
                    candidate, every[to], float(names[index, to])
                )
            if has_rows and not candidate.profile.filled:  # no row is known by an empty cell
                scores[index, self._is_id] = 0.0
        # What fits many numbered columns is theirs, rather than that of a single one.
        weights = np.array([float(len(candidate.places)) ** 0.5 for candidate in candidates])
        best_kind, best_value, best_pairs = "", 0.0, {}
        for kind, tables in KINDS.items():
            open_to = self._opened[kind]
            pairs = _assign_elements(np.where(open_to, scores, 0.0), weights)
            value = self._kind_score(tables, scores, pairs)
            value += self._by_stem(tables[0], stem)
            if value > best_value + 1e-9:
                best_kind, best_value, best_pairs = kind, value, pairs
        open_to = self._opened.get(best_kind, np.zeros(len(every), dtype=bool))
        matches = [
            self._matched(
                candidate,
                np.where(open_to, scores[index], 0.0),
                names[index],
                best_pairs.get(index),
            )
            for index, candidate in enumerate(candidates)
        ]
        settled = _settle_levels(matches, candidates, every, names, open_to)
        return Matched(best_kind, tuple(settled))

    def _kind_score(self, tables: Sequence[str], scores: Any, pairs: Mapping[int, int]) -> float:
        """Return how well a kind of file fits, by its tables."""
        every = self._elements.every
        value = 0.0
        named: set[tuple[str, str]] = set()
        for row, to in pairs.items():
            named.add((every[to].table, every[to].column))
            value += scores[row, to] if every[to].table != NOTHING else 0.5 * scores[row, to]
        for table in tables:
            of_table = {column for name, column in named if name == table}
            must, should = KEYS.get(table, ((), ()))
            if table == tables[0] and must and not of_table.intersection(must):
                value -= 2.0
            if should:
                value += 0.5 * len(of_table.intersection(should)) - 1.2
        main = tables[0]
        if main not in KEYS:
            required = CLAIMS_TABLES[main].required
            have = sum((main, column) in named for column in required)
            value += 0.6 * have - 0.9 * (len(required) - have) - 0.2
        return value

    def _by_stem(self, main: str, stem: str) -> float:
        """Return how much the name of a file speaks for a table."""
        words = self._elements.vocabulary.read(stem).base
        called = [main, *self._elements.tables.get(main, ())]
        names = [set(self._elements.vocabulary.plain(name)) for name in called]
        return 1.5 if words in names else 0.0

    def _element_score(self, candidate: Candidate, element: KnownElement, name: float) -> float:
        """Return how well a column fits an element."""
        profile = candidate.profile
        if len(candidate.places) > 1 and not element.is_repeated:
            return 0.0
        name *= _by_number(candidate, element) * _by_level(candidate, element)
        if element.table == "member_address" and element.qualifier:
            words = self._elements.uses.get(element.qualifier, frozenset())
            name *= 1.0 if words & candidate.header.base else _OTHER_USE
        score = name * self._by_values(profile, element)
        if profile.filled and element.shape in TELLING and name < LEAST and not element.qualifier:
            share = profile.share(element.shape)
            if share >= 0.95 and profile.distinct >= 8 and element.column in ("code", "ndc", "npi"):
                score = max(score, LEAST)
        return self._by_keys(candidate, element, score)

    def _by_values(self, profile: ColumnProfile, element: KnownElement) -> float:
        """Return the factor by which values speak for or against an element, around 1."""
        shape = element.shape
        if not profile.filled or element.table == NOTHING:
            return 1.0
        if shape != "date" and profile.share("date") > 0.9 and shape not in ("", "number"):
            return 0.5
        if element.codes and profile.words:
            known = len(profile.words & element.codes) / len(profile.words)
            return 1.1 if known > 0.8 else 0.95
        if not shape:
            return 0.6 if profile.share("decimal") > 0.8 and profile.distinct > 5 else 1.0
        share = profile.share(shape)
        if shape == "date" and share < 0.3:
            return 0.3
        if shape in STRICT:
            return 1.08 if share > 0.8 else 0.9 if share > 0.4 else 0.4
        if shape in TELLING:
            return 1.15 if share > 0.8 else 0.9
        return 1.04 if share > 0.8 else 0.88 if share > 0.2 else 0.78

    def _by_keys(self, candidate: Candidate, element: KnownElement, score: float) -> float:
        """Return a score adjusted by the keys of other files."""
        target = _TARGETS.get(element.column) or _TARGETS.get(element.key)
        if target is not None and element.table + "." + element.column != target:
            if target in candidate.joins:
                score = (0.45 + 0.5 * score) * (1.0 + 0.3 * candidate.joins[target])
            elif target in candidate.clashes:
                score *= 0.72
        elif element.column == "payer_id" and "coverage.coverage_id" in candidate.joins:
            score *= 0.5  # whatever its header, it names the coverage
        elif element.column == "patient_account_number" and "member.member_id" in candidate.joins:
            score *= 0.8
        if candidate.differs_within_claims:
            score *= {"claim": 0.6, "claim_line": 1.08}.get(element.table, 1.0)
        if _is_key(element) and element.table in ("member", "organization", "practitioner"):
            score *= 0.75 + 0.3 * candidate.unique if candidate.profile.filled else 1.0
        return score

    def _matched(self, candidate: Candidate, scores: Any, names: Any, to: int | None) -> Match:
        every = self._elements.every
        order = np.lexsort((np.arange(len(scores)), -scores))[:4]
        near = [int(index) for index in order if scores[index] >= LEAST]
        if to is None:
            others = tuple(every[index] for index in near[:3])
            is_amount = bool(others) and bool(others[0].amount)
            return Match(None, 0.0, (), others, question=is_amount)
        element, score = every[to], float(scores[to])
        others = tuple(
            every[index]
            for index in near
            if index != to
            and scores[index] >= _CLOSE * score
            and every[index].column != element.column
        )
        why = [f"name {names[to]:.0%} alike"]
        if candidate.profile.filled and element.shape:
            why.append(f"{candidate.profile.share(element.shape):.0%} look like {element.shape}")
        target = _TARGETS.get(element.column) or _TARGETS.get(element.key)
        if target is not None and target in candidate.joins:
            why.append(f"{candidate.joins[target]:.0%} are in {target}")
        if candidate.differs_within_claims and element.table == "claim_line":
            why.append("differs within claims")
        match = Match(element, min(score, 0.99), tuple(why), others)
        if element.amount or any(every[index].amount for index in near[:1]):
            return _match_amount(match, candidate.header, every, scores, names, to)
        return match


_KEY_COLUMNS: Final = frozenset(
    {"member_id", "coverage_id", "claim_id", "organization_id", "practitioner_id"}
)
_SECONDS: Final = frozenset(
    name for table in CLAIMS_TABLES.values() for name in table.names if name.endswith("_2")
)
_TARGETS: Final = {
    "member_id": "member.member_id",
    "coverage_id": "coverage.coverage_id",
    "claim_line.claim_id": "claim.claim_id",
    "claim_diagnosis.claim_id": "claim.claim_id",
    "claim_procedure.claim_id": "claim.claim_id",
    "service_facility_id": "organization.organization_id",
    "practitioner.organization_id": "organization.organization_id",
}
"""Column, or element, that points to another file -> the key that it points to."""


def _by_number(candidate: Candidate, element: KnownElement) -> float:
    """Return by how much the number of a header speaks for an element, at most 1."""
    number = candidate.numbers[0]
    if element.column.endswith("#"):
        return 1.0 if number is not None else 0.9
    if element.column.endswith("_2"):
        return 1.0 if number == 2 else 0.6
    return 0.6 if number == 2 and f"{element.column}_2" in _SECONDS else 1.0


def _by_level(candidate: Candidate, element: KnownElement) -> float:
    """Return 0 where the header states the level of an amount and the element is of the other.

    What is no amount is less of a line where the header has the claim, and the other way round.
    """
    words = candidate.header.base
    of_line, of_claim = bool(_OF_LINES & words), bool({"claim", "total"} & words)
    if not element.amount:
        if element.column in NAMED_ONCE:
            return 1.0
        if element.table == "claim_line" and "claim" in words and not of_line:
            return _OTHER_LEVEL
        if (element.table == "claim" and of_line) or (element.key == _RENDERING and not of_claim):
            return _OTHER_LEVEL
        return 1.0
    if element.table == "claim" and of_line:
        return 0.0
    return 0.5 if element.table == "claim_line" and of_claim and not of_line else 1.0


def _is_key(element: KnownElement) -> bool:
    return element.column in _KEY_COLUMNS


def _assign_elements(scores: Any, weights: Any) -> dict[int, int]:
    """Return column -> element so that the weighted sum of the powers of scores is largest."""
    able = np.where(scores >= LEAST, scores, 0.0)
    rows, columns = linear_sum_assignment(able**_POWER * weights[:, None], maximize=True)
    return {
        int(row): int(to) for row, to in zip(rows, columns, strict=True) if able[row, to] >= LEAST
    }


def _match_amount(
    match: Match, header: Header, every: Sequence[KnownElement], scores: Any, names: Any, to: int
) -> Match:
    """Return an amount's match, or a question if its header may be that of another amount.

    It must be the best of all amounts by itself, not the best that other columns left, and no word
    may be more or less than in one of its names: `blood deductible` is not the deductible.
    """
    amounts = [index for index, element in enumerate(every) if element.amount and scores[index] > 0]
    rivals = [index for index in amounts if every[index].amount != every[to].amount]
    best = max((float(names[index]) for index in rivals), default=0.0)
    is_named = every[to].amount and names[to] >= max(SURE, best) and _has_words(header, every[to])
    is_named = is_named and not any(_has_words(header, every[index]) for index in rivals)
    if is_named or (every[to].amount and names[to] > 0.999 and best < 0.999):
        return replace(match, others=())
    likely = sorted({to, *rivals}, key=lambda index: (-float(names[index]), index))[:3]
    possible = tuple(every[index] for index in likely if every[index].amount)
    return Match(None, 0.0, match.why, possible, question=True)


def _has_words(header: Header, element: KnownElement) -> bool:
    """Return whether a header has the words of one of an amount's names, and no others."""
    return any(differing_words(header, name) <= _UNSAID for name in element.names)


def _settle_levels(
    matches: Sequence[Match],
    candidates: Sequence[Candidate],
    every: Sequence[KnownElement],
    names: Any,
    open_to: Any,
) -> list[Match]:
    """Return matches: amounts of a claim and of its lines must be distinguished as well."""
    at_key = {element.key: index for index, element in enumerate(every)}
    taken = {match.element.key for match in matches if match.element is not None}
    settled = []
    for index, match in enumerate(matches):
        element = match.element
        levels = {"claim": "claim_line", "claim_line": "claim"}
        other = at_key.get(f"{levels.get(element.table, '')}.{element.column}") if element else None
        if element is None or not element.amount or other is None:
            settled.append(match)
            continue
        marked = _by_level(candidates[index], every[other]) < 1
        marked |= names[index, at_key[element.key]] >= names[index, other] + _APART
        beside = every[other].key in taken
        if marked or beside or _has_known_level(element, candidates[index], taken, open_to[other]):
            settled.append(match)
        else:
            both = (element, every[other])
            settled.append(Match(None, 0.0, match.why, both, question=True))
    return settled


def _has_known_level(
    element: KnownElement, candidate: Candidate, taken: set[str], is_other_possible: bool
) -> bool:
    """Return whether the level of an amount is certain though its header does not state it.

    Lines have numbers. Where a file has claims and lines, an amount that differs within claims is
    of a line.
    """
    if element.table == "claim_line" and "claim_line.line_number" not in taken:
        return False
    if not is_other_possible:
        return True
    is_of_line = element.table == "claim_line"
    return candidate.steady is not None and candidate.differs_within_claims == is_of_line
