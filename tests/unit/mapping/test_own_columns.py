"""Own columns are columns of the tables, until the process works for somebody else."""

import pytest

from etl.claims.masking import Masker, mask_codes
from etl.errors import MappingError
from etl.mapping.dictionary import build_dictionary, dictionary_markdown
from etl.mapping.own_columns import declare_file_columns
from etl.model.canonical_tables import TABLES, declare_own_columns
from etl.model.sensitive_codes import read_sensitive
from etl.rows import empty_table
from etl.sources.layout.model import canonical_layouts
from etl.spark.pickling import pickled, unpickled
from tests.given.tables import table
from tests.unit.engine.rows import tables
from tests.unit.mapping.mappings import PATIENT, compiled, error

TEXT = """\
member:
  badge: { type: code, map_id: own, meaning: number at the employer }
claim:
  tier: { type: text, map_id: [16, 17], meaning: tier of the plan }
"""


@pytest.fixture(autouse=True)
def _none_afterwards():
    yield
    declare_own_columns({})


def test_a_column_is_known_to_tables_headers_and_executors_and_gone_with_its_file():
    declare_file_columns({"columns/acme.yaml": [TEXT]})
    data = pickled("a job")
    assert TABLES["claim"].column("tier").map_ids == (16, 17)
    assert "tier" in empty_table("claim").column_names
    assert "badge" in canonical_layouts()["cpcds"].raw["member"].columns
    declare_file_columns({})
    assert TABLES["claim"].column("tier") is None
    assert "tier" not in empty_table("claim").column_names
    assert "badge" not in canonical_layouts()["cpcds"].raw["member"].columns
    assert unpickled(data) == "a job"
    assert TABLES["member"].column("badge").meaning == "number at the employer"


def test_the_dictionary_says_what_an_own_column_means():
    declare_file_columns({"columns/acme.yaml": [TEXT]})
    plans = compiled(PATIENT + '  identifier: [ { value: "{{ member.badge }}" } ]\n').plans
    line = (
        "| badge: number at the employer | own | Patient.identifier.value | C4BB-Patient | value |"
    )
    assert line in dictionary_markdown(build_dictionary(plans))


def test_own_columns_of_a_claim_with_a_sensitive_code_are_emptied():
    declare_file_columns({"columns/acme.yaml": [TEXT]})
    rows = tables(
        claim=[{"claim_id": name, "tier": "detox"} for name in ("C1", "C2")],
        claim_line=[{"claim_id": "C1"}],
        claim_diagnosis=[{"claim_id": "C1", "code": "F10.10"}],
    )
    codes = read_sensitive("system,code\nhttp://hl7.org/fhir/sid/icd-10-cm,F10.10\n", "codes.csv")
    without = mask_codes(rows, Masker(codes).masks(rows))
    assert without["claim"].column("tier").to_pylist() == [None, "detox"]


@pytest.mark.parametrize(*table(__file__, "mistakes"))
def test_a_mistake_is_named_with_its_line_and_kind(text, line, kind, words):
    with pytest.raises(MappingError) as raised:
        declare_file_columns({"columns/acme.yaml": [text]})
    assert raised.value.error_id == kind
    assert raised.value.where == f"columns/acme.yaml:{line}"
    assert words in str(raised.value)
    assert not any(each.own_columns for each in TABLES.values())


def test_an_overlay_adds_entries_to_a_list():
    base = PATIENT + "  name: [ { family: First } ]\n"
    added = (
        "extends: base.yaml\nemit:\n  name+: [ { family: Second } ]\n  telecom+: [ { value: x } ]\n"
    )
    body = str(compiled(added, {"base.yaml": base}).plans[0].body)
    assert body.index("First") < body.index("Second") < body.index("telecom")
    mistake = error(added, {"base.yaml": PATIENT + "  name: x\n"})
    assert (mistake.where, mistake.error_id) == ("m.yaml:3", "map-shape")
