"""Parts of documents into frozen dataclasses: the one reader of rules, layouts and mappings.

A dataclass that derives from `Model` declares what a map of a document may hold: its fields are
the keys, their types the allowed values. `read_as` makes it from a `Map` and reports every mistake
at once, each with file and line, the id of its kind and the nearest valid word.

pydantic does the work, and only here: models declare their fields with the types of this module.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from datetime import date
from typing import Annotated, Any, ClassVar, Final, TypeAlias, TypeVar

from pydantic import (
    ConfigDict,
    GetCoreSchemaHandler,
    Strict,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic.dataclasses import dataclass as pydantic_dataclass
from pydantic_core import CoreSchema, ErrorDetails, core_schema

from etl.documents.yaml_text import Map, Mark, Seq
from etl.errors import MappingError, Mistakes, nearest

T = TypeVar("T")
Location: TypeAlias = tuple[int | str, ...]


class Mistake(ValueError):
    """Mistake in a value, as a check of a model states it.

    Attributes:
        error_id: id of the error.
        what: what is wrong; `{key}` in it stands for the key of the value.
        hint: what to try, or "".
        at: where below the value; empty for the value itself.
        is_absence: something is missing, which is not reported beside a misspelt key.
    """

    def __init__(
        self,
        error_id: str,
        what: str,
        hint: str = "",
        *,
        at: Location = (),
        is_absence: bool = False,
    ) -> None:
        super().__init__(what)
        self.error_id, self.what, self.hint = error_id, what, hint
        self.at, self.is_absence = at, is_absence


class _Several(ValueError):
    """Mistakes of one value."""

    def __init__(self, every: tuple[Mistake, ...]) -> None:
        super().__init__("several")
        self.every = every


@dataclass(frozen=True, slots=True)
class ErrorIds:
    """Ids of the errors that every document of a kind may have.

    Attributes:
        key: a key that is unknown.
        missing: a key that is missing.
        value: a value of another type.
    """

    key: str
    missing: str
    value: str


@dataclass(frozen=True, slots=True)
class _Pass:
    """One pass of the reader: the context of the checks, and the maps with unknown keys."""

    context: Any
    unknown: dict[int, tuple[Map, type[Model]]] = field(default_factory=dict)

    def known(self, value: Any, model: type[Model]) -> Any:
        """Return a map without the keys that its model does not have; those are reported last."""
        unknown = set(value) - set(model.known_keys()) if isinstance(value, Map) else ()
        if not unknown:
            return value
        self.unknown[id(value)] = (value, model)
        return value.without(*unknown)

    def misspelt(self, ids: ErrorIds) -> Iterator[tuple[Mark, MappingError]]:
        """Yield place and mistake of each key that is unknown."""
        for value, model in self.unknown.values():
            for key in value:
                if key not in model.known_keys():
                    mark, what = value.marks[key], f"there is no key {key!r} here"
                    hint = nearest(key, model.known_keys())
                    yield mark, MappingError(str(mark), ids.key, what, hint=hint)


@pydantic_dataclass(frozen=True, slots=True)
class Model:
    """A map of a document.

    Subclasses are dataclasses. Their constructors check nothing: documents are checked while they
    are read. The metadata of a field may state its key (`alias`), or that it has none (`init`).
    """

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid")

    @classmethod
    def known_keys(cls) -> tuple[str, ...]:
        """Return the keys that the map may have."""
        return tuple(
            str(spec.metadata.get("alias", spec.name))
            for spec in fields(cls)
            if spec.metadata.get("init", True)
        )

    @classmethod
    def shaped(cls, value: Any) -> Any:
        """Return what stands in the document in the shape of the fields."""
        return value

    def mistakes(self, context: Any) -> Iterator[Mistake]:
        """Yield the mistakes of fields that are valid alone, but not together."""
        del context
        return iter(())

    def completed(self, context: Any) -> Model:
        """Return itself with the fields that follow from the context."""
        del context
        return self

    @model_validator(mode="before")
    @classmethod
    def _before(cls, value: Any, info: ValidationInfo) -> Any:
        reading = _pass(info)
        return reading.known(cls.shaped(reading.known(value, cls)), cls)

    @model_validator(mode="after")
    def _after(self, info: ValidationInfo) -> Model:
        context = _pass(info).context
        every = tuple(self.mistakes(context))
        if every:
            raise _Several(every)
        return self.completed(context)


def _pass(info: ValidationInfo) -> _Pass:
    reading: _Pass = info.context  # type: ignore[assignment] # `read_as` is the one caller
    return reading


@dataclass(frozen=True, slots=True)
class Check:
    """Check of a value beside its type; stands in `Annotated`.

    Attributes:
        holds: takes the value and the context of `read_as`, returns the value, raises `Mistake`.
        before: the check comes before that of the type.
    """

    holds: Callable[[Any, Any], Any]
    before: bool = False

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Run the check before or after pydantic's own for the type."""

        def checked(value: Any, info: Any) -> Any:
            return self.holds(value, info.context.context)

        if self.before:
            return core_schema.with_info_before_validator_function(checked, handler(source))
        return core_schema.with_info_after_validator_function(checked, handler(source))


