"""`cpcds` whose server looks for releases often and gives up early, for tests that cannot wait.

QUICK_SERVER holds the constants to replace, as JSON: `header_seconds`, `idle_seconds`,
`access_seconds`, and fields of `ServiceOptions`. Worker processes run this file as `__mp_main__`, and so have the same.
"""

import json
import os
import sys
from functools import partial

COMMAND = (sys.executable, __file__)


def replace_constants():
    from etl.auth import configuration

    constants = {"poll_seconds": 0.1, **json.loads(os.environ.get("QUICK_SERVER", "{}"))}
    # Before the modules that import it by its name.
    configuration.ACCESS_SECONDS = constants.pop("access_seconds", configuration.ACCESS_SECONDS)
    from etl.bootstrap import http_server, served_app

    http_server.HEADER_SECONDS = constants.pop("header_seconds", http_server.HEADER_SECONDS)
    http_server.IDLE_SECONDS = constants.pop("idle_seconds", http_server.IDLE_SECONDS)
    served_app.METRIC_SECONDS = constants["poll_seconds"]
    served_app.ServiceOptions = partial(served_app.ServiceOptions, **constants)


if __name__ in ("__main__", "__mp_main__"):
    replace_constants()

if __name__ == "__main__":
    from etl.cli import main

    main()
