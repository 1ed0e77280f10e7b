"""Cutting a directory's files by hash, against what is asked of it."""

from itertools import accumulate, pairwise

from hypothesis import given
from hypothesis import strategies as st

from etl.publish.directory_files import split_by_hash

PLACES = st.lists(
    st.tuples(st.one_of(st.integers(0, 2**64 - 1), st.integers(0, 255)), st.integers(1, 100)),
    unique_by=lambda one: one[0],
    max_size=60,
).map(sorted)


def files(items, entries, room):
    counts = list(
        split_by_hash([place for place, _ in items], [size for _, size in items], entries, room)
    )
    return [items[first:end] for first, end in pairwise(accumulate(counts, initial=0))]


def shared_bits(places):
    return 64 - (min(places) ^ max(places)).bit_length()


@given(PLACES, st.integers(1, 20), st.integers(1, 300))
def test_files_are_whole_in_order_and_within_their_limits(items, entries, room):
    made = files(items, entries, room)
    assert [item for file in made for item in file] == items
    for file in made:
        assert file
        assert len(file) == 1 or (len(file) <= entries and sum(size for _, size in file) <= room)


@given(PLACES, st.integers(1, 20), st.integers(1, 300))
def test_no_file_is_cut_that_would_fit(items, entries, room):
    for left, right in pairwise(files(items, entries, room)):
        bits = shared_bits([left[0][0], right[-1][0]])  # what both are in, were they one
        start = left[0][0] >> (64 - bits) if bits else 0
        both = [item for item in items if not bits or item[0] >> (64 - bits) == start]
        assert len(both) > entries or sum(size for _, size in both) > room


@given(PLACES, st.tuples(st.integers(0, 2**64 - 1), st.integers(1, 100)), st.integers(1, 20))
def test_one_more_resource_touches_one_file(items, more, entries):
    if any(place == more[0] for place, _ in items):
        return
    before = files(items, entries, 10**9)
    after = files(sorted([*items, more]), entries, 10**9)
    gone = [file for file in before if file not in after]
    new = [file for file in after if file not in before]
    assert len(gone) <= 1
    assert sorted(item for file in new for item in file) == sorted(
        [*(item for file in gone for item in file), more]
    )
