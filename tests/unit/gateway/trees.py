"""Published trees that the gateway's tests read, and services over them."""

import asyncio
import atexit
import json
import shutil
from collections.abc import Callable, Coroutine, Iterator
from contextlib import redirect_stdout
from datetime import UTC, datetime
from functools import cache
from io import StringIO
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, TypeVar

import pytest

from etl.gateway.http.responses import FhirError
from etl.gateway.service import Answer, Service, ServiceOptions
from etl.gateway.startup import GatewayServices
from etl.gateway.supported_fhir import api_of
from etl.model.data_models import CLAIMS, DIRECTORY
from etl.publish.reader import open_current, read_all
from etl.smart.grants import Grant
from etl.storage.async_objects import FolderObjects
from etl.storage.local import LocalStore
from etl.storage.port import Objects
from tests.memory_store import MemoryStore
from tests.unit.gateway.memory_objects import MemoryObjects

T = TypeVar("T")

ROOT = Path(__file__).parents[3]
BASE = "https://payer.example/fhir"
KEY = b"a key of the tests, 32 bytes long"
ALL = ("patient/*.read",)
NOW = 1_800_000_000.0
"""The clock of page links, in seconds since 1970."""
PLAN_NET_TYPES = api_of(DIRECTORY).types

Resource = dict[str, Any]


@cache
def sample_tree(extract: str = "cpcds_samples", *options: str) -> Path:
    """Return a folder with the samples published, made once for all tests of a process.

    Args:
        extract: folder of the samples.
        options: of the command line, before the command.
    """
    from tests.e2e.commands import invoke  # loads the whole pipeline; most tests do without

    folder = Path(mkdtemp(prefix="gateway-tree-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    words = (*options, "run", ROOT / extract, "--to", folder / "tree", "--workers", "1")
    with redirect_stdout(StringIO()):
        result = invoke(*words, CPCDS_REPORT__GX_ROWS="0", CPCDS_RUN__WORK=str(folder / "work"))
    assert result.exit_code == 0, result.output
    return folder / "tree"


@cache
def members() -> dict[str, list[Resource]]:
    """Return the resources of every member of the samples, in the order of their blocks."""
    store = LocalStore(sample_tree())
    release = open_current(store).release
    return {
        unit.id: [json.loads(line) for line in read_all(store, release.index(unit))]
        for unit in release.all_units()
    }


LISTED = "cpcds_samples/directory"
"""The extract of a directory of the payer, for `sample_tree` and `directory`."""

TEXTS = ("--mappings", str(Path(__file__).parent / "mappings_with_texts"))
"""Options with mappings of a payer's own, which write texts of concepts and search them."""


@cache
def directory(extract: str = "cpcds_samples", *options: str) -> dict[str, Resource]:
    """Return the samples' directory resources by `Type/id`, of the tree that is so made."""
    store = LocalStore(sample_tree(extract, *options))
    release = open_current(store).release
    found = {}
    for unit in release.manifest.directory:
        if unit is not None:
            for line in read_all(store, release.index(unit)):
                resource = json.loads(line)
                found[f"{resource['resourceType']}/{resource['id']}"] = resource
    return found


def busiest() -> str:
    """Return the member with the most claims."""
    return max(members(), key=lambda one: len(members()[one]))


def grant(patient: str, scopes: tuple[str, ...] = ALL, client: str = "app") -> Grant:
    """Return a grant."""
    return Grant(patient, client, scopes, "consent", datetime(2030, 1, 1, tzinfo=UTC))


def opened(
    target: Path | MemoryStore | Objects | None,
    *,
    clock: Callable[[], float] = lambda: NOW,
    listed: Path | Objects | None = None,
    **options: Any,
) -> GatewayServices:
    """Return services over a folder, a store in memory, or objects; they have seen their releases.

    Args:
        target: of claims; None for none.
        clock: seconds since 1970.
        listed: the target of a directory of the payer.
        options: fields of `ServiceOptions`.
    """
    if isinstance(target, Path):
        objects: Objects | None = FolderObjects(target)
    elif isinstance(target, MemoryStore):
        objects = MemoryObjects(target)
    else:
        objects = target
    directory = FolderObjects(listed) if isinstance(listed, Path) else listed
    given = ((CLAIMS, objects), (DIRECTORY, directory))
    targets = [(model, found) for model, found in given if found is not None]
    made = GatewayServices(targets, [KEY], ServiceOptions(**options), clock)
    for served in made.targets:
        run(served.releases.refresh())
    return made


def run(work: Coroutine[Any, Any, T]) -> T:
    """Return what a coroutine gives."""
    return asyncio.run(work)


def refused(work: Coroutine[Any, Any, Answer]) -> FhirError:
    """Return the error that a request is answered with."""
    with pytest.raises(FhirError) as caught:
        run(work)
    return caught.value


def bundle(answer: Answer) -> Resource:
    """Return the Bundle of an answer."""
    return json.loads(answer.body)


def walk(service: Service, who: Grant, answer: Coroutine[Any, Any, Answer]) -> Iterator[Resource]:
    """Yield the Bundle of an answer, and those of the pages after it."""
    page = bundle(run(answer))
    yield page
    while cursor := link(page, "next"):
        page = bundle(run(service.page(who, cursor, base=BASE)))
        yield page


def ids(found: Resource, mode: str = "match") -> list[str]:
    """Return `Type/id` of a Bundle's entries of one mode."""
    return [
        f"{one['resource']['resourceType']}/{one['resource']['id']}"
        for one in found.get("entry", [])
        if one["search"]["mode"] == mode
    ]


def link(found: Resource, relation: str) -> str | None:
    """Return the cursor of a Bundle's page link."""
    urls = [one["url"] for one in found["link"] if one["relation"] == relation]
    return urls[0].removeprefix(f"{BASE}/_page/") if urls else None
