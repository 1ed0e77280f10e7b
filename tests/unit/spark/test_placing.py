"""Keys by which Spark gives each shard a task of its own."""

from etl.spark.placing import task_keys
from tests.contract.executor.frames import murmur3


def test_the_hash_of_a_key_is_its_place():
    keys = task_keys(3000).tolist()
    assert [murmur3(key) for key in keys] == list(range(3000))


def test_the_hash_is_that_of_spark():
    # SELECT hash(0), hash(1), hash(-7), hash(123456)
    numbers = (0, 1, -7 & 0xFFFFFFFF, 123456)
    hashes = [933211791, -559580957, -1618159745, 1905992991]
    assert [murmur3(number) for number in numbers] == hashes
