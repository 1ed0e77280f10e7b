"""The pages for people say what the program does."""

import re
from pathlib import Path

import pytest
import yaml

from etl.model.severity import Severity
from etl.sources.extract.opening import open_extract
from etl.sources.layout import names
from etl.sources.layout.syntax import read_layout
from tests.unit.sources.dialects import crosswalk

ROOT = Path(__file__).parents[3]
RULES = [value for name, value in vars(names).items() if name.isupper() and type(value) is str]
LAYOUTS_PAGE = (ROOT / "docs/layouts.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("page", "count", "layout"),
    [("directory.md", 2, "cpcds-directory"), ("canonical-layout.md", 4, "cpcds")],
)
def test_the_smallest_extract_of_a_page_loads(page, count, layout, tmp_path):
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    for name, header in re.findall(r"^  (\w+\.csv) +(\S+)$", text, re.MULTILINE):
        cells = ",".join("x" for _ in header.split(","))
        (tmp_path / name).write_text(f"{header}\n{cells}\n")
    assert len(list(tmp_path.iterdir())) == count
    extract = open_extract(tmp_path, ())
    assert (extract.layout.name, extract.findings.num_rows) == (layout, 0)


def test_the_example_of_the_layouts_page_can_be_read():
    (text,) = re.findall(r"```yaml\n(.*?)```", LAYOUTS_PAGE, re.DOTALL)
    crosswalks = {name: crosswalk(name) for name in ("acme-sexes", "acme-kinds")}
    assert read_layout(text, "acme.yaml", crosswalks).name == "acme"


def test_every_finding_of_this_room_has_a_rule_for_people():
    rules = yaml.safe_load((ROOT / "mappings/rules/sources.yaml").read_text())
    assert [rule["id"] for rule in rules] == list(RULES)
    for rule in rules:
        assert Severity(rule["severity"])
        assert rule["table"] == "*"
        assert rule["says"]
        assert rule["spoils"]
    assert set(names.NAMED_IN_LAYOUTS) <= set(RULES)
