"""Outcomes that are kept: what comes back is what was kept, and nothing is run."""

import pickle
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from etl.engine.unmapped import Mention
from etl.pipeline.totals import Outcome, outcome_from, outcome_to
from etl.publish.kept_objects import ObjectRef
from etl.quality.check import REJECTED_SCHEMA, Checked
from etl.quality.totals.counts import FilledKey, RowCounts
from etl.quality.totals.money import MoneyKey, MoneyTotals
from etl.rows import FINDINGS_SCHEMA

ROOT = Path(__file__).parents[3]
FINDINGS = pa.Table.from_pylist(
    [{"rule": "r", "table": "claim", "file": 1, "row": 2, "column": None}], FINDINGS_SCHEMA
)
OUTCOME = Outcome(
    checked=Checked(
        tables={},
        findings=FINDINGS,
        rejected=REJECTED_SCHEMA.empty_table(),
        counts={"claim": RowCounts(3, 2, 1)},
        money={MoneyKey("claim", "oral", "paid"): MoneyTotals(10**30, 1, 2, 3, -4)},
        filled={FilledKey("claim", "oral", "claim_id"): 3},
    ),
    unmapped={"words": FINDINGS},
    resources={"Patient": 1},
    missing=frozenset(
        {Mention("Organization", "o", payer=True), Mention("Organization", "p", payer=False)}
    ),
    reused=4,
    ledger=ObjectRef("memory/x", "ab", 3),
    rows={"claim": 3},
)


def plain(value):
    """What can be compared of a value."""
    if is_dataclass(value):
        return type(value), [plain(getattr(value, each.name)) for each in fields(value)]
    if isinstance(value, dict):
        return [(plain(key), plain(each)) for key, each in value.items()]
    return value.tolist() if isinstance(value, np.ndarray) else value


def test_an_outcome_comes_back_as_it_was_kept():
    assert plain(outcome_from(outcome_to(OUTCOME))) == plain(OUTCOME)


def test_the_same_outcome_is_kept_as_the_same_bytes():
    assert outcome_to(OUTCOME) == outcome_to(outcome_from(outcome_to(OUTCOME)))


def addresses(table):
    """Return where the buffers of a table lie."""
    columns = [chunk for column in table.columns for chunk in column.chunks]
    columns += [each.dictionary for each in columns if pa.types.is_dictionary(each.type)]
    return [one.address for each in columns for one in each.buffers() if one is not None]


@pytest.mark.parametrize("longer", range(8))
def test_tables_of_a_kept_outcome_lie_as_arrow_asks_of_memory(longer):
    """Arrow would copy every buffer that does not, and say so on standard error."""
    table = pa.table({"row": pa.array([1, 2], pa.uint64()), "word": pa.array(["a", None])})
    kept = replace(OUTCOME, unmapped={"w" * longer: table, "words": FINDINGS})
    found = outcome_from(outcome_to(kept))
    tables = [*found.unmapped.values(), found.checked.findings, found.checked.rejected]
    assert {at % 8 for each in tables for at in addresses(each)} == {0}


def test_what_is_no_part_of_outcomes_is_neither_kept_nor_made():
    with pytest.raises(TypeError, match="Path has no place"):
        outcome_to(Outcome(OUTCOME.checked, {}, {Path("x"): 1}))
    with pytest.raises(KeyError):
        outcome_from(b'{"sizes":[],"body":["Popen",{}]}\n')
    with pytest.raises((ValueError, KeyError)):
        outcome_from(pickle.dumps(OUTCOME.resources) + b"\n")


def test_nothing_in_the_program_unpickles_files_that_are_not_sealed():
    texts = {path: path.read_text() for path in (ROOT / "etl").rglob("*.py")}
    assert ROOT / "etl" / "pipeline" / "totals.py" in texts
    # What the driver sends to executors of Spark is no file, and Spark pickles functions itself.
    messages = ROOT / "etl" / "spark" / "pickling.py"
    # Its seal and its folder have tests in unit/bootstrap/test_definitions.py.
    sealed = ROOT / "etl" / "bootstrap" / "definitions.py"
    found = {path for path, text in texts.items() if "pickle.load" in text}
    assert found == {messages, sealed}
