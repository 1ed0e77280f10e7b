"""What holds for all tests."""

import os

from hypothesis import settings

# Arrow reads this at its first join. Where buffers lie badly it says so on standard error, in a
# run of ours before a user; in tests, and in all processes that they begin, it is an error.
os.environ["ACERO_ALIGNMENT_HANDLING"] = "error"

# A machine that others use too is slow now and then; that says nothing of what is tested.
settings.register_profile("project", deadline=None)
settings.load_profile("project")
