"""Imported by the process that `killable` forks others from, so that none of them compiles."""

from etl.bootstrap.settings import read_settings
from tests.e2e.commands import same_tools

same_tools(read_settings(None))
