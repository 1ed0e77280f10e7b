"""docs/search.md names what `supported` has, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

from etl.gateway.plan_net import PLAN_NET_TYPES
from etl.gateway.supported_fhir import RESULT_PARAMETERS, TYPES

PAGE = Path(__file__).parents[3] / "docs" / "search.md"


def test_the_page_names_every_parameter_of_every_type_and_no_other() -> None:
    text = PAGE.read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([A-Za-z, ]+) \| (`.*) \|$", text.partition("## Search")[2], re.M)
    told: dict[str, set[str]] = {name: set() for name in TYPES}
    for names, parameters in rows:
        found = re.findall(r"`([A-Za-z_-]+)`", parameters)
        for name in TYPES if names == "all" else names.split(", "):
            if name in told:
                told[name] |= set(found)
    assert told == {name: set(kind.parameters) for name, kind in TYPES.items()}


def test_the_page_names_every_include_and_no_other() -> None:
    text = PAGE.read_text(encoding="utf-8").partition("## Includes")[2].partition("`_include:it")[0]
    told = set(re.findall(r"`([A-Z][A-Za-z]+:[a-z-]+)`", text))
    told.discard("Type:parameter")
    assert told == {one.code for kind in TYPES.values() for one in kind.includes}


def test_the_page_names_what_shapes_an_answer() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert "_count" in {one.name for one in RESULT_PARAMETERS}
    for one in RESULT_PARAMETERS:
        assert f"`{one.name}" in text


def test_the_directorys_page_names_every_parameter_of_every_type_and_no_other() -> None:
    text = (PAGE.parent / "directory-api.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([A-Za-z]+) \| (`.*) \|$", text.partition("## Param")[2], re.M)
    told: dict[str, set[str]] = {name: set() for name in PLAN_NET_TYPES}
    for names, parameters in rows:
        for name in PLAN_NET_TYPES if names == "all" else [names]:
            told[name] |= set(re.findall(r"`([A-Za-z_-]+)`", parameters))
    assert told == {name: set(kind.parameters) for name, kind in PLAN_NET_TYPES.items()}
