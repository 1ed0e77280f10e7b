"""Settings into the objects that the use cases take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from etl.bootstrap.mappings import read_crosswalks, read_mappings, shipped
from etl.bootstrap.settings import Settings
from etl.errors import MappingError
from etl.mapping.fhir import problems
from etl.mapping.library import MappingSet


def mapping_roots(settings: Settings) -> tuple[Path, ...]:
    """Return the folders of mappings, the shipped one first."""
    return (shipped(), *settings.mappings)


def payer_facts(settings: Settings) -> Mapping[str, str]:
    """Return the payer's settings as mappings see them (`payer.name`)."""
    return {name: str(value) for name, value in settings.payer.model_dump().items()}


def mapping_set(settings: Settings) -> MappingSet:
    """Return the compiled mappings.

    Raises:
        MappingError: the first mistake found.
    """
    roots = mapping_roots(settings)
    return read_mappings(roots, read_crosswalks(roots), payer_facts(settings))


@dataclass(frozen=True, slots=True)
class CheckedMappings:
    """What `cpcds mapping check` found."""

    names: tuple[str, ...]
    problems: tuple[MappingError, ...]


def check_mappings(settings: Settings) -> CheckedMappings:
    """Return the names of all mappings and what is wrong with them.

    Raises:
        MappingError: a mistake that keeps a mapping from compiling at all.
    """
    compiled = mapping_set(settings)
    found = [one for plan in compiled.plans for one in problems(plan, compiled.crosswalks)]
    return CheckedMappings(tuple(plan.name for plan in compiled.plans), tuple(found))
