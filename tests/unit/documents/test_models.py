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
from tests.given.tables import table

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
    def normalize(cls, value):
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

    def resolve(self, context):
        return Drawing(self.title, sizes=self.sizes, shapes=self.shapes, origin=context[0])


def read(text):
    return read_as(Drawing, read_yaml(text, "d.yaml"), "d.yaml", IDS, ("red", "blue"))


@pytest.mark.parametrize(*table(__file__, "mistakes"))
def test_a_mistake_is_one_sentence_with_its_line_and_the_nearest_word(text, told):
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
