"""Documents that are spoiled in one place, by any value."""

import copy

from hypothesis import strategies as st


def odd_values(texts, keys):
    """Return values of every kind, small ones nested: with some texts, and maps with some keys."""
    return st.recursive(
        st.none() | st.booleans() | st.integers(-2, 10**20) | st.floats(allow_nan=False) | texts,
        lambda inner: (
            st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(keys), inner, max_size=3)
        ),
        max_leaves=4,
    )


def places(value, before=()):
    """Return the places of a document: keys and indexes that lead to each value, () to all."""
    items = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    return [before, *(place for key, part in items for place in places(part, (*before, key)))]


def replaced(document, place, value):
    """Return a document with another value in one place."""
    if not place:
        return value
    result = copy.deepcopy(document)
    inner = result
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return result
