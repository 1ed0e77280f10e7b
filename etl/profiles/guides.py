"""Implementation guides with facts here: canonicals, versions, folders.

A guide is one version of it, as an ImplementationGuide resource is; FHIR itself counts as one. A
further guide is one more value here and one more folder under `facts/`
(CONTRIBUTING, "add a guide").
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Guide:
    """One version of an implementation guide.

    Attributes:
        id: last part of its package's name; `facts/<id>/<version>` holds its facts.
        version: as canonicals and `meta.profile` carry it.
        title: as messages name it.
        base: what its canonicals begin with, up to the kind of the resource.
        binding: whether its facts have value sets. The profiles of a guide without are bound to
            those that the default guide lists.
        any_version: whether a canonical of any version means these facts, for want of others.
    """

    id: str
    version: str
    title: str
    base: str
    binding: bool = True
    any_version: bool = False

    @property
    def folder(self) -> str:
        """Path of its facts under `facts/`."""
        return f"{self.id}/{self.version}"

    @property
    def canonical(self) -> str:
        """The beginning of a profile's canonical; the profile's name follows."""
        return f"{self.base}StructureDefinition/"

    def value_set(self, name: str) -> str:
        """Return the canonical of one of its own value sets."""
        return f"{self.base}ValueSet/{name}"

    def covers(self, canonical: str) -> bool:
        """Return whether a canonical names a profile of this guide, in whatever version."""
        return canonical.startswith(self.canonical)

    def answers_to(self, version: str) -> bool:
        """Return whether a canonical's version means this one: none, all of it or its beginning."""
        return (
            self.any_version
            or version in ("", self.version)
            or self.version.startswith(f"{version}.")
        )


_CARIN: Final = ("C4BB", "http://hl7.org/fhir/us/carin-bb/")

C4BB: Final = Guide("carin-bb", "2.2.0", *_CARIN)
C4BB_2_1_0: Final = Guide("carin-bb", "2.1.0", *_CARIN)
_PLAN_NET: Final = ("Plan-Net", "http://hl7.org/fhir/us/davinci-pdex-plan-net/")

PLAN_NET: Final = Guide("davinci-pdex-plan-net", "1.2.0", *_PLAN_NET)
PLAN_NET_1_1_0: Final = Guide("davinci-pdex-plan-net", "1.1.0", *_PLAN_NET)
PDEX: Final = Guide("davinci-pdex", "2.2.0", "PDex", "http://hl7.org/fhir/us/davinci-pdex/")
PAS: Final = Guide(
    "davinci-pas",
    "2.2.1",
    "PAS",
    "http://hl7.org/fhir/us/davinci-pas/",
    binding=False,
    any_version=True,
)
US_CORE: Final = Guide(
    "us-core", "7.0.0", "US Core", "http://hl7.org/fhir/us/core/", binding=False, any_version=True
)
R4: Final = Guide("r4", "4.0.1", "FHIR", "http://hl7.org/fhir/", binding=False, any_version=True)

GUIDES: Final = (C4BB, C4BB_2_1_0, PLAN_NET, PLAN_NET_1_1_0, PDEX, PAS, US_CORE, R4)
"""All of them; of the versions of one guide the default comes first."""

DEFAULT: Final = C4BB
"""The guide that is meant where none is named."""


@cache
def versions_of(guide: Guide) -> tuple[Guide, ...]:
    """Return the versions of a guide that have facts here, the default first."""
    return tuple(version for version in GUIDES if version.id == guide.id)


def unknown_version(canonical: str) -> tuple[Guide, str] | None:
    """Return a guide and the version of it that a canonical names, if that is not among the facts.

    Returns:
        The guide in its default version, and the version that is not known; None where the version
        is known, where none is named, and for canonicals of no guide here.
    """
    url, _, version = canonical.partition("|")
    guides = [guide for guide in GUIDES if guide.covers(url)]
    if not guides or any(guide.answers_to(version) for guide in guides):
        return None
    return guides[0], version


def known_versions(guide: Guide) -> str:
    """Return the versions of a guide as messages list them: `2.2.0 and 2.1.0`."""
    return " and ".join(version.version for version in versions_of(guide))


@cache
def fact_names(guide: Guide) -> frozenset[str]:
    """Return the names of a guide's facts: those of its profiles, `value-sets` and others."""
    place = resources.files("etl.profiles") / "facts" / guide.id / guide.version
    return frozenset(entry.name.removesuffix(".json") for entry in place.iterdir())


def read_facts(guide: Guide, name: str) -> Any:
    """Return the JSON of one file of a guide, named without `.json`."""
    place = resources.files("etl.profiles") / "facts" / guide.id / guide.version
    return json.loads(place.joinpath(f"{name}.json").read_bytes())
