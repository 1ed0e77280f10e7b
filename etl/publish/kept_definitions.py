"""The definitions of a release, as hashes of their lines, and what changed between two releases.

A release keeps no texts of rules and mappings: hashes show which lines of which files changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from typing import Final

import msgspec

from etl.errors import StoreError
from etl.publish.canonical_json import short_hash
from etl.publish.kept_objects import json_kind
from etl.publish.reader import Release

_HASH_DIGITS: Final = 8
_SHOWN_RANGES: Final = 8


class KeptDefinitions(msgspec.Struct, frozen=True):
    """What the definitions of a release were made of.

    Attributes:
        files: file, as messages name it -> a hash of each line.
        settings: setting or group of settings -> a hash of its value.
        format: version of the JSON.
    """

    files: Mapping[str, Sequence[str]]
    settings: Mapping[str, str]
    format: int = 1


DEFINITIONS: Final = json_kind(".definitions", KeptDefinitions)


def hash_definitions(files: Mapping[str, str], settings: Mapping[str, str]) -> KeptDefinitions:
    """Return the hashes of files' lines and of settings.

    Args:
        files: file -> its text.
        settings: setting -> its value as text.
    """
    return KeptDefinitions(
        {file: [_hash(line) for line in text.splitlines()] for file, text in files.items()},
        {name: _hash(value) for name, value in settings.items()},
    )


def _hash(text: str) -> str:
    return short_hash(text.encode())[:_HASH_DIGITS]


def definitions_note(earlier: Release | None, later: KeptDefinitions | Release) -> str:
    """Return a sentence on the definitions that changed since a release; empty if none did.

    Args:
        earlier: the release; None if there is none.
        later: the definitions of a run, or another release.
    """
    if earlier is None:
        return ""
    try:
        old = earlier.read(DEFINITIONS)
        new = later if isinstance(later, KeptDefinitions) else later.read(DEFINITIONS)
    except StoreError:
        return "the definitions of a release are damaged, so their changes are unknown"
    if old is None or new is None or old == new:
        return ""
    changes = [*_changed_files(old.files, new.files)]
    names = sorted(old.settings.keys() | new.settings.keys())
    changes += [name for name in names if old.settings.get(name) != new.settings.get(name)]
    return f"the definitions changed since release {earlier.id}: {'; '.join(changes)}"


def _changed_files(
    old: Mapping[str, Sequence[str]], new: Mapping[str, Sequence[str]]
) -> Iterator[str]:
    """Yield each file that changed, with the lines that are different now."""
    for file in sorted(old.keys() | new.keys()):
        if file not in new:
            yield f"{file} (removed)"
        elif file not in old:
            yield f"{file} (new)"
        elif old[file] != new[file]:
            matcher = SequenceMatcher(None, old[file], new[file], autojunk=False)
            ranges = [
                _line_range(first, last)
                for operation, _, _, first, last in matcher.get_opcodes()
                if operation != "equal"
            ]
            more = f" and {len(ranges) - _SHOWN_RANGES} more" * (len(ranges) > _SHOWN_RANGES)
            yield f"{file} ({', '.join(ranges[:_SHOWN_RANGES])}{more})"


def _line_range(first: int, last: int) -> str:
    """Return the lines of a change, counted from 1; lines were only removed if there are none."""
    if first == last:
        return f"removed after line {first}"
    return f"line {last}" if last == first + 1 else f"lines {first + 1} to {last}"
