"""The file of sensitive codes: how codes are compared, and what is said of mistakes."""

import pytest

from etl.errors import MappingError
from etl.model.sensitive_codes import DRGS, SERVICES, CodeSystem, normalize_code, read_sensitive
from tests.given.tables import table

FILE = """\
# a comment
system,code,group
icd-10-cm,f10*,use
ICD10CM,Z21,
http://hl7.org/fhir/sid/ndc,0054-0176-25,drug
HCPCS Level II,H0020,
DRG,0897,
revenue,116,room
"""


@pytest.mark.parametrize(*table(__file__, "codes"))
def test_a_code_is_compared_without_points_hyphens_case_and_leading_noughts(system, code, group):
    assert read_sensitive(FILE, "codes.csv").group({CodeSystem(system)}, code) == group


def test_a_code_is_looked_for_in_every_system_that_it_may_be_of():
    codes = read_sensitive("system,code\nCPT,99*\nAP-DRG,12\n", "codes.csv")
    assert codes.group(SERVICES, "99213") == ""
    assert codes.group(SERVICES, "99213", exact=True) is None
    assert codes.group(DRGS, "012") == ""
    assert codes.group({CodeSystem.HCPCS}, "99213") is None


def test_a_header_alone_names_no_code():
    assert not read_sensitive("system,code", "")
    assert read_sensitive(FILE, "codes.csv")


def test_each_form_of_an_ndc_is_the_same_code():
    forms = ["00054-0176-25", "0054-0176-25", "00054-176-25", "00054-0176-25", "00054017625"]
    assert {normalize_code(CodeSystem.NDC, form) for form in forms} == {"00054017625"}


@pytest.mark.parametrize(*table(__file__, "mistakes"))
def test_a_mistake_is_named_by_its_line(text, where, said):
    with pytest.raises(MappingError) as raised:
        read_sensitive(text, "codes.csv")
    told = str(raised.value)
    assert told.startswith(where)
    assert said in told
    assert "F10" not in told
    assert "[config-sensitive-codes]" in told


def test_every_mistake_of_the_file_is_reported_in_the_order_of_its_lines():
    text = "\ufeffSystem,Code\nICD-10-CN,F10\nCPT\n# CPT,\nCPT,*\nNDC,1*\nXYZ,\n"
    with pytest.raises(MappingError) as raised:
        read_sensitive(text, "codes.csv")
    assert [(each.where, each.error_id) for each in raised.value.every] == [
        ("codes.csv:2", "config-sensitive-codes"),
        ("codes.csv:3", "config-sensitive-codes"),
        ("codes.csv:5", "config-sensitive-codes"),
        ("codes.csv:7", "config-sensitive-codes"),
        ("codes.csv:7", "config-sensitive-codes"),
    ]
    assert "systems are ICD-10-CM, " in str(raised.value)
