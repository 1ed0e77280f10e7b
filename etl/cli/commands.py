"""The table of commands: what `--help` and completion print without loading any of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType
from typing import Final

import click

JOB: Final = "The job"
TREE: Final = "Looking after a published tree"
SERVING: Final = "Serving"
AUTHORIZATION: Final = "Looking after the authorization server"
MAPPINGS: Final = "Mappings, rules and settings"
OTHERS: Final = "FHIR of anyone, and synthetic extracts"

PARTS: Final = (JOB, TREE, SERVING, AUTHORIZATION, MAPPINGS, OTHERS)
"""Headings of `--help`, in its order."""

EXAMPLES: Final = (
    ("check an extract", "cpcds validate /data/in/2026-01-31"),
    ("see what would change", "cpcds run /data/in/2026-01-31 --to /data/published --dry-run"),
    ("publish it", "cpcds run /data/in/2026-01-31 --to /data/published --log night.log"),
    ("look at past nights", "cpcds history /data/published"),
    ("take a night back", "cpcds rollback /data/published 20260130 --reason 'doubled amounts'"),
    ("serve it", "cpcds serve /data/published"),
)
"""Examples of `--help`: purpose and command."""


@dataclass(frozen=True, slots=True)
class CommandPlace:
    """A command's module, and its help text, which needs no import.

    Attributes:
        at: its module in this package and its name there, as `run:run_command`.
        summary: the first sentence of its help.
        part: its heading in `--help`.
    """

    at: str
    summary: str
    part: str

    def load(self) -> click.Command:
        """Return the command; its module is imported.

        Raises:
            ModuleNotFoundError: a package that the command imports is not installed.
        """
        module, _, name = self.at.partition(":")
        command: click.Command = getattr(import_module(f"etl.cli.{module}"), name)
        return command


COMMANDS: Final[Mapping[str, CommandPlace]] = MappingProxyType(
    {
        "apps": CommandPlace("apps:apps_group", "Manage registered apps.", AUTHORIZATION),
        "audit": CommandPlace("apps:audit_group", "Verify the audit trail.", AUTHORIZATION),
        "auth": CommandPlace(
            "apps:auth_group", "Manage the authorization server itself.", AUTHORIZATION
        ),
        "conform": CommandPlace(
            "conform:conform_command",
            "Check FHIR against CARIN Blue Button or Plan-Net: every resource, offline.",
            OTHERS,
        ),
        "convert": CommandPlace(
            "convert:convert_command",
            "Convert the CPCDS extract EXTRACT into plain bulk NDJSON.",
            JOB,
        ),
        "developers": CommandPlace(
            "developers:developers_group",
            "Manage the accounts of developers on the portal.",
            AUTHORIZATION,
        ),
        "diff": CommandPlace(
            "releases:diff_command",
            "Compare release BEFORE of TARGET with release AFTER.",
            TREE,
        ),
        "doctor": CommandPlace(
            "doctor:doctor_command",
            "Examine files of an unknown layout in EXTRACT: form, columns, joins.",
            JOB,
        ),
        "explain": CommandPlace(
            "explain:explain_command",
            "Trace a resource in TARGET to its source, or a claim or row to its resources.",
            JOB,
        ),
        "export": CommandPlace(
            "export:export_command",
            "Write the public files of the provider directory in TARGET to a folder for a web "
            "server.",
            TREE,
        ),
        "history": CommandPlace(
            "history:history_command",
            "List the runs of TARGET, newest first: verdict, duration, what was rejected, money.",
            TREE,
        ),
        "layouts": CommandPlace(
            "layouts:layouts_group",
            "List the layouts of extracts that are known, the canonical one first.",
            JOB,
        ),
        "mapping": CommandPlace(
            "mapping:mapping_group", "Check the mappings, and print what they say.", MAPPINGS
        ),
        "prune": CommandPlace(
            "releases:prune_command",
            "Delete old releases of TARGET, and every object that no other release names.",
            TREE,
        ),
        "releases": CommandPlace(
            "releases:releases_command",
            "List the releases of TARGET that were kept, newest first.",
            TREE,
        ),
        "report": CommandPlace(
            "reports:report_group",
            "Make the numbers that payers report to others.",
            AUTHORIZATION,
        ),
        "resume": CommandPlace(
            "releases:resume_command",
            "Let runs publish to TARGET again after a rollback.",
            TREE,
        ),
        "rollback": CommandPlace(
            "releases:rollback_command",
            "Publish what RELEASE of TARGET held once more, as a new release on top.",
            TREE,
        ),
        "rules": CommandPlace(
            "references:rules_command",
            "List the rules: what each looks for, what a failure does, what it spoils.",
            MAPPINGS,
        ),
        "run": CommandPlace(
            "run:run_command",
            "Load, check, map and publish the CPCDS extract EXTRACT, and report.",
            JOB,
        ),
        "serve": CommandPlace(
            "serve:serve_command",
            "Serve what is published in TARGET as a FHIR API.",
            SERVING,
        ),
        "settings": CommandPlace(
            "references:settings_command",
            "List the settings: name, default, meaning.",
            MAPPINGS,
        ),
        "synth": CommandPlace(
            "synth:synth_command",
            "Write a synthetic extract in the canonical layout: the same for the same seed.",
            OTHERS,
        ),
        "validate": CommandPlace(
            "validate:validate_command",
            "Check the CPCDS extract EXTRACT and write the auditor's report.",
            JOB,
        ),
        "verify": CommandPlace(
            "releases:verify_command",
            "Check every hash, count, catalog row, reference and bulk page of a release of TARGET.",
            TREE,
        ),
    }
)
"""Name → place. Only the command that is called is loaded: `serve` must not bring in Arrow and
pandas, which stay in memory as long as it runs, and `--help` needs none of them."""
