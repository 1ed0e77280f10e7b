"""A directory of the generator, and searches for what its roles have."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path
from urllib.parse import quote

from benchmarks.gateway_serving import CPCDS
from etl.bootstrap.settings import read_settings
from etl.bootstrap.use_cases import run_extract
from etl.pipeline.progress import ignore
from etl.publish.reader import Release, open_current
from etl.storage.local import LocalStore

SEARCHES = 500
_SHARDS = 40
"""Shards whose roles and places the searches are made of."""


def published_directory(folder: Path, practitioners: int) -> Path:
    """Publish a directory of so many practitioners into a folder; return its tree."""
    extract = folder / "directory-extract"
    command = [*CPCDS, "synth", "--directory", "--practitioners", str(practitioners), "--seed", "1"]
    subprocess.run([*command, "--out", str(extract)], check=True, stdout=subprocess.DEVNULL)  # noqa: S603
    tree = folder / "directory-tree"
    settings = read_settings(
        None,
        target=str(tree),
        report={"gx_rows": 0},
        publish={"bulk": False},
        run={"work": folder / "directory-work"},
    )
    run_extract(settings, extract, ignore)
    return tree


def role_searches(tree: Path) -> list[str]:
    """Return searches for roles by specialty, network and city, each another combination."""
    release = _release(tree)
    pairs, cities = set(), set()
    for unit in [one for one in release.manifest.directory if one is not None][:_SHARDS]:
        index = release.index(unit)
        specialties, networks = (
            index.search("PractitionerRole", name) for name in ("specialty", "network")
        )
        for row in range(len(index.types.get("PractitionerRole", ()))):
            for network in networks.values_of(row):
                pairs |= {(code, network) for code in specialties.values_of(row)}
        cities |= set(index.search("Location", "address-city").values)
    chosen = random.Random(1)  # noqa: S311 - the same searches each time
    some, places = sorted(pairs), sorted(cities)
    return [
        f"/directory/PractitionerRole?specialty={quote(code)}&network={network}"
        f"&location.address-city={quote(chosen.choice(places))}"
        for code, network in (chosen.choice(some) for _ in range(SEARCHES))
    ]


def resource_counts(tree: Path) -> str:
    """Return how many practitioners and roles a directory has."""
    counts = _release(tree).manifest.counts["resources"]
    return f"{counts['Practitioner']:,} practitioners, {counts['PractitionerRole']:,} roles"


def _release(tree: Path) -> Release:
    release = open_current(LocalStore(tree)).release
    if release is None:
        raise SystemExit(f"{tree}: nothing is published there")
    return release
