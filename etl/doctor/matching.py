"""Optimal assignment of elements to the columns of a file.

A score from 0 to 1 says how well a column fits an element: the similarity of their names, raised or
lowered by the values. For each kind of file, elements are assigned to columns (each element once)
so that the sum of the fourth powers of the scores is largest; the kind with the highest score wins.
The optimum is over the whole file: a column gets its second choice if another one fits the first
better, and the power keeps two weak matches from replacing a strong one. An amount never gets its
second choice.
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
from etl.doctor.shapes import DISTINCTIVE, REQUIRED_SHAPES, ColumnProfile
from etl.model.canonical_tables import CLAIMS_TABLES

LEAST: Final = 0.55
"""Lowest score of a match."""
_UNLIKE: Final = 0.4
SURE: Final = 0.6
"""Lowest score of an amount's name; columns with less confidence become questions in a draft."""
_DOUBTFUL: Final = 0.8
"""Below this score, a header that states another kind of value makes a match a question."""
_SURROGATE: Final = "surrogate"
"""Word for the key of a warehouse's table, which is no ID of the payer."""
_SURROGATE_FACTOR: Final = 0.6
_KEY_FACTOR: Final = 0.9
_MIN_LEAD: Final = 0.08
"""By how much an amount's name must fit better than that of any other."""
_POWER: Final = 4
_CONSTANT_SHARE: Final = 0.9
"""An amount of the claim is constant within at least this share of the claims."""
_CLOSE: Final = 0.93
_OTHER_LEVEL: Final = 0.9
_OTHER_USE: Final = 0.7
_RENDERING: Final = "claim_care_team.provider_id[rendering]"
_OF_LINES: Final = frozenset({"line", "revenue"})
"""Words of headers that refer to a line, such as a revenue center."""
_NEUTRAL_WORDS: Final = frozenset(
    {"claim", "line", "revenue", "center", "total", "header", "amount", "source", "carrier"}
)
"""Words that don't change which amount it is: those for its level and its source."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A column, or the numbered columns of one kind, before it is matched.

    Attributes:
        columns: indexes of the columns in the file.
        numbers: the numbers in their headers; None for a single column.
        header: parsed header of the first.
        profile: profile of all their values.
        joins: keys of other files, such as `member.member_id` -> share of the values among them.
        clashes: keys of other files that don't have these values.
        constant_share: share of claims within which the value does not change; None if unknown.
        distinct_share: share of values that are different.
    """

    columns: tuple[int, ...]
    numbers: tuple[int | None, ...]
    header: Header
    profile: ColumnProfile
    joins: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    clashes: frozenset[str] = frozenset()
    constant_share: float | None = None
    distinct_share: float = 1.0

    @property
    def differs_within_claims(self) -> bool:
        """Whether the value changes within too many claims to belong to the claim."""
        return self.constant_share is not None and self.constant_share < _CONSTANT_SHARE


@dataclass(frozen=True, slots=True)
class Match:
    """The element that a candidate is.

    Attributes:
        element: the element; None if none fits.
        confidence: 0 to 1.
        why: reasons for the match, a few words each.
        rivals: elements that fit almost as well.
        question: whether there is no match because these can't be distinguished.
    """

    element: KnownElement | None
    confidence: float
    why: tuple[str, ...] = ()
    rivals: tuple[KnownElement, ...] = ()
    question: bool = False


@dataclass(frozen=True, slots=True)
class FileMatch:
    """The kind of a file, and a match for each candidate.

    Attributes:
        kind: one of `elements.KINDS`; "" if none fits.
        matches: in the order of the candidates.
    """

    kind: str
    matches: tuple[Match, ...]