@dataclass(frozen=True, slots=True)
class Given:
    """Reads a value as another type than its field's; stands in `Annotated`.

    None is only the default of a field with a missing key: a key with nothing behind it is a
    mistake.
    """

    of: Any

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Take the other type's."""
        return handler.generate_schema(self.of)


@dataclass(frozen=True, slots=True)
class ByKey:
    """One of several models, chosen by the one key that each has; stands in `Annotated`.

    Attributes:
        members: key -> model.
        error_id: where none, or more than one, of the keys is there.
    """

    members: Callable[[], Mapping[str, type[Model]]]
    error_id: str

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Choose by the key."""
        members = self.members()

        def one_key(value: Any) -> dict[str, Any]:
            if not isinstance(value, dict) or len(value) != 1:
                what = f"one of {', '.join(members)} must be there, and only one"
                raise Mistake(self.error_id, what, is_absence=value == {})
            (key,) = value
            if key not in members:
                hint = nearest(str(key), members)
                raise Mistake(self.error_id, f"there is no key {key!r} here", hint)
            return dict(value)

        choices = {key: handler.generate_schema(model) for key, model in members.items()}
        chosen = core_schema.tagged_union_schema(choices, lambda value: next(iter(value)))
        return core_schema.no_info_before_validator_function(one_key, chosen)


def _as_text(value: Any, _context: Any) -> Any:
    # A date written without quotes is read as one by YAML, and means its text.
    if isinstance(value, date):
        return value.isoformat()
    return " ".join(value.split()) or None if isinstance(value, str) else value


def _as_list(value: Any, _context: Any) -> Any:
    return value if isinstance(value, Seq) else [value]


def _not_empty(value: Any, _context: Any) -> Any:
    if not value:
        raise ValueError
    return value


def up_to(most: int, error_id: str) -> Check:
    """Return the check of a whole number from 1 to `most`."""

    def holds(value: int, _context: Any) -> int:
        if not 0 < value <= most:
            raise Mistake(error_id, f"{{key}} must be from 1 to {most}")
        return value

    return Check(holds)


RawText: TypeAlias = Annotated[str, Strict()]
"""Text as it is written; may be empty."""
Text: TypeAlias = Annotated[str, Strict(), Check(_as_text, before=True)]
"""Words for people or names: not blank, each run of blanks one."""
MaybeText: TypeAlias = Annotated[str | None, Given(Text)]
Flag: TypeAlias = Annotated[bool, Strict()]
MaybeFlag: TypeAlias = Annotated[bool | None, Given(Flag)]
Whole: TypeAlias = Annotated[int, Strict()]
LISTED: Final = Check(_as_list, before=True)
"""Makes a tuple take one value where a list of one is meant."""
NOT_EMPTY: Final = Check(_not_empty)
"""Refuses a list or map with nothing in it."""
Texts: TypeAlias = Annotated[tuple[Text, ...], LISTED]


_ADAPTERS: Final[dict[Any, TypeAdapter[Any]]] = {}
"""Model -> what reads it; one takes milliseconds to build."""


def _adapter(kind: type[T]) -> TypeAdapter[T]:
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]


def read_as(kind: type[T], document: Any, file: str, ids: ErrorIds, context: Any = None) -> T:
    """Return a part of a document as its declared model.

    Args:
        kind: a `Model`.
        document: the part, as `read_yaml` returns it.
        file: what messages call the file where the part has no line of its own.
        ids: ids of the errors.
        context: for the checks.

    Raises:
        MappingError: every mistake, in the order of lines.
    """
    reading, made, errors = _Pass(context), None, []
    try:
        made = _adapter(kind).validate_python(document, context=reading)
    except ValidationError as invalid:
        errors = invalid.errors(include_url=False)
    placed = list(reading.misspelt(ids))
    for details in errors:
        *_, (_, _, around) = _steps(document, details["loc"])
        for mistake in _mistakes(details, ids):
            if mistake.is_absence and id(around) in reading.unknown:
                continue
            location = (*details["loc"], *mistake.at)
            mark = _mark(document, location, is_absence=details["type"] == "missing")
            what = mistake.what.replace("{key}", _key(document, location))
            where = str(mark) if mark else file
            error = MappingError(where, mistake.error_id, what, hint=mistake.hint)
            placed.append((mark or Mark(file, 0), error))
    mistakes = Mistakes()
    for _, error in sorted(placed, key=lambda pair: (pair[0].line, pair[0].column)):
        mistakes.add(error)
    return mistakes.made(made)


def _key(document: Any, location: Location) -> str:
    written = [part for part, _, _ in _steps(document, location) if isinstance(part, str)]
    return written[-1]


def _steps(document: Any, location: Location) -> Iterator[tuple[int | str, Mark | None, Any]]:
    """Yield the key, mark and value of each step on the way to a place, the document's own first.

    Parts that are not written in the document (fields that keys were gathered in, tags) are passed.
    """
    value = document
    yield "the document", getattr(value, "mark", None), value
    for part in location:
        if isinstance(value, Map) and part in value:
            mark, value = value.marks[str(part)], value[str(part)]
            yield part, mark, value
        elif isinstance(value, Seq) and isinstance(part, int) and part < len(value):
            mark, value = value.marks[part], value[part]
            yield part, mark, value


def _mark(document: Any, location: Location, *, is_absence: bool) -> Mark | None:
    """Return where a mistake is written: at its key, or where the map starts that lacks it."""
    *_, (_, mark, value) = _steps(document, location)
    return value.mark if is_absence and isinstance(value, Map) else mark


def _mistakes(error: ErrorDetails, ids: ErrorIds) -> tuple[Mistake, ...]:
    raised = error.get("ctx", {}).get("error")
    if isinstance(raised, Mistake):
        return (raised,)
    if isinstance(raised, _Several):
        return raised.every
    if error["type"] == "missing":
        return (Mistake(ids.missing, f"{error['loc'][-1]} is missing", is_absence=True),)
    return (_of_type(error, ids.value),)


_PAIRS: Final = "{key} must be key: value pairs"
_SENTENCES: Final[Mapping[str, str]] = {
    "bool_type": "{key} must be true or false",
    "int_type": "{key} must be a whole number",
    "tuple_type": "{key} must be a list",
    "list_type": "{key} must be a list",
    "string_type": "{key} must be text",
    "dataclass_type": _PAIRS,
    "dict_type": _PAIRS,
    "mapping_type": _PAIRS,
    "value_error": "{key} must not be empty",
}


def _of_type(error: ErrorDetails, error_id: str) -> Mistake:
    """Return the mistake of a value that is of another type, or none of some words."""
    kind, given = error["type"], error["input"]
    if kind in ("literal_error", "enum"):
        words = re.findall(r"'([^']*)'", error["ctx"]["expected"])
        what = f"{{key}} must be one of {', '.join(words)}"
        return Mistake(error_id, what, nearest(str(given), words))
    is_number = kind == "string_type" and isinstance(given, int | float)
    hint = 'put it in quotes: "01"' if is_number and not isinstance(given, bool) else ""
    return Mistake(error_id, _SENTENCES.get(kind, f"{{key}}: {error['msg']}"), hint)
