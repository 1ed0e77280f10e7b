"""Entry file of jobs of Apache Spark: a command, where a platform starts a file or a function.

`spark-submit spark_job.py run EXTRACT --to TARGET --executor spark` has the arguments of the
command. AWS Glue knows parameters by name alone, and adds its own: there `--cpcds` has them all.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from typing import Final

from etl.cli.main import main

_LINE: Final = "--cpcds"
"""Parameter whose value is the whole command line."""


def run_job() -> None:
    """Run the command that the arguments of this process say, and return where it succeeded.

    Platforms take `SystemExit` for a failure, even of code 0, with which commands end: Databricks
    does so in tasks of Python wheels (MicrosoftDocs/azure-docs issue 116964).

    Raises:
        SystemExit: the command failed; with its exit code.
    """
    try:
        main(command_line(sys.argv[1:]), prog_name="cpcds")
    except SystemExit as end:
        if end.code:
            raise


def command_line(arguments: Sequence[str]) -> list[str]:
    """Return the arguments of the command among those of a job.

    Args:
        arguments: the command's own; or parameters by name, of which `--cpcds` has all of them as
            one text, quoted as in a shell.
    """
    if _LINE in arguments[:-1]:
        return shlex.split(arguments[arguments.index(_LINE) + 1])
    return list(arguments)


if __name__ == "__main__":
    run_job()
