"""Imported by the process that `killable` forks others from, so that none of them compiles."""

from etl.bootstrap.settings import read_settings
from etl.pipeline.incremental import cache
from tests.e2e.commands import same_definitions

same_definitions(read_settings(None))
cache._code()  # the program may be worked on while tests of it run
