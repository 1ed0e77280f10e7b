"""Hostile rows through the whole of `cpcds convert`, and what the checker says of the result."""

import json
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from etl.bootstrap import inspections
from etl.bootstrap.mappings import read_folder, shipped
from etl.bootstrap.settings import Settings
from etl.conform.findings import IssueSeverity
from etl.conform.resource_files import file_sources
from etl.conform.run import conform
from etl.documents.yaml_text import read_yaml
from etl.pipeline.one_off import Conversion
from etl.pipeline.progress import ignore
from tests.property.conforming.hostile import write


@dataclass(frozen=True, slots=True)
class Judged:
    """What was published, and what the checker says of it.

    Attributes:
        converted: counts and findings of the run.
        folder: the NDJSON files.
        errors: rule and path of each error, with how many.
        claims: how many claims were published.
    """

    converted: Conversion
    folder: Path
    errors: Mapping[str, int]
    claims: int

    def resources(self, share):
        """Return every so many-th resource that was published."""
        lines = [
            line
            for path in sorted(self.folder.glob("*.ndjson"))
            for line in path.read_text(encoding="utf-8").splitlines()
        ]
        return [json.loads(line) for line in lines[::share]]


@cache
def soft():
    """Return severities that let through whatever a payer may let through."""
    told = {}
    for name, text in read_folder((shipped(),), "rules", "*.yaml").texts.items():
        for rule in read_yaml(text, name):
            if rule["severity"] != "warn" and not rule.get("firm", False):
                told[rule["id"]] = "warn"
    return told


def settings(**parts):
    """Return settings of one process, without anything that is read from outside."""
    return Settings(**{"run": {"workers": 1}, **parts})


def published(folder, rows, how):
    """Convert rows and check all that comes of them, what the guide says in words included."""
    shutil.rmtree(folder, ignore_errors=True)
    write(folder / "in", rows)
    converted = inspections.convert_extract(how, folder / "in", folder / "out", ignore)
    report = conform(file_sources([folder / "out"]), is_complete=True, strict=True)
    errors = Counter()
    for (severity, rule, profile, path), count in report.counts.items():
        if severity is IssueSeverity.ERROR:
            errors[f"{rule} {profile.rpartition('/')[2]} {path}"] += count
    return Judged(
        converted, folder / "out", errors, converted.resources.get("ExplanationOfBenefit", 0)
    )
