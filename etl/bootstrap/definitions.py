"""Settings into the objects that the use cases take."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any

from etl.bootstrap.compiled_definitions import read_compiled, write_compiled
from etl.bootstrap.gc_policy import gc_disabled
from etl.bootstrap.mappings import Files, crosswalks_in, read_folder, shipped
from etl.bootstrap.setting_groups import STALE_DAYS
from etl.bootstrap.settings import Settings
from etl.errors import MappingError, Mistakes
from etl.gateway.supported_fhir import PLAN_NET_TYPES, TYPES
from etl.mapping.coverage import misplaced_skips
from etl.mapping.library import compile_set
from etl.mapping.must_support import must_support
from etl.mapping.obligations import obligations, of_data
from etl.mapping.plan import Plan
from etl.mapping.profile_checks import problems
from etl.mapping.search_checks import search_problems
from etl.mapping.view import FINANCIAL
from etl.model.crosswalks import Crosswalk
from etl.model.data_models import CLAIMS, DATA_MODELS, DIRECTORY, DataModel
from etl.model.sensitive_codes import SensitiveCodes, read_sensitive
from etl.model.severity import Severity
from etl.pipeline.definitions import Definitions
from etl.pipeline.release_limits import ReleaseLimits
from etl.profiles.guides import PLAN_NET
from etl.quality.rules.book import Limits, Policy, load_rules, named, read_rules, rules_of
from etl.sources.layout.model import Layout, LayoutText
from etl.sources.layout.syntax import read_layout

_OF_LAYOUTS = "layouts/"
_RULE_ID = re.compile(r"^-\s+id:\s*([a-z0-9-]+)", re.MULTILINE)


def mapping_roots(settings: Settings) -> tuple[Path, ...]:
    """Return the folders of mappings, the shipped one first."""
    return (shipped(), *settings.mappings)


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
    }
    files = {folder: read_folder(roots, folder, names) for folder, names in folders.items()}
    facts = _facts(settings, files, model)
    definitions = read_compiled(facts, settings.id_key_bytes())
    if definitions is None:
        definitions = _compiled(settings, files, model)
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
        "sensitive": _sensitive_text(settings),
        "view": view_of(settings, model),
    }


def _compiled(settings: Settings, files: Mapping[str, Files], model: DataModel) -> Definitions:
    crosswalks = crosswalks_in(files["crosswalks"], of_plan_net=model is DIRECTORY)
    rules, elsewhere = _rules(files["rules"].texts, model)
    mistakes = Mistakes()
    layouts: tuple[Layout, ...] = ()
    with mistakes.collected():
        layouts = _layouts(files["layouts"], crosswalks)
    with mistakes.collected():
        mappings = compile_set(
            files[model.mappings].texts,
            crosswalks,
            payer_facts(settings),
            layers=files[model.mappings].layers,
            view=view_of(settings, model),
        )
    sensitive = SensitiveCodes()
    with mistakes.collected():
        sensitive = read_sensitive(*_sensitive_text(settings))
    if mistakes:
        with mistakes.collected():  # the rules that profiles add need the mappings
            read_rules(rules, crosswalks, model)
    mistakes.report()
    broken_by_rows = {plan.name: of_data(obligations(plan, crosswalks)) for plan in mappings.plans}
    profile_rules = (
        rule for plan in mappings.plans for rule in rules_of(broken_by_rows[plan.name], plan.table)
    )
    rule_policy = replace(policy(settings), elsewhere=elsewhere)
    book = load_rules(rules, rule_policy, crosswalks, profile_rules, model)
    return Definitions(
        layouts=layouts,
        crosswalks=crosswalks,
        book=book,
        mappings=mappings,
        obligations={
            name: named(obligations_of_plan, book)
            for name, obligations_of_plan in broken_by_rows.items()
        },
        elements={plan.name: must_support(plan, crosswalks) for plan in mappings.plans},
        payer=settings.payer.id,
        id_key=settings.id_key_bytes(),
        fingerprint=_fingerprint(settings, files, crosswalks, view_of(settings, model)),
        sensitive=sensitive,
        leave_out_superseded=settings.claims.superseded == "leave-out",
        model=model,
    )


def _rules(texts: Mapping[str, str], model: DataModel) -> tuple[dict[str, str], frozenset[str]]:
    """Return the rule files of a data model, and the ids of rules of other models only."""
    others = [other.rules for other in DATA_MODELS if other is not model and other.rules]
    mine = {
        name: text
        for name, text in texts.items()
        if not any(name.startswith(f"{folder}/") for folder in others)
    }
    rest = (text for name, text in texts.items() if name not in mine)
    return mine, frozenset(rule for text in rest for rule in _RULE_ID.findall(text))


def _sensitive_text(settings: Settings) -> tuple[str, str]:
    """Return text and name of the payer's file of sensitive codes; a header only without one."""
    path = settings.claims.sensitive_codes
    if path is None:
        return "system,code", ""
    try:
        return path.read_text(encoding="utf-8"), str(path)
    except UnicodeDecodeError as error:
        what = f"not UTF-8 at byte {error.start}"
        raise MappingError(str(path), "config-sensitive-codes", what) from None
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


