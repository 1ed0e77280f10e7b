"""Convert parts of documents to frozen dataclasses: the reader of rules, layouts and mappings.

A dataclass that derives from `Model` declares the schema of a map: its fields are the keys, their
types the allowed values. `read_as` builds it from a `Map` and reports all mistakes at once, each
with file and line, an error id and the nearest valid word.

Only this module uses pydantic: models declare their fields with the types of this module.
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
    """A mistake in a value, raised or yielded by a check.

    Attributes:
        error_id: id of the error.
        message: the message; `{key}` in it is replaced by the key of the value.
        hint: what to try, or "".
        at: location below the value; empty for the value itself.
        is_absence: something is missing; not reported if the same map has a misspelt key.
    """

    def __init__(
        self,
        error_id: str,
        message: str,
        hint: str = "",
        *,
        at: Location = (),
        is_absence: bool = False,
    ) -> None:
        super().__init__(message)
        self.error_id, self.message, self.hint = error_id, message, hint
        self.at, self.is_absence = at, is_absence


class _MistakeList(ValueError):
    """Mistakes of one value."""

    def __init__(self, every: tuple[Mistake, ...]) -> None:
        super().__init__("several")
        self.every = every


@dataclass(frozen=True, slots=True)
class ErrorIds:
    """Ids of the errors that any document may have.

    Attributes:
        key: an unknown key.
        missing: a missing key.
        value: a value of the wrong type.
    """

    key: str
    missing: str
    value: str


@dataclass(frozen=True, slots=True)
class _ReadPass:
    """State of one call of `read_as`: the checks' context, and maps with unknown keys."""

    context: Any
    unknown: dict[int, tuple[Map, type[Model]]] = field(default_factory=dict)

    def without_unknown(self, value: Any, model: type[Model]) -> Any:
        """Remove unknown keys from a map; they are reported at the end."""
        unknown_keys = set(value) - set(model.known_keys()) if isinstance(value, Map) else ()
        if not unknown_keys:
            return value
        self.unknown[id(value)] = (value, model)
        return value.without(*unknown_keys)

    def misspelt(self, ids: ErrorIds) -> Iterator[tuple[Mark, MappingError]]:
        """Yield mark and error of each unknown key."""
        for value, model in self.unknown.values():
            for key in value:
                if key not in model.known_keys():
                    mark, message = value.marks[key], f"there is no key {key!r} here"
                    hint = nearest(key, model.known_keys())
                    yield mark, MappingError(str(mark), ids.key, message, hint=hint)


@pydantic_dataclass(frozen=True, slots=True)
class Model:
    """A map of a document.

    Subclasses are dataclasses. Their constructors check nothing: `read_as` checks documents. The
    metadata of a field may state its key (`alias`), or that it has none (`init`).
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
    def normalize(cls, value: Any) -> Any:
        """Convert shorthand forms of the document to a map of the fields."""
        return value

    def mistakes(self, context: Any) -> Iterator[Mistake]:
        """Yield mistakes between fields that are valid individually."""
        del context
        return iter(())

    def resolve(self, context: Any) -> Model:
        """Return the model with the fields that depend on the context."""
        del context
        return self

    @model_validator(mode="before")
    @classmethod
    def _drop_unknown_keys(cls, value: Any, info: ValidationInfo) -> Any:
        read_pass = _get_pass(info)
        return read_pass.without_unknown(cls.normalize(read_pass.without_unknown(value, cls)), cls)

    @model_validator(mode="after")
    def _after(self, info: ValidationInfo) -> Model:
        context = _get_pass(info).context
        mistakes = tuple(self.mistakes(context))
        if mistakes:
            raise _MistakeList(mistakes)
        return self.resolve(context)


def _get_pass(info: ValidationInfo) -> _ReadPass:
    read_pass: _ReadPass = info.context  # type: ignore[assignment] # `read_as` is the one caller
    return read_pass


@dataclass(frozen=True, slots=True)
class Check:
    """Check of a value besides its type, for `Annotated`.

    Attributes:
        holds: takes the value and the context of `read_as`, returns the value, raises `Mistake`.
        before_type: run it before the check of the type.
    """

    holds: Callable[[Any, Any], Any]
    before_type: bool = False

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Run the check before or after pydantic's own for the type."""

        def checked(value: Any, info: Any) -> Any:
            return self.holds(value, info.context.context)

        if self.before_type:
            return core_schema.with_info_before_validator_function(checked, handler(source))
        return core_schema.with_info_after_validator_function(checked, handler(source))


@dataclass(frozen=True, slots=True)
class Given:
    """Reads a value as another type than its field's, for `Annotated`.

    Lets a field default to None although a key without a value is a mistake.
    """

    source_type: Any

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Take the other type's."""
        return handler.generate_schema(self.source_type)


