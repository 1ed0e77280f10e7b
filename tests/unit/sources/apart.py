"""Processes that are none, for tests of what is read by several."""

import pickle
from typing import Any

from etl.sources.files.listed_files import ignore
from etl.sources.partition.partition_rows import JobFailure


def split_every(patch, span_bytes, buffer_bytes):
    """Have files split at every so many bytes, and rows written as they come."""
    patch.setattr("etl.sources.files.listed_files.SPLIT_BYTES", span_bytes)
    patch.setattr("etl.sources.partition.row_files.BUFFER_BYTES", buffer_bytes)
    patch.setattr("etl.sources.partition.row_files.BYTES_PER_PARTITION", 0)


class Apart:
    """Does what other processes do: what goes there and comes back is pickled.

    Attributes:
        jobs: what was asked for.
        refused: what came of jobs that could not be done.
    """

    processes = 2

    def __init__(self):
        self.jobs: list[Any] = []
        self.refused: list[JobFailure] = []

    def run_each(self, call, jobs, emit):
        """Yield what comes of each job."""
        del emit
        for job in jobs:
            self.jobs.append(job)
            there = call(pickle.loads(pickle.dumps(job)), ignore)  # noqa: S301 - our own
            self.refused += [there] if isinstance(there, JobFailure) else []
            yield pickle.loads(pickle.dumps(there))  # noqa: S301 - our own
