"""What holds for all tests."""

import os
import signal

from hypothesis import settings

# Arrow reads this at its first join. Where buffers lie badly it says so on standard error, in a
# run of ours before a user; in tests, and in all processes that they begin, it is an error.
os.environ["ACERO_ALIGNMENT_HANDLING"] = "error"

# Begun as `nohup … &`, tests inherit that SIGINT is ignored, and so would what they interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A machine that others use too is slow now and then; that says nothing of what is tested.
settings.register_profile("project", deadline=None)
settings.load_profile("project")
