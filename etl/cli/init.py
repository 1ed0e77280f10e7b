"""`cpcds init`: a folder to begin with, for a payer's settings and own mappings."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import click

from etl.bootstrap.settings import FILE, Settings, setting_names
from etl.cli.references import value_of
from etl.errors import UsageError

OWN: Final = "own"
_HEAD: Final = """\
# Settings of `cpcds`. Each stands here with its default: take the `#` away to change it.
# `cpcds settings` prints the values that are in force, and where each was set.
# Keep secrets out of this file: CPCDS_ID_KEY and the like are environment variables."""
_README: Final = """\
# Files of your own

They go on top of those that come with the program and survive an upgrade. A file of a shipped name
changes that file; any other name adds to what is there.

    rules/       what is looked for in every row, and how bad it is
    crosswalks/  your words, as codes
    displays/    names of codes: system,code,display
    layouts/     formats of extracts
    c4bb/        how rows become resources

docs/tutorial.md makes a first rule and a first layout. `cpcds mapping check` checks all files.
"""


@click.command("init")
@click.argument(
    "folder", type=click.Path(path_type=Path, file_okay=False), default=Path(), required=False
)
def init_command(folder: Path) -> None:
    """Write a commented cpcds.toml, and a folder for mappings of your own.

    FOLDER is the current folder where not given. Nothing that is there is overwritten.
    """
    file, own = folder / FILE, folder / OWN / "README.md"
    for path in (file, own):
        if path.exists():
            raise UsageError(f"{path} is there already; nothing was written")
    own.parent.mkdir(parents=True, exist_ok=True)
    own.write_text(_README, encoding="utf-8")
    file.write_text("\n".join([_HEAD, *_lines()]) + "\n", encoding="utf-8")
    click.echo(f"{file}: the settings, all at their defaults")
    click.echo(f"{own.parent}: for rules, crosswalks, layouts and mappings of your own")


def _lines() -> Iterator[str]:
    """Yield all settings as comments of TOML, and the one that names the folder."""
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
                yield f"# {key} = {_toml(value)}"


def _toml(value: Any) -> str:
    return json.dumps(value if isinstance(value, bool | int | float | tuple) else str(value))
