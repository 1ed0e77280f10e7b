"""The group of all commands, and the one place where an error becomes an exit code."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from etl.bootstrap.settings import Settings, read_settings
from etl.cli.conform import conform_command
from etl.cli.convert import convert_command
from etl.cli.explain import explain_command
from etl.cli.layouts import layouts_command
from etl.cli.mapping import mapping_group
from etl.cli.refused import sentence_of
from etl.cli.releases import (
    diff_command,
    prune_command,
    releases_command,
    rollback_command,
    verify_command,
)
from etl.cli.run import run_command
from etl.cli.synth import synth_command
from etl.cli.validate import validate_command
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


class Main(click.Group):
    """Reports errors raised on purpose in one sentence; bugs keep their traceback (exit 1)."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
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


main.add_command(conform_command)
main.add_command(convert_command)
main.add_command(diff_command)
main.add_command(explain_command)
main.add_command(layouts_command)
main.add_command(mapping_group)
main.add_command(prune_command)
main.add_command(releases_command)
main.add_command(rollback_command)
main.add_command(run_command)
main.add_command(synth_command)
main.add_command(validate_command)
main.add_command(verify_command)