@dataclass(frozen=True, slots=True)
class ByKey:
    """One of several models, chosen by its only key, for `Annotated`.

    Attributes:
        members: key -> model.
        error_id: id of the error if none or several of the keys are present.
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
                message = f"one of {', '.join(members)} must be there, and only one"
                raise Mistake(self.error_id, message, is_absence=value == {})
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
    """Build the check of an integer from 1 to `most`."""

    def holds(value: int, _context: Any) -> int:
        if not 0 < value <= most:
            raise Mistake(error_id, f"{{key}} must be from 1 to {most}")
        return value

    return Check(holds)


RawText: TypeAlias = Annotated[str, Strict()]
"""Unchanged text; may be empty."""
Text: TypeAlias = Annotated[str, Strict(), Check(_as_text, before_type=True)]
"""Text that isn't blank, with runs of blanks collapsed."""
MaybeText: TypeAlias = Annotated[str | None, Given(Text)]
Flag: TypeAlias = Annotated[bool, Strict()]
MaybeFlag: TypeAlias = Annotated[bool | None, Given(Flag)]
Whole: TypeAlias = Annotated[int, Strict()]
LISTED: Final = Check(_as_list, before_type=True)
"""Lets a tuple also accept a single value without a list."""
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
    """Convert a part of a document to its model.

    Args:
        kind: a `Model`.
        document: the part, from `read_yaml`.
        file: the file's name in messages about a part without a line.
        ids: ids of the errors.
        context: passed to the checks.

    Raises:
        MappingError: the part has mistakes; the error lists all of them in the order of lines.
    """
    read_pass, model, errors = _ReadPass(context), None, []
    try:
        model = _adapter(kind).validate_python(document, context=read_pass)
    except ValidationError as invalid:
        errors = invalid.errors(include_url=False)
    errors_by_mark = list(read_pass.misspelt(ids))
    for details in errors:
        *_, (_, _, container) = _walk(document, details["loc"])
        for mistake in _convert_error(details, ids):
            if mistake.is_absence and id(container) in read_pass.unknown:
                continue
            location = (*details["loc"], *mistake.at)
            mark = _find_mark(document, location, is_absence=details["type"] == "missing")
            message = mistake.message.replace("{key}", _last_key(document, location))
            where = str(mark) if mark else file
            error = MappingError(where, mistake.error_id, message, hint=mistake.hint)
            errors_by_mark.append((mark or Mark(file, 0), error))
    mistakes = Mistakes()
    for _, error in sorted(errors_by_mark, key=lambda pair: (pair[0].line, pair[0].column)):
        mistakes.add(error)
    return mistakes.require(model)


def _last_key(document: Any, location: Location) -> str:
    keys = [part for part, _, _ in _walk(document, location) if isinstance(part, str)]
    return keys[-1]


def _walk(document: Any, location: Location) -> Iterator[tuple[int | str, Mark | None, Any]]:
    """Yield key, mark and value of each step to a location, beginning with the document.

    Skips parts that the document doesn't contain (fields made of several keys, tags).
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


def _find_mark(document: Any, location: Location, *, is_absence: bool) -> Mark | None:
    """Return the mark of a mistake's key, or of the map where a key is missing."""
    *_, (_, mark, value) = _walk(document, location)
    return value.mark if is_absence and isinstance(value, Map) else mark


def _convert_error(error: ErrorDetails, ids: ErrorIds) -> tuple[Mistake, ...]:
    cause = error.get("ctx", {}).get("error")
    if isinstance(cause, Mistake):
        return (cause,)
    if isinstance(cause, _MistakeList):
        return cause.every
    if error["type"] == "missing":
        return (Mistake(ids.missing, f"{error['loc'][-1]} is missing", is_absence=True),)
    return (_type_mistake(error, ids.value),)


_PAIRS: Final = "{key} must be key: value pairs"
_TYPE_MESSAGES: Final[Mapping[str, str]] = {
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


def _type_mistake(error: ErrorDetails, error_id: str) -> Mistake:
    """Build the mistake about a value of the wrong type or outside a set of words."""
    kind, value = error["type"], error["input"]
    if kind in ("literal_error", "enum"):
        words = re.findall(r"'([^']*)'", error["ctx"]["expected"])
        message = f"{{key}} must be one of {', '.join(words)}"
        return Mistake(error_id, message, nearest(str(value), words))
    is_number = kind == "string_type" and isinstance(value, int | float)
    hint = 'put it in quotes: "01"' if is_number and not isinstance(value, bool) else ""
    return Mistake(error_id, _TYPE_MESSAGES.get(kind, f"{{key}}: {error['msg']}"), hint)
