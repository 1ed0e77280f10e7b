"""Imported by the process that `killable` forks others from, so that none of them compiles."""

from etl.bootstrap.settings import read_settings
from etl.model.data_models import DATA_MODELS
from etl.pipeline.incremental import cache
from tests.e2e.commands import same_definitions
from tests.given.disk import leave_out_syncs

for model in DATA_MODELS:
    same_definitions(read_settings(None), model)
cache._code_hash()  # the program may be worked on while tests of it run
leave_out_syncs()
