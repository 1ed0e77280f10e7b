import pytest

from etl.errors import UsageError
from etl.synth import Spec
from tests.given.tables import table


@pytest.mark.parametrize(*table(__file__, "refused"))
def test_a_choice_out_of_range_is_refused_before_anything_is_written(choices, message):
    with pytest.raises(UsageError, match=message):
        Spec(**{"members": 10, **choices})
