"""Options shared by several commands; those that give a setting are declared with its name."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from etl.errors import UsageError, nearest

if TYPE_CHECKING:
    from etl.bootstrap.settings import Settings

Command = TypeVar("Command", bound=Callable[..., Any])
Decorator = Callable[[Command], Command]

_GIVEN: Final = "etl.cli.settings"
"""Key of the settings that a command's options gave, in the context of click."""


def given_settings(context: click.Context) -> dict[str, Any]:
    """Return the settings that the command's options gave, by group."""
    settings: dict[str, Any] = context.meta.setdefault(_GIVEN, {})
    return settings


def read_settings(context: click.Context) -> Settings:
    """Return the settings, with those on top that the command's options gave.

    Raises:
        MappingErrors: settings are unknown or invalid.
    """
    settings: Settings = context.obj.settings(**given_settings(context))
    return settings


def _store_as_setting(setting: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    """Return a click callback that stores an option as a setting."""
    *group, name = setting.split(".")

    def keep(context: click.Context, _: click.Parameter, value: Any) -> None:
        if value is not None:
            flags = given_settings(context)
            for part in group:
                flags = flags.setdefault(part, {})
            flags[name] = value

    return keep


def setting_option(setting: str, *declarations: str, **attributes: Any) -> Decorator[Any]:
    """Return an option whose value `read_settings` has; the command's function does not get it."""
    return click.option(
        *declarations, expose_value=False, callback=_store_as_setting(setting), **attributes
    )


def _keep_existing(context: click.Context, parameter: click.Parameter, target: str) -> None:
    """Keep TARGET as the setting `target`.

    Raises:
        UsageError: it is a folder that there is not.
    """
    path = Path(target)
    if not context.resilient_parsing and "://" not in target and not path.is_dir():
        around = path.parent.iterdir() if path.parent.is_dir() else ()
        hint = nearest(path.name, (each.name for each in around if each.is_dir()))
        raise UsageError(f"the folder {target} does not exist" + f"; {hint}" * bool(hint))
    _store_as_setting("target")(context, parameter, target)


def target_argument(*, required: bool = True) -> Decorator[Any]:
    """Return the argument TARGET, which gives the setting `target`; a required one exists."""
    keep = _keep_existing if required else _store_as_setting("target")
    return click.argument("target", required=required, expose_value=False, callback=keep)


def together(*decorators: Decorator[Any]) -> Decorator[Any]:
    """Return several options as one decorator, in their order."""

    def decorate(command: Command) -> Command:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


layout_option: Final = setting_option(
    "layout", "--layout", help="Layout of the extract. Default: detected."
)
workers_option: Final = setting_option(
    "run.workers",
    "--workers",
    type=click.IntRange(min=0),
    help="Number of processes. Default, and 0: one for each processor.",
)
memory_option: Final = setting_option(
    "run.memory",
    "--memory",
    metavar="SIZE",
    help="Memory limit for all processes together, such as 1.5GB. Default: no limit.",
)
view_option: Final = setting_option(
    "publish.view",
    "--view",
    type=click.Choice(["financial", "basis"]),
    help="basis: the guide's Basis profiles, without amounts. Default: the setting publish.view.",
)
endpoint_option: Final = setting_option(
    "store.endpoint_url", "--endpoint-url", help="S3-compatible server other than AWS."
)
json_option: Final = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
page_option: Final = click.option(
    "--html",
    "page",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also write it as an HTML page.",
)
extract_argument: Final = click.argument("extract", type=click.Path(path_type=Path))
job_options: Final = together(view_option, layout_option, workers_option, memory_option)
"""Options of every command that checks and maps an extract."""
executor_options: Final = together(
    setting_option(
        "run.executor",
        "--executor",
        type=click.Choice(["local", "spark"]),
        help="Where members are processed: on this machine, or on Apache Spark.",
    ),
    setting_option(
        "run.master",
        "--master",
        metavar="URL",
        help="Where Spark runs, as for spark-submit. Default: the platform's session.",
    ),
)
on_target: Final = together(target_argument(), endpoint_option, json_option)
"""The argument and the options of commands on a published tree."""


def print_json(value: object) -> None:
    """Print a value as indented JSON: what `--json` asks for."""
    click.echo(json.dumps(value, indent=2))


def write_file(path: Path, text: str) -> None:
    """Write a page or table that only its owner can read, whatever was there before.

    Raises:
        UsageError: it cannot be written.
    """
    try:
        with open(path, "w", encoding="utf-8", opener=_open_private) as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(text)
    except OSError as error:
        raise UsageError(f"{path}: the file cannot be written: {error.strerror}") from None


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
