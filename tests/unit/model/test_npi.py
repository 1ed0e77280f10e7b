"""The NPI: one definition, which rules, mappings, `conform` and generated data share."""

import pyarrow as pa
import pytest

from etl.columns.codes import are_npis
from etl.conform.invariants import compile_constraint
from etl.model.code_shapes import SHAPES, is_npi, npi_check_digit
from etl.profiles.guides import C4BB
from etl.profiles.invariants import INVARIANTS
from etl.synth.names import make_npi


def test_the_check_digit_is_that_of_the_standards_own_example():
    # CMS, "NPI Check Digit Calculation": 1234567893.
    assert npi_check_digit("123456789") == "3"


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("1234567893", True),
        ("2234567891", True),
        ("3234567899", True),  # us-core-16 and us-core-17 ask for no first digit
        ("9234567896", True),
        ("1234567890", False),
        ("123456789", False),
        ("12345678933", False),
        ("1234567893 ", False),
        ("\u0661234567893", False),  # an Arabic-Indic digit
        ("123456789X", False),
        ("", False),
        (make_npi(7), True),
    ],
)
def test_every_user_of_the_definition_has_the_same_answer(text, holds):
    value = {"value": text}
    keys = ("us-core-16", "us-core-17")
    tests = [compile_constraint(what, C4BB) for (key, _), what in INVARIANTS.items() if key in keys]

    assert is_npi(text) is holds
    assert SHAPES["npi"](text) is holds
    assert are_npis(pa.array([text])).tolist() == [holds]
    assert all(test(value, {}) for test in tests) is holds
