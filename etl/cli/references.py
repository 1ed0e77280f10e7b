"""References that the program prints, and `cpcds init`, which writes them as a file to edit."""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Iterator, Mapping
from functools import reduce
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import click

from etl.bootstrap.definitions import load_definitions
from etl.bootstrap.mappings import mapping_roots, read_folder
from etl.bootstrap.settings import FILE, Settings, setting_names
from etl.cli.options import json_option, print_json
from etl.errors import MappingError, UsageError, nearest
from etl.model.canonical_tables import SHORT_FORM_COUNT, SHORT_FORMS, column_meaning
from etl.model.data_models import CLAIMS, DATA_MODELS
from etl.model.tables import Table
from etl.quality.rules.book import Rule
from etl.quality.rules.kinds import KINDS, Clause
from etl.sources.layout.model import Layout

MOST_TABLES: Final = 13
"""A rule of this many tables or more is one of every table."""


@click.command("rules")
@click.argument("words", nargs=-1, metavar="[WORD]...")
@click.option(
    "--checks", is_flag=True, help="List the checks that rules can use, instead of the rules."
)
@json_option
@click.pass_context
def rules_command(
    context: click.Context, words: tuple[str, ...], checks: bool, as_json: bool
) -> None:
    """List the rules: what each looks for, and what a failure does.

    Your own rules and severities are included. WORD limits the list to IDs that contain it.
    Rules derived from FHIR profiles are listed only if WORD is part of their ID.
    """
    if checks:
        listed = [_check_fields(name) for name in sorted(KINDS)]
    else:
        listed = [_rule_fields(rule) for rule in _selected_rules(context.obj.settings(), words)]
    if not listed:
        raise UsageError(f"no rule ID contains {' or '.join(words)!r}")
    if as_json:
        print_json(listed)
        return
    for fields in listed:
        title, *lines = (_check_lines if checks else _rule_lines)(fields)
        click.secho(title, bold=True)
        for line in lines:
            click.echo(f"    {line}")


def _selected_rules(settings: Settings, words: tuple[str, ...]) -> Iterator[Rule]:
    """Yield the rules of all data models, each once; those of profiles only if requested."""
    rule_files = read_folder(mapping_roots(settings), "rules", "**/*.yaml").texts
    printed_ids = set[str]()
    for model in DATA_MODELS:
        for rule in load_definitions(settings, model).book.rules:
            is_from_file = rule.where.partition(":")[0] in rule_files
            matches = any(word in rule.id for word in words) if words else is_from_file
            if matches and rule.id not in printed_ids:
                printed_ids.add(rule.id)
                yield rule


def _rule_fields(rule: Rule) -> dict[str, Any]:
    columns = getattr(rule.kind, "columns", ())
    return {
        "id": rule.id,
        "severity": rule.severity.value,
        "default": rule.default.value,
        "firm": rule.firm,
        "blanks": rule.blanks,
        "check": rule.check,
        "tables": list(rule.tables),
        "columns": list(columns) if isinstance(columns, tuple) else [],
        "says": rule.says,
        "spoils": rule.spoils,
        "when": [_clause_text(clause) for clause in rule.when],
        "unless": [_clause_text(clause) for clause in rule.unless],
        "where": rule.where,
    }


def _rule_lines(rule: Mapping[str, Any]) -> Iterator[str]:
    severity = rule["severity"]
    if severity != rule["default"]:
        severity += f" (by rules.severities; {rule['default']} by default)"
    marks = ["firm"] * rule["firm"] + ["empties the cell"] * rule["blanks"]
    tables = rule["tables"]
    table_text = ", ".join(tables) if len(tables) < MOST_TABLES else "every table"
    yield rule["id"]
    yield " · ".join([severity, *marks, f"check {rule['check']}", table_text])
    yield rule["says"]
    yield f"Effect: {rule['spoils']}"
    for title, key, joint in (
        ("Columns", "columns", ", "),
        ("Only if", "when", " and "),
        ("Not if", "unless", " and "),
    ):
        if rule[key]:
            yield f"{title}: {joint.join(rule[key])}"


def _clause_text(clause: Clause) -> str:
    column = f"{clause.above}.{clause.column}" if clause.above else clause.column
    if not clause.words:
        return f"{column} is {'filled' if clause.filled else 'empty'}"
    return f"{column} is {' or '.join(word or 'empty' for word in sorted(clause.words))}"


def _check_fields(name: str) -> dict[str, Any]:
    kind = KINDS[name]
    parameters = [field.name.replace("_", "-") for field in dataclasses.fields(kind)]
    fails = (inspect.getdoc(kind) or "").split("\n")[0]
    return {"check": name, "fails": fails, "parameters": parameters, "tables": list(kind.only)}


def _check_lines(check: Mapping[str, Any]) -> Iterator[str]:
    yield check["check"]
    yield check["fails"]
    if check["parameters"]:
        yield f"Parameters: {', '.join(check['parameters'])}"
    if check["tables"]:
        yield f"Only for: {', '.join(check['tables'])}"


