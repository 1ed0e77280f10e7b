"""Write `etl/profiles/facts/`: what the FHIR definitions say, as JSON without a sentence in it.

Usage: python scripts/build_profile_facts.py GUIDES [OUT]

GUIDES is a folder with the compiled StructureDefinitions (snapshots), value sets, code systems and
expansions of C4BB, the R4 types and US Core extensions under `support/`, and a folder of the same
shape for each version of Plan-Net, and for PDex with the extensions of PAS that its prior
authorization has. Guides that are published as a FHIR package are read from `packages/`. Only facts
are taken: paths, cardinalities, types, must-support flags, patterns, bindings, slicing, invariants
as FHIRPath, codes. Displays are taken for the
guides' own code systems and for no other.
"""

from __future__ import annotations

import csv
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import package_facts
import plan_net_facts
from directory_facts import (
    R4_ELEMENTS,
    US_CORE_PROFILES,
    VALUE_SETS,
    directory_type,
    us_core_directory,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

VERSIONS: Final = {"2.2.0": "", "2.1.0": "2.1.0"}
"""Version of the guide -> its folder under GUIDE."""

R4: Final = "http://hl7.org/fhir/StructureDefinition/"

NOT_CARRIED: Final = frozenset({"ElementDefinition", "Bundle"})
"""Types that no resource of the guide holds; a Bundle is unwrapped, never checked as such."""

IMPLICIT: Final = frozenset({"ele-1", "ext-1"})
"""Invariants of every element, and of every extension: listed for the type Extension alone."""

EXTENSION_INVARIANT: Final = {
    "ext-1": {"severity": "error", "expression": "extension.exists() != value.exists()"}
}
"""FHIR R4, Extension."""

Json = dict[str, Any]


def read(path: Path) -> Any:
    """Return the JSON of one file."""
    return json.loads(path.read_text("utf-8"))


def type_facts(types: Iterable[Json]) -> list[Any]:
    """Return types as plain names, or as objects where they name profiles or targets."""
    found: list[Any] = []
    for entry in types:
        code = entry["code"]
        if code.startswith("http://hl7.org/fhirpath/"):
            extensions = {e["url"].rpartition("/")[2]: e for e in entry.get("extension", [])}
            named = extensions.get("structuredefinition-fhir-type", {}).get("valueUrl")
            code = named or code.rpartition(".")[2].lower()
        fact = {"code": code}
        if entry.get("profile"):
            fact["profiles"] = entry["profile"]
        if entry.get("targetProfile"):
            fact["targets"] = entry["targetProfile"]
        found.append(fact if len(fact) > 1 else code)
    return found


def element_facts(element: Json) -> Json:
    """Return what one ElementDefinition says, without its prose."""
    fact: Json = {"id": element["id"], "min": element["min"], "max": element["max"]}
    if element.get("type"):
        fact["types"] = type_facts(element["type"])
    if element.get("mustSupport"):
        fact["must_support"] = True
    for key in element:
        if re.match(r"(fixed|pattern)[A-Z]", key):
            fact["fixed" if key.startswith("fixed") else "pattern"] = element[key]
    binding = element.get("binding")
    if binding and binding.get("valueSet"):
        fact["binding"] = {"strength": binding["strength"], "value_set": binding["valueSet"]}
    slicing = element.get("slicing")
    if slicing:
        fact["slicing"] = {
            "by": [[d["type"], d["path"]] for d in slicing["discriminator"]],
            "rules": slicing["rules"],
        }
        if slicing.get("ordered"):
            fact["slicing"]["ordered"] = True
    if element.get("contentReference"):
        fact["content"] = element["contentReference"].rpartition("#")[2]
    keys = [c["key"] for c in element.get("constraint", []) if c["key"] not in IMPLICIT]
    if keys:
        fact["invariants"] = keys
    return fact


def profile_facts(definition: Json) -> Json:
    """Return the facts of one StructureDefinition with a snapshot."""
    invariants: Json = {}
    for element in definition["snapshot"]["element"]:
        for constraint in element.get("constraint", []):
            key = constraint["key"]
            if key in IMPLICIT or "expression" not in constraint:
                continue
            fact = {"severity": constraint["severity"], "expression": constraint["expression"]}
            if invariants.setdefault(key, fact) != fact:
                raise SystemExit(f"{definition['id']}: invariant {key} has two meanings")
    return {
        "name": definition["id"],
        "url": definition["url"],
        "version": definition["version"],
        "type": definition["type"],
        "base": definition.get("baseDefinition"),
        "invariants": dict(sorted(invariants.items())),
        "elements": [element_facts(e) for e in definition["snapshot"]["element"]],
    }


class Arrays:
    """Knows which elements are arrays in JSON: those that FHIR R4 itself lets repeat.

    A profile that allows one entry of them does not change that, and the older snapshots do not
    say what they are based on.
    """

    def __init__(self, plain: Json) -> None:
        self._types = {
            name: {element["id"]: element for element in facts["elements"]}
            for name, facts in plain.items()
        }

    def __call__(self, element_id: str) -> bool:
        """Whether the element of that id (of a profile or type) is an array."""
        root, *names = re.sub(r":[^.]*", "", element_id).split(".")
        at = self._types[root][root]
        for name in names:
            at = self._below(at, name)
        return at["max"] == "*" or int(at["max"]) > 1

    def _below(self, element: Json, name: str) -> Json:
        inside = self._types[element["id"].partition(".")[0]]
        found: Json | None = inside.get(f"{element.get('content') or element['id']}.{name}")
        for kind in element.get("types", []):
            code = kind if isinstance(kind, str) else kind["code"]
            found = found or self._types.get(code, {}).get(f"{code}.{name}")
        if found is None:
            raise SystemExit(f"R4 has no {name} in {element['id']}")
        return found

    def marked(self, facts: Json) -> Json:
        """Return the facts of a profile with the arrays marked."""
        elements = []
        for element in facts["elements"]:
            head = {key: element[key] for key in ("id", "min", "max")}
            array = {"array": True} if "." in element["id"] and self(element["id"]) else {}
            elements.append({**head, **array, **element})
        return {**facts, "elements": elements}


def simple_quantity(quantity: Json) -> Json:
    """Return SimpleQuantity, the R4 profile of Quantity that forbids a comparator."""
    elements = [
        {**e, "max": "0"} if e["id"] == "Quantity.comparator" else e for e in quantity["elements"]
    ]
    return {
        **quantity,
        "name": "SimpleQuantity",
        "url": R4 + "SimpleQuantity",
        "base": R4 + "Quantity",
        "elements": elements,
    }


def code_systems(systems: Iterable[Json]) -> Json:
    """Return the guide's own code systems: url -> version, and code -> display."""
    found: Json = {}
    for system in systems:
        concepts = {c["code"]: c.get("display", "") for c in system["concept"]}
        found[system["url"]] = {"version": system["version"], "codes": concepts}
    return found


def _codes(entries: Iterable[Json], own: Json) -> list[Json]:
    found = []
    for entry in entries:
        fact = {"system": entry["system"], "code": entry["code"]}
        if entry.get("version"):
            fact["version"] = entry["version"]
        display = own.get(entry["system"], {}).get("codes", {}).get(entry["code"])
        if display:
            fact["display"] = display
        found.append(fact)
    return found


def expanded(url: str, own: Json, texts: Json) -> Json:
    """Return the codes of a value set as far as the guide's texts and systems give them."""
    codes: list[Json] = []
    open_systems: list[str] = []
    left_out = {
        (out["system"], concept["code"])
        for out in texts[url]["compose"].get("exclude", [])
        for concept in out["concept"]
    }
    for include in texts[url]["compose"]["include"]:
        for other in include.get("valueSet", []):
            inner = expanded(other.partition("|")[0], own, texts)
            codes += inner["codes"]
            open_systems += inner["open_systems"]
        if "system" not in include:
            continue
        system = include["system"]
        listed = include.get("concept")
        if listed is None and system in own:
            listed = [{"code": code} for code in own[system]["codes"]]
        if listed is None:
            open_systems.append(system)
            continue
        version = {"version": include["version"]} if include.get("version") else {}
        codes += [
            {"system": system, "code": c["code"], **version}
            for c in listed
            if (system, c["code"]) not in left_out
        ]
    status = "complete" if not open_systems else "partial" if codes else "open"
    return {
        "status": status,
        "open_systems": [*dict.fromkeys(open_systems)],
        "codes": _codes(codes, own),
    }


def read_all(folder: Path) -> list[Json]:
    """Return the resources in a folder, by file name."""
    return [read(path) for path in sorted(folder.glob("*.json"))]


def value_set_texts(value_sets: Iterable[Json]) -> Json:
    """Return a guide's value sets as they are written: url -> resource."""
    return {text["url"]: text for text in value_sets}


def value_sets(guide: Path, own: Json) -> Json:
    """Return all value sets of 2.2.0: the bound ones, and those that invariants name."""
    found: Json = {}
    for url, said in read(guide / "valueset-expansions.json").items():
        known = "codes" in said
        found[url] = {
            "status": said["status"] if known else "unavailable",
            "open_systems": sorted({s["system"] for s in said.get("open_systems", [])}),
            "codes": _codes(said.get("codes", []), own),
        }
    texts = value_set_texts(read_all(guide / "valuesets"))
    for url in texts:
        if url not in found:
            found[url] = expanded(url, own, texts)
    return dict(sorted({**found, **small_value_sets(VALUE_SETS)}.items()))


def small_value_sets(written: dict[str, dict[str, str]]) -> Json:
    """Return value sets that are written down by hand: value set -> system -> codes."""
    found: Json = {}
    for url, systems in written.items():
        listed = [
            {"system": system, "code": code}
            for system, codes in systems.items()
            for code in codes.split()
        ]
        opened = sorted(system for system, codes in systems.items() if not codes)
        status = "open" if opened else "complete"
        found[url] = {"status": status, "open_systems": opened, "codes": listed}
    return found


def bound_value_sets(
    written: Iterable[Json], own: Json, profiles: Iterable[Json], others: Json
) -> Json:
    """Return every value set of a guide, and those of others that its profiles are bound to."""
    texts = value_set_texts(written)
    found = {url: expanded(url, own, texts) for url in texts}
    for element in (element for facts in profiles for element in facts["elements"]):
        url = element.get("binding", {}).get("value_set", "").partition("|")[0]
        if url in others:
            found.setdefault(url, others[url])
    return dict(sorted(found.items()))


def changed_value_sets(folder: Path, newer: Json, own: Json) -> Json:
    """Return the guide's value sets of an older version that are not as in `newer`.

    An older text names no versions of code systems, and what it includes as a whole is as complete
    as it is in `newer`.
    """
    found: Json = {}
    texts = value_set_texts(read_all(folder))
    for url in texts:
        old = expanded(url, own, texts)
        new = newer.get(url)
        said = {(c["system"], c["code"]) for c in old["codes"]}
        opened = set(old["open_systems"])
        if new is not None:
            now = {(c["system"], c["code"]) for c in new["codes"] if c["system"] not in opened}
            whole = {c["system"] for c in new["codes"]} | set(new["open_systems"])
            if said == now and opened <= whole and set(new["open_systems"]) <= opened:
                continue
        found[url] = old
    return found


def primitives(types: Iterable[Json]) -> Json:
    """Return the primitive types: name -> regular expression, or null where R4 gives none."""
    found: Json = {}
    for definition in types:
        if definition["kind"] != "primitive-type":
            continue
        value = definition["snapshot"]["element"][-1]
        (kind,) = value["type"]
        regex = [e["valueString"] for e in kind.get("extension", []) if e["url"].endswith("/regex")]
        found[definition["id"]] = regex[0] if regex else None
    return dict(sorted(found.items()))


def text(value: Any) -> str:
    """Return compact JSON on one line."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def profile_text(facts: Json) -> str:
    """Return the JSON of a profile, an element or invariant a line, so that a diff can be read."""
    head = "".join(
        f"{text(k)}:{text(v)},\n" for k, v in facts.items() if k not in {"invariants", "elements"}
    )
    invariants = ",\n".join(f"{text(k)}:{text(v)}" for k, v in facts["invariants"].items())
    elements = ",\n".join(map(text, facts["elements"]))
    return f'{{{head}"invariants":{{\n{invariants}\n}},\n"elements":[\n{elements}\n]}}\n'


def map_text(facts: Json) -> str:
    """Return the JSON of a map, a key a line."""
    lines = ",\n".join(f"{text(k)}:{text(v)}" for k, v in facts.items())
    return f"{{\n{lines}\n}}\n"


def value_sets_text(facts: Json) -> str:
    """Return the JSON of value sets, a code a line."""
    parts = []
    for url, said in facts.items():
        head = text({k: v for k, v in said.items() if k != "codes"})[:-1]
        codes = ",\n".join(map(text, said["codes"]))
        parts.append(f'{text(url)}:{head},"codes":[\n{codes}\n]}}')
    return "{\n" + ",\n".join(parts) + "\n}\n"


def map_id_rows(path: Path) -> list[list[Any]]:
    """Return `[MapID, profile, element id]` as the comments of the 2.2.0 profiles cite them."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = {
            (int(row["map_id"]), row["profile"], row["fhir_element_id"])
            for row in csv.DictReader(file)
        }
    return [list(row) for row in sorted(rows)]


