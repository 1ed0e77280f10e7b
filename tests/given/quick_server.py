"""`cpcds` whose server looks for releases often and gives up early, for tests that cannot wait.

QUICK_SERVER holds the constants to replace, as JSON: `header_seconds`, and fields of
`ServiceOptions`. Worker processes run this file as `__mp_main__`, and so have the same.
"""

import json
import os
import sys
from functools import partial

COMMAND = (sys.executable, __file__)


def replace_constants():
    from etl.bootstrap import http_server, served_app

    constants = {"poll_seconds": 0.1, **json.loads(os.environ.get("QUICK_SERVER", "{}"))}
    http_server.HEADER_SECONDS = constants.pop("header_seconds", http_server.HEADER_SECONDS)
    served_app.METRIC_SECONDS = constants["poll_seconds"]
    served_app.ServiceOptions = partial(served_app.ServiceOptions, **constants)


if __name__ in ("__main__", "__mp_main__"):
    replace_constants()

if __name__ == "__main__":
    from etl.cli import main

    main()
