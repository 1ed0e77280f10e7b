"""The files of `mappings/`, with a payer's own on top, into mappings, crosswalks and rules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import etl
from etl.documents.yaml_text import MOST_CHARACTERS
from etl.errors import MappingError, Mistakes
from etl.model.crosswalks import Crosswalk, read_crosswalk
from etl.profiles.guides import PLAN_NET
from etl.profiles.value_sets import open_set, value_set_crosswalks

_OF_PLAN_NET = "plan-net"
"""Folder of crosswalks that are named like value sets of Plan-Net, which they lie on top of."""
_MOST_BYTES = 4 * MOST_CHARACTERS


def shipped() -> Path:
    """Return the folder of the mappings that come with the program."""
    package = Path(etl.__file__).parent
    installed = package / "_mappings"
    return installed if installed.is_dir() else package.parent / "mappings"


@dataclass(frozen=True, slots=True)
class Files:
    """Files of some folder of `mappings/`: those shipped, and those of overlays, later ones first.

    Attributes:
        texts: path below the folder -> text, an overlay's file in place of the shipped one.
        layers: path below the folder -> every text under that path, the shipped one first.
    """

    texts: Mapping[str, str]
    layers: Mapping[str, tuple[str, ...]]


def read_folder(roots: Iterable[Path], folder: str, pattern: str) -> Files:
    """Return the files of one folder of the mappings.

    Args:
        roots: folders shaped like `mappings/`, the shipped one first.
        folder: folder below them.
        pattern: which files, as `Path.glob` takes it.

    Raises:
        MappingError: `map-missing-file` (a root is no folder, a file no file), `map-encoding`,
            `yaml-size`; all errors together.
    """
    layers: dict[str, tuple[str, ...]] = {}
    mistakes = Mistakes()
    for root in roots:
        if not root.is_dir():
            what = "there is no such mappings folder"
            mistakes.add(MappingError(str(root), "map-missing-file", what))
        for path in sorted((root / folder).glob(pattern)):
            name = path.relative_to(root / folder).as_posix()
            with mistakes.collected():
                layers[name] = (*layers.get(name, ()), _text(path))
    mistakes.report()
    return Files(
        MappingProxyType({name: texts[-1] for name, texts in layers.items()}),
        MappingProxyType(layers),
    )


def _text(path: Path) -> str:
    if not path.is_file():
        raise MappingError(str(path), "map-missing-file", "it is no regular file")
    if path.suffix == ".yaml" and path.stat().st_size > _MOST_BYTES:
        raise MappingError(str(path), "yaml-size", f"larger than {_MOST_BYTES:,} bytes")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        what = f"not UTF-8 at byte {error.start}"
        raise MappingError(str(path), "map-encoding", what) from None


def read_crosswalks(roots: Iterable[Path], *, of_plan_net: bool = False) -> Mapping[str, Crosswalk]:
    """Return all crosswalks by name, a payer's rows on top of the shipped ones.

    Args:
        roots: folders shaped like `mappings/`, the shipped one first.
        of_plan_net: whether those of the value sets of Plan-Net are included.

    Raises:
        MappingError: as of `read_folder`, `crosswalk-header`, `crosswalk-row`,
            `crosswalk-duplicate`; all errors of all files together.
    """
    return crosswalks_in(read_folder(roots, "crosswalks", "**/*.csv"), of_plan_net=of_plan_net)


def crosswalks_in(files: Files, *, of_plan_net: bool = False) -> Mapping[str, Crosswalk]:
    """Return all crosswalks by name (see `read_crosswalks`).

    Raises:
        MappingError: as of `read_crosswalks`, but for those of `read_folder`.
    """
    crosswalks = dict(value_set_crosswalks(PLAN_NET, _OF_PLAN_NET)) if of_plan_net else {}
    mistakes = Mistakes()
    for file, texts in files.layers.items():
        name = file.removesuffix(".csv")
        if name.startswith(f"{_OF_PLAN_NET}/"):
            if not of_plan_net:
                continue
            crosswalks.setdefault(name, open_set(name))
        for text in texts:
            with mistakes.collected():
                layer = read_crosswalk(text, name, file=f"crosswalks/{file}")
                crosswalks[name] = _overlaid(crosswalks.get(name), layer)
    mistakes.report()
    return MappingProxyType(crosswalks)


def _overlaid(below: Crosswalk | None, layer: Crosswalk) -> Crosswalk:
    if below is None:
        return layer
    if below.columns != layer.columns:
        what = f"an overlay needs the columns source,{','.join(below.columns)}"
        raise MappingError(f"crosswalks/{layer.name}.csv", "crosswalk-header", what)
    return below.overlaid(layer)
