"""The group of all commands, and the one place where an error becomes an exit code."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import click

from etl.bootstrap.collecting import collecting_nothing
from etl.bootstrap.settings import Settings, read_settings
from etl.cli.interruption import exit_code, interruption_of, terminable, what_now
from etl.cli.refused import sentence_of
from etl.errors import EtlError, StoreError

CONTEXT_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@dataclass(frozen=True, slots=True)
class Configuration:
    """What every command is given: how to read the settings, flags on top."""

    file: Path | None
    mappings: tuple[Path, ...]

    def settings(self, **flags: Any) -> Settings:
        """Return the settings with a command's flags on top."""
        return read_settings(self.file, mappings=self.mappings or None, **flags)


COMMANDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "apps": "etl.cli.apps:apps_group",
        "audit": "etl.cli.apps:audit_group",
        "auth": "etl.cli.apps:auth_group",
        "conform": "etl.cli.conform:conform_command",
        "convert": "etl.cli.convert:convert_command",
        "developers": "etl.cli.developers:developers_group",
        "diff": "etl.cli.releases:diff_command",
        "explain": "etl.cli.explain:explain_command",
        "layouts": "etl.cli.layouts:layouts_command",
        "mapping": "etl.cli.mapping:mapping_group",
        "prune": "etl.cli.releases:prune_command",
        "releases": "etl.cli.releases:releases_command",
        "resume": "etl.cli.releases:resume_command",
        "rollback": "etl.cli.releases:rollback_command",
        "run": "etl.cli.run:run_command",
        "serve": "etl.cli.serve:serve_command",
        "synth": "etl.cli.synth:synth_command",
        "validate": "etl.cli.validate:validate_command",
        "verify": "etl.cli.releases:verify_command",
    }
)
"""Name of a command → where it is. Only the one that is called is loaded: `serve` must not bring in
Arrow and pandas, which stay in memory as long as it runs."""


class Main(click.Group):
    """Reports errors raised on purpose in one sentence; bugs keep their traceback (exit 1)."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, loaded when it is asked for; None where there is none."""
        place = COMMANDS.get(cmd_name)
        if place is None:
            return None
        module, _, name = place.partition(":")
        with collecting_nothing():
            command: click.Command = getattr(import_module(module), name)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            with terminable():
                return super().invoke(ctx)
        except (KeyboardInterrupt, click.Abort) as error:
            interruption = interruption_of(error)
            if interruption is None:
                raise
            click.echo(f"interrupted: {what_now(interruption)}", err=True)
            ctx.exit(exit_code(interruption))
        except EtlError as error:
            click.echo(f"error: {error}", err=True)
            ctx.exit(error.exit_code)
        except OSError as error:
            sentence = sentence_of(error)
            if sentence is None:
                raise
            click.echo(f"error: {sentence}", err=True)
            ctx.exit(StoreError.exit_code)


@click.group(cls=Main, context_settings=CONTEXT_SETTINGS)
@click.version_option(package_name="cpcds-bluebutton", prog_name="cpcds")
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Configuration file; cpcds.toml in this folder where not given.",
)
@click.option(
    "--mappings",
    type=click.Path(path_type=Path, file_okay=False),
    multiple=True,
    help="Folder with mappings, crosswalks, rules or layouts of your own, on top of the shipped.",
)
@click.option("-v", "--verbose", is_flag=True, help="Say more of what is done.")
@click.pass_context
def main(
    context: click.Context, config: Path | None, mappings: tuple[Path, ...], verbose: bool
) -> None:
    """CPCDS flat files in, CARIN Blue Button FHIR out."""
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    context.obj = Configuration(config, mappings)
