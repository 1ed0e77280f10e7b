r"""Cells written as templates: text with facts by their names and draws in braces.

| field | what replaces it |
|---|---|
| `{name}` | a fact, or what it returns if it can be called |
| `{name+3}`, `{name-1..9}` | a whole number plus or less another, or a draw |
| `{3..8}`, `{01..12}` | a draw from two bounds, both included; as wide as the lower one |
| `{250?yes:no}` | the one text that many times out of a thousand, else the other |
| `{a\|b}` | one of the texts, all equally often |
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Final

from etl.synth.seeded_random import Dice

Facts = Mapping[str, object]
"""Name -> a text, a whole number, or a function without arguments that draws one."""
Cell = Callable[[Facts, Dice], str]

_NO_DICE: Final = Dice(0)
_FIELD: Final = re.compile(r"{([^{}]*)}")
_NUMBER: Final = re.compile(r"(?:([a-z_]+)([+-]))?(\d+)(?:\.\.(\d+))?")


def fill(text: str, facts: Facts, dice: Dice = _NO_DICE) -> str:
    """Return a template's text; its draws are made from left to right."""
    parts = _parse(text)
    if len(parts) == 1 and isinstance(parts[0], str):
        return parts[0]
    return "".join(part if isinstance(part, str) else part(facts, dice) for part in parts)


@cache
def _parse(text: str) -> tuple[str | Cell, ...]:
    parts = _FIELD.split(text)
    # `split` returns texts at even indexes, fields at odd ones.
    cells = [_parse_field(part) if index % 2 else part for index, part in enumerate(parts)]
    return tuple(cell for cell in cells if cell != "") or ("",)


def _parse_field(field: str) -> Cell:
    if number := _NUMBER.fullmatch(field):
        return _number_cell(*number.groups())
    chance, is_choice, choices = field.partition("?")
    if is_choice:
        yes, _, no = choices.partition(":")
        return lambda _, dice: yes if dice.chance(int(chance)) else no
    if "|" in field:
        texts = field.split("|")
        return lambda _, dice: dice.pick(texts)

    def write_fact(facts: Facts, _: Dice) -> str:
        value = facts[field]
        return str(value() if callable(value) else value)

    return write_fact


def _number_cell(base: str | None, sign: str | None, low: str, high: str | None) -> Cell:
    """Return a cell that draws from `low` to `high`; if `base` names a fact, plus or minus it."""

    def draw_number(facts: Facts, dice: Dice) -> str:
        number = int(low) if high is None else dice.between(int(low), int(high))
        if base is None:
            return f"{number:0{len(low)}}"  # as wide as `low` is written
        base_number = int(str(facts[base]))
        return str(base_number - number if sign == "-" else base_number + number)

    return draw_number
