"""Imported by the process that `killable` forks others from, so that none of them compiles."""

from etl.bootstrap.settings import read_settings
from etl.pipeline import memory
from tests.e2e.commands import same_tools

same_tools(read_settings(None))
memory._code()  # the program may be worked on while tests of it run
