"""The allocator of a run: jemalloc where the build of Arrow has it, or what somebody chose."""

import pyarrow as pa
import pytest

from etl.bootstrap.opened_extract import opened
from etl.bootstrap.settings import Settings
from etl.local.memory import choose_memory_pool
from etl.local.workers import Workers
from etl.pipeline.progress import ignore
from tests.e2e.commands import SAMPLES
from tests.unit.local.test_workers import nothing

VARIABLE = "ARROW_DEFAULT_MEMORY_POOL"
BUILT_IN = "jemalloc" in pa.supported_memory_backends()


@pytest.fixture(autouse=True)
def pool(monkeypatch):
    """Begin with an allocator that no run chooses, and leave the one that was there."""
    before = pa.default_memory_pool()
    monkeypatch.delenv(VARIABLE, raising=False)
    pa.set_memory_pool(pa.system_memory_pool())
    yield "jemalloc" if BUILT_IN else "system"
    pa.set_memory_pool(before)


def allocator(job, emit):
    """Return the name of the allocator of the process that does the job."""
    del job, emit
    return str(pa.default_memory_pool().backend_name)


def test_an_opened_extract_is_worked_on_with_it(pool, tmp_path):
    settings = Settings(target=str(tmp_path / "tree"), run={"workers": 1})
    with opened(settings, SAMPLES, ignore):
        assert pa.default_memory_pool().backend_name == pool


@pytest.mark.slow
@pytest.mark.skipif(not BUILT_IN, reason="this build of Arrow has no jemalloc")
def test_worker_processes_allocate_with_it_too():
    with Workers(2, nothing) as workers:
        workers.begin(2)
        assert list(workers.run_each(allocator, [1, 2], ignore)) == ["jemalloc"] * 2


def test_arrow_s_own_variable_counts(monkeypatch):
    monkeypatch.setenv(VARIABLE, "mimalloc")
    choose_memory_pool()
    assert pa.default_memory_pool().backend_name == "system"


def test_a_build_without_it_keeps_what_it_has(monkeypatch):
    monkeypatch.setattr(pa, "supported_memory_backends", lambda: ["mimalloc", "system"])
    choose_memory_pool()
    assert pa.default_memory_pool().backend_name == "system"