def policy(settings: Settings) -> Policy:
    """Return the rule policy of the settings."""
    limits = settings.limits
    parts = {"severities": "rules", "findings": "limits"}
    return Policy(
        origin=lambda key, rule_id: settings.origin(parts[key], key, rule_id),
        severities={
            rule: Severity(severity) for rule, severity in settings.rules.severities.items()
        },
        stale_days=settings.rules.stale_days,
        limits=Limits(
            rejected_claims=_share(limits.rejected_claims),
            rejected_members=_share(limits.rejected_members),
            rejected_rows=_share(limits.rejected_rows),
            findings=dict(limits.findings),
            unowned_rows=limits.unowned_rows,
        ),
    )


def _share(number: float | None) -> Decimal | None:
    """Return a share of the settings as it is written there."""
    return None if number is None else Decimal(str(number))


def release_limits(settings: Settings) -> ReleaseLimits:
    """Return the limits of change of one run against the previous release."""
    names = set(ReleaseLimits.__annotations__)
    named = settings.limits.model_dump(include=names)
    return ReleaseLimits(**{name: Decimal(str(most)) for name, most in named.items()})


def _layouts(files: Files, crosswalks: Mapping[str, Crosswalk]) -> tuple[Layout, ...]:
    own = {
        name.removeprefix(_OF_LAYOUTS): crosswalk
        for name, crosswalk in crosswalks.items()
        if name.startswith(_OF_LAYOUTS)
    }
    texts = {
        name.removesuffix(".yaml"): LayoutText(f"layouts/{name}", text)
        for name, text in sorted(files.texts.items())
    }
    return tuple(read_layout(each.text, each.file, own, texts) for each in texts.values())


def read_own_layout(text: str, file: str, definitions: Definitions) -> Layout:
    """Return the layout of a text, with the known layouts and crosswalks.

    Raises:
        MappingError: it has mistakes.
    """
    crosswalks = {
        name.removeprefix(_OF_LAYOUTS): crosswalk
        for name, crosswalk in definitions.crosswalks.items()
        if name.startswith(_OF_LAYOUTS)
    }
    bases = {each.name: LayoutText(each.file, each.text) for each in definitions.layouts}
    return read_layout(text, file, crosswalks, bases)


def mistakes_of(text: str, file: str, definitions: Definitions) -> tuple[MappingError, ...]:
    """Return the errors of a layout; empty where it is valid."""
    try:
        read_own_layout(text, file, definitions)
    except MappingError as error:
        return error.every
    return ()


def _fingerprint(
    settings: Settings, files: Mapping[str, Files], crosswalks: Mapping[str, Crosswalk], view: str
) -> str:
    stale = settings.rules.stale_days
    facts = {
        "program": version("cpcds-bluebutton"),
        "files": {
            folder: dict(layered.layers)
            for folder, layered in files.items()
            if folder != "crosswalks"
        },
        "crosswalks": {name: dict(crosswalk.rows) for name, crosswalk in crosswalks.items()},
        "payer": payer_facts(settings),
        "severities": settings.rules.severities,
        "claims": [settings.claims.superseded, _sensitive_text(settings)[0]],
        "view": view,
        **({"stale_days": stale} if stale != STALE_DAYS else {}),
        "id_key": hashlib.sha256(settings.id_key_bytes()).hexdigest(),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class CheckedMappings:
    """Result of `cpcds mapping check`.

    Attributes:
        names: of the mappings.
        views: of the views; every mapping was checked in each.
        problems: the errors, each once.
    """

    names: tuple[str, ...]
    views: tuple[str, ...]
    problems: tuple[MappingError, ...]


def check_mappings(settings: Settings) -> CheckedMappings:
    """Return the names of all mappings and their errors, in every view of each set.

    Raises:
        MappingError: an error that prevents a mapping, layout or rule from being read at all.
    """
    mistakes: dict[str, MappingError] = {}
    names: list[str] = []
    all_views: list[str] = []
    for model in DATA_MODELS:
        views = load_definitions(settings, model).mappings.views
        all_views += [view for view in views if view not in all_views]
        plans: tuple[Plan, ...] = ()
        for view in views:
            compiled = load_definitions(in_view(settings, view, model), model).mappings
            plans = compiled.plans
            for plan in plans:
                wrong = list(problems(plan, compiled.crosswalks))
                if not compiled.view.version:  # another version may lack what this one skips
                    wrong += misplaced_skips(plan, compiled.crosswalks)
                wrong += search_problems(plan, _search_types(plan, model))
                mistakes |= {str(one): one for one in wrong}
        names += [plan.name for plan in plans]
    return CheckedMappings(tuple(names), tuple(all_views), tuple(mistakes.values()))


def _search_types(plan: Plan, model: DataModel) -> dict[str, str]:
    """Return the type of each search parameter that the gateway has for a plan's resources."""
    resource = (TYPES if model is CLAIMS else PLAN_NET_TYPES).get(plan.resource)
    return {} if resource is None else {name: one.type for name, one in resource.parameters.items()}


def view_of(settings: Settings, model: DataModel) -> str:
    """Return the view of a model's mappings that the settings ask for."""
    if model is CLAIMS:
        return settings.publish.view
    return FINANCIAL if settings.publish.plan_net == PLAN_NET.version else settings.publish.plan_net


def in_view(settings: Settings, view: str, model: DataModel = CLAIMS) -> Settings:
    """Return the settings with another view of a model's mappings."""
    plan_net = PLAN_NET.version if view == FINANCIAL else view
    values = {"view": view} if model is CLAIMS else {"plan_net": plan_net}
    return settings.model_copy(update={"publish": settings.publish.model_copy(update=values)})
