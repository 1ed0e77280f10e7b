"""Commands that the pages show exist, with the options that they are shown with."""

import re

import click
import pytest

from etl.cli import main
from tests.docs.pages import page, tracked

PAGES = sorted(
    name for name in tracked() if re.fullmatch(r"README.md|CONTRIBUTING.md|docs/.*\.md", name)
)
COMMAND = re.compile(r"(?:`|^ +(?:\S*/)?|[;&] )cpcds ([^`\n]+)", re.MULTILINE)


def shown_commands(name):
    """Yield each command of a page, the words after it, and the line."""
    text = re.sub(r"\\\n\s*", "", page(name))
    for line in COMMAND.finditer(text):
        words = re.sub(r"(^| )#.*", "", line[1]).split()
        while words and words[0].startswith("-"):  # options before the command take a value
            words = words[2:] if words[0] in ("--config", "--mappings") else words[1:]
        command = main
        context = click.Context(main)
        while words and isinstance(command, click.Group) and re.fullmatch(r"[a-z-]+", words[0]):
            found = command.get_command(context, words[0])
            if found is None and command is not main and command.invoke_without_command:
                break
            command, words = found, words[1:]
            if command is None:
                break
        assert command is not None, line[0]
        yield command, words, line[0]


@pytest.mark.parametrize("name", PAGES)
def test_commands_and_options_that_a_page_shows_exist(name):
    for command, words, line in shown_commands(name):
        known = {flag for option in command.params for flag in option.opts} | {"--help"}
        flags = {word.partition("=")[0].rstrip(".,:;)") for word in words if word.startswith("--")}
        assert flags <= known, line


def test_commands_are_shown():
    assert sum(1 for name in PAGES for _ in shown_commands(name)) > 60
