"""Headers as words of the field, and how alike two of them are."""

import pytest

from tests.given.tables import table
from tests.unit.doctor.world import elements


def best(header):
    vocabulary = elements().vocabulary
    read = vocabulary.read_header(header)
    likeness = {
        one.key: max((vocabulary.likeness(read, name) for name in one.names), default=0)
        for one in elements().every
    }
    return max(likeness, key=lambda key: likeness[key])


@pytest.mark.parametrize(*table(__file__, "headers"))
def test_a_header_is_like_its_element_however_it_is_written(header, element):
    assert best(header) == element


@pytest.mark.parametrize(*table(__file__, "numbers"))
def test_the_number_of_a_header_is_its_last_small_one(header, number):
    assert elements().vocabulary.read_header(header).number == number


def test_the_same_words_in_the_element_s_order_are_more_alike_than_in_another():
    vocabulary = elements().vocabulary
    name = vocabulary.name_words("type of service code")
    ordered = vocabulary.likeness(vocabulary.read_header("Type of service code"), name)
    assert ordered == pytest.approx(1)
    assert ordered > vocabulary.likeness(vocabulary.read_header("Service code type"), name)


def test_from_and_to_are_not_alike():
    vocabulary = elements().vocabulary
    name = vocabulary.name_words("claim adjusted from identifier")
    likeness = [
        vocabulary.likeness(vocabulary.read_header(f"Claim adjusted {word} id"), name)
        for word in ("from", "to")
    ]
    assert likeness[0] > 1.1 * likeness[1]
