"""The implementation guides with facts: canonicals, versions, folders.

A `Guide` is one version of a guide, like an ImplementationGuide resource. They are listed in
`guides.toml`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Final

from etl.documents.packaged_toml import read_beside


@dataclass(frozen=True, slots=True)
class Guide:
    """One version of an implementation guide.

    Attributes:
        id: last part of its package's name; its facts are in `facts/<id>/<version>`.
        version: its version in canonicals and `meta.profile`.
        title: its name in messages.
        base: prefix of its canonicals, before the type of the conformance resource.
        binding: whether its facts have value sets; if not, the default guide's are used.
        any_version: whether canonicals of any version mean these facts.
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
        """Prefix of a profile's canonical; the profile's name follows."""
        return f"{self.base}StructureDefinition/"

    @property
    def implementation_guide(self) -> str:
        """Canonical of its ImplementationGuide, without version."""
        return f"{self.base}ImplementationGuide/hl7.fhir.us.{self.id}"

    def value_set(self, name: str) -> str:
        """Return the canonical of one of its value sets."""
        return f"{self.base}ValueSet/{name}"

    def covers(self, canonical: str) -> bool:
        """Return whether a canonical is a profile of this guide, in any version."""
        return canonical.startswith(self.canonical)

    def answers_to(self, version: str) -> bool:
        """Return whether a version is empty, this version, or a prefix of it."""
        return (
            self.any_version
            or version in ("", self.version)
            or self.version.startswith(f"{version}.")
        )


GUIDES: Final = tuple(
    Guide(guide_id, version, **facts)
    for guide_id, facts in read_beside(__file__, "guides.toml").items()
    for version in facts.pop("versions")
)
"""All guides; of several versions, the default comes first."""


def guide_named(guide_id: str) -> Guide:
    """Return the default version of a guide by its `id`."""
    return next(guide for guide in GUIDES if guide.id == guide_id)


C4BB: Final = guide_named("carin-bb")
PDEX: Final = guide_named("davinci-pdex")
US_CORE: Final = guide_named("us-core")
R4: Final = guide_named("r4")

DEFAULT: Final = C4BB
"""The default guide."""


@cache
def versions_of(guide: Guide) -> tuple[Guide, ...]:
    """Return the versions of a guide with facts, the default first."""
    return tuple(version for version in GUIDES if version.id == guide.id)


def unknown_version(canonical: str) -> tuple[Guide, str] | None:
    """Return the guide and version of a canonical if that version is unknown.

    Returns:
        The guide in its default version, and the unknown version; None if the version is known or
        not stated, and for canonicals of other guides.
    """
    url, _, version = canonical.partition("|")
    covering = [guide for guide in GUIDES if guide.covers(url)]
    if not covering or any(guide.answers_to(version) for guide in covering):
        return None
    return covering[0], version


def known_versions(guide: Guide) -> str:
    """List the versions of a guide for messages: `2.2.0 and 2.1.0`."""
    return " and ".join(version.version for version in versions_of(guide))


@cache
def fact_names(guide: Guide) -> frozenset[str]:
    """Return the names of a guide's facts: those of its profiles, `value-sets` and others."""
    folder = resources.files("etl.profiles") / "facts" / guide.id / guide.version
    return frozenset(entry.name.removesuffix(".json") for entry in folder.iterdir())


def read_facts(guide: Guide, name: str) -> Any:
    """Read one JSON file of a guide's facts; the name has no `.json`."""
    folder = resources.files("etl.profiles") / "facts" / guide.id / guide.version
    return json.loads(folder.joinpath(f"{name}.json").read_bytes())