class Matcher:
    """Matches columns to elements. Caches the similarity of headers to elements."""

    def __init__(self, elements: Elements) -> None:
        self._elements = elements
        every = elements.every
        self._is_distinctive = np.array([element.shape in DISTINCTIVE for element in every])
        self._is_id = np.array([_is_key(element) for element in every])
        self._possible = {kind: possible_elements(every, tables) for kind, tables in KINDS.items()}

    def name_likeness(self, header: Header) -> Any:
        """Return a header's similarity to each element's names; float64, shape (elements,)."""
        likeness = self._elements.likeness
        if header not in likeness:
            likeness_to = self._elements.vocabulary.likeness
            words = {word for options in header.words for word, _ in options}
            likeness[header] = np.array(
                [
                    max(
                        (
                            likeness_to(header, name)
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
        """Return whether a numbered header fits a repeated element best."""
        likeness = self.name_likeness(header)
        repeated = np.array([element.is_repeated for element in self._elements.every])
        return bool(likeness[repeated].max() >= max(likeness[~repeated].max(), LEAST))

    def match(self, candidates: Sequence[Candidate], stem: str) -> FileMatch:
        """Match the columns of a file to elements.

        Args:
            candidates: its columns.
            stem: name of the file without its ending.
        """
        every = self._elements.every
        if not candidates:
            return FileMatch("", ())
        names = np.array([self.name_likeness(candidate.header) for candidate in candidates])
        scores = np.zeros(names.shape)
        has_rows = any(candidate.profile.filled for candidate in candidates)
        for index, candidate in enumerate(candidates):
            # Keys of other files, or a distinctive shape, can raise a low similarity.
            is_considered = (names[index] >= _UNLIKE) | self._is_distinctive
            is_considered |= bool(candidate.joins)
            for to in np.flatnonzero(is_considered):
                scores[index, to] = self._element_score(
                    candidate, every[to], float(names[index, to])
                )
            if has_rows and not candidate.profile.filled:  # an empty cell identifies no row
                scores[index, self._is_id] = 0.0
        # An element that fits many numbered columns goes to them rather than to a single column.
        weights = np.array([float(len(candidate.columns)) ** 0.5 for candidate in candidates])
        best_kind, best_value, best_pairs = "", 0.0, {}
        for kind, tables in KINDS.items():
            is_possible = self._possible[kind]
            pairs = _assign_elements(np.where(is_possible, scores, 0.0), weights)
            value = self._kind_score(tables, scores, pairs)
            value += self._stem_bonus(tables[0], stem)
            if value > best_value + 1e-9:
                best_kind, best_value, best_pairs = kind, value, pairs
        is_possible = self._possible.get(best_kind, np.zeros(len(every), dtype=bool))
        matches = [
            self._build_match(
                candidate,
                np.where(is_possible, scores[index], 0.0),
                names[index],
                best_pairs.get(index),
            )
            for index, candidate in enumerate(candidates)
        ]
        checked_matches = _check_amount_levels(matches, candidates, every, names, is_possible)
        return FileMatch(best_kind, tuple(checked_matches))

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

    def _stem_bonus(self, main: str, stem: str) -> float:
        """Return the score that the name of a file adds for a table."""
        words = self._elements.vocabulary.read_header(stem).known_words
        called = [main, *self._elements.tables.get(main, ())]
        names = [set(self._elements.vocabulary.name_words(name)) for name in called]
        return 1.5 if words in names else 0.0

    def _element_score(self, candidate: Candidate, element: KnownElement, name: float) -> float:
        """Return how well a column fits an element."""
        profile = candidate.profile
        if len(candidate.columns) > 1 and not element.is_repeated:
            return 0.0
        name *= _number_factor(candidate, element) * _level_factor(candidate, element)
        if element.table == "member_address" and element.qualifier:
            words = self._elements.uses.get(element.qualifier, frozenset())
            name *= 1.0 if words & candidate.header.known_words else _OTHER_USE
        score = name * self._value_factor(profile, element)
        if (
            profile.filled
            and element.shape in DISTINCTIVE
            and name < LEAST
            and not element.qualifier
        ):
            share = profile.share(element.shape)
            if share >= 0.95 and profile.distinct >= 8 and element.column in ("code", "ndc", "npi"):
                score = max(score, LEAST)
        return self._adjust_by_keys(candidate, element, score)

    def _value_factor(self, profile: ColumnProfile, element: KnownElement) -> float:
        """Return the factor by which the values raise or lower a score."""
        shape = element.shape
        if not profile.filled or element.table == NOTHING:
            return 1.0
        if shape != "date" and profile.share("date") > 0.9 and shape not in ("", "number"):
            return 0.5
        if element.codes and profile.words:
            known_share = len(profile.words & element.codes) / len(profile.words)
            return 1.1 if known_share > 0.8 else 0.95
        if not shape:
            return 0.6 if profile.share("decimal") > 0.8 and profile.distinct > 5 else 1.0
        share = profile.share(shape)
        if shape == "date" and share < 0.3:
            return 0.3
        if shape in REQUIRED_SHAPES:
            return 1.08 if share > 0.8 else 0.9 if share > 0.4 else 0.4
        if shape in DISTINCTIVE:
            return 1.15 if share > 0.8 else 0.9
        return 1.04 if share > 0.8 else 0.88 if share > 0.2 else 0.78

    def _adjust_by_keys(self, candidate: Candidate, element: KnownElement, score: float) -> float:
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
        words = candidate.header.known_words
        if _is_key(element) and "key" in words:  # an ID is rather the column that is called ID
            score *= _SURROGATE_FACTOR if _SURROGATE in words else _KEY_FACTOR
        if _is_key(element) and element.table in ("member", "organization", "practitioner"):
            score *= 0.75 + 0.3 * candidate.distinct_share if candidate.profile.filled else 1.0
        return score

    def _build_match(self, candidate: Candidate, scores: Any, names: Any, to: int | None) -> Match:
        every = self._elements.every
        order = np.lexsort((np.arange(len(scores)), -scores))[:4]
        near = [int(index) for index in order if scores[index] >= LEAST]
        if to is None:
            rivals = tuple(every[index] for index in near[:3])
            is_amount = bool(rivals) and bool(rivals[0].amount)
            return Match(None, 0.0, (), rivals, question=is_amount)
        element, score = every[to], float(scores[to])
        rivals = tuple(
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
        if self._is_contradicted(candidate.header, element, score):
            return Match(None, 0.0, tuple(why), (element, *rivals), question=True)
        match = Match(element, min(score, 0.99), tuple(why), rivals)
        if element.amount or any(every[index].amount for index in near[:1]):
            return _match_amount(match, candidate.header, every, scores, names, to)
        return match

    def _is_contradicted(self, header: Header, element: KnownElement, score: float) -> bool:
        """Return whether a header says that it is not an element, whatever its values."""
        if _SURROGATE in header.known_words:
            return True
        if score >= _DOUBTFUL:
            return False
        if _is_key(element):
            return not any(header.known_words.issuperset(name) for name in element.names)
        stated = header.known_words & self._elements.value_kinds
        words = {word for name in element.names for word in name}
        named = words & self._elements.value_kinds
        return bool(stated and named) and stated.isdisjoint(named)


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


def _number_factor(candidate: Candidate, element: KnownElement) -> float:
    """Return the factor by which the number in a header lowers a score, at most 1."""
    number = candidate.numbers[0]
    if element.column.endswith("#"):
        return 1.0 if number is not None else 0.9
    if element.column.endswith("_2"):
        return 1.0 if number == 2 else 0.6
    return 0.6 if number == 2 and f"{element.column}_2" in _SECONDS else 1.0


def _level_factor(candidate: Candidate, element: KnownElement) -> float:
    """Return the factor for the level that a header states; 0 for an amount of the other level."""
    words = candidate.header.known_words
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
    """Return column -> element with the largest weighted sum of powers of scores."""
    able = np.where(scores >= LEAST, scores, 0.0)
    rows, columns = linear_sum_assignment(able**_POWER * weights[:, None], maximize=True)
    return {
        int(row): int(to) for row, to in zip(rows, columns, strict=True) if able[row, to] >= LEAST
    }


def _match_amount(
    match: Match, header: Header, every: Sequence[KnownElement], scores: Any, names: Any, to: int
) -> Match:
    """Return an amount's match, or a question if the header may mean another amount.

    The amount must fit best of all amounts, not only of those that other columns left, and the
    header must have the same words as one of its names: `blood deductible` is not the deductible.
    """
    amounts = [index for index, element in enumerate(every) if element.amount and scores[index] > 0]
    rivals = [index for index in amounts if every[index].amount != every[to].amount]
    best = max((float(names[index]) for index in rivals), default=0.0)
    is_named = (
        every[to].amount and names[to] >= max(SURE, best) and _has_same_words(header, every[to])
    )
    is_named = is_named and not any(_has_same_words(header, every[index]) for index in rivals)
    if is_named or (every[to].amount and names[to] > 0.999 and best < 0.999):
        return replace(match, rivals=())
    likely = sorted({to, *rivals}, key=lambda index: (-float(names[index]), index))[:3]
    possible = tuple(every[index] for index in likely if every[index].amount)
    return Match(None, 0.0, match.why, possible, question=True)


def _has_same_words(header: Header, element: KnownElement) -> bool:
    """Return whether a header has exactly the words of one of an amount's names."""
    return any(differing_words(header, name) <= _NEUTRAL_WORDS for name in element.names)


def _check_amount_levels(
    matches: Sequence[Match],
    candidates: Sequence[Candidate],
    every: Sequence[KnownElement],
    names: Any,
    is_possible: Any,
) -> list[Match]:
    """Replace matches of amounts whose level (claim or line) is uncertain by questions."""
    index_of = {element.key: index for index, element in enumerate(every)}
    matched_keys = {match.element.key for match in matches if match.element is not None}
    checked_matches = []
    for index, match in enumerate(matches):
        element = match.element
        levels = {"claim": "claim_line", "claim_line": "claim"}
        other_index = (
            index_of.get(f"{levels.get(element.table, '')}.{element.column}") if element else None
        )
        if element is None or not element.amount or other_index is None:
            checked_matches.append(match)
            continue
        marked = _level_factor(candidates[index], every[other_index]) < 1
        marked |= names[index, index_of[element.key]] >= names[index, other_index] + _MIN_LEAD
        beside = every[other_index].key in matched_keys
        if (
            marked
            or beside
            or _has_known_level(element, candidates[index], matched_keys, is_possible[other_index])
        ):
            checked_matches.append(match)
        else:
            options = (element, every[other_index])
            checked_matches.append(Match(None, 0.0, match.why, options, question=True))
    return checked_matches


def _has_known_level(
    element: KnownElement, candidate: Candidate, matched_keys: set[str], is_other_possible: bool
) -> bool:
    """Return whether the level of an amount is certain although its header doesn't state it.

    A file with lines has line numbers. In a file with claims and lines, an amount that differs
    within claims belongs to a line.
    """
    if element.table == "claim_line" and "claim_line.line_number" not in matched_keys:
        return False
    if not is_other_possible:
        return True
    is_of_line = element.table == "claim_line"
    return candidate.constant_share is not None and candidate.differs_within_claims == is_of_line
