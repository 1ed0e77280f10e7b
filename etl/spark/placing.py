"""Keys with which Spark gives each shard a task of its own.

Spark puts a row into the task `hash(key) mod tasks`, where the hash of an int is Murmur3 with seed
42. This hash can be inverted: a row whose key has the hash 7 gets into task 7. With shard numbers
as keys, a third of the tasks would have no rows, and others several shards.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from etl.spark.task_rows import ROWS, TaskWork, task_function

_SEED: Final = 42
_BITS: Final = np.uint64(0xFFFFFFFF)


def task_keys(count: int) -> npt.NDArray[np.int32]:
    """Return the keys whose hashes are 0, 1, … in order; shape (count,)."""
    mixed = np.arange(count, dtype=np.uint64)
    # The final mix of Murmur3, inverted.
    mixed ^= mixed >> np.uint64(16)
    mixed = _divide(mixed, 0xC2B2AE35)
    mixed ^= (mixed >> np.uint64(13)) ^ (mixed >> np.uint64(26))
    mixed = _divide(mixed, 0x85EBCA6B)
    mixed ^= mixed >> np.uint64(16)
    mixed ^= np.uint64(4)  # the length of an int
    # The one round, inverted.
    mixed = _divide((mixed - np.uint64(0xE6546B64)) & _BITS, 5)
    mixed = _rotate(mixed, 13) ^ np.uint64(_SEED)
    mixed = _rotate(_divide(mixed, 0x1B873593), 15)
    return _divide(mixed, 0xCC9E2D51).astype(np.uint32).view(np.int32)


def single_shards(count: int) -> list[range]:
    """Return tasks with one shard each."""
    return [range(shard, shard + 1) for shard in range(count)]


def run_tasks(
    session: Any, rows: Any, tasks: Sequence[range], work: TaskWork, facts: object
) -> Any:
    """Return the frame of the tasks' results; each task gets the rows of its shards.

    Args:
        session: a `pyspark.sql.SparkSession`.
        rows: a frame of `ROWS`.
        tasks: the shards of each task; the same number for all but the last.
        work: the work of each task, as for `task_function`.
        facts: as for `task_function`.
    """
    keys = task_keys(len(tasks)).tolist()
    pairs = [(shard, key) for shards, key in zip(tasks, keys, strict=True) for shard in shards]
    shard_keys = session.createDataFrame(pairs, "shard int, key int").hint("broadcast")
    keyed_rows = rows.join(shard_keys, "shard").repartition(len(tasks), "key").drop("key")
    return keyed_rows.mapInArrow(task_function(work, facts), ROWS)


def task_of_shards(shards: Iterable[int], size: int = 1) -> int:
    """Return the first shard of the task that has rows of some shards.

    Args:
        shards: the shards of the rows.
        size: number of shards of a task.

    Raises:
        AssertionError: the rows are of several tasks; this Spark hashes numbers in another way.
    """
    firsts = {shard - shard % size for shard in shards}
    if len(firsts) != 1:
        raise AssertionError(f"Spark gave one task the rows of {len(firsts)}")
    return firsts.pop()


def _rotate(numbers: npt.NDArray[np.uint64], bits: int) -> npt.NDArray[np.uint64]:
    rotated: npt.NDArray[np.uint64] = (
        (numbers >> np.uint64(bits)) | (numbers << np.uint64(32 - bits))
    ) & _BITS
    return rotated


def _divide(numbers: npt.NDArray[np.uint64], factor: int) -> npt.NDArray[np.uint64]:
    """Divide by an odd factor, modulo 2**32."""
    quotients: npt.NDArray[np.uint64] = (numbers * np.uint64(pow(factor, -1, 1 << 32))) & _BITS
    return quotients
