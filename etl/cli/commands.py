"""The table of commands: what `--help` and completion print without loading any of them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

EXAMPLES: Final = (
    ("check an extract", "cpcds validate /data/in/2026-01-31"),
    ("see what would change", "cpcds run /data/in/2026-01-31 --to /data/published --dry-run"),
    ("publish it", "cpcds run /data/in/2026-01-31 --to /data/published --log night.log"),
    ("look at past nights", "cpcds history /data/published"),
    ("take a night back", "cpcds rollback /data/published 20260130 --reason 'doubled amounts'"),
    ("serve it", "cpcds serve /data/published"),
)
"""Examples of `--help`: purpose and command."""

COMMANDS: Final[Mapping[str, Mapping[str, tuple[str, str]]]] = MappingProxyType(
    {
        "The job": {
            "convert": (
                "one_off:convert_command",
                "Convert the CPCDS extract EXTRACT into plain bulk NDJSON.",
            ),
            "doctor": (
                "doctor:doctor_command",
                "Examine files of an unknown layout in EXTRACT: form, columns, joins.",
            ),
            "explain": (
                "explain:explain_command",
                "Trace a resource in TARGET to its source, or a claim or row to its resources.",
            ),
            "layouts": (
                "layouts:layouts_group",
                "List the layouts of extracts that are known, the canonical one first.",
            ),
            "run": (
                "run:run_command",
                "Load, check, map and publish the CPCDS extract EXTRACT, and report.",
            ),
            "validate": (
                "one_off:validate_command",
                "Check the CPCDS extract EXTRACT and write the auditor's report.",
            ),
        },
        "Looking after a published tree": {
            "diff": (
                "releases:diff_command",
                "Compare release BEFORE of TARGET with release AFTER.",
            ),
            "export": (
                "export:export_command",
                "Write the public files of the provider directory in TARGET to a folder for "
                "a web server.",
            ),
            "history": (
                "releases:history_command",
                "List the runs of TARGET, newest first: verdict, duration, what was "
                "rejected, money.",
            ),
            "prune": (
                "releases:prune_command",
                "Delete old releases of TARGET, and every object that no other release names.",
            ),
            "releases": (
                "releases:releases_command",
                "List the releases of TARGET that were kept, newest first.",
            ),
            "resume": (
                "releases:resume_command",
                "Let runs publish to TARGET again after a rollback.",
            ),
            "rollback": (
                "releases:rollback_command",
                "Publish what RELEASE of TARGET held once more, as a new release on top.",
            ),
            "verify": (
                "releases:verify_command",
                "Check every hash, count, catalog row, reference and bulk page of a release "
                "of TARGET.",
            ),
        },
        "Serving": {
            "serve": ("serve:serve_command", "Serve what is published in TARGET as a FHIR API."),
        },
        "Looking after the authorization server": {
            "apps": ("accounts:apps_group", "Manage registered apps."),
            "audit": ("accounts:audit_group", "Verify the audit trail."),
            "auth": ("accounts:auth_group", "Manage the authorization server itself."),
            "developers": (
                "developers:developers_group",
                "Manage the accounts of developers on the portal.",
            ),
            "report": ("accounts:report_group", "Make the numbers that payers report to others."),
        },
        "Mappings, rules and settings": {
            "mapping": ("mapping:mapping_group", "Check the mappings, and print what they say."),
            "rules": (
                "references:rules_command",
                "List the rules: what each looks for, what a failure does, what it spoils.",
            ),
            "settings": (
                "references:settings_command",
                "List the settings: name, default, meaning.",
            ),
        },
        "FHIR of anyone, and synthetic extracts": {
            "conform": (
                "conform:conform_command",
                "Check FHIR against CARIN Blue Button or Plan-Net: every resource, offline.",
            ),
            "synth": (
                "synth:synth_command",
                "Write a synthetic extract in the canonical layout: the same for the same seed.",
            ),
        },
    }
)
"""Heading of `--help` -> name -> `module:attribute` in this package, and the first sentence of the
command's help. Only the command that is called is imported: `serve` must not load Arrow and pandas,
which stay in memory as long as it runs, and `--help` needs none of them."""
