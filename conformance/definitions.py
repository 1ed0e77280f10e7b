"""Lays out, for HL7's engine, what the guide defines: a folder of JSON definitions.

Profiles and the guide's own code systems are the guide's files. Value sets are made from the
profile facts (`etl.profiles`), because the engine has no terminology server: codes are listed
where they are known, and a code system that is licensed or external is included as a whole. For
the HL7 code systems in them, whose content the engine has at other versions or not at all, code
systems are made of the codes that the value sets name.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any, Final

from etl.profiles.guides import Guide
from etl.profiles.value_sets import ValueSet, code_systems, value_set, value_set_urls

Json = dict[str, Any]

R4_VALUE_SETS: Final = "http://hl7.org/fhir/ValueSet/"
"""The engine brings these along."""


def lay_out(guide: Path, target: Path) -> None:
    """Write all definitions of 2.2.0 into a folder.

    Args:
        guide: folder of the guide's compiled definitions.
        target: folder to write to; made if need be.
    """
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted((guide / "structuredefinitions").glob("*.json")):
        _write(target, json.loads(path.read_text("utf-8")))
    extensions = json.loads((guide / "support" / "us-core-7.0.0-extensions-slim.json").read_text())
    for extension in extensions:
        _write(target, _extension(extension))
    for path in sorted((guide / "codesystems").glob("*.json")):
        _write(target, json.loads(path.read_text("utf-8")))
    sets = [value_set(url) for url in value_set_urls() if not url.startswith(R4_VALUE_SETS)]
    for values in sets:
        if values.status != "unavailable":
            _write(target, _value_set(values))
    for resource in _code_systems([value_set(url) for url in value_set_urls()]):
        _write(target, resource)


def lay_out_plan_net(guide: Guide, folder: Path, target: Path) -> None:
    """Write all definitions of a version of Plan-Net into a folder.

    Args:
        guide: the version.
        folder: folder of its compiled definitions.
        target: folder to write to; made if need be.
    """
    target.mkdir(parents=True, exist_ok=True)
    for kind in ("structuredefinitions", "codesystems"):
        for path in sorted((folder / kind).glob("*.json")):
            _write(target, json.loads(path.read_text("utf-8")))
    for url in value_set_urls(guide):
        if not url.startswith(R4_VALUE_SETS):
            _write(target, _value_set(value_set(url, guide)))


def _write(target: Path, resource: Json) -> None:
    name = f"{resource['resourceType']}-{resource['id']}.json"
    (target / name).write_text(json.dumps(resource), "utf-8")


def _extension(definition: Json) -> Json:
    """Return a US Core extension with the context that its slim form lacks."""
    context = [{"type": "element", "expression": "Patient"}]
    return {**definition, "context": definition.get("context", context)}


def _value_set(values: ValueSet) -> Json:
    includes: dict[tuple[str, str | None], list[Json]] = defaultdict(list)
    for code in values.codes:
        includes[code.system, code.version].append({"code": code.code})
    listed = [
        {"system": system, **({"version": version} if version else {}), "concept": concepts}
        for (system, version), concepts in includes.items()
    ]
    whole = [{"system": system} for system in sorted(values.open_systems)]
    return {
        "resourceType": "ValueSet",
        "id": _id(values.url),
        "url": values.url,
        "version": "2.2.0" if "/carin-bb/" in values.url else "1.0.0",
        "name": _id(values.url).replace("-", ""),
        "status": "active",
        "compose": {"include": [*listed, *whole]},
    }


def _code_systems(sets: list[ValueSet]) -> list[Json]:
    """Return code systems for the HL7 codes that value sets list, at each version they name.

    Each version gets all the codes known of the system.
    """
    own = code_systems()
    codes: dict[str, set[str]] = defaultdict(set)
    versions: dict[str, set[str]] = defaultdict(set)
    for code in (code for values in sets for code in values.codes):
        if code.system not in own:
            codes[code.system].add(code.code)
            if code.version:
                versions[code.system].add(code.version)
    return [
        {
            "resourceType": "CodeSystem",
            "id": f"{_id(system)}-{version}".replace(".", "-"),
            "url": system,
            "version": version,
            "status": "active",
            "content": "fragment",
            "concept": [{"code": code} for code in sorted(codes[system])],
        }
        for system, named in sorted(versions.items())
        for version in sorted(named)
    ]


def _id(url: str) -> str:
    return url.rpartition("/")[2].rpartition(":")[2]
