"""`cpcds` whose server looks for releases often and gives up early, for tests that cannot wait.

QUICK_SERVER holds the constants to replace, as JSON: those below, and fields of `ServiceOptions`.
Worker processes run this file as `__mp_main__`, and so have the same.
"""

import json
import os
import sys
from functools import partial
from importlib import import_module

COMMAND = (sys.executable, __file__)


CONSTANTS = {
    "access_seconds": "etl.auth.configuration",  # first: others import it by its name
    "request_seconds": "etl.bootstrap.served_app",
    "read_seconds": "etl.gateway.startup",
    "header_seconds": "etl.bootstrap.http_server",
    "idle_seconds": "etl.bootstrap.http_server",
}


def replace_constants():
    told = {"poll_seconds": 0.1, **json.loads(os.environ.get("QUICK_SERVER", "{}"))}
    for name, module in CONSTANTS.items():
        if name in told:
            setattr(import_module(module), name.upper(), told.pop(name))
    from etl.bootstrap import served_app

    served_app.METRIC_SECONDS = told["poll_seconds"]
    served_app.ServiceOptions = partial(served_app.ServiceOptions, **told)


if __name__ in ("__main__", "__mp_main__"):
    replace_constants()

if __name__ == "__main__":
    from etl.cli import main

    main()
