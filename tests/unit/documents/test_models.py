"""The reader of documents: a model says what may stand there, every mistake has its line."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

import pytest

from etl.documents.models import (
    LISTED,
    NOT_EMPTY,
    ByKey,
    Check,
    ErrorIds,
    Flag,
    Given,
    MaybeFlag,
    MaybeText,
    Mistake,
    Model,
    RawText,
    Text,
    Texts,
    Whole,
    read_as,
)
from etl.documents.yaml_text import read_yaml
from etl.errors import MappingError

IDS = ErrorIds(key="an-key", missing="a-missing", value="a-value")


def _known(name, names):
    if name not in names:
        raise Mistake("a-name", f"{{key}}: there is no {name!r}", "ask")
    return name


@dataclass(frozen=True, slots=True)
class Circle(Model):
    radius: Whole


@dataclass(frozen=True, slots=True)
class Group(Model):
    parts: tuple[Shape, ...] = field(metadata={"alias": "group"})


def _figures():
    return {"radius": Circle, "group": Group}


@dataclass(frozen=True, slots=True)
class Shape(Model):
    figure: Annotated[Circle | Group, ByKey(_figures, "a-figure")]
    colour: Annotated[str, Given(Annotated[Text, Check(_known)])] = "red"

    @classmethod
    def known_keys(cls):
        return (*_figures(), "colour")

    @classmethod
    def shaped(cls, value):
        if not isinstance(value, dict):
            return value
        figure = {key: value[key] for key in value if key in _figures()}
        return {"figure": figure, **{key: value[key] for key in value if key not in figure}}


@dataclass(frozen=True, slots=True)
class Drawing(Model):
    title: Text
    kind: Literal["sketch", "plan"] = "sketch"
    note: MaybeText = None
    raw: RawText = ""
    is_final: MaybeFlag = None
    is_large: Flag = False
    tags: Texts = ()
    sizes: Annotated[tuple[Whole, ...], LISTED, NOT_EMPTY] = (1,)
    shapes: tuple[Shape, ...] = ()
    origin: str = field(default="", metadata={"init": False})

    def mistakes(self, context):
        del context
        if len(self.tags) > len(self.sizes):
            yield Mistake("a-tag", "more tags than sizes", at=("tags",))
        if self.kind == "plan" and not self.is_final:
            yield Mistake("a-plan", "a plan is final", at=("kind",))

    def completed(self, context):
        return Drawing(self.title, sizes=self.sizes, shapes=self.shapes, origin=context[0])


def read(text):
    return read_as(Drawing, read_yaml(text, "d.yaml"), "d.yaml", IDS, ("red", "blue"))


CASES = {
    "a missing key": ("kind: plan\nis_final: true\n", "d.yaml:1: title is missing [a-missing]"),
    "a misspelt key, and not what it lacks": (
        "\ntitel: x",
        "d.yaml:2: there is no key 'titel' here; did you mean 'title'? [an-key]",
    ),
    "a field that has no key": (
        "title: x\norigin: y",
        "d.yaml:2: there is no key 'origin' here [an-key]",
    ),
    "a number for a text": (
        "title: 01",
        'd.yaml:1: title must be text; put it in quotes: "01" [a-value]',
    ),
    "blanks for a text": ("title: ' '", "d.yaml:1: title must be text [a-value]"),
    "nothing behind a key": ("title: x\nnote:", "d.yaml:2: note must be text [a-value]"),
    "nothing behind a flag": (
        "title: x\nis_final:",
        "d.yaml:2: is_final must be true or false [a-value]",
    ),
    "a number for a flag": (
        "title: x\nis_large: 1",
        "d.yaml:2: is_large must be true or false [a-value]",
    ),
    "a flag for a number": (
        "title: x\nsizes: [1, true]",
        "d.yaml:2: sizes must be a whole number [a-value]",
    ),
    "no word of some": (
        "title: x\nkind: sketsh",
        "d.yaml:2: kind must be one of sketch, plan; did you mean 'sketch'? [a-value]",
    ),
    "an empty list": ("title: x\nsizes: []", "d.yaml:2: sizes must not be empty [a-value]"),
    "one for a list": ("title: x\nshapes: 1", "d.yaml:2: shapes must be a list [a-value]"),
    "a text for a map": (
        "title: x\nshapes:\n  - round",
        "d.yaml:3: shapes must be key: value pairs [a-value]",
    ),
    "no map at all": ("- a", "d.yaml:1: the document must be key: value pairs [a-value]"),
    "nothing at all": ("", "d.yaml: the document must be key: value pairs [a-value]"),
    "none of the keys": (
        "title: x\nshapes:\n  - colour: blue",
        "d.yaml:3: one of radius, group must be there, and only one [a-figure]",
    ),
    "two of the keys": (
        "title: x\nshapes:\n  - radius: 1\n    group: []",
        "d.yaml:3: one of radius, group must be there, and only one [a-figure]",
    ),
    "a misspelt one of the keys": (
        "title: x\nshapes:\n  - radios: 1",
        "d.yaml:3: there is no key 'radios' here; did you mean 'radius'? [an-key]",
    ),
    "a name that is not known, deep within": (
        "title: x\nshapes:\n  - group:\n    - group:\n      - radius: 1\n        colour: bleu",
        "d.yaml:6: colour: there is no 'bleu'; ask [a-name]",
    ),
    "fields that do not go together": (
        "title: x\ntags: [a, b]\nkind: plan",
        "d.yaml:2: more tags than sizes [a-tag]\nd.yaml:3: a plan is final [a-plan]",
    ),
    "several mistakes, in the order of lines": (
        "shapes: [{radius: x}]\nnotes: y\nis_large: maybe\n",
        "d.yaml:1: radius must be a whole number [a-value]\n"
        "d.yaml:2: there is no key 'notes' here; did you mean 'note'? [an-key]\n"
        "d.yaml:3: is_large must be true or false [a-value]",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_mistake_is_one_sentence_with_its_line_and_the_nearest_word(case):
    text, told = CASES[case]
    with pytest.raises(MappingError) as caught:
        read(text)
    assert str(caught.value) == told


def test_a_document_without_mistakes_becomes_the_value():
    found = read("title: two   words\nshapes:\n- group: [{radius: 2, colour: blue}]\nsizes: 3\n")
    inner = Shape(Circle(2), "blue")
    assert found == Drawing("two words", sizes=(3,), shapes=(Shape(Group((inner,))),), origin="red")


def test_texts_are_text_whatever_yaml_takes_them_for():
    assert read("title: 2024-01-31").title == "2024-01-31"


def test_constructors_of_models_check_nothing():
    assert Circle("x").radius == "x"
