"""The files of a mapping set (`mappings/c4bb/`), read and compiled together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any, Final

from etl.documents.models import read_as
from etl.documents.yaml_text import Map, Seq, read_yaml
from etl.errors import MappingError, Mistakes
from etl.mapping.compile import compile_mapping, merge_overlay
from etl.mapping.crosswalk_answers import find_answer_uses
from etl.mapping.headers import HEADER_IDS, SetFile
from etl.mapping.plan import FINANCIAL, MappingSet, Plan, View
from etl.mapping.scope import Library, StaticRow
from etl.mapping.view import apply_view, read_view
from etl.model.crosswalks import Crosswalk

SET_FILE: Final = "set.yaml"
"""Name of a set's own file."""


def compile_set(
    texts: Mapping[str, str],
    crosswalks: Mapping[str, Crosswalk],
    payer: Mapping[str, str],
    *,
    layers: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
    labels: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
    view: str = FINANCIAL,
) -> MappingSet:
    """Return the compiled mappings of a set.

    Args:
        texts: file name -> text, for all files of the set and of a payer's overlays.
        crosswalks: by name.
        payer: the payer's settings, as mappings see them.
        layers: file name -> all texts of that name, the shipped one first: an overlay that extends
            its own name extends the text before it.
        labels: file name -> names of these texts in messages; by default the file name.
        view: the view of the set to compile.

    Raises:
        MappingError: every mistake of the set's file, its fragments and its views, or a view that
            the set doesn't have; if there are none, every mistake of the mappings.
    """
    sources = _Sources(texts, layers, labels)
    document = sources.document(SET_FILE, SET_FILE)
    mistakes = Mistakes()
    set_file: SetFile | None = None
    with mistakes.collected():
        set_file = read_as(SetFile, document, SET_FILE, HEADER_IDS)
    if not isinstance(document, Map):
        mistakes.report()
    fragments = _read_fragments(document, sources, mistakes)
    views = {view.name: view for view in _read_views(document, sources, mistakes)}
    set_file = mistakes.require(set_file)  # mappings would only repeat its mistakes
    if view not in views:
        where = str(document.marks.get("views", document.mark))
        raise MappingError(where, "map-view", f"no view {view!r}; there are {', '.join(views)}")
    selected_view = views[view]
    library = Library(
        constants=MappingProxyType(set_file.constants),
        tables=MappingProxyType(
            {name: tuple(map(_static_row, rows)) for name, rows in set_file.tables.items()}
        ),
        fragments=MappingProxyType(fragments),
        crosswalks=crosswalks,
        payer=payer,
        column_constants=selected_view.column_constants,
    )
    version = selected_view.version or set_file.version
    canonical = f"{set_file.canonical}{{}}|{version}"
    plans: list[Plan] = []
    for name in set_file.mappings:
        with mistakes.collected():
            mapping = _read_extended(sources, name, str(document.marks["mappings"]))
            mapping_library = _add_profile_constants(
                library, mapping, selected_view, set_file.canonical, version
            )
            plan = compile_mapping(mapping, PurePosixPath(name).stem, mapping_library, canonical)
            plan = apply_view(plan, selected_view, canonical)
            plans.append(replace(plan, answer_uses=find_answer_uses(plan, crosswalks)))
    mistakes.report()
    compiled = tuple(plans)
    return MappingSet(set_file.name, version, compiled, crosswalks, selected_view, tuple(views))


def _add_profile_constants(
    library: Library, document: Any, view: View, canonical: str, version: str
) -> Library:
    """Add the constants PROFILE and VERSION, for a mapping's search values."""
    name = str(document.get("profile", "")) if isinstance(document, Map) else ""
    profile = name.partition("|")[0] if "/" in name else canonical + view.profiles.get(name, name)
    constants = {**library.constants, "PROFILE": profile, "VERSION": version}
    return replace(library, constants=MappingProxyType(constants))


def _read_fragments(document: Map, sources: _Sources, mistakes: Mistakes) -> dict[str, Any]:
    fragments: dict[str, Any] = {}
    for name in _file_names(document, "fragments"):
        with mistakes.collected():
            body = sources.document(name, str(document.marks["fragments"]))
            if not isinstance(body, Map):
                raise MappingError(name, "map-shape", "fragments are a map: name -> body")
            fragments.update(body)
    return fragments


def _read_views(document: Map, sources: _Sources, mistakes: Mistakes) -> list[View]:
    views = [View()]
    for name in _file_names(document, "views"):
        with mistakes.collected():
            views.append(
                read_view(_read_extended(sources, name, str(document.marks["views"])), name)
            )
    return views


def _file_names(document: Map, key: str) -> list[str]:
    """Return the files that a set names, even if other parts of it are invalid."""
    names = document.get(key)
    return [name for name in names if isinstance(name, str)] if isinstance(names, Seq) else []


@dataclass(frozen=True, slots=True)
class _Sources:
    texts: Mapping[str, str]
    layers: Mapping[str, tuple[str, ...]]
    labels: Mapping[str, tuple[str, ...]]

    def document(self, name: str, where: str) -> Any:
        """Return the topmost document of a name."""
        if name not in self.texts:
            raise MappingError(where, "map-missing-file", f"there is no file {name!r}")
        return read_yaml(self.texts[name], self.labels.get(name, (name,))[-1])

    def lower_document(self, name: str, depth: int, where: str) -> Any:
        """Return the document that is `depth` layers below the topmost one of a name."""
        texts = self.layers.get(name, ())
        if depth >= len(texts):
            raise MappingError(where, "map-extends", f"{name!r} extends itself")
        return read_yaml(texts[-1 - depth], self.labels.get(name, (name,) * len(texts))[-1 - depth])


def _read_extended(
    sources: _Sources, name: str, where: str, extending: tuple[str, ...] = ()
) -> Any:
    """Read a mapping file and merge it into the file that it extends.

    A file that extends its own name is an overlay of the text of that name below it.
    """
    depth = extending.count(name)
    document = (
        sources.lower_document(name, depth, where) if depth else sources.document(name, where)
    )
    if not isinstance(document, Map) or "extends" not in document:
        return document
    base_name, mark = str(document["extends"]), document.marks["extends"]
    base = _read_extended(sources, base_name, str(mark), (*extending, name))
    return merge_overlay(base, document)


def _static_row(row: Mapping[str, Any]) -> StaticRow:
    cells = {key: None if value is None else str(value) for key, value in row.items()}
    return StaticRow(MappingProxyType(cells))
