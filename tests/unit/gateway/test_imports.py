"""The served process stays small."""

import subprocess
import sys

HEAVY = ("pandas", "pyarrow", "numpy", "great_expectations", "boto3", "botocore", "jinja2", "yaml")


def test_the_service_loads_none_of_the_heavy_libraries():
    program = (
        "import sys, etl.gateway.service, etl.gateway.startup, etl.storage.async_s3\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert said.stdout.decode().strip() == "[]"