def build(guide: Path) -> Iterator[tuple[str, str]]:
    """Yield every file of the facts: name under `facts/`, and text."""
    types = read(guide / "support" / "r4-types-slim.json")
    plain = {
        t["id"]: profile_facts(t)
        for t in types
        if t["kind"] != "primitive-type" and t["id"] not in NOT_CARRIED
    }
    plain["Extension"]["invariants"] = EXTENSION_INVARIANT
    plain["Extension"]["elements"][0]["invariants"] = ["ext-1"]
    plain["SimpleQuantity"] = simple_quantity(plain["Quantity"])
    for name, rows in {**R4_ELEMENTS, **plan_net_facts.R4_ELEMENTS}.items():
        plain[name] = directory_type(name, rows, plain["Organization"])
    for extension in plan_net_facts.EXTENSIONS:
        plain[extension["name"]] = extension
    packages = {place: guide / "packages" / name for place, name in package_facts.PACKAGES.items()}
    for definition in (
        found for path in packages.values() for found in package_facts.profiles(path)
    ):
        if definition["type"] not in plain:
            plain[definition["type"]] = profile_facts(package_facts.unprofiled(definition))
    arrays = Arrays(plain)
    for name, facts in sorted(plain.items()):
        yield f"r4/4.0.1/{name}.json", profile_text(arrays.marked(facts))
    yield "r4/4.0.1/primitives.json", map_text(primitives(types))

    for definition in read(guide / "support" / "us-core-7.0.0-extensions-slim.json"):
        yield (
            f"us-core/7.0.0/{definition['id']}.json",
            profile_text(arrays.marked(profile_facts(definition))),
        )
    for name, extra in US_CORE_PROFILES.items():
        facts = us_core_directory(name, plain[extra["type"]])
        yield f"us-core/7.0.0/{name}.json", profile_text(arrays.marked(facts))

    newest: Json = {}
    for version, folder in VERSIONS.items():
        base = guide / folder
        for path in sorted((base / "structuredefinitions").glob("*.json")):
            facts = profile_facts(read(path))
            yield f"carin-bb/{version}/{facts['name']}.json", profile_text(arrays.marked(facts))
        own = code_systems(read_all(base / "codesystems"))
        yield f"carin-bb/{version}/code-systems.json", map_text(own)
        if not newest:
            newest = value_sets(base, own)
            yield f"carin-bb/{version}/value-sets.json", value_sets_text(newest)
        else:
            changed = changed_value_sets(base / "valuesets", newest, own)
            yield f"carin-bb/{version}/value-sets.json", value_sets_text(changed)
    rows = map_id_rows(guide / "cpcds-mapid-to-fhir-2.2.0.csv")
    yield "carin-bb/2.2.0/map-ids.json", "[\n" + ",\n".join(map(text, rows)) + "\n]\n"
    others = {**newest, **small_value_sets(plan_net_facts.VALUE_SETS)}
    of_plan_net = yield from plan_net(guide, arrays, others)
    yield from prior_authorization(guide / "pdex-2.2.0", arrays, others)
    others |= {**small_value_sets(package_facts.VALUE_SETS), **of_plan_net}
    for place, path in packages.items():
        yield from packaged(place, path, arrays, others)


