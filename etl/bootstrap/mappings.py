"""Read the files of `mappings/` and a payer's overlays, as settings select them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import etl
from etl.bootstrap.settings import Settings
from etl.documents.yaml_text import MOST_CHARACTERS
from etl.errors import MappingError, Mistakes
from etl.mapping.own_columns import declare_file_columns
from etl.mapping.plan import FINANCIAL
from etl.model.crosswalks import Crosswalk, read_crosswalk
from etl.model.data_models import CLAIMS, DATA_MODELS, DataModel
from etl.profiles.guides import guide_named
from etl.profiles.value_sets import open_crosswalk, value_set_crosswalks

COLUMNS = "columns"
"""Folder of the files in which a payer declares columns of canonical tables."""
_MOST_BYTES = 4 * MOST_CHARACTERS


def shipped() -> Path:
    """Return the folder of the mappings that come with the program."""
    package = Path(etl.__file__).parent
    installed = package / "_mappings"
    return installed if installed.is_dir() else package.parent / "mappings"


@dataclass(frozen=True, slots=True)
class Files:
    """Files of one folder of `mappings/`, shipped and from overlays.

    Attributes:
        texts: path below the folder -> text; an overlay's file replaces the shipped one.
        layers: path below the folder -> every text under that path, the shipped one first.
        labels: path below the folder -> the name of each of these texts in messages: the path,
            preceded by the folder if the file overlays another one.
    """

    texts: Mapping[str, str]
    layers: Mapping[str, tuple[str, ...]]
    labels: Mapping[str, tuple[str, ...]]

    def named_layers(self, name: str, folder: str) -> Iterator[tuple[str, str]]:
        """Yield every text under a path, and its name in messages."""
        for text, label in zip(self.layers[name], self.labels[name], strict=True):
            yield text, f"{folder}/{label}" if label == name else label


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
    labels: dict[str, tuple[str, ...]] = {}
    mistakes = Mistakes()
    for root in roots:
        if not root.is_dir():
            message = "there is no such mappings folder"
            mistakes.add(MappingError(str(root), "map-missing-file", message))
        for path in sorted((root / folder).glob(pattern)):
            name = path.relative_to(root / folder).as_posix()
            with mistakes.collected():
                layers[name] = (*layers.get(name, ()), _text(path))
                label = path.as_posix() if name in labels else name
                labels[name] = (*labels.get(name, ()), label)
    mistakes.report()
    return Files(
        MappingProxyType({name: texts[-1] for name, texts in layers.items()}),
        MappingProxyType(layers),
        MappingProxyType(labels),
    )


def _text(path: Path) -> str:
    if not path.is_file():
        raise MappingError(str(path), "map-missing-file", "it is no regular file")
    if path.suffix == ".yaml" and path.stat().st_size > _MOST_BYTES:
        raise MappingError(str(path), "yaml-size", f"larger than {_MOST_BYTES:,} bytes")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        message = f"not UTF-8 at byte {error.start}"
        raise MappingError(str(path), "map-encoding", message) from None


def read_crosswalks(roots: Iterable[Path], model: DataModel = CLAIMS) -> Mapping[str, Crosswalk]:
    """Return all crosswalks of a data model by name, a payer's rows on top of the shipped ones.

    For a model without members they include one for each value set of its guide, in a folder named
    after its mapping set; files there overlay them.

    Args:
        roots: folders shaped like `mappings/`, the shipped one first.
        model: the data model.

    Raises:
        MappingError: as of `read_folder`, `crosswalk-header`, `crosswalk-row`,
            `crosswalk-duplicate`; all errors of all files together.
    """
    return crosswalks_in(read_folder(roots, "crosswalks", "**/*.csv"), model)


def crosswalks_in(files: Files, model: DataModel = CLAIMS) -> Mapping[str, Crosswalk]:
    """Return all crosswalks of a data model by name (see `read_crosswalks`).

    Raises:
        MappingError: as of `read_crosswalks`, but for those of `read_folder`.
    """
    crosswalks: dict[str, Crosswalk] = {}
    if not model.has_members:
        crosswalks |= value_set_crosswalks(guide_named(model.guide), model.mappings)
    guide_folders = {other.mappings for other in DATA_MODELS if not other.has_members}
    mistakes = Mistakes()
    for file in files.layers:
        name = file.removesuffix(".csv")
        if (folder := name.partition("/")[0]) in guide_folders:
            if folder != model.mappings:
                continue
            crosswalks.setdefault(name, open_crosswalk(name))
        for text, where in files.named_layers(file, "crosswalks"):
            with mistakes.collected():
                layer = read_crosswalk(text, name, file=where)
                crosswalks[name] = _overlaid(crosswalks.get(name), layer, where)
    mistakes.report()
    return MappingProxyType(crosswalks)


def _overlaid(below: Crosswalk | None, layer: Crosswalk, where: str) -> Crosswalk:
    if below is None:
        return layer
    if below.columns != layer.columns:
        message = f"an overlay needs the columns source,{','.join(below.columns)}"
        raise MappingError(where, "crosswalk-header", message)
    return below.overlaid(layer)


def mapping_roots(settings: Settings) -> tuple[Path, ...]:
    """Return the folders of mappings, the shipped one first."""
    return (shipped(), *settings.mappings)


def declare_columns(settings: Settings) -> None:
    """Add the payer's own columns to this process's canonical tables.

    Raises:
        MappingError: a file has mistakes.
    """
    files = read_folder(mapping_roots(settings), COLUMNS, "*.yaml")
    declare_file_columns({f"{COLUMNS}/{name}": texts for name, texts in files.layers.items()})


def sensitive_text(settings: Settings) -> tuple[str, str]:
    """Return text and name of the payer's sensitive codes; only a header if there is no file."""
    path = settings.claims.sensitive_codes
    if path is None:
        return "system,code", ""
    try:
        return path.read_text(encoding="utf-8"), str(path)
    except UnicodeDecodeError as error:
        message = f"not UTF-8 at byte {error.start}"
        raise MappingError(str(path), "config-sensitive-codes", message) from None
    except OSError as error:
        raise MappingError(
            str(path),
            "config-sensitive-codes",
            f"cannot be read: {error.strerror}",
            hint="see the setting claims.sensitive_codes",
        ) from None


def payer_facts(settings: Settings) -> Mapping[str, str]:
    """Return the payer's settings by their names in mappings (`payer.name`)."""
    return {name: str(value) for name, value in settings.payer.model_dump().items()}


def view_of(settings: Settings, model: DataModel) -> str:
    """Return the view of a model's mappings that the settings select."""
    if not model.version:
        return FINANCIAL
    chosen = str(getattr(settings.publish, model.version))
    return FINANCIAL if chosen == guide_named(model.guide).version else chosen


def in_view(settings: Settings, view: str, model: DataModel = CLAIMS) -> Settings:
    """Return the settings with another view of a model's mappings."""
    chosen = {model.version: view} if model.version else {}
    return settings.model_copy(update={"publish": settings.publish.model_copy(update=chosen)})
