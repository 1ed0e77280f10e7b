"""Must-support elements that are counted over columns are those that the resources' JSON has."""

from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.claims.prepare import prepare_for_mapping
from etl.engine.element_counts import (
    add_element_counts,
    count_element_sets,
    count_elements,
    counts_of_element_sets,
)
from etl.engine.partition_columns import Partition
from etl.engine.render import render
from etl.mapping.must_support import must_support
from etl.mapping.plan import Environment
from etl.model.canonical_tables import CLAIMS_TABLES
from tests.filled_elements import filled_elements
from tests.golden.mapping.everything import everything
from tests.golden.mapping.rendering import ID_KEY, exact, mapping_set, providers_of, tables_of

BITS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2**16 - 1)), min_size=1, max_size=40)


@pytest.mark.parametrize("view", ["financial", "basis"])
@settings(max_examples=5)
@given(seed=st.integers(0, 2**32), share=st.sampled_from([0.0, 0.1, 0.5, 0.9]))
def test_the_elements_of_each_resource_are_those_of_its_json(view, seed, share):
    """Any cell of rows with everything in them, keys apart, may be empty."""
    random = Random(seed)
    rows = {
        name: [
            {
                column: cell
                for column, cell in row.items()
                if column in CLAIMS_TABLES[name].key
                or column.endswith("_id")
                or column in ("claim_type", "sequence")
                or random.random() >= share
            }
            for row in table
        ]
        for name, table in everything().items()
    }
    mappings = mapping_set(view=view)
    environment = Environment("golden", ID_KEY, mappings.crosswalks, providers_of(rows))
    partition = Partition(prepare_for_mapping(tables_of(rows), environment))
    compared = 0
    for plan in mappings.plans:
        elements = must_support(plan, mappings.crosswalks)
        names = [name for name, _ in elements if ".meta" not in name]
        for run in render(plan, partition, environment, elements=elements):
            for body, bits in zip(run.bodies.to_pylist(), run.filled, strict=True):
                said = np.unpackbits(bits)[: len(elements)]
                head = f'{{"resourceType":"{plan.resource}","id":"x","meta":{{'
                there = filled_elements(exact(head + body))
                counted = {name for (name, _), bit in zip(elements, said, strict=True) if bit}
                assert counted & {*names} == there & {*names}, plan.name
                compared += 1
    assert compared >= len(mappings.plans) - 3


@given(BITS)
def test_counts_are_the_same_however_resources_are_put_together(resources):
    """At once, in two parts, or by their owners and the sets of elements that they have."""
    owners = np.array([owner for owner, _ in resources], dtype=np.int64)
    bits = np.array([[word >> 8, word & 255] for _, word in resources], dtype=np.uint8)
    whole = count_elements("profile", bits)
    half = len(bits) // 2
    parts = [count_elements("profile", bits[:half]), count_elements("profile", bits[half:])]
    names, sets, of, counts = count_element_sets("profile", bits, owners)
    patterns = [(names[number], int(n)) for number, n in zip(sets, counts, strict=True)]
    assert whole["profile"] == (
        len(resources),
        *(sum(word >> (15 - bit) & 1 for _, word in resources) for bit in range(16)),
    )
    assert add_element_counts(parts) == whole == counts_of_element_sets(patterns)
    assert np.bincount(of, counts, 6).tolist() == np.bincount(owners, minlength=6).tolist()