def packaged(place: str, package: Path, arrays: Arrays, others: Json) -> Iterator[tuple[str, str]]:
    """Yield the files of a guide that is published as a package.

    Args:
        place: the folder of its facts.
        package: the package.
        arrays: of R4.
        others: value sets of R4, US Core, and Plan-Net.
    """
    profiles = [profile_facts(definition) for definition in package_facts.profiles(package)]
    for facts in profiles:
        yield f"{place}/{facts['name']}.json", profile_text(arrays.marked(facts))
    own = code_systems(package_facts.resources(package, "CodeSystem"))
    yield f"{place}/code-systems.json", map_text(own)
    written = package_facts.resources(package, "ValueSet")
    sets = bound_value_sets(written, own, profiles, others)
    yield f"{place}/value-sets.json", value_sets_text(sets)


PDEX: Final = "davinci-pdex/2.2.0"
PAS: Final = "davinci-pas/2.2.1"
PDEX_PROFILES: Final = (
    "pdex-priorauthorization",
    "extension-levelOfServiceCode",
    "extension-reviewAction",
    "extension-reviewActionCode",
    "base-ext-when-adjudicated",
    "PriorAuthorizationUtilization",
)


def prior_authorization(folder: Path, arrays: Arrays, others: Json) -> Iterator[tuple[str, str]]:
    """Yield PDex's prior authorization, what it consists of, and the extensions of PAS.

    The profile is that of the guide's build, with the slices that its sources have added since.
    """
    profiles = [
        profile_facts(read(folder / "structuredefinitions" / f"StructureDefinition-{name}.json"))
        for name in PDEX_PROFILES
    ]
    for added in read(folder / "head-delta.json")["changes"]:
        if added.get("build") == "absent":
            elements, below = profiles[0]["elements"], added["element"].partition(":")[0]
            last = max(at for at, e in enumerate(elements) if e["id"].partition(":")[0] == below)
            elements.insert(last + 1, element_facts(added["head"]))
    for facts in profiles:
        yield f"{PDEX}/{facts['name']}.json", profile_text(arrays.marked(facts))
    own = code_systems(read_all(folder / "codesystems"))
    yield f"{PDEX}/code-systems.json", map_text(own)
    sets = bound_value_sets(read_all(folder / "valuesets"), own, profiles, others)
    yield f"{PDEX}/value-sets.json", value_sets_text(sets)
    for path in sorted((folder / "pas-2.2.1-extensions").glob("*.json")):
        facts = profile_facts(read(path))
        yield f"{PAS}/{facts['name']}.json", profile_text(arrays.marked(facts))


