"""Split headers into known words, and compare them with the names of elements."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from rapidfuzz import fuzz, process

_PARTS: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+(?:st|nd|rd|th|ST|ND|RD|TH)?")
_NUMBER: Final = re.compile(r"([0-9]+)(?:st|nd|rd|th)?")
_VOWELS: Final = re.compile(r"(?<=.)[aeiou]")
_TYPO: Final = 84
_SLIP: Final = 92
_SHORT_PIECES: Final = frozenset({"id", "dt", "cd", "nm", "rx", "dx"})
_OTHER_ORDER: Final = 0.97
_RARE_WORD_MISSING: Final = 0.9
_UNKNOWN_WEIGHT: Final = 0.5
_LARGEST_NUMBER: Final = 25
"""Largest number of a column: no claim form has more columns of a kind."""


@dataclass(frozen=True, slots=True)
class Header:
    """The words and the number of a header.

    Attributes:
        words: for each word, the known words that it may stand for, each with its certainty.
        number: the last number in it, such as 3 for the third diagnosis; None if it has none.
    """

    words: tuple[tuple[tuple[str, float], ...], ...]
    number: int | None = None

    @property
    def known_words(self) -> frozenset[str]:
        """The likeliest word for each of its words."""
        return frozenset(options[0][0] for options in self.words)


@dataclass(frozen=True)
class Vocabulary:
    """The words in the names of elements.

    Attributes:
        abbreviations: short word -> the word or words that it stands for.
        ignored: words without meaning.
        names: the names of every element.
    """

    abbreviations: Mapping[str, str]
    ignored: frozenset[str]
    names: tuple[tuple[str, ...], ...]
    _seen: dict[str, Header] = field(default_factory=dict, compare=False, repr=False)
    _options: dict[str, tuple[str | tuple[str, float], ...]] = field(
        default_factory=dict, compare=False, repr=False
    )

    def name_words(self, name: str) -> tuple[str, ...]:
        """Return the words of an element's name, without ignored words and numbers."""
        words = []
        for part in _PARTS.findall(name):
            lowered = part.lower()
            if not _NUMBER.fullmatch(lowered):
                words += self._expansions(lowered)[0]
        return tuple(word for word in words if word not in self.ignored)

    def _expansions(self, word: str) -> list[list[str]]:
        """Return what an abbreviation may stand for, likeliest first; else the word itself."""
        return [meaning.split() for meaning in self.abbreviations.get(word, word).split("|")]

    @cached_property
    def weights(self) -> Mapping[str, float]:
        """Word -> its weight, which is higher the fewer elements have the word."""
        counts: Counter[str] = Counter()
        for names in self.names:
            counts.update({word for name in names for word in self.name_words(name)})
        total = math.log(max(len(self.names), 2))
        return {
            word: 0.25 + math.log(max(len(self.names), 2) / count) / total
            for word, count in counts.items()
        }

    def read_header(self, header: str) -> Header:
        """Parse a header; resolves abbreviated, run-together and misspelled words."""
        if header not in self._seen:
            self._seen[header] = self._parse_header(header)
        return self._seen[header]

    def _parse_header(self, header: str) -> Header:
        words: list[tuple[tuple[str, float], ...]] = []
        number = None
        for part in _PARTS.findall(header):
            lowered = part.lower()
            digits = _NUMBER.fullmatch(lowered)
            if digits is not None:
                value = int(digits[1][:6])
                number = value if 0 < value <= _LARGEST_NUMBER else number
                continue
            for option in self._part_meanings(lowered):
                first, *alternates = self._expansions(option[0][0])
                alternatives = [(other[0], option[0][1]) for other in alternates]
                words.extend(
                    ((word, option[0][1]), *alternatives, *option[1:])
                    for word in first
                    if word not in self.ignored
                )
        return Header(tuple(words), number)

    def _part_meanings(self, word: str) -> list[tuple[tuple[str, float], ...]]:
        """Return the words that a part of a header may mean, each with its alternatives."""
        weights = self.weights
        if word in weights or word in self.abbreviations or word in self.ignored:
            return [((word, 1.0),)]
        near = process.extractOne(word, list(weights), scorer=fuzz.ratio, score_cutoff=_SLIP)
        if near is not None and len(word) > 4:
            return [((near[0], near[1] / 100),)]
        pieces = self._split_word(word)
        if pieces:
            return [((piece, 0.95),) for piece in pieces]
        meanings: dict[str, float] = {}
        skeleton = _VOWELS.sub("", word)
        for term in weights:
            if len(word) >= 3 and term.startswith(word):
                meanings[term] = 0.85
            elif len(skeleton) >= 2 and term[0] == word[0]:
                bare = _VOWELS.sub("", term)
                if bare == skeleton:
                    meanings[term] = 0.92
                elif len(word) >= 3 and _is_within(word, term) and bare.startswith(skeleton[:2]):
                    meanings[term] = 0.7
        if len(word) >= 4:
            for term, ratio, _ in process.extract(
                word, list(weights), scorer=fuzz.ratio, score_cutoff=_TYPO, limit=3
            ):
                meanings[term] = max(meanings.get(term, 0), ratio / 100 * 0.97)
        if not meanings:
            return [((word, 1.0),)]
        ranked = sorted(meanings.items(), key=lambda item: (-item[1], item[0]))
        return [tuple(ranked[:4])]

    def _split_word(self, word: str) -> tuple[str, ...]:
        """Return the fewest known words that make up a run-together word; else nothing."""
        weights = self.weights
        best: list[tuple[str, ...] | None] = [(), *[None] * len(word)]
        for end in range(2, len(word) + 1):
            for start in range(end - 1):
                prefix, piece = best[start], word[start:end]
                if len(piece) < 3 and piece not in _SHORT_PIECES:
                    continue
                if prefix is None or not (piece in weights or piece in self.abbreviations):
                    continue
                held = best[end]
                if held is None or len(prefix) + 1 < len(held):
                    best[end] = (*prefix, piece)
        parts = best[-1]
        return parts if parts is not None and 1 < len(parts) <= 6 else ()

    def likeness(self, header: Header, name: tuple[str, ...]) -> float:
        """Return how similar a header is to an element's name: their common share, 0 to 1.

        It is lower if the words are in another order, or if the header lacks the rarest word of
        the name.
        """
        weights = self.weights
        unmatched, positions = list(name), []
        total = sum(weights[word] for word in name)
        common = 0.0
        for options in header.words:
            total += weights.get(options[0][0], _UNKNOWN_WEIGHT)
            for word, certainty in options:
                if word in unmatched:
                    unmatched.remove(word)
                    positions.append(name.index(word))
                    common += 2 * weights[word] * certainty
                    break
        factor = 1.0 if positions == sorted(positions) else _OTHER_ORDER
        rarest = max(weights[word] for word in name) if name else 0.0
        if any(weights[word] == rarest for word in unmatched):
            factor *= _RARE_WORD_MISSING
        return factor * min(common / total, 1.0) if total else 0.0


def differing_words(header: Header, name: tuple[str, ...]) -> frozenset[str]:
    """Return the words that a header and an element's name do not have in common."""
    missing, surplus = set(name), set()
    for options in header.words:
        common = {word for word, _ in options}.intersection(name)
        missing -= common
        if not common:
            surplus.add(options[0][0])
    return frozenset(surplus | missing)


def _is_within(short: str, word: str) -> bool:
    """Return whether a word contains the letters of a short word in their order."""
    letters = iter(word)
    return all(letter in letters for letter in short)
