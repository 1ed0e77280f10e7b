"""`make conformance`: HL7's engine over a folder of NDJSON, a sample of each profile or all of it.

Usage:
    python -m conformance.run FOLDER [--each N | --all] [--compare] [--guide GUIDE]
    python -m conformance.run --self-test

Exit code 0: the engine found no error, and every kind of warning is explained in
docs/conformance.md. 1: it did, or one is not. Where Java, Maven's registry or the guide's
definitions are missing the check says so and is skipped (0; with --require: 2).
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from conformance.engine import GUIDE, HERE, TARGET, EngineIssue, UnavailableError, judge, prepare
from etl.conform.checker import Checker
from etl.conform.findings import IssueSeverity
from etl.model.data_models import DATA_MODELS
from etl.profiles.guides import C4BB, PDEX, guide_named, versions_of

_GUIDES: Final = {
    f"{guide.id}-{guide.version}": guide
    for model in DATA_MODELS
    if not model.has_members
    for guide in versions_of(guide_named(model.guide))
}
"""Guides of data models without members, by ID and version."""
PRIOR_AUTH: Final = GUIDE / "pdex-2.2.0" / "examples" / "ExplanationOfBenefit-PDexPriorAuth1.json"
_PDEX_CODES: Final = f"{PDEX.base}CodeSystem/"


def _amount(system: str, code: str, **fields: Any) -> dict[str, Any]:
    return {"category": {"coding": [{"system": system, "code": code}]}, **fields}


BROKEN_PRIOR_AUTH: Final[tuple[dict[str, Any], ...]] = (
    {"use": "claim"},
    {"meta": {"profile": [f"{PDEX.canonical}pdex-priorauthorization|2.2.0"]}},
    {"preAuthRefPeriod": [{"start": "2021-10-01"}, {"start": "2021-11-01"}]},
    {"total": [_amount(f"{_PDEX_CODES}PriorAuthorizationValueCodes", "eligible")]},
    # The slicing of adjudication is closed: units allowed are no entry of the whole request.
    {"adjudication": [_amount(f"{_PDEX_CODES}PDexAdjudicationDiscriminator", "allowedunits")]},
    {"adjudication": [_amount(f"{_PDEX_CODES}PDexAdjudicationDiscriminator", "denialreason")]},
)
"""Fields that each break the example of a prior authorization."""
EXPLAINED: Final = HERE.parent / "docs" / "conformance.md"


@dataclass(slots=True)
class Sample:
    """The resources of one profile that are put to the engine.

    Attributes:
        profile: the last part of its canonical, without version; "none" without a profile.
        lines: resources as they were written.
        total: how many there are in all.
    """

    profile: str
    lines: list[bytes] = field(default_factory=list)
    total: int = 0


def say(text: str = "") -> None:
    """Write one line."""
    sys.stdout.write(f"{text}\n")


def resources(folders: Iterable[Path]) -> Iterator[bytes]:
    """Yield every line of every NDJSON file below some folders."""
    for folder in folders:
        files = [f for f in folder.rglob("*") if f.name.endswith((".ndjson", ".ndjson.gz"))]
        for path in sorted(files):
            text = path.read_bytes()
            plain = gzip.decompress(text) if path.name.endswith(".gz") else text
            yield from (line for line in plain.split(b"\n") if line.strip())


def sampled(lines: Iterable[bytes], each: int | None) -> dict[str, Sample]:
    """Return the resources by profile: all, or `each` of a profile, spread over the input.

    Of n resources those are kept whose number is a multiple of a step that doubles whenever twice
    as many as wanted have come together: which they are depends on the input alone.
    """
    found: dict[str, Sample] = {}
    steps: dict[str, int] = defaultdict(lambda: 1)
    for line in lines:
        resource = json.loads(line)
        if resource.get("resourceType") == "Parameters":
            continue
        profile = profile_of(resource)
        sample = found.setdefault(profile, Sample(profile))
        if sample.total % steps[profile] == 0:
            sample.lines.append(line)
        sample.total += 1
        if each is not None and len(sample.lines) >= 2 * each:
            sample.lines = sample.lines[::2]
            steps[profile] *= 2
    if each is not None:
        for sample in found.values():
            sample.lines = sample.lines[:each]
    return dict(sorted(found.items()))


def profile_of(resource: dict[str, Any]) -> str:
    """Return the name of the first profile that a resource says it conforms to."""
    named = resource.get("meta", {}).get("profile", [])
    return str(named[0]).rpartition("/")[2].partition("|")[0] if named else "none"


def written(samples: Iterable[Sample], folder: Path) -> dict[Path, Sample]:
    """Write one NDJSON file a profile; return them."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.ndjson"):
        old.unlink()
    files = {}
    for sample in samples:
        path = folder / f"{sample.profile}.ndjson"
        path.write_bytes(b"".join(line + b"\n" for line in sample.lines))
        files[path] = sample
    return files


