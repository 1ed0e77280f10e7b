"""The units of drugs: every code that NCPDP and X12 have for a quantity becomes UCUM."""

import re
from pathlib import Path

import pytest

from etl.bootstrap.mappings import read_crosswalks
from tests.given.tables import table

UNITS = read_crosswalks([Path(__file__).parents[3] / "mappings"])["drug_unit"]


@pytest.mark.parametrize(*table(__file__, "units"))
def test_a_unit_of_ncpdp_or_x12_becomes_ucum(source, code):
    assert UNITS.answer(source) == code


def test_script_has_28_units_of_which_unspecified_alone_has_no_code():
    script = [word for word in UNITS.rows if re.fullmatch(r"c[0-9]+", word)]

    assert len(script) == 28
    assert [word for word in script if UNITS.answer(word) is None] == ["c38046"]


def test_a_unit_has_a_code_and_a_word_for_people_or_neither():
    assert "ml" in UNITS.rows
    for word in UNITS.rows:
        code, text = UNITS.answer(word), UNITS.answer(word, "unit")
        assert (code is None) == (text is None), word
        # UCUM: no blanks; what stands in braces is free.
        assert code is None or re.fullmatch(r"mL|m?g|\[iU\]|\{[a-z_]+\}", code), word
