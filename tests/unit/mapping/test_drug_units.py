"""The units of drugs: every code that NCPDP and X12 have for a quantity becomes UCUM."""

import re
from pathlib import Path

import pytest

from etl.bootstrap.mappings import read_crosswalks

UNITS = read_crosswalks([Path(__file__).parents[3] / "mappings"])["drug_unit"]


@pytest.mark.parametrize(
    ("source", "code"),
    [
        # NCPDP Telecommunication, field 600-28.
        ("EA", "{unit}"),
        ("GM", "g"),
        ("ML", "mL"),
        # X12, CTP05.
        ("F2", "[iU]"),
        ("GR", "g"),
        ("ME", "mg"),
        ("UN", "{unit}"),
        # NCPDP SCRIPT, QuantityUnitOfMeasure.
        ("C28254", "mL"),
        ("C48155", "g"),
        ("C64933", "{unit}"),
        ("C48542", "{tablet}"),
        ("gm", "g"),
        ("Grams", "g"),
    ],
)
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
