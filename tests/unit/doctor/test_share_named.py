"""How many columns are named rightly that the doctor has not seen: a part of the benchmark."""

from __future__ import annotations

import pytest

from benchmarks import doctor


@pytest.mark.slow
@pytest.mark.parametrize("name", ["healthsparq", "synthea-patients"])
def test_without_names_that_only_the_layout_can_have_given_nine_columns_of_ten_are_named(
    name: str,
) -> None:
    made = doctor.known_layouts()[name]
    headers = {column.header for columns in made.files.values() for column in columns}
    own = {header for header in headers if doctor.plain(header) not in doctor.standard_names()}
    found = doctor.score(made, doctor.elements(own))
    assert found.share >= doctor.LEAST
    assert found.amounts_wrong == 0


@pytest.mark.slow
@pytest.mark.parametrize("number", [3, 7, 16])
def test_nine_columns_of_ten_of_a_spoilt_layout_are_named(number: int) -> None:
    made = doctor.variant(number, doctor.known_layouts())
    found = doctor.score(made, doctor.elements())
    assert found.share >= doctor.LEAST
    assert found.amounts_wrong == 0
