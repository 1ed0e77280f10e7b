"""`manifest.json` of an extract: what its sender says that is in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, TypeAlias

from etl.documents.json_text import read_json
from etl.documents.models import Check, ErrorIds, Given, Mistake, Model, RawText, Whole, read_as
from etl.documents.yaml_text import Map
from etl.errors import ExtractError, MappingError, UsageError
from etl.sources.files.stored_files import ExtractFiles

MANIFEST_NAME: Final = "manifest.json"
_IDS: Final = ErrorIds(key="", missing="", value="")
"""No ids: errors of an extract are shown as messages alone."""

Kind = Literal["full", "delta"]


def _day(text: str, _context: Any) -> date:
    try:
        if len(text) != len("YYYY-MM-DD"):
            raise ValueError
        return date.fromisoformat(text)
    except ValueError:
        raise Mistake("", "{key} must be a day, as YYYY-MM-DD") from None


def _text(text: str, _context: Any) -> str:
    if not text.strip():
        raise Mistake("", "{key} must not be blank")
    return text.strip()


def _count(rows: int, _context: Any) -> int:
    if rows < 0:
        raise Mistake("", "{key} must be a whole number, 0 or more")
    return rows


def _hash(text: str, _context: Any) -> str | None:
    return text.lower() or None


def _files(files: dict[str, FileClaim], _context: Any) -> Mapping[str, FileClaim]:
    return MappingProxyType(files)


_MaybeText: TypeAlias = Annotated[str | None, Given(Annotated[RawText, Check(_text)])]


def _without_nulls(value: Any, *but: str) -> Any:
    if not isinstance(value, Map):
        return value
    return value.without(*(key for key in value if value[key] is None and key not in but))


@dataclass(frozen=True, slots=True)
class FileClaim(Model):
    """A manifest's entry of one file; None where it says nothing.

    Attributes:
        rows: how many rows it has, the header not counted.
        sha256: its hash, in lower-case hex.
    """

    rows: Annotated[int | None, Given(Annotated[Whole, Check(_count)])] = None
    sha256: Annotated[str | None, Given(Annotated[RawText, Check(_hash)])] = None

    @classmethod
    def shaped(cls, value: Any) -> Any:
        """Return the entry without its null keys."""
        return _without_nulls(value)


@dataclass(frozen=True, slots=True)
class ExtractManifest(Model):
    """A manifest; None where it says nothing.

    Attributes:
        layout: name of the layout.
        kind: whether the extract is everything, or what changed.
        as_of: day of the state that the extract holds.
        payer: id of the payer.
        files: file name -> what the manifest says of it; empty where no file is listed.
    """

    layout: _MaybeText = None
    kind: Kind = "full"
    as_of: Annotated[date | None, Given(Annotated[RawText, Check(_text), Check(_day)])] = None
    payer: _MaybeText = None
    files: Annotated[Mapping[str, FileClaim], Given(dict[str, FileClaim]), Check(_files)] = field(
        default_factory=lambda: MappingProxyType({})
    )

    @classmethod
    def shaped(cls, value: Any) -> Any:
        """Return the manifest without its null keys."""
        return _without_nulls(value, "kind")


def read_manifest(files: ExtractFiles) -> ExtractManifest:
    """Return the manifest of an extract that has one.

    Raises:
        ExtractError: it is no JSON, or no valid manifest: every mistake, with line and column.
        StoreError: storage refused, or did not answer.
    """
    try:
        with files.open(MANIFEST_NAME) as stream:
            document = read_json(stream.read().decode("utf-8-sig"), MANIFEST_NAME)
        return read_as(ExtractManifest, document, MANIFEST_NAME, _IDS)
    except OSError as error:
        raise ExtractError(f"{MANIFEST_NAME} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ExtractError(f"{MANIFEST_NAME} is not UTF-8; write it as UTF-8") from None
    except UsageError as error:
        raise ExtractError(str(error)) from None
    except MappingError as error:
        raise ExtractError("\n".join(mistake.sentence for mistake in error.every)) from None
