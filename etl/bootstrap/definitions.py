"""Definitions by settings: those that were compiled before, or compiled now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from etl.bootstrap.compiled_definitions import read_compiled, write_compiled
from etl.bootstrap.gc_policy import gc_disabled
from etl.bootstrap.mappings import Files, mapping_roots, read_folder, sensitive_text, view_of
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
    roots = mapping_roots(settings)
    folders = {
        "crosswalks": "**/*.csv",
        model.mappings: "*.yaml",
        "rules": "**/*.yaml",
        "layouts": "*.yaml",
        **({DISPLAYS: "*.csv"} if settings.publish.displays else {}),
    }
    files = {folder: read_folder(roots, folder, names) for folder, names in folders.items()}
    facts = _facts(settings, files, model)
    definitions = read_compiled(facts, settings.id_key_bytes())
    if definitions is None:
        # Imported here: a process that finds them compiled does without twenty modules.
        from etl.bootstrap.definition_compiler import compile_definitions

        definitions = compile_definitions(settings, files, model)
        write_compiled(definitions, facts)
    return definitions


def _facts(settings: Settings, files: Mapping[str, Files], model: DataModel) -> dict[str, Any]:
    """Return all that the definitions depend on, beside the program and the id key."""
    return {
        "model": model.name,
        "files": {folder: dict(layered.layers) for folder, layered in files.items()},
        "settings": [
            group.model_dump(mode="json")
            for group in (settings.payer, settings.rules, settings.limits, settings.claims)
        ],
        "sensitive": sensitive_text(settings),
        "view": view_of(settings, model),
    }
