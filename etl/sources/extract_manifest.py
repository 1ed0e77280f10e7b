"""`manifest.json` of an extract: what its sender says that is in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal

from etl.documents.json_text import DuplicateKey, read_json
from etl.errors import ExtractError

Kind = Literal["full", "delta"]
_KEYS: Final = ("layout", "kind", "as_of", "payer", "files")
_FILE_KEYS: Final = ("rows", "sha256")


@dataclass(frozen=True, slots=True)
class FileClaim:
    """A manifest's entry of one file; None where it says nothing.

    Attributes:
        rows: how many rows it has, the header not counted.
        sha256: its hash, in lower-case hex.
    """

    rows: int | None
    sha256: str | None


@dataclass(frozen=True, slots=True)
class ExtractManifest:
    """A manifest; None where it says nothing.

    Attributes:
        layout: name of the layout.
        kind: whether the extract is everything, or what changed.
        as_of: the day whose state it is.
        payer: whose it is.
        files: file name -> what is said of it; empty where no file is listed.
    """

    layout: str | None = None
    kind: Kind = "full"
    as_of: date | None = None
    payer: str | None = None
    files: Mapping[str, FileClaim] = field(default_factory=lambda: MappingProxyType({}))


def read_manifest(path: Path) -> ExtractManifest:
    """Return the manifest in a file.

    Raises:
        ExtractError: it is no JSON, or says something that a manifest cannot say.
    """
    try:
        value = read_json(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ExtractError(f"{path.name} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ExtractError(f"{path.name} is not UTF-8; write it as UTF-8") from None
    except json.JSONDecodeError as error:
        raise ExtractError(f"{path.name} is no JSON: {error.msg}, line {error.lineno}") from None
    except DuplicateKey as error:
        raise ExtractError(f"{path.name}: {error}; take one of them away") from None
    except RecursionError:
        raise ExtractError(f"{path.name} is no manifest: it is nested too deep") from None
    if not isinstance(value, dict):
        raise ExtractError(f"{path.name} must hold one JSON object")
    for key in value:
        if key not in _KEYS:
            raise ExtractError(
                f"{path.name}: there is no key {key!r}; there are {', '.join(_KEYS)}"
            )
    return ExtractManifest(
        layout=_text(value, "layout", path.name),
        kind=_kind(value, path.name),
        as_of=_day(value, path.name),
        payer=_text(value, "payer", path.name),
        files=_files(value.get("files"), path.name),
    )


def _text(value: dict[str, Any], key: str, name: str) -> str | None:
    text = value.get(key)
    if text is None or (isinstance(text, str) and text.strip()):
        return text.strip() if text else None
    raise ExtractError(f"{name}: {key} must be text")


def _kind(value: dict[str, Any], name: str) -> Kind:
    kind = value.get("kind", "full")
    if kind not in ("full", "delta"):
        raise ExtractError(f"{name}: kind must be full or delta")
    return "delta" if kind == "delta" else "full"


def _day(value: dict[str, Any], name: str) -> date | None:
    text = _text(value, "as_of", name)
    if text is None:
        return None
    try:
        if len(text) != len("YYYY-MM-DD"):
            raise ValueError
        return date.fromisoformat(text)
    except ValueError:
        raise ExtractError(f"{name}: as_of must be a day, as YYYY-MM-DD") from None


def _files(value: Any, name: str) -> Mapping[str, FileClaim]:
    if value is None:
        return MappingProxyType({})
    if not isinstance(value, dict):
        raise ExtractError(f"{name}: files must be an object, file name to rows and sha256")
    found = {}
    for file, claim in value.items():
        if not isinstance(claim, dict) or any(key not in _FILE_KEYS for key in claim):
            raise ExtractError(f"{name}: {file} must have no other keys than rows and sha256")
        rows, sha256 = claim.get("rows"), claim.get("sha256")
        if rows is not None and (not isinstance(rows, int) or isinstance(rows, bool) or rows < 0):
            raise ExtractError(f"{name}: rows of {file} must be a whole number")
        if sha256 is not None and not isinstance(sha256, str):
            raise ExtractError(f"{name}: sha256 of {file} must be text")
        found[file] = FileClaim(rows, sha256.lower() if sha256 else None)
    return MappingProxyType(found)
