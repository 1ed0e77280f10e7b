"""The NPI: one definition, which rules, mappings, `conform` and generated data share."""

import pyarrow as pa
import pytest

from etl.columns.codes import are_npis
from etl.conform.invariants import compile_constraint
from etl.model.code_shapes import SHAPES, is_npi, npi_check_digit
from etl.profiles.guides import C4BB
from etl.profiles.invariants import INVARIANTS
from etl.synth.names import make_npi
from tests.given.tables import table


def test_the_check_digit_is_that_of_the_standards_own_example():
    # CMS, "NPI Check Digit Calculation": 1234567893.
    assert npi_check_digit("123456789") == "3"


@pytest.mark.parametrize(*table(__file__, "numbers"))
def test_every_user_of_the_definition_has_the_same_answer(text, holds):
    assert is_npi(make_npi(7))
    value = {"value": text}
    keys = ("us-core-16", "us-core-17")
    tests = [compile_constraint(what, C4BB) for (key, _), what in INVARIANTS.items() if key in keys]

    assert is_npi(text) is holds
    assert SHAPES["npi"](text) is holds
    assert are_npis(pa.array([text])).tolist() == [holds]
    assert all(test(value, {}) for test in tests) is holds
