"""Compile a payer's layouts, rules and mappings, and prove them against profiles.

A process that finds them compiled (`definitions`) does not import this module.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from importlib.metadata import version

from etl.bootstrap.mappings import Files, crosswalks_in, payer_facts, sensitive_text, view_of
from etl.bootstrap.settings import Settings
from etl.errors import MappingError, Mistakes
from etl.mapping.coverage import written_columns
from etl.mapping.dictionary import build_dictionary, published_dictionary
from etl.mapping.library import compile_set
from etl.mapping.must_support import must_support
from etl.mapping.obligations import data_obligations, obligations
from etl.model.crosswalks import DISPLAYS, Crosswalk, Displays, display_crosswalks, read_displays
from etl.model.data_models import DATA_MODELS, DataModel
from etl.model.sensitive_codes import SensitiveCodes, read_sensitive
from etl.model.severity import Severity
from etl.pipeline.definitions import Definitions
from etl.profiles.guides import DEFAULT, PDEX, Guide, guide_named
from etl.profiles.value_sets import code_systems
from etl.publish.kept_definitions import KeptDefinitions, hash_definitions
from etl.quality.rules.book import Limits, Policy, assign_rules, load_rules, read_rules, rules_of
from etl.sources.layout.model import Layout, LayoutText
from etl.sources.layout.syntax import read_layout

_OF_LAYOUTS = "layouts/"
_RULE_ID = re.compile(r"^-\s+id:\s*([a-z0-9-]+)", re.MULTILINE)


def compile_definitions(
    settings: Settings, files: Mapping[str, Files], model: DataModel
) -> Definitions:
    """Return the definitions of a data model.

    Args:
        files: folder of the mappings -> its files.

    Raises:
        MappingError: a file or a setting is invalid; all errors together.
    """
    crosswalks = crosswalks_in(files["crosswalks"], model)
    if DISPLAYS in files:
        guide = guide_named(model.guide)
        crosswalks = {**crosswalks, **display_crosswalks(_load_displays(files[DISPLAYS], guide))}
    rules, other_rules = _rule_files(files["rules"], model)
    mistakes = Mistakes()
    layouts: tuple[Layout, ...] = ()
    with mistakes.collected():
        layouts = _load_layouts(files["layouts"], crosswalks)
    with mistakes.collected():
        mappings = compile_set(
            files[model.mappings].texts,
            crosswalks,
            payer_facts(settings),
            layers=files[model.mappings].layers,
            labels=files[model.mappings].labels,
            view=view_of(settings, model),
        )
    sensitive = SensitiveCodes()
    with mistakes.collected():
        sensitive = read_sensitive(*sensitive_text(settings))
    if mistakes:
        with mistakes.collected():  # the rules that profiles add need the mappings
            read_rules(rules, crosswalks, model)
    mistakes.report()
    broken_by_rows = {
        plan.name: data_obligations(obligations(plan, crosswalks)) for plan in mappings.plans
    }
    profile_rules = (
        rule for plan in mappings.plans for rule in rules_of(broken_by_rows[plan.name], plan.table)
    )
    rule_policy = replace(policy(settings), other_rules=other_rules)
    book = load_rules(rules, rule_policy, crosswalks, profile_rules, model)
    return Definitions(
        layouts=layouts,
        crosswalks=crosswalks,
        book=book,
        mappings=mappings,
        obligations={
            name: assign_rules(obligations_of_plan, book)
            for name, obligations_of_plan in broken_by_rows.items()
        },
        elements={plan.name: must_support(plan, crosswalks) for plan in mappings.plans},
        columns={plan.name: written_columns(plan, crosswalks) for plan in mappings.plans},
        payer=settings.payer.id,
        id_key=settings.id_key_bytes(),
        fingerprint=_fingerprint(settings, files, crosswalks, view_of(settings, model)),
        dictionary=published_dictionary(build_dictionary(mappings.plans), model),
        hashed_lines=_hash_lines(settings, files, view_of(settings, model)),
        sensitive=sensitive,
        leave_out_superseded=settings.claims.superseded == "leave-out",
        model=model,
    )


def _load_displays(files: Files, guide: Guide) -> Displays:
    """Return the displays of codes: from files, or the guide for its own systems."""
    displays: dict[tuple[str, str], tuple[str, str]] = {}
    mistakes = Mistakes()
    for file in files.layers:
        for text, source in files.named_layers(file, DISPLAYS):
            with mistakes.collected():
                displays |= read_displays(text, source)
    mistakes.report()
    for code_guide in (guide, PDEX) if guide is DEFAULT else (guide,):
        source = f"{code_guide.title} {code_guide.version}"
        for system, codes in code_systems(code_guide).items():
            displays |= {(system, code): (display, source) for code, display in codes.items()}
    return displays


def _rule_files(files: Files, model: DataModel) -> tuple[dict[str, str], frozenset[str]]:
    """Return the rule files of a data model, and the IDs of rules of other models only."""
    roots = [other.rules for other in DATA_MODELS if other is not model and other.rules]
    mine = [
        name for name in files.texts if not any(name.startswith(f"{folder}/") for folder in roots)
    ]
    other_texts = (text for name, text in files.texts.items() if name not in mine)
    other_rules = frozenset(rule for text in other_texts for rule in _RULE_ID.findall(text))
    return {files.labels[name][-1]: files.texts[name] for name in mine}, other_rules


def _of_layouts(crosswalks: Mapping[str, Crosswalk]) -> dict[str, Crosswalk]:
    """Return the crosswalks of layouts by the names that layouts use."""
    return {
        name.removeprefix(_OF_LAYOUTS): crosswalk
        for name, crosswalk in crosswalks.items()
        if name.startswith(_OF_LAYOUTS)
    }


def _load_layouts(files: Files, crosswalks: Mapping[str, Crosswalk]) -> tuple[Layout, ...]:
    by_name = _of_layouts(crosswalks)
    texts = {}
    for name in sorted(files.texts):
        *_, (text, file_name) = files.named_layers(name, "layouts")
        texts[name.removesuffix(".yaml")] = LayoutText(file_name, text)
    return tuple(read_layout(each.text, each.file, by_name, texts) for each in texts.values())


def policy(settings: Settings) -> Policy:
    """Return the rule policy of the settings."""
    limits = settings.limits
    parts = {"severities": "rules", "findings": "limits"}
    return Policy(
        origin=lambda key, rule_id: settings.origin(parts[key], key, rule_id),
        severities={
            rule: Severity(severity) for rule, severity in settings.rules.severities.items()
        },
        limits=Limits(
            rejected_claims=_as_decimal(limits.rejected_claims),
            rejected_members=_as_decimal(limits.rejected_members),
            rejected_rows=_as_decimal(limits.rejected_rows),
            findings=dict(limits.findings),
            unowned_rows=limits.unowned_rows,
        ),
    )


def _as_decimal(number: float | None) -> Decimal | None:
    """Return a share as written in the settings."""
    return None if number is None else Decimal(str(number))


def _fingerprint(
    settings: Settings, files: Mapping[str, Files], crosswalks: Mapping[str, Crosswalk], view: str
) -> str:
    facts = {
        "program": version("cpcds-bluebutton"),
        "files": {
            folder: dict(layered.layers)
            for folder, layered in files.items()
            if folder not in ("crosswalks", DISPLAYS)
        },
        "crosswalks": {name: dict(crosswalk.rows) for name, crosswalk in crosswalks.items()},
        "payer": payer_facts(settings),
        "severities": settings.rules.severities,
        "claims": [settings.claims.superseded, sensitive_text(settings)[0]],
        "view": view,
        "id_key": hashlib.sha256(settings.id_key_bytes()).hexdigest(),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _hash_lines(settings: Settings, files: Mapping[str, Files], view: str) -> KeptDefinitions:
    """Return hashes of everything in the fingerprint except the ID key.

    Files have the same names wherever an overlay is, since it may have a folder for each version.
    """
    texts = {"the file of claims.sensitive_codes": sensitive_text(settings)[0]}
    for folder, layered in files.items():
        for file, layers in layered.layers.items():
            texts[f"{folder}/{file}"] = layers[0]
            for number, text in enumerate(layers[1:], 1):
                texts[f"{folder}/{file} in overlay {number}"] = text
    return hash_definitions(
        texts,
        {
            "the program": version("cpcds-bluebutton"),
            "the settings of payer": json.dumps(payer_facts(settings)),
            "the setting rules.severities": json.dumps(settings.rules.severities, sort_keys=True),
            "the setting claims.superseded": settings.claims.superseded,
            "the setting publish.view": view,
        },
    )


def read_own_layout(text: str, file: str, definitions: Definitions) -> Layout:
    """Return the layout of a text, with the known layouts and crosswalks.

    Raises:
        MappingError: it has mistakes.
    """
    crosswalks = _of_layouts(definitions.crosswalks)
    bases = {each.name: LayoutText(each.file, each.text) for each in definitions.layouts}
    return read_layout(text, file, crosswalks, bases)


def mistakes_of(text: str, file: str, definitions: Definitions) -> tuple[MappingError, ...]:
    """Return the errors of a layout; empty if it is valid."""
    try:
        read_own_layout(text, file, definitions)
    except MappingError as error:
        return error.every
    return ()
