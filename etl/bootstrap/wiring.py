"""Settings into the objects that the use cases take."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path

from etl.bootstrap.gc_policy import gc_disabled
from etl.bootstrap.mappings import SET, Files, read_crosswalks, read_folder, shipped
from etl.bootstrap.settings import Settings
from etl.errors import MappingError, Mistakes
from etl.mapping.coverage import misplaced_skips
from etl.mapping.library import compile_set
from etl.mapping.obligations import obligations, of_data
from etl.mapping.profile_checks import problems
from etl.model.crosswalks import Crosswalk
from etl.model.sensitive_codes import SensitiveCodes, read_sensitive
from etl.model.severity import Severity
from etl.pipeline.definitions import Definitions
from etl.pipeline.release_limits import ReleaseLimits
from etl.quality import Limits, Policy, load_rules, named, read_rules, rules_of
from etl.sources import Layout, LayoutText, read_layout

_OF_LAYOUTS = "layouts/"


def mapping_roots(settings: Settings) -> tuple[Path, ...]:
    """Return the folders of mappings, the shipped one first."""
    return (shipped(), *settings.mappings)


@gc_disabled()
def load_definitions(settings: Settings) -> Definitions:
    """Return rules, layouts and mappings as the settings want them.

    Raises:
        MappingError: a file or a setting is wrong; every mistake at once, but those of crosswalks
            before what is checked against them.
    """
    roots = mapping_roots(settings)
    crosswalks = read_crosswalks(roots)
    files = {folder: read_folder(roots, folder, "*.yaml") for folder in (SET, "rules", "layouts")}
    mistakes = Mistakes()
    layouts: tuple[Layout, ...] = ()
    with mistakes.collected():
        layouts = _layouts(files["layouts"], crosswalks)
    with mistakes.collected():
        mappings = compile_set(
            files[SET].texts,
            crosswalks,
            payer_facts(settings),
            layers=files[SET].layers,
            view=settings.publish.view,
        )
    sensitive = SensitiveCodes()
    with mistakes.collected():
        sensitive = read_sensitive(*_sensitive_text(settings))
    if mistakes:
        with mistakes.collected():  # which rules profiles add is not known without the mappings
            read_rules(files["rules"].texts, crosswalks)
    mistakes.report()
    broken_by_rows = {plan.name: of_data(obligations(plan, crosswalks)) for plan in mappings.plans}
    profile_rules = (
        rule for plan in mappings.plans for rule in rules_of(broken_by_rows[plan.name], plan.table)
    )
    book = load_rules(files["rules"].texts, policy(settings), crosswalks, profile_rules)
    return Definitions(
        layouts=layouts,
        crosswalks=crosswalks,
        book=book,
        mappings=mappings,
        obligations={
            name: named(obligations_of_plan, book)
            for name, obligations_of_plan in broken_by_rows.items()
        },
        payer=settings.payer.id,
        id_key=settings.id_key_bytes(),
        fingerprint=_fingerprint(settings, files, crosswalks),
        sensitive=sensitive,
        leave_out_superseded=settings.claims.superseded == "leave-out",
    )


def _sensitive_text(settings: Settings) -> tuple[str, str]:
    """Return text and name of the payer's file of sensitive codes; a header alone for none."""
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
    """Return the payer's settings as mappings see them (`payer.name`)."""
    return {name: str(value) for name, value in settings.payer.model_dump().items()}


def policy(settings: Settings) -> Policy:
    """Return what the settings say about rules."""
    limits = settings.limits
    parts = {"severities": "rules", "findings": "limits"}
    return Policy(
        origin=lambda key, rule_id: settings.origin(parts[key], key, rule_id),
        severities={
            rule: Severity(severity) for rule, severity in settings.rules.severities.items()
        },
        limits=Limits(
            rejected_claims=None
            if limits.rejected_claims is None
            else Decimal(str(limits.rejected_claims)),
            rejected_members=Decimal(str(limits.rejected_members)),
            findings=dict(limits.findings),
            unowned_rows=limits.unowned_rows,
        ),
    )


def release_limits(settings: Settings) -> ReleaseLimits:
    """Return what one run may lose or move of the release before."""
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


def _fingerprint(
    settings: Settings, files: Mapping[str, Files], crosswalks: Mapping[str, Crosswalk]
) -> str:
    facts = {
        "program": version("cpcds-bluebutton"),
        "files": {folder: dict(layered.layers) for folder, layered in files.items()},
        "crosswalks": {name: dict(crosswalk.rows) for name, crosswalk in crosswalks.items()},
        "payer": payer_facts(settings),
        "severities": settings.rules.severities,
        "claims": [settings.claims.superseded, _sensitive_text(settings)[0]],
        "view": settings.publish.view,
        "id_key": hashlib.sha256(settings.id_key_bytes()).hexdigest(),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class CheckedMappings:
    """Result of `cpcds mapping check`.

    Attributes:
        names: of the mappings.
        views: of the views, in each of which every mapping was checked.
        problems: what is wrong, each once.
    """

    names: tuple[str, ...]
    views: tuple[str, ...]
    problems: tuple[MappingError, ...]


def check_mappings(settings: Settings) -> CheckedMappings:
    """Return the names of all mappings and what is wrong with them, in every view of the set.

    Raises:
        MappingError: a mistake that keeps a mapping, layout or rule from being read at all.
    """
    views = load_definitions(settings).mappings.views
    found: dict[str, MappingError] = {}
    names: tuple[str, ...] = ()
    for view in views:
        compiled = load_definitions(in_view(settings, view)).mappings
        names = tuple(plan.name for plan in compiled.plans)
        for plan in compiled.plans:
            wrong = (
                *problems(plan, compiled.crosswalks),
                *misplaced_skips(plan, compiled.crosswalks),
            )
            found |= {str(problem): problem for problem in wrong}
    return CheckedMappings(names, views, tuple(found.values()))


def in_view(settings: Settings, view: str) -> Settings:
    """Return the settings with another view of claims."""
    return settings.model_copy(
        update={"publish": settings.publish.model_copy(update={"view": view})}
    )
