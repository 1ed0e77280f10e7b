"""State of an extract in a work folder, as plain JSON, so that any process can open it."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from etl.model.crosswalks import Crosswalk
from etl.sources.canonical_layout import CANONICAL_LAYOUTS
from etl.sources.extract import SourceFile
from etl.sources.extract_files import TableVersion
from etl.sources.layout import Layout, LayoutText
from etl.sources.layout_syntax import read_layout


def layout_state(layout: Layout) -> dict[str, Any]:
    """Return what a layout is read from."""
    return {
        "name": layout.name,
        "file": layout.file,
        "text": layout.text,
        "bases": {name: [base.file, base.text] for name, base in layout.bases.items()},
        "crosswalks": {
            name: {"columns": crosswalk.columns, "rows": dict(crosswalk.rows)}
            for name, crosswalk in layout.crosswalks.items()
        },
    }


def layout_from(state: Any) -> Layout:
    """Return the layout that `layout_state` kept; without a text it is a built-in one."""
    if not state["text"]:
        return CANONICAL_LAYOUTS[state["name"]]
    crosswalks = {}
    for name, kept in state["crosswalks"].items():
        rows = {source: tuple(answers) for source, answers in kept["rows"].items()}
        crosswalks[name] = Crosswalk(name, tuple(kept["columns"]), MappingProxyType(rows))
    bases = {name: LayoutText(file, text) for name, (file, text) in state["bases"].items()}
    return read_layout(state["text"], state["file"], crosswalks, bases)


def file_from(state: Any) -> SourceFile:
    """Return the file that `dataclasses.asdict` kept."""
    lists = {name: tuple(state[name]) for name in ("columns", "known", "widths")}
    lists["types"] = tuple((table, tuple(names)) for table, names in state["types"])
    lists["cuts"] = tuple(tuple(cut) for cut in state["cuts"])
    origin = None if state["origin"] is None else TableVersion(**state["origin"])
    return SourceFile(**{**state, **lists, "origin": origin})
