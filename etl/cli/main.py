"""The group of all commands, and the one place where an error becomes an exit code."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from etl.bootstrap.gc_policy import gc_disabled
from etl.cli import console
from etl.errors import EtlError, StoreError, UsageError, not_installed

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from etl.bootstrap.settings import Settings

CONTEXT_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
_TABLE: Final = tomllib.loads(files("etl.cli").joinpath("commands.toml").read_text("utf-8"))
EXAMPLES: Final[Mapping[str, str]] = _TABLE["examples"]
"""Examples of `--help`: purpose -> command."""
EXAMPLE_OF: Final[Mapping[str, str]] = _TABLE["example_of"]
"""Command with its groups -> the example at the end of its own `--help`."""
COMMANDS: Final[Mapping[str, Mapping[str, tuple[str, str]]]] = _TABLE["commands"]
"""Heading of `--help` -> name -> `module:attribute` in this package, and the first sentence of the
command's help. Only the command that is called is imported: `serve` must not load Arrow and pandas,
which stay in memory as long as it runs, and `--help` needs none of them."""


@dataclass(frozen=True, slots=True)
class CommandContext:
    """Context of every command: reads the settings, with flags on top."""

    file: Path | None
    mappings: tuple[Path, ...]

    def settings(self, **flags: Any) -> Settings:
        """Return the settings with a command's flags on top."""
        from etl.bootstrap.settings import read_settings  # pydantic: --help avoids it

        return read_settings(self.file, mappings=self.mappings or None, **flags)


class Main(click.Group):
    """Reports expected errors in one sentence; bugs keep their traceback (exit 1)."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return sorted(name for commands in COMMANDS.values() for name in commands)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, imported on demand; None for an unknown name."""
        for commands in COMMANDS.values():
            if cmd_name in commands:
                module, _, attribute = commands[cmd_name][0].partition(":")
                with gc_disabled():
                    command: click.Command = getattr(import_module(f"etl.cli.{module}"), attribute)
                _add_examples(command, cmd_name)
                return command
        return None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that arguments name; the error of another suggests the nearest."""
        try:
            return super().resolve_command(ctx, args)
        except click.NoSuchCommand as error:
            names = self.list_commands(ctx)
            raise click.NoSuchCommand(error.command_name, possibilities=names, ctx=ctx) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands of `--help` by purpose."""
        for heading, commands in COMMANDS.items():
            with formatter.section(heading):
                formatter.write_dl([(name, summary) for name, (_, summary) in commands.items()])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write examples, and where to read on."""
        with formatter.section("Examples"):
            for purpose, command in EXAMPLES.items():
                formatter.write(f"{'':{formatter.current_indent}}# {purpose}\n")
                formatter.write(f"{'':{formatter.current_indent}}{command}\n")

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return completions of a command's name; the group's options come after them."""
        from click.shell_completion import CompletionItem  # needed for shell completion only

        names = [
            CompletionItem(name, help=summary)
            for commands in COMMANDS.values()
            for name, (_, summary) in commands.items()
            if name.startswith(incomplete)
        ]
        # The group itself would load each command to ask for its summary.
        return names + click.Command.shell_complete(self, ctx, incomplete)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            with console.terminable():
                return super().invoke(ctx)
        except (KeyboardInterrupt, click.Abort) as error:
            interruption = console.interruption_of(error)
            if interruption is None:
                raise
            click.echo(f"interrupted: {console.what_now(interruption)}", err=True)
            ctx.exit(console.exit_code(interruption))
        except EtlError as error:
            for line in str(console.message_of(error)).split("\n"):
                click.echo(f"error: {line}", err=True)
            ctx.exit(error.exit_code)
        except ModuleNotFoundError as error:
            missing = _not_installed(error)
            if missing is None:
                raise
            click.echo(f"error: {missing}", err=True)
            ctx.exit(UsageError.exit_code)
        except EOFError as error:  # click would treat it as Ctrl-C and print "Aborted!"
            raise RuntimeError("the data ended too early") from error
        except OSError as error:
            message = console.message_of(error)
            if message is None:
                raise
            click.echo(f"error: {message}", err=True)
            ctx.exit(StoreError.exit_code)


def _add_examples(command: click.Command, path: str) -> None:
    """Put its example at the end of the help of a command, and of each command of a group."""
    if path in EXAMPLE_OF:
        command.epilog = f"\b\nExample:\n  {EXAMPLE_OF[path]}"
    if isinstance(command, click.Group):
        for name, subcommand in command.commands.items():
            _add_examples(subcommand, f"{path} {name}")


def _not_installed(error: ModuleNotFoundError) -> str | None:
    """Return the message of a missing package; None for a module of this program, a bug."""
    package = (error.name or "").partition(".")[0]
    if package in ("", "etl"):
        return None
    return f"this command needs the package {package}, {not_installed()}"


@click.group(cls=Main, context_settings=CONTEXT_SETTINGS)
@click.version_option(package_name="cpcds-bluebutton", prog_name="cpcds")
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Configuration file. Default: cpcds.toml in this folder.",
)
@click.option(
    "--mappings",
    type=click.Path(path_type=Path, file_okay=False),
    multiple=True,
    help="Folder with your own mappings, rules, crosswalks, or layouts. Extends the shipped ones.",
)
@click.option("-v", "--verbose", is_flag=True, help="Print more about what the command does.")
@click.pass_context
def main(
    context: click.Context, config: Path | None, mappings: tuple[Path, ...], verbose: bool
) -> None:
    """Turn CPCDS flat files into CARIN Blue Button FHIR."""
    console.log_to_console(verbose=verbose)
    context.obj = CommandContext(config, mappings)
