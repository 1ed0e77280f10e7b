"""Read a guide's published FHIR package, and what its profiles say about FHIR's own resources."""

from __future__ import annotations

import json
import tarfile
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Json = dict[str, Any]

R4: Final = "http://hl7.org/fhir/StructureDefinition/"
PACKAGES: Final = {
    "davinci-drug-formulary/2.0.1": "hl7.fhir.us.davinci-drug-formulary-2.0.1.tgz",
}
"""Folder of a guide's facts -> its package."""
VALUE_SETS: Final = {
    "http://hl7.org/fhir/ValueSet/medicationknowledge-status": {
        "http://terminology.hl7.org/CodeSystem/medicationknowledge-status": (
            "active inactive entered-in-error"
        )
    },
}
"""Small value sets of R4: value set -> system -> codes."""
_SHARED: Final = ("Resource", "DomainResource", "Element", "BackboneElement")


def resources(package: Path, kind: str) -> Iterator[Json]:
    """Yield the package's resources of one type, by file name; its examples aren't included."""
    with tarfile.open(package) as archive:
        prefix = f"package/{kind}-"
        names = (name for name in archive.getnames() if name.startswith(prefix))
        for name in sorted(names):
            yield json.load(archive.extractfile(name))


def profiles(package: Path) -> list[Json]:
    """Return the package's profiles and extensions; graph definitions aren't for data."""
    definitions = resources(package, "StructureDefinition")
    return [definition for definition in definitions if definition["type"] != "GraphDefinition"]


def unprofiled(definition: Json) -> Json:
    """Return the R4 resource type that a profile constrains, as its snapshot states it.

    Each element of a snapshot says how often its element of the base may occur. What the profile
    adds (slices, must-support flags, its own value sets and targets, elements of data types) is
    left out.
    """
    name, own = definition["type"], definition["url"].partition("StructureDefinition/")[0]
    elements = []
    for element in definition["snapshot"]["element"]:
        base = element["base"]["path"].partition(".")[0]
        if ":" in element["id"] or not (base == name or base in _SHARED):
            continue
        if base == "Element" and not _is_backbone(definition, element):
            continue
        kept = {key: value for key, value in element.items() if key in _KEPT}
        kept |= {"min": element["base"]["min"], "max": element["base"]["max"]}
        kept["type"] = [
            kind
            if not kind.get("targetProfile", [""])[0].startswith(own)
            else {"code": "Reference"}
            for kind in element.get("type", [])
        ]
        if element["id"] == name:
            kept["constraint"] = [c for c in kept["constraint"] if c["key"].startswith("dom-")]
        if kept.get("binding", {}).get("valueSet", "").startswith(own):
            del kept["binding"]
        if kept.get("type") == [{"code": "Extension"}]:
            kept["slicing"] = {
                "discriminator": [{"type": "value", "path": "url"}],
                "rules": "open",
            }
        elements.append(kept)
    return {
        "id": name,
        "url": R4 + name,
        "version": "4.0.1",
        "type": name,
        "baseDefinition": f"{R4}DomainResource",
        "snapshot": {"element": elements},
    }


_KEPT: Final = frozenset({"id", "type", "binding", "contentReference", "constraint"})


def _is_backbone(definition: Json, element: Json) -> bool:
    """Return whether an element of every element is one of a BackboneElement."""
    parent = element["id"].rpartition(".")[0]
    owner = next(e for e in definition["snapshot"]["element"] if e["id"] == parent)
    return owner.get("type") == [{"code": "BackboneElement"}]
