"""Great Expectations, loaded: what a fork server imports before it forks."""

import gc

from etl.quality.suites.expectations import load_library

gc.disable()  # nothing of the library is garbage, and forks are to share it
load_library()
gc.freeze()
gc.enable()
