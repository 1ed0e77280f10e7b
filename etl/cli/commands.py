"""The table of commands: what `--help` and completion print without loading any of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType
from typing import Final

import click

BATCH: Final = "batch"
SERVE: Final = "serve"

JOB: Final = "The job"
TREE: Final = "Looking after a published tree"
SERVING: Final = "Serving"
AUTHORIZATION: Final = "Looking after the authorization server"
MAPPINGS: Final = "Mappings"
OTHERS: Final = "FHIR of anyone, and synthetic extracts"

PARTS: Final = (JOB, TREE, SERVING, AUTHORIZATION, MAPPINGS, OTHERS)
"""Headings of `--help`, in its order: those of docs/cli.md."""

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
        extra: the extra of the distribution that installs what the module imports.
        summary: the first sentence of its help.
        part: its heading in `--help`.
    """

    at: str
    extra: str
    summary: str
    part: str

    def load(self) -> click.Command:
        """Return the command; its module is imported.

        Raises:
            ModuleNotFoundError: a package of the extra is not installed.
        """
        module, _, name = self.at.partition(":")
        command: click.Command = getattr(import_module(f"etl.cli.{module}"), name)
        return command


COMMANDS: Final[Mapping[str, CommandPlace]] = MappingProxyType(
    {
        "apps": CommandPlace("apps:apps_group", SERVE, "Manage registered apps.", AUTHORIZATION),
        "audit": CommandPlace("apps:audit_group", SERVE, "Verify the audit trail.", AUTHORIZATION),
        "auth": CommandPlace(
            "apps:auth_group", SERVE, "Manage the authorization server itself.", AUTHORIZATION
        ),
        "conform": CommandPlace(
            "conform:conform_command",
            BATCH,
            "Check FHIR against CARIN Blue Button or Plan-Net: every resource, offline.",
            OTHERS,
        ),
        "convert": CommandPlace(
            "convert:convert_command",
            BATCH,
            "Convert the CPCDS extract EXTRACT into plain bulk NDJSON.",
            JOB,
        ),
        "developers": CommandPlace(
            "developers:developers_group",
            SERVE,
            "Manage the accounts of developers on the portal.",
            AUTHORIZATION,
        ),
        "diff": CommandPlace(
            "releases:diff_command",
            BATCH,
            "Compare release BEFORE of TARGET with release AFTER.",
            TREE,
        ),
        "doctor": CommandPlace(
            "doctor:doctor_command",
            BATCH,
            "Examine files of an unknown layout in EXTRACT: form, columns, joins.",
            JOB,
        ),
        "explain": CommandPlace(
            "explain:explain_command",
            BATCH,
            "Trace a resource in TARGET to its source, or a claim or row to its resources.",
            JOB,
        ),
        "export": CommandPlace(
            "export:export_command",
            BATCH,
            "Write the public files of the provider directory in TARGET to a folder for a web "
            "server.",
            TREE,
        ),
        "history": CommandPlace(
            "history:history_command",
            BATCH,
            "List the runs of TARGET, newest first: verdict, duration, what was rejected, money.",
            TREE,
        ),
        "layouts": CommandPlace(
            "layouts:layouts_group",
            BATCH,
            "List the layouts of extracts that are known, the canonical one first.",
            JOB,
        ),
        "mapping": CommandPlace(
            "mapping:mapping_group", BATCH, "Check the mappings, and print what they say.", MAPPINGS
        ),
        "prune": CommandPlace(
            "releases:prune_command",
            BATCH,
            "Delete old releases of TARGET, and every object that no other release names.",
            TREE,
        ),
        "releases": CommandPlace(
            "releases:releases_command",
            BATCH,
            "List the releases of TARGET that were kept, newest first.",
            TREE,
        ),
        "report": CommandPlace(
            "reports:report_group",
            SERVE,
            "Make what payers hand to others: numbers for CMS, a certificate for auditors.",
            AUTHORIZATION,
        ),
        "resume": CommandPlace(
            "releases:resume_command",
            BATCH,
            "Let runs publish to TARGET again after a rollback.",
            TREE,
        ),
        "rollback": CommandPlace(
            "releases:rollback_command",
            BATCH,
            "Publish what RELEASE of TARGET held once more, as a new release on top.",
            TREE,
        ),
        "run": CommandPlace(
            "run:run_command",
            BATCH,
            "Load, check, map and publish the CPCDS extract EXTRACT, and report.",
            JOB,
        ),
        "serve": CommandPlace(
            "serve:serve_command",
            SERVE,
            "Serve what is published in TARGET as a FHIR API.",
            SERVING,
        ),
        "synth": CommandPlace(
            "synth:synth_command",
            BATCH,
            "Write a synthetic extract in the canonical layout: the same for the same seed.",
            OTHERS,
        ),
        "validate": CommandPlace(
            "validate:validate_command",
            BATCH,
            "Check the CPCDS extract EXTRACT and write the auditor's report.",
            JOB,
        ),
        "verify": CommandPlace(
            "releases:verify_command",
            BATCH,
            "Check every hash, count, catalog row, reference and bulk page of a release of TARGET.",
            TREE,
        ),
    }
)
"""Name → place. Only the command that is called is loaded: `serve` must not bring in Arrow and
pandas, which stay in memory as long as it runs, and `--help` needs none of them."""
