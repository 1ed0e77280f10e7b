"""docs/gateway.md lists the error codes and the metrics that there are."""

from __future__ import annotations

import re

from etl.gateway.metrics import Metrics
from etl.gateway.operation_outcomes import KINDS
from tests.docs.pages import page, rows, section

PAGE = page("docs/gateway.md")


def test_every_error_code_is_listed_with_its_status() -> None:
    listed = {cells[0].strip("`"): cells[1] for cells in rows(section(PAGE, "## Errors"))}
    assert {code: str(kind.status) for code, kind in KINDS.items()} == {
        code: status for code, status in listed.items() if code != "code"
    }


def test_every_metric_is_listed() -> None:
    told = set(re.findall(r"`(cpcds_[a-z_]+)`", PAGE))
    made = {
        f"{one.name}_total" if one.type == "counter" else one.name
        for one in Metrics().registry.collect()
    }
    assert told == made
