"""The pages for people say what the program does."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from etl.model.severity import Severity
from etl.sources import CANONICAL_LAYOUTS, open_extract, read_layout
from etl.sources.layout.column_specs import (
    Accept,
    ColumnSpec,
    Condition,
    InForce,
    JoinedColumns,
    Lookup,
    RowOrder,
)
from etl.sources.layout.conversions import DateFormat, LetterCase, NumberFormat, Pad, Replace, Trim
from etl.sources.layout.model import Fills, TableSpec
from etl.sources.layout.syntax import ExtraCells, FixedColumn, LayoutFile, RawFile, UnusedColumns
from etl.sources.rule_ids import NAMED_IN_LAYOUTS, RULES
from tests.unit.sources.dialects import crosswalk, shipped_layouts
from tests.unit.sources.extracts import CLAIM, read, rows_of, write_extract

ROOT = Path(__file__).parents[3]
CANONICAL_PAGE = (ROOT / "docs/canonical-layout.md").read_text(encoding="utf-8")
DIRECTORY_PAGE = (ROOT / "docs/directory.md").read_text(encoding="utf-8")
LAYOUT_MODULES = ("layout/*.py", "extract/query_database.py", "extract/sql_extract.py")
LAYOUTS_PAGE = (ROOT / "docs/layouts.md").read_text(encoding="utf-8")


def table_after(page: str, heading: str) -> list[list[str]]:
    """Cells of the first Markdown table under a heading, without its head."""
    section = page.split(f"\n## {heading}\n", 1)[1]
    lines = section[section.index("|---") :].splitlines()[1:]
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def test_the_smallest_extract_of_the_page_of_a_directory_loads(tmp_path):
    for name, header in re.findall(r"^  (\w+\.csv) +(\S+)$", DIRECTORY_PAGE, re.MULTILINE):
        cells = ",".join("x" for _ in header.split(","))
        (tmp_path / name).write_text(f"{header}\n{cells}\n")
    assert len(list(tmp_path.iterdir())) == 2
    extract = open_extract(tmp_path, ())
    assert (extract.layout.name, extract.findings.num_rows) == ("cpcds-directory", 0)


def test_the_smallest_extract_of_the_canonical_page_loads(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for name, header in re.findall(r"^  (\w+\.csv) +(\S+)$", CANONICAL_PAGE, re.MULTILINE):
        cells = ",".join("x" for _ in header.split(","))
        (folder / name).write_text(f"{header}\n{cells}\n")
    assert len(list(folder.iterdir())) == 4
    assert open_extract(folder, ()).findings.num_rows == 0


def test_the_example_of_the_layouts_page_can_be_read():
    (text,) = re.findall(r"```yaml\n(.*?)```", LAYOUTS_PAGE, re.DOTALL)
    crosswalks = {name: crosswalk(name) for name in ("acme-sexes", "acme-kinds")}
    assert read_layout(text, "acme.yaml", crosswalks).name == "acme"


def test_the_layouts_page_names_every_layout_key_rule_and_mistake():
    layouts = shipped_layouts()
    for layout in (*CANONICAL_LAYOUTS.values(), *layouts):
        assert f"\n| `{layout.name}` |" in LAYOUTS_PAGE
    files = (LayoutFile, RawFile, UnusedColumns, ExtraCells, TableSpec)
    of_columns = (ColumnSpec, Accept, Condition, JoinedColumns, Lookup, InForce, RowOrder)
    conversions = (DateFormat, NumberFormat, Replace, Trim, Pad, LetterCase)
    models = (*files, *of_columns, *conversions, Fills, FixedColumn)
    keys = [key for model in models for key in model.known_keys()]
    assert {"lookup", "number_within", "differs_from", "any_of", "needs_any"} <= set(keys)
    for key in keys:
        assert re.search(rf"`[^`\n]*\b{key}\b[^`\n]*`", LAYOUTS_PAGE), key
    assert [row[0] for row in table_after(LAYOUTS_PAGE, "Findings")] == [f"`{r}`" for r in RULES]
    sources = ROOT / "etl/sources"
    modules = [path for pattern in LAYOUT_MODULES for path in sources.glob(pattern)]
    code = "".join(path.read_text() for path in modules)
    mistakes = set(re.findall(r'"((?:layout|sql)-[a-z]+)"', code))
    assert {row[0].strip("`") for row in table_after(LAYOUTS_PAGE, "Mistakes")} == mistakes


def test_every_finding_of_this_room_has_a_rule_for_people():
    rules = yaml.safe_load((ROOT / "mappings/rules/sources.yaml").read_text())
    assert [rule["id"] for rule in rules] == list(RULES)
    for rule in rules:
        assert Severity(rule["severity"])
        assert rule["table"] == "*"
        assert rule["says"]
        assert rule["spoils"]
    assert set(NAMED_IN_LAYOUTS) <= set(RULES)


def test_what_the_page_says_of_short_forms_beside_child_rows_is_so(tmp_path):
    children = [{"claim_id": "CL1", "sequence": n, "code": "I10"} for n in ("1", "2")]
    tables = {"claim": [{**CLAIM, "diagnosis_code_1": "E11.9"}], "claim_diagnosis": children}
    parts = read(write_extract(tmp_path / "in", tables), tmp_path / "work")
    assert "beside child rows 1 and 2, `diagnosis_code_1` becomes sequence 3" in CANONICAL_PAGE
    assert rows_of(parts, "claim_diagnosis")[2]["sequence"] == "3"
