"""The table of commands: what `--help` prints and what it does not load."""

import json
import re
import shlex
import subprocess
import sys
from typing import cast

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from etl.cli.main import COMMANDS, EXAMPLE_OF, EXAMPLES, main

SUMMARIES = {
    name: summary for commands in COMMANDS.values() for name, (_, summary) in commands.items()
}
HEAVY = {
    *("pandas", "pyarrow", "numpy", "great_expectations", "boto3", "pydantic", "starlette"),
    *("rich", "structlog"),
}


def modules_after(*arguments, complete=False):
    """Return the top-level modules that a fresh interpreter has loaded after `cpcds ARGUMENTS`."""
    program = (
        "import json, sys\n"
        "from etl.cli import main\n"
        "try:\n"
        f"    main({list(arguments)!r}, prog_name='cpcds')\n"
        "except SystemExit:\n"
        "    pass\n"
        "print('\\n' + json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))\n"
    )
    completing = {"_CPCDS_COMPLETE": "bash_complete", "COMP_WORDS": "cpcds r", "COMP_CWORD": "1"}
    environment = completing if complete else {}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment
    )
    assert "run" in done.stdout
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_help_loads_no_command():
    assert not HEAVY & modules_after("--help")


def test_completion_of_a_command_loads_no_command():
    assert not HEAVY & modules_after(complete=True)


def loaded_command(name):
    return cast("click.Group", main).get_command(click.Context(main), name)


@pytest.mark.parametrize("name", SUMMARIES)
def test_what_help_says_of_a_command_is_the_first_sentence_of_its_own_help(name):
    assert loaded_command(name).get_short_help_str(limit=200) == SUMMARIES[name]


def test_help_has_each_command_under_one_heading_and_examples_that_can_be_called(tmp_path):
    text = CliRunner().invoke(main, ["--help"]).output
    for title, commands in COMMANDS.items():
        heading = text.index(f"\n{title}:")
        for name in commands:
            assert text.index(f"\n  {name} ") > heading, name
    for line in EXAMPLES.values():
        assert f"  {line}\n" in text
        assert_can_be_called(line, tmp_path)


def assert_can_be_called(line, target):
    """Check that a line has the options and arguments of its command."""
    line = re.sub("/data/(published|directory)", str(target), line)
    _, *words = shlex.split(line.replace("--mappings own ", ""))
    command = loaded_command(words[0])
    while isinstance(command, click.Group) and len(words) > 1:
        words = words[1:]
        command = command.commands[words[0]]
    with command.make_context(words[0], words[1:], resilient_parsing=False) as context:
        assert {**context.params, **context.meta} or not command.params


def leaves(command, path):
    if isinstance(command, click.Group):
        for name, one in command.commands.items():
            yield from leaves(one, f"{path} {name}")
        if not command.invoke_without_command:
            return
    yield path


def test_each_command_has_an_example_in_its_help(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own/layouts").mkdir(parents=True)
    for name in ("app.json", "portal.toml", "own/layouts/acme.yaml"):
        (tmp_path / name).touch()
    every = [path for name in SUMMARIES for path in leaves(loaded_command(name), name)]
    assert sorted(every) == sorted(EXAMPLE_OF)
    for path, line in EXAMPLE_OF.items():
        assert (
            f"Example:\n    {line}\n" in CliRunner().invoke(main, [*path.split(), "--help"]).output
        )
        assert_can_be_called(line, tmp_path)


def test_a_command_completes_from_its_first_letters_and_options_come_after():
    complete = ShellComplete(main, {}, "cpcds", "_CPCDS_COMPLETE")
    assert [item.value for item in complete.get_completions([], "va")] == ["validate"]
    assert "--config" in [item.value for item in complete.get_completions([], "--c")]
    assert "--to" in [item.value for item in complete.get_completions(["run", "folder"], "--t")]


def call_without(module_name, monkeypatch):
    """Call a command whose module cannot be loaded for want of another."""

    def missing(module):
        raise ModuleNotFoundError(f"No module named {module_name!r}", name=module_name)

    monkeypatch.setattr(sys.modules["etl.cli.main"], "import_module", missing)
    return CliRunner().invoke(main, ["validate", "folder"])


def test_a_package_that_is_not_installed_is_named_with_how_to_install_it(monkeypatch):
    ended = call_without("pyarrow.compute", monkeypatch)
    assert ended.exit_code == 2
    assert ended.stderr == (
        "error: this command needs the package pyarrow, which is not installed: make install\n"
    )


def test_a_module_of_the_program_itself_that_is_missing_is_a_bug(monkeypatch):
    assert call_without("etl.gone", monkeypatch).exit_code == 1


@pytest.mark.parametrize(
    ("words", "meant"), [(["ruls"], "rules"), (["apps", "regster"], "register")]
)
def test_a_mistyped_command_is_answered_with_the_nearest_one(words, meant):
    called = CliRunner().invoke(main, words)
    assert called.exit_code == 2
    assert f"No such command '{words[-1]}'. Did you mean '{meant}'?" in called.stderr


def test_commands_that_read_a_target_can_name_its_server():
    groups = [main]
    for group in groups:
        context = click.Context(group)
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            if isinstance(command, click.Group):
                groups.append(command)
            options = {option for parameter in command.params for option in parameter.opts}
            assert not {"target"} & options or "--endpoint-url" in options, name
