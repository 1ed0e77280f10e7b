"""What every implementation of `Objects` does."""

import asyncio

import pytest

from etl.errors import NotFound, StoreError

KEY = "patients/0f/0f3a.ndjson.gz"
DATA = bytes(range(256)) * 100


def test_it_has_a_name(target):
    assert target.objects.name


def test_a_whole_object_comes_as_it_was_written(target):
    target.put(KEY, DATA)
    assert asyncio.run(target.objects.get(KEY)) == DATA


def test_an_empty_object_is_there(target):
    target.put(KEY, b"")
    assert asyncio.run(target.objects.get(KEY)) == b""


@pytest.mark.parametrize(
    ("start", "length"), [(0, 1), (0, len(DATA)), (1000, 500), (len(DATA) - 1, 1)]
)
def test_a_range_is_exactly_what_was_asked_for(target, start, length):
    target.put(KEY, DATA)
    assert asyncio.run(target.objects.get_range(KEY, start, length)) == DATA[start:][:length]


@pytest.mark.parametrize(
    ("start", "length"), [(0, len(DATA) + 1), (len(DATA) - 1, 2), (len(DATA), 1), (10**9, 5)]
)
def test_a_range_that_is_not_all_there_is_an_error_and_no_shorter_answer(target, start, length):
    target.put(KEY, DATA)
    with pytest.raises(StoreError) as caught:
        asyncio.run(target.objects.get_range(KEY, start, length))
    assert not isinstance(caught.value, NotFound)
    assert KEY in str(caught.value)


def test_a_missing_object_is_not_found(target):
    target.put("other", b"x")
    for work in (target.objects.get(KEY), target.objects.get_range(KEY, 0, 1)):
        with pytest.raises(NotFound, match=KEY):
            asyncio.run(work)


def test_a_folder_of_objects_is_no_object(target):
    target.put(KEY, DATA)
    with pytest.raises(NotFound):
        asyncio.run(target.objects.get("patients/0f"))


@pytest.mark.parametrize("key", ["../secret", "/etc/passwd", "a//b", "", ".lock", "a/../../b"])
def test_no_key_leads_out_of_the_tree(target, key):
    for work in (target.objects.get(key), target.objects.get_range(key, 0, 1)):
        with pytest.raises(StoreError):
            asyncio.run(work)


def test_many_read_at_once(target):
    for number in range(20):
        target.put(f"many/{number}", b"%d" % number * 1000)

    async def all_of_them():
        reads = [target.objects.get_range(f"many/{one}", 0, 100) for one in range(20)]
        return await asyncio.gather(*reads)

    assert asyncio.run(all_of_them()) == [(b"%d" % one * 1000)[:100] for one in range(20)]
