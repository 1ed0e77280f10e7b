"""Load a payer's definitions from the cache, or compile them.

Reading layouts and rules, compiling mappings and proving what profiles require of them takes three
seconds; reading the result from the user's cache folder takes a quarter of a second. The cache is
like `__pycache__`: it can be deleted at any time, and a process that cannot use it compiles.
"""

from __future__ import annotations

import hashlib
import hmac
import io
import json
import os
import pickle
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import NamedTemporaryFile
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import pyarrow as pa

import etl
from etl.bootstrap.gc_policy import gc_disabled
from etl.bootstrap.mappings import (
    COLUMNS,
    Files,
    declare_columns,
    mapping_roots,
    read_folder,
    sensitive_text,
    view_of,
)
from etl.bootstrap.settings import Settings
from etl.model.crosswalks import DISPLAYS
from etl.model.data_models import CLAIMS, DataModel
from etl.pipeline.definitions import Definitions


@gc_disabled()
def load_definitions(settings: Settings, model: DataModel = CLAIMS) -> Definitions:
    """Return rules, layouts and mappings of a data model, by the settings.

    Raises:
        MappingError: a file or a setting is invalid; all errors together, but those of crosswalks
            before those of files that use them.
    """
    declare_columns(settings)
    roots = mapping_roots(settings)
    folders = {
        COLUMNS: "*.yaml",
        "crosswalks": "**/*.csv",
        model.mappings: "*.yaml",
        "rules": "**/*.yaml",
        "layouts": "*.yaml",
        **({DISPLAYS: "*.csv"} if settings.publish.displays else {}),
    }
    files = {folder: read_folder(roots, folder, names) for folder, names in folders.items()}
    facts = _dependencies(settings, files, model)
    definitions = read_compiled(facts, settings.id_key_bytes())
    if definitions is None:
        # Imported here: a process that finds them compiled does without twenty modules.
        from etl.bootstrap.definition_compiler import compile_definitions

        definitions = compile_definitions(settings, files, model)
        write_compiled(definitions, facts)
    return definitions


def _dependencies(
    settings: Settings, files: Mapping[str, Files], model: DataModel
) -> dict[str, Any]:
    """Return what the definitions depend on, except for the program and the ID key."""
    return {
        "model": model.name,
        "files": {folder: dict(layered.layers) for folder, layered in files.items()},
        "places": {folder: dict(layered.labels) for folder, layered in files.items()},
        "settings": [
            group.model_dump(mode="json")
            for group in (settings.payer, settings.rules, settings.limits, settings.claims)
        ],
        "sensitive": sensitive_text(settings),
        "view": view_of(settings, model),
    }


_FOLDER: Final = "cpcds-bluebutton"
_MOST_FILES: Final = 16
"""Files that are left in the cache, the newest; each has about two megabytes."""
_DIGEST_BYTES: Final = 32


def read_compiled(facts: Mapping[str, Any], id_key: bytes) -> Definitions | None:
    """Return cached definitions compiled from the same facts, or None.

    Args:
        facts: everything except the program that definitions depend on, ready for JSON.
        id_key: the payer's key. A file that was not written with it is ignored: whoever can write
            to the folder without knowing the key cannot make this process run their code.
    """
    with suppress(OSError):
        folder = _private_folder()
        if folder is None:
            return None
        data = (folder / _file_name(facts, id_key)).read_bytes()
        digest, pickled = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
        if hmac.compare_digest(digest, _digest(pickled, id_key)):
            compiled: Definitions = pickle.loads(pickled)  # noqa: S301 - written with the id key
            return replace(compiled, id_key=id_key)
    return None


def write_compiled(definitions: Definitions, facts: Mapping[str, Any]) -> None:
    """Cache definitions without the payer's key; ignore failures."""
    buffer = io.BytesIO()
    _Pickler(buffer, pickle.HIGHEST_PROTOCOL).dump(replace(definitions, id_key=b""))
    pickled = buffer.getvalue()
    with suppress(OSError):
        folder = _private_folder()
        if folder is None:
            return
        with NamedTemporaryFile(dir=folder, prefix=".", delete=False) as file:
            file.write(_digest(pickled, definitions.id_key) + pickled)
        Path(file.name).replace(folder / _file_name(facts, definitions.id_key))
        by_age = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in by_age[_MOST_FILES:]:
            path.unlink()


def _private_folder() -> Path | None:
    """Return the cache folder; None if other users can write to it.

    Raises:
        OSError: it cannot be made.
    """
    root = os.environ.get("XDG_CACHE_HOME")
    with suppress(RuntimeError):  # a user without a home
        folder = (Path(root) if root else Path.home() / ".cache") / _FOLDER
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        facts = folder.stat()
        if facts.st_uid == os.getuid() and not facts.st_mode & 0o022:
            return folder
    return None


def _file_name(facts: Mapping[str, Any], id_key: bytes) -> str:
    text = json.dumps([facts, _program_version()], sort_keys=True)
    return hashlib.blake2b(text.encode(), key=_key_digest(id_key), digest_size=20).hexdigest()


def _digest(pickled: bytes, id_key: bytes) -> bytes:
    return hmac.digest(_key_digest(id_key), pickled, "sha256")


def _key_digest(id_key: bytes) -> bytes:
    return hashlib.sha256(b"cpcds: compiled definitions" + id_key).digest()


@cache
def _program_version() -> list[Any]:
    """Return the program's versions, and the time of the last change of each file.

    The ctime counts: builders of packages and images set mtime to any value.
    """
    root = Path(etl.__file__).parent
    versions = [sys.version, np.__version__, pa.__version__]
    return [*versions, str(root), *sorted(_file_stats(root))]


def _file_stats(folder: Path) -> Iterator[tuple[str, int, int]]:
    for entry in os.scandir(folder):
        if entry.is_dir():
            yield from _file_stats(Path(entry.path)) if entry.name != "__pycache__" else ()
        else:
            facts = entry.stat()
            yield entry.path, facts.st_ctime_ns, facts.st_size


def _read_only(values: dict[Any, Any]) -> MappingProxyType[Any, Any]:
    return MappingProxyType(values)


class _Pickler(pickle.Pickler):
    dispatch_table = {MappingProxyType: lambda proxy: (_read_only, (dict(proxy),))}  # noqa: RUF012
