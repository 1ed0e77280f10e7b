"""What an object store does wrong, and what becomes of it."""

import asyncio

import pytest

from etl.errors import NotFound, StoreError
from etl.storage.async_objects import RetryingObjects, RetryPolicy
from etl.storage.port import Transient
from tests.contract.async_storage.conftest import fake_objects

KEY = "patients/0f/0f3a.ndjson.gz"
DATA = b"0123456789" * 1000


async def no_pause(seconds):
    assert seconds < 1


@pytest.mark.parametrize("fault", ["500", "502", "503", "429", "408", "drop", "cut"])
def test_what_may_pass_is_told_apart(fake, fault):
    fake.put(KEY, DATA)
    objects = fake_objects(fake)
    for read in (objects.get(KEY), objects.get_range(KEY, 10, 5000)):
        fake.faults.append(fault)
        with pytest.raises(Transient, match=KEY):
            asyncio.run(read)
        assert fake.faults == []


def test_no_answer_in_time_may_pass(fake):
    fake.put(KEY, DATA)
    fake.faults.append("hang")
    with pytest.raises(Transient):
        asyncio.run(fake_objects(fake, read_seconds=0.2).get(KEY))


def test_refused_access_does_not_pass(fake):
    fake.put(KEY, DATA)
    fake.faults.append("403")
    with pytest.raises(StoreError, match="access denied") as caught:
        asyncio.run(fake_objects(fake).get(KEY))
    assert not isinstance(caught.value, Transient | NotFound)


@pytest.mark.parametrize("faults", [["500"], ["drop", "503"], ["cut", "cut"]])
def test_passing_faults_are_tried_again_and_give_the_right_bytes(fake, faults):
    fake.put(KEY, DATA)
    fake.faults += faults
    retrying = RetryingObjects(fake_objects(fake), RetryPolicy(attempts=3), sleep=no_pause)
    assert asyncio.run(retrying.get_range(KEY, 5, 100)) == DATA[5:105]
    assert retrying.counts.retries == len(faults)
    assert (retrying.counts.reads, retrying.counts.bytes) == (1, 100)
    assert fake.requests == 1 + len(faults)
