"""Lays out, for HL7's engine, what the guide defines: a folder of JSON definitions.

Profiles and the guide's own code systems are the guide's files. Value sets are made from the
profile facts (`etl.profiles`), because the engine has no terminology server: codes are listed
where they are known, and a code system that is licensed or external is included as a whole. For
the HL7 code systems in them, whose content the engine has at other versions or not at all, code
systems are made of the codes that the value sets name.
"""

from __future__ import annotations

import json
import re
import tarfile
from collections import defaultdict
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Final

from etl.profiles.guides import C4BB, PDEX, Guide, guide_named
from etl.profiles.value_sets import ValueSet, code_systems, value_set, value_set_urls

Json = dict[str, Any]

R4_VALUE_SETS: Final = "http://hl7.org/fhir/ValueSet/"
"""The engine brings these along."""
USED_AT: Final = {
    "extension-claimResponseReviewer": "ExplanationOfBenefit",
    "extension-admissionDates": "ExplanationOfBenefit.item",
    "extension-dischargeDate": "ExplanationOfBenefit.item",
    "extension-reviewActionCode": "ExplanationOfBenefit.adjudication.extension",
}
"""Where PDex's prior authorization has extensions whose own definitions do not allow them there."""


_PAS: Final = guide_named("davinci-pas")


def lay_out(guides: Path, target: Path) -> None:
    """Write all definitions of C4BB 2.2.0 and of PDex's prior authorization into a folder.

    Args:
        guides: folder of the guides' compiled definitions, C4BB's at its top.
        target: folder to write to; made if need be.
    """
    c4bb, pdex = target / C4BB.id, target / PDEX.id
    _write_folders(guides, ("structuredefinitions", "codesystems"), c4bb)
    extensions = json.loads((guides / "support" / "us-core-7.0.0-extensions-slim.json").read_text())
    for extension in extensions:
        _write(c4bb, _extension(extension))
    _write_prior_auth(guides / "pdex-2.2.0", pdex)
    _write_value_sets(C4BB, c4bb)
    _write_value_sets(PDEX, pdex)
    for resource in _code_systems([*_value_sets(C4BB), *_value_sets(PDEX)]):
        _write(target, resource)


def lay_out_plan_net(guide: Guide, folder: Path, target: Path) -> None:
    """Write all definitions of a version of Plan-Net into a folder.

    Args:
        guide: the version.
        folder: folder of its compiled definitions.
        target: folder to write to; made if need be.
    """
    _write_folders(folder, ("structuredefinitions", "codesystems"), target)
    _write_value_sets(guide, target)


def lay_out_package(guide: Guide, package: Path, plan_net: Path, target: Path) -> None:
    """Write the definitions of a guide that is published as a package into a folder.

    Args:
        guide: the guide.
        package: its FHIR package.
        plan_net: folder of Plan-Net's compiled definitions, whose codes it uses.
        target: folder to write to; made if need be.
    """
    _write_folders(plan_net, ("codesystems",), target)
    with tarfile.open(package) as archive:
        for name in archive.getnames():
            if _DEFINITION.fullmatch(name) and (file := archive.extractfile(name)):
                definition = json.load(file)
                if definition.get("type") == "GraphDefinition":
                    continue
                for form in ("snapshot", "differential"):
                    elements = definition.get(form, {}).get("element", ())
                    told = [element for element in elements if _UNTOLD not in element["id"]]
                    definition |= {form: {"element": told}} if told else {}
                _write(target, definition)
    _write_value_sets(guide, target)


_UNTOLD: Final = ":semantic-drug-form-group"
"""Slice that only the term types of RxNorm tell from the others, which the engine doesn't have."""
_DEFINITION: Final = re.compile(r"package/(StructureDefinition|CodeSystem)-[^/]*\.json")


def _write_folders(guide: Path, names: Sequence[str], target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for name in names:
        for path in sorted((guide / name).glob("*.json")):
            _write(target, json.loads(path.read_text("utf-8")))


def _write_prior_auth(guide: Path, target: Path) -> None:
    """Write PDex's definitions, and the extensions of PAS that its prior authorization uses."""
    # The profile as the guide's sources have it since the build, in place of the build's.
    folders = ("structuredefinitions", "head-compiled", "codesystems", "pas-2.2.1-extensions")
    _write_folders(guide, folders, target)
    paths = sorted(target.glob("StructureDefinition-*.json"))
    definitions = [json.loads(path.read_text("utf-8")) for path in paths]
    known = {definition["url"] for definition in definitions}
    for definition in definitions:
        if definition["id"] in USED_AT:
            place = {"type": "element", "expression": USED_AT[definition["id"]]}
            definition["context"].append(place)
        snapshot = definition["snapshot"]
        snapshot["element"] = _without_unknown(snapshot["element"], known)
        _write(target, definition)


def _without_unknown(elements: Sequence[Json], known: Collection[str]) -> list[Json]:
    """Return elements without slices and profiles of types whose definition in PAS is missing.

    The engine tells none of an element's slices apart while the profile of one is unknown.
    """
    kept = []
    for element in elements:
        unknown = [
            kind
            for kind in element.get("type", ())
            if any(
                profile.startswith(_PAS.base) and profile not in known
                for profile in kind.get("profile", ())
            )
        ]
        if unknown and "sliceName" in element:
            continue
        for kind in unknown:
            del kind["profile"]
        kept.append(element)
    return kept


def _write_value_sets(guide: Guide, target: Path) -> None:
    """Write the value sets of a guide, but for those that nothing is known of."""
    for values in _value_sets(guide):
        if not values.url.startswith(R4_VALUE_SETS) and values.status != "unavailable":
            _write(target, _value_set(values))


def _value_sets(guide: Guide) -> list[ValueSet]:
    return [value_set(url, guide) for url in value_set_urls(guide)]


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
