"""What holds for all tests."""

import gc
import os
import signal

import pytest
from hypothesis import settings

from tests.given.disk import leave_out_syncs
from tests.loaded_libraries import LoadedLibraries

# Arrow reads this at its first join. Where buffers lie badly it says so on standard error, in a
# run of ours before a user; in tests, and in all processes that they begin, it is an error.
os.environ["ACERO_ALIGNMENT_HANDLING"] = "error"

# Begun as `nohup … &`, tests inherit that SIGINT is ignored, and so would what they interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A full collection of garbage goes through whatever thousands of collected tests are made of, which
# takes a second and more; with the usual thresholds a fifth of the time of all tests.
gc.set_threshold(50_000, 20, 100)

# A machine that others use too is slow now and then; that says nothing of what is tested.
settings.register_profile("project", deadline=None)
settings.load_profile("project")

leave_out_syncs()


def pytest_configure(config: pytest.Config) -> None:
    """Fail a run that needs a shared library that `make` did not install."""
    config.pluginmanager.register(LoadedLibraries())