@click.command("settings")
@click.argument("words", nargs=-1, metavar="[WORD]...")
@json_option
@click.pass_context
def settings_command(context: click.Context, words: tuple[str, ...], as_json: bool) -> None:
    """List the settings, each with its value, where it was set, and its meaning.

    WORD limits the list to names that contain it. Set a setting in cpcds.toml or with an
    environment variable: `payer.id` is CPCDS_PAYER__ID. Secrets are not printed.
    """
    names = setting_names()
    chosen = {name: text for name, text in names.items() if any(w in name for w in words or ("",))}
    if not chosen:
        hint = nearest(words[0], names)
        raise UsageError(
            f"no setting has {' or '.join(words)!r} in its name" + f"; {hint}" * bool(hint)
        )
    mistake: MappingError | None = None
    try:
        settings = context.obj.settings()
    except MappingError as error:  # the list is what helps to mend it
        settings, mistake = Settings.model_construct(), error
    defaults = Settings.model_construct()
    listed = [_setting_fields(settings, defaults, name, text) for name, text in chosen.items()]
    if as_json:
        click.echo(json.dumps(listed, indent=2, default=str))
    else:
        for fields in listed:
            click.secho(fields["name"], bold=True, nl=False)
            click.echo(_setting_value(fields))
            click.echo(f"    {fields['description']}")
    if mistake is not None:
        raise mistake


def _setting_fields(settings: Settings, defaults: Settings, name: str, text: str) -> dict[str, Any]:
    *groups, last = name.split(".")
    group, default = (reduce(getattr, groups, every) for every in (settings, defaults))
    is_set = getattr(group, last) != getattr(default, last) or (
        bool(groups) and last in group.model_fields_set
    )
    return {
        "name": name,
        "value": value_of(settings, name),
        "set_by": settings.origin(*groups, last) if is_set else None,
        "default": value_of(defaults, name),
        "description": text,
    }


def _setting_value(fields: Mapping[str, Any]) -> str:
    value, origin = fields["value"], fields["set_by"]
    shown = "" if value in (None, "", (), {}) else f" = {json.dumps(value, default=str)}"
    return shown if origin is None else f"{shown} ({origin})"


def value_of(settings: Settings, name: str) -> Any:
    """Return the value of a setting; None for secrets."""
    value = reduce(getattr, name.split("."), settings)
    return None if hasattr(value, "get_secret_value") else value


def canonical_lines(layout: Layout) -> Iterator[str]:
    """Yield the tables of a canonical layout: columns, marks, types, MapIDs, meanings."""
    model = layout.model
    yield f"{layout.name}: one file per table. {model.page} describes files, headers and cells."
    yield "K: part of the key. R: required in each row. The numbers are MapIDs."
    for table in model.tables.values():
        yield ""
        yield f"{table.file_name}: one row per {table.grain.removeprefix('a ').removeprefix('an ')}"
        for column in table.columns:
            meaning = column_meaning(layout.name, table, column)
            marks = "K" * (column.name in table.key) + "R" * column.required
            map_ids = " ".join(map(str, column.map_ids)) or "own" * bool(column.meaning)
            yield (
                f"    {column.name:<34} {marks:<2} {column.type.value:<9} {map_ids:<8} {meaning}"
            ).rstrip()
    if model is CLAIMS:
        yield from _short_form_lines(model.tables)


def _short_form_lines(tables: Mapping[str, Table]) -> Iterator[str]:
    yield ""
    yield f"claim: short forms, numbered from 1 to {SHORT_FORM_COUNT}"
    for child, columns in SHORT_FORMS.items():
        stem = child.removeprefix("claim_")
        for word, column in columns.items():
            yield f"    {f'{stem}_{word}_1':<34} the cell of {tables[child].name}.{column}"


OWN: Final = "own"
_HEAD: Final = """\
# Settings of `cpcds`, with their defaults. To change a setting, remove its `#` and edit the value.
# `cpcds settings` prints the current values, and where each was set.
# Do not put secrets here: set CPCDS_ID_KEY and other secrets as environment variables."""
_README: Final = """\
# Files of your own

These files extend the shipped files, and an upgrade does not change them. A file with the name of a
shipped file changes that file. A file with any other name is added.

    rules/       checks of rows, and their severities
    crosswalks/  your words, and the codes that they become
    displays/    names of codes: system,code,display
    layouts/     formats of extracts
    columns/     your own columns, in addition to those of the canonical tables
    c4bb/        how rows become resources

docs/tutorial.md shows how to write a rule and a layout. `cpcds mapping check` checks all files.
"""


@click.command("init")
@click.argument(
    "folder", type=click.Path(path_type=Path, file_okay=False), default=Path(), required=False
)
def init_command(folder: Path) -> None:
    """Write a commented cpcds.toml, and a folder for your own mappings.

    Default for FOLDER: the current folder. Existing files are not overwritten.
    """
    file, readme = folder / FILE, folder / OWN / "README.md"
    for path in (file, readme):
        if path.exists():
            raise UsageError(f"{path} already exists; nothing was written")
    readme.parent.mkdir(parents=True, exist_ok=True)
    readme.write_text(_README, encoding="utf-8")
    file.write_text("\n".join([_HEAD, *_settings_lines()]) + "\n", encoding="utf-8")
    click.echo(f"{file}: the settings, all with their defaults")
    click.echo(f"{readme.parent}: for your own rules, crosswalks, layouts, and mappings")


def _settings_lines() -> Iterator[str]:
    """Yield all settings as TOML comments, and the one for the mappings folder."""
    defaults = Settings.model_construct()
    for group, names in groupby(setting_names().items(), lambda item: item[0].rpartition(".")[0]):
        if group:
            yield f"\n[{group}]"
        for name, text in names:
            key, value = name.rpartition(".")[2], value_of(defaults, name)
            yield f"\n# {text}"
            if name == "mappings":
                yield f'{key} = ["{OWN}"]'
            elif value is None:
                yield f"# {key} ="
            elif isinstance(value, dict):
                yield f"# {key} = {{}}"
            else:
                yield f"# {key} = {_toml_value(value)}"


def _toml_value(value: Any) -> str:
    return json.dumps(value if isinstance(value, bool | int | float | tuple) else str(value))
