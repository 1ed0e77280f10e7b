"""Outlines of values."""

import pytest

from etl.model.code_shapes import outline
from tests.given.tables import table


@pytest.mark.parametrize(*table(__file__, "outlines"))
def test_a_value_is_shown_as_an_outline(value, shown):
    assert outline(value) == shown