def summary(files: dict[Path, Sample], issues: Sequence[EngineIssue]) -> bool:
    """Say what was found, by profile and by kind; return whether all is well."""
    by_file: dict[str, list[EngineIssue]] = defaultdict(list)
    for issue in issues:
        by_file[issue.file].append(issue)
    say(f"{'profile':<58}{'judged':>8}{'of':>9}{'errors':>8}{'warnings':>10}")
    for path, sample in files.items():
        found = by_file[str(path)]
        errors = sum(issue.is_error for issue in found)
        warnings = sum(issue.severity == "warning" for issue in found)
        count = len(sample.lines)
        say(f"{sample.profile:<58}{count:>8,}{sample.total:>9,}{errors:>8,}{warnings:>10,}")
    explained = EXPLAINED.read_text("utf-8") if EXPLAINED.exists() else ""
    kinds = Counter((i.severity, i.rule) for i in issues if i.severity != "information")
    well = True
    for (severity, rule), count in sorted(kinds.items()):
        known = severity == "warning" and f"`{rule}`" in explained
        well = well and known
        say(f"{count:>8,}  {severity} {rule or '(no id)'}{'' if known else '  NOT EXPLAINED'}")
    for issue in [i for i in issues if i.is_error][:8]:
        say(f"  {Path(issue.file).name}:{issue.line}  {issue.path}  {issue.text}")
    return well


def compared(files: dict[Path, Sample], issues: Sequence[EngineIssue]) -> None:
    """Say about which resources the engine and `cpcds conform` disagree."""
    checker = Checker()
    theirs: dict[tuple[str, int], set[str]] = defaultdict(set)
    for issue in issues:
        if issue.is_error:
            theirs[issue.file, issue.line].add(f"{issue.rule} at {issue.path}")
    tally: Counter[tuple[str, str]] = Counter()
    agreed = total = 0
    for path, sample in files.items():
        for number, line in enumerate(sample.lines, 1):
            judged = checker.check(json.loads(line))
            ours = {
                f"{issue.rule.id} at {issue.path}"
                for _, issue in judged.issues
                if issue.rule.severity is IssueSeverity.ERROR
            }
            engine = theirs[str(path), number]
            total += 1
            if bool(ours) == bool(engine):
                agreed += 1
            else:
                tally["conform" if ours else "engine", "; ".join(sorted(ours or engine))] += 1
    say(f"the engine and cpcds conform agree on {agreed:,} of {total:,} resources")
    for (who, what), count in tally.most_common(40):
        say(f"{count:>8,}  only {who}: {what}")


def self_test(command: Sequence[str]) -> bool:
    """Judge the guides' official examples and the broken ones; return whether each is as it is."""
    prior_auth = _read(PRIOR_AUTH)
    parts = {
        "examples": [*map(_read, sorted((GUIDE / "examples").glob("*.json"))), prior_auth],
        "broken": [
            *map(_read, sorted((GUIDE / "validation" / "broken-examples").glob("*.json"))),
            *(prior_auth | fields for fields in BROKEN_PRIOR_AUTH),
        ],
    }
    files = [TARGET / f"{name}.ndjson" for name in parts]
    for path, resources in zip(files, parts.values(), strict=True):
        path.write_text("".join(f"{json.dumps(resource)}\n" for resource in resources), "utf-8")
    failed: dict[str, set[int]] = {name: set() for name in parts}
    for issue in judge(command, files):
        if issue.is_error:
            failed[Path(issue.file).stem].add(issue.line)
    say(f"official examples with errors: {len(failed['examples'])} of {len(parts['examples'])}")
    say(f"broken examples that are caught: {len(failed['broken'])} of {len(parts['broken'])}")
    return not failed["examples"] and len(failed["broken"]) == len(parts["broken"])


def _read(path: Path) -> dict[str, Any]:
    resource: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return resource


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(description="HL7's engine over a folder of FHIR NDJSON")
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--each", type=int, default=25, help="resources of each profile (25)")
    parser.add_argument("--all", action="store_true", help="every resource")
    parser.add_argument("--compare", action="store_true", help="with cpcds conform, too")
    parser.add_argument("--self-test", action="store_true", help="the guide's examples")
    parser.add_argument("--guide", choices=[*_GUIDES], help="public data, not claims")
    parser.add_argument("--require", action="store_true", help="skipping is a failure")
    found = parser.parse_args(arguments)
    if not found.folders and not found.self_test:
        parser.error("name a folder, or --self-test")
    for folder in found.folders:
        if not folder.is_dir():
            parser.error(f"{folder}: no such folder")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    options = parsed(arguments)
    try:
        command = prepare(_GUIDES.get(options.guide, C4BB))
    except UnavailableError as why:
        say(f"conformance: SKIPPED, {why}")
        return 2 if options.require else 0
    well = True
    if options.self_test:
        well = self_test(command)
    if options.folders:
        samples = sampled(resources(options.folders), None if options.all else options.each)
        if not samples:
            say("conformance: no resource in these folders")
            return 1
        files = written(samples.values(), TARGET / "sample")
        issues = list(judge(command, list(files)))
        well = summary(files, issues) and well
        if options.compare:
            compared(files, issues)
    say(f"conformance: {'passed' if well else 'FAILED'}")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
