"""What a module loads: the served process stays small, and checking needs no library of suites."""

import subprocess
import sys

import pytest

SERVED = "etl.gateway.service, etl.gateway.startup, etl.storage.async_s3"
HEAVY = ("pandas", "pyarrow", "numpy", "great_expectations", "boto3", "botocore", "jinja2", "yaml")
SUITES = "etl.quality.check, etl.quality.suites.sample, etl.quality.suites.expectations"


@pytest.mark.parametrize(
    ("modules", "unwanted"),
    [
        (SERVED, HEAVY),
        (SUITES, ("great_expectations", "pandas")),
        ("etl.quality.check, etl.quality.totals.limits", ("etl.quality.suites",)),
        ("etl.reports.earlier_reports", ("matplotlib",)),
    ],
)
def test_modules_load_no_library_that_they_do_not_need(modules, unwanted):
    program = f"import sys, {modules}; print({{*{unwanted!r}}} & {{*sys.modules}})"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert said.stdout.decode().strip() == "set()"
