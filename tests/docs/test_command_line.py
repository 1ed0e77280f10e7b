"""docs/cli.md and README.md name the commands that there are, with the options that they have."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click
import pytest

from etl.cli import main
from tests.docs.pages import codes, page, rows, section

CLI = page("docs/cli.md")
EVERYWHERE = {"--help", "-h"}


def commands(group: click.Group, before: str = "cpcds") -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None or command.hidden:
            continue
        if isinstance(command, click.Group):
            if command.invoke_without_command:
                yield f"{before} {name}", command
            yield from commands(command, f"{before} {name}")
        else:
            yield f"{before} {name}", command


COMMANDS = dict(commands(main))
HEADINGS = {
    found.group(1): found.group(0)
    for found in re.finditer(r"^### `(cpcds(?: [a-z-]+)+)[^`\n]*`$", CLI, re.MULTILINE)
}


def options(command: click.Command) -> set[str]:
    found = (one for one in command.params if isinstance(one, click.Option) and not one.hidden)
    return {name for one in found for name in (*one.opts, *one.secondary_opts)} - EVERYWHERE


def written(text: str) -> set[str]:
    return {flag for code in codes(text) for flag in re.findall(r"(?<![\w-])--?[a-z][a-z-]*", code)}


def around(name: str) -> str:
    """Return what the page says of a command: its own section, and what all of its part share."""
    own = section(CLI, HEADINGS[name])
    part = next(
        text for text in re.split(r"^(?=## )", CLI, flags=re.MULTILINE) if HEADINGS[name] in text
    )
    return part.split("\n### ")[0] + own


def test_every_command_has_a_section_and_every_section_a_command() -> None:
    assert set(HEADINGS) == set(COMMANDS)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_option_of_a_command_is_described(name: str) -> None:
    assert options(COMMANDS[name]) <= written(around(name))


@pytest.mark.parametrize("name", sorted(set(COMMANDS) & set(HEADINGS)))
def test_a_section_describes_no_option_that_its_command_does_not_have(name: str) -> None:
    flags = {flag for cells in rows(section(CLI, HEADINGS[name])) for flag in written(cells[0])}
    assert flags <= options(COMMANDS[name])


@pytest.mark.parametrize("name", sorted(set(COMMANDS) & set(HEADINGS)))
def test_a_heading_names_the_arguments_of_its_command(name: str) -> None:
    arguments = [one for one in COMMANDS[name].params if isinstance(one, click.Argument)]
    heading = HEADINGS[name].strip("#` ").removeprefix(name).replace("…", "").split()
    names = [one.human_readable_name.upper() for one in arguments]
    assert heading == [
        name if one.required else f"[{name}]" for name, one in zip(names, arguments, strict=True)
    ]


def test_the_options_before_the_command_are_described() -> None:
    head = CLI.split("\n## ")[0]
    flags = {flag for cells in rows(head) for flag in written(cells[0])}
    assert flags == options(main)


def test_the_readme_calls_commands_that_there_are() -> None:
    known = set(COMMANDS)
    called = re.findall(r"`cpcds ((?:[a-z]+ ?)+)", page("README.md"))
    assert called
    for words in called:
        assert any(f"cpcds {words.strip()}".startswith(name) for name in known), words
