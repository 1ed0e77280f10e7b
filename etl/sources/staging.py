"""Extracts that are one file: archives are unpacked into a private folder, and read from there."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any, Final

from etl.sources.archives import unpack_tar, unpack_zip
from etl.sources.extract_files import ExtractFiles, FolderFiles
from etl.sources.extract_folder import PACKING_ERRORS
from etl.sources.physical import HEAD_BYTES, recognize

_STAGED: Final = {"zip": unpack_zip, "tar": unpack_tar}


def staged_form(beside: ExtractFiles, name: str) -> str:
    """Return how a file is written that is a whole extract: `zip` or `tar`; "" for any other.

    Args:
        beside: where it lies.
        name: its name there.

    Raises:
        OSError: it cannot be read.
        StoreError: storage refused, or did not answer.
    """
    with beside.open(name) as stream:
        head = stream.read(HEAD_BYTES)
        if head.startswith(b"\x1f\x8b"):
            stream.seek(0)
            head = _unpacked_head(stream)
    kind = recognize(head).kind
    return kind if kind in _STAGED else ""


def stage(beside: ExtractFiles, name: str, called: str, folder: Path) -> FolderFiles:
    """Write the files of an extract that is one file, and return them.

    Args:
        beside: where it lies.
        name: its name there; `staged_form` says what it is.
        called: what the caller named.
        folder: an empty folder that is closed to others, and deleted when the extract was read.

    Raises:
        ExtractError: it is broken, or cannot be unpacked safely.
        StoreError: storage refused or did not answer, or the disk is full.
    """
    unpack = _STAGED[staged_form(beside, name)]
    size = next(entry.bytes for entry in beside.entries() if entry.name == name)
    with beside.open(name) as stream:
        unpack(stream, size, called, folder)
    return FolderFiles(folder, called)


def _unpacked_head(stream: Any) -> bytes:
    try:
        with gzip.GzipFile(fileobj=stream) as unpacked:
            return unpacked.read(HEAD_BYTES)
    except PACKING_ERRORS:
        return b""