def plan_net(guides: Path, arrays: Arrays, others: Json) -> Generator[tuple[str, str], None, Json]:
    """Yield the files of every version of Plan-Net; return the value sets of the newest.

    Args:
        guides: folder with a folder for each version.
        arrays: of R4.
        others: value sets of R4 and US Core.
    """
    newest: Json = {}
    for version, folder in plan_net_facts.VERSIONS.items():
        base, place = guides / folder, f"{plan_net_facts.ID}/{version}"
        paths = sorted((base / "structuredefinitions").glob("*.json"))
        profiles = [profile_facts(read(path)) for path in paths]
        for facts in profiles:
            yield f"{place}/{facts['name']}.json", profile_text(arrays.marked(facts))
        own = code_systems(read_all(base / "codesystems"))
        yield f"{place}/code-systems.json", map_text(own)
        if not newest:
            written = read_all(base / "valuesets")
            newest = bound_value_sets(written, own, profiles, others)
            yield f"{place}/value-sets.json", value_sets_text(newest)
        else:
            changed = changed_value_sets(base / "valuesets", newest, own)
            yield f"{place}/value-sets.json", value_sets_text(changed)
    return newest


def main(guide: str, out: str = "etl/profiles/facts") -> None:
    """Write all facts; remove what is no longer among them."""
    target = Path(out)
    files = dict(build(Path(guide)))
    for name, content in files.items():
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, "utf-8")
    for path in target.rglob("*.json"):
        if path.relative_to(target).as_posix() not in files:
            path.unlink()
    print(f"{len(files)} files, {sum(len(t) for t in files.values())} characters")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(*sys.argv[1:])
