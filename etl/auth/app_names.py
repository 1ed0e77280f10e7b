"""Distinct names of apps: visible characters only, and no other app's name."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from functools import cache
from typing import Final

_INVISIBLE: Final = ("Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp")
"""Unicode categories of controls, format characters, unassigned and private ones, separators."""

_BLANK: Final = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u2800\u3164\uffa0")
"""Letters, marks and symbols that are drawn as nothing, most of them Default_Ignorable."""

_LOOKALIKES: Final = str.maketrans({"0": "o", "1": "l", "i": "l", "|": "l", "5": "s", "$": "s"})
_PAIRS: Final = (("rn", "m"), ("vv", "w"))

SHORTEST_IMITATED: Final = 4
"""Skeletons of fewer letters are too common to be anyone's."""


def has_invisible(text: str) -> bool:
    """Return whether a text contains an invisible character, or a blank that is not a space.

    Variation selectors and a plain space are no such characters.
    """
    return any(
        unicodedata.category(character) in _INVISIBLE
        or character in _BLANK
        or (unicodedata.category(character) == "Zs" and character != " ")
        for character in text
    )


def skeleton(name: str) -> str:
    """Return a name's skeleton: two names with the same skeleton look alike.

    Case, accents, blanks and punctuation are taken off; letters of other scripts become the Latin
    ones that they look like (Unicode Technical Standard 39), and so do digits.
    """
    normalized = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", name))
    latin = "".join(map(_to_latin, normalized))
    folded = "".join(
        character for character in latin.casefold().translate(_LOOKALIKES) if character.isalnum()
    )
    for pair, letter in _PAIRS:
        folded = folded.replace(pair, letter)
    return folded


def imitates(name: str, payer: str) -> bool:
    """Return whether an app's name looks like the payer's, or contains it."""
    payer_skeleton = skeleton(payer)
    return len(payer_skeleton) >= SHORTEST_IMITATED and payer_skeleton in skeleton(name)


def is_taken(name: str, others: Iterable[str]) -> bool:
    """Return whether a name looks like one of some others."""
    own_skeleton = skeleton(name)
    return any(own_skeleton == skeleton(other) for other in others)


@cache
def _to_latin(character: str) -> str:
    """Return the Latin letters that a character looks like; itself if there are none."""
    if character.isascii():
        return character
    if unicodedata.combining(character):
        return ""
    # Not above: its table is a megabyte that most requests have no use for.
    from confusable_homoglyphs import confusables

    lookalikes = confusables.confusables_data.get(character, [])
    return next((lookalike["c"] for lookalike in lookalikes if lookalike["c"].isascii()), character)
