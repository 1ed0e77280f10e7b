"""Administration of a published tree: releases, diff, rollback, resume, verify, prune."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import click

from etl.bootstrap.inspections import export_directory
from etl.bootstrap.releases import (
    plan_finder_note,
    prune_target,
    rebuild_release,
    resume_target,
    roll_back_and_record,
    verify_release,
)
from etl.bootstrap.run_records import read_records
from etl.bootstrap.settings import target_store
from etl.cli import options, release_changes
from etl.cli.progress import counting
from etl.cli.result_tables import totals_text
from etl.errors import StoreError, counted, if_interrupted
from etl.pipeline.progress import ignore
from etl.pipeline.reporting.run_record import GOOD, RunRecord
from etl.publish.canonical_json import as_instant
from etl.publish.diff import compare
from etl.publish.history import find_release, holds, lineage
from etl.publish.kept_definitions import definitions_note
from etl.publish.manifest import Changes, ReleaseSubject
from etl.publish.network_changes import network_changes
from etl.publish.prune import FOLDERS
from etl.publish.signatures import check_descent, check_signature, check_time_stamp
from etl.publish.verify import Problem, RebuildResult, VerifyResult
from etl.reports.earlier_reports import runs_page

_SHOWN: Final = 20
"""Problems that are printed without `--all`."""


@click.command("releases")
@options.on_target
@click.pass_context
def releases_command(context: click.Context, as_json: bool) -> None:
    """List the releases kept in TARGET, newest first.

    TARGET is a folder or s3://bucket/prefix.
    """
    settings = options.read_settings(context)
    store = target_store(settings)
    listed = list(lineage(store))
    runs = {each.release: each for each in read_records(store) if each.verdict == "published"}
    if as_json:
        body = [
            {
                "release": release.id,
                "parent": release.manifest.parent,
                "created": release.manifest.created,
                "kind": release.manifest.facts.kind,
                "current": release is listed[0],
                "counts": release.manifest.counts,
                "inputs": [str(file.get("name", "")) for file in release.manifest.facts.inputs],
                "rollback_to": release.manifest.rolled_back_to,
                "reason": release.manifest.facts.run.get("reason") or None,
                "holds": release is listed[0] and holds(store, release),
                **_run_json(runs.get(release.id)),
            }
            for release in listed
        ]
        options.print_json(body)
    elif not listed:
        click.echo(f"{settings.target}: nothing has been published yet")
    else:
        for release in listed:
            manifest, is_current = release.manifest, release is listed[0]
            changes = Changes.from_json(manifest.counts["changes"])
            subject, kind = manifest.subject, manifest.facts.kind
            held = f"{subject.size(manifest.counts):,} {subject.noun}"
            line = f"{release.id}  {kind}, {held}: {_changed_counts(changes, subject)}"
            line += "; current" * is_current
            if manifest.rolled_back_to is not None:
                reason = manifest.facts.run.get("reason")
                line += f"; back to {manifest.rolled_back_to}" + f" ({reason})" * bool(reason)
                line += "; in force until cpcds resume" * (is_current and holds(store, release))
            click.echo(f"{line}{_of_run(runs.get(release.id))}")


def _run_json(record: RunRecord | None) -> dict[str, object]:
    """Return the record of the run that made a release as JSON; null without one."""
    if record is None or record.totals is None:
        return {"run": None, "verdict": None, "seconds": None, "rejected": None, "money": None}
    body, totals = record.to_json(), record.totals
    return {
        "run": record.run,
        "verdict": record.verdict,
        "seconds": body["seconds"],
        "rejected": {
            "claims": totals.rejected_claims,
            "of": totals.claims,
            "rows": totals.rejected_rows,
        },
        "money": body["totals"]["money"],
    }


def _of_run(record: RunRecord | None) -> str:
    if record is None or record.totals is None:
        return ""
    return (
        f"; {record.verdict} in {record.seconds:,.1f} s, "
        f"{totals_text(record.totals, before_money=', ')}"
    )


def _changed_counts(changes: Changes, subject: ReleaseSubject) -> str:
    """Return how many members changed; of a provider directory, how many resources."""
    counts = subject.changed(changes)
    return f"{counts.added:,} added, {counts.changed:,} changed, {counts.retracted:,} retracted"


@click.command("diff")
@options.target_argument()
@click.argument("before")
@click.argument("after")
@options.page_option
@options.endpoint_option
@options.json_option
@click.pass_context
def diff_command(
    context: click.Context, before: str, after: str, page: Path | None, as_json: bool
) -> None:
    """Compare release BEFORE of TARGET with release AFTER.

    Give each release as its ID, a unique beginning of its ID, or `current`.
    """
    store = target_store(options.read_settings(context))
    old, new = find_release(store, before), find_release(store, after)
    changes = compare(old, new)
    subject = new.manifest.subject
    networks = network_changes(old, new)
    if page is not None:
        options.write_file(page, release_changes.difference_page(old, new, changes, networks))
    money = release_changes.money_between(old, new, changes)
    if as_json:
        body = release_changes.changes_json(changes, money, networks)
        definitions = definitions_note(old, new) or None
        options.print_json({"before": old.id, "after": new.id, "definitions": definitions, **body})
    else:
        click.echo(f"{old.id} → {new.id}")
        if definitions := definitions_note(old, new):
            click.echo(definitions)
        release_changes.show_changes(changes, money, subject)
        if networks is not None:
            release_changes.show_networks(networks)
        if page is not None:
            click.echo(f"page: {page}")


@click.command("rollback")
@options.target_argument()
@click.argument("release")
@click.option(
    "--reason", default="", help="Reason, stored in the new release. Do not include member data."
)
@options.endpoint_option
@options.json_option
@click.pass_context
def rollback_command(context: click.Context, release: str, reason: str, as_json: bool) -> None:
    """Publish the content of RELEASE of TARGET again, as a new release.

    The rollback stays in force: runs stop with exit code 5 until you run `cpcds resume TARGET`.
    To allow a single run, use `cpcds run --after-rollback`.
    """
    settings = options.read_settings(context)
    target = settings.target
    manifest, model = roll_back_and_record(settings, release, " ".join(reason.split()))
    note = plan_finder_note(settings, manifest)
    if note:
        click.echo(f"warning: {note}", err=True)
    changes = Changes.from_json(manifest.counts["changes"])
    if as_json:
        body = {"release": manifest.release, "parent": manifest.parent, "rollback_to": model}
        options.print_json({**body, **changes.to_json()})
    else:
        click.echo(f"release {manifest.release} is published to {target}: what {model} held")
        click.echo(f"{manifest.subject.noun}: {_changed_counts(changes, manifest.subject)}")
        click.echo(f"the rollback is in force: runs stop until `cpcds resume {target}`")


@click.command("resume")
@options.on_target
@click.pass_context
def resume_command(context: click.Context, as_json: bool) -> None:
    """Allow runs to publish to TARGET again after a rollback."""
    settings = options.read_settings(context)
    target, resumed = settings.target, resume_target(settings)
    if as_json:
        options.print_json({"target": target, "resumed": resumed})
    elif resumed is None:
        click.echo(f"nothing to do: no rollback is in force in {target}")
    else:
        click.echo(f"runs can publish after rollback {resumed} again")


@click.command("verify")
@click.option(
    "--release", default="current", help="Release to check. Default: the current release."
)
@click.option(
    "--key",
    "keys",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="Public key of the required signature. Repeat to accept any of several keys.",
)
@click.option(
    "--timestamp-root",
    "roots",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="Root or intermediate certificate of the required timestamp authority. Can be repeated.",
)
@click.option("--all", "show_all", is_flag=True, help="Print all problems, as --json always does.")
@click.option("--since", help="Check that the release comes after this earlier release.")
@click.option(
    "--rebuild",
    "extract",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    metavar="EXTRACT",
    help="Extract that the release was made from. Rebuild it and compare it bit for bit.",
)
@options.executor_options
@options.on_target
@click.pass_context
def verify_command(
    context: click.Context,
    as_json: bool,
    release: str,
    keys: tuple[Path, ...],
    roots: tuple[Path, ...],
    show_all: bool,
    since: str | None,
    extract: Path | None,
) -> None:
    """Check every hash, count, catalog row, reference, and bulk page of a release of TARGET.

    Exit code 5 means that something is broken. The output lists it.
    """
    settings = options.read_settings(context)
    target, store = settings.target, target_store(settings)
    chosen = find_release(store, release)
    signed_by = check_signature(chosen, keys) if keys else None
    stamped = check_time_stamp(chosen, roots) if roots else None
    steps = None if since is None else check_descent(store, chosen, since)
    members = chosen.manifest.counts["patients"]
    with counting("verifying", "members", members, quiet=as_json or not members) as advance:
        verified = verify_release(settings, chosen, advance, keys)
    remade = None
    if verified.ok and extract is not None:
        remade = rebuild_release(settings, chosen, extract, ignore)
    if as_json:
        proofs: dict[str, Any] = {"signed_by": signed_by, "releases_since": steps}
        proofs["time_stamped"] = None if stamped is None else as_instant(stamped)
        proofs["rebuilt"] = None if remade is None else _rebuilt_json(remade)
        options.print_json({**_verified_json(verified), **proofs})
    else:
        _show_problems(verified.problems, show_all=show_all)
        click.echo(
            f"{verified.release}: {_checked_counts(verified)}, "
            f"{verified.objects:,} objects, {verified.bytes:,} bytes were checked"
        )
    if not verified.ok:
        raise StoreError(
            f"{target}: {counted(len(verified.problems), 'problem')} in {verified.release}; "
            "`cpcds run EXTRACT --repair` rewrites what it can, and publishes a release that is "
            "intact; otherwise, restore the objects from a copy, or roll back to an intact release"
        )
    if not as_json:
        click.echo("no problems found")
        if signed_by is not None:
            click.echo(f"signed by key {signed_by}")
        if stamped is not None:
            click.echo(f"time-stamped at {as_instant(stamped)}")
        if steps is not None:
            click.echo(f"{counted(steps, 'release')} after {since}")
    if remade is not None:
        _show_rebuilt(remade, target, as_json=as_json, show_all=show_all)


def _checked_counts(checked: VerifyResult | RebuildResult) -> str:
    members = f"{checked.patients:,} members, " if checked.patients else ""
    return f"{members}{checked.resources:,} resources"


def _show_problems(problems: Sequence[Problem], *, show_all: bool) -> None:
    shown = problems if show_all else problems[:_SHOWN]
    for problem in shown:
        click.echo(f"{problem.kind}: {problem.key}: {problem.what}")
    if len(problems) > len(shown):
        click.echo(f"… and {len(problems) - len(shown):,} more: --all prints them")


def _show_rebuilt(remade: RebuildResult, target: str, *, as_json: bool, show_all: bool) -> None:
    """Print what a rebuild came to.

    Raises:
        StoreError: something is not what the extract gives.
    """
    if not as_json:
        _show_problems(remade.problems, show_all=show_all)
        for reason in remade.reasons:
            click.echo(f"made differently: {reason}")
    if remade.problems:
        raise StoreError(
            f"{target}: release {remade.release} differs from a rebuild of the extract in "
            f"{counted(len(remade.problems), 'place')}"
            f"{'; it was made with a different program or configuration' if remade.reasons else ''}"
        )
    if not as_json:
        click.echo(
            "a rebuild from the extract is identical bit for bit: "
            f"{_checked_counts(remade)} (reports are not compared)"
        )


def _rebuilt_json(remade: RebuildResult) -> dict[str, Any]:
    return {
        "same": not remade.problems,
        "release": remade.remade,
        "made_otherwise": list(remade.reasons),
        "problems": [asdict(problem) for problem in remade.problems],
        "problem_count": len(remade.problems),
    }


def _verified_json(verified: VerifyResult) -> dict[str, Any]:
    return {
        "release": verified.release,
        "ok": verified.ok,
        "problems": [asdict(problem) for problem in verified.problems],
        "problem_count": len(verified.problems),
        "patients": verified.patients,
        "resources": verified.resources,
        "objects": verified.objects,
        "bytes": verified.bytes,
    }


@click.command("prune")
@click.option(
    "--keep", type=click.IntRange(min=1), required=True, help="Minimum number of releases to keep."
)
@click.option(
    "--older-than",
    "days",
    type=click.FloatRange(min=0),
    default=0.0,
    help="Also keep releases younger than this number of days.",
)
@click.option("--dry-run", is_flag=True, help="Only count what would be deleted.")
@options.on_target
@click.pass_context
def prune_command(
    context: click.Context, as_json: bool, keep: int, days: float, dry_run: bool
) -> None:
    """Delete old releases of TARGET, and every object that no other release uses.

    The current release is always kept, and so are releases and objects that are less than a day
    old. The reports and the quarantine of a deleted release are deleted with it.
    """
    settings = options.read_settings(context)
    deleted = "nothing was deleted" if dry_run else "some objects may already be deleted"
    with (
        if_interrupted(f"{deleted}; run the same command again to finish"),
        counting("looking through", "folders", FOLDERS, quiet=as_json) as advance,
    ):
        older = timedelta(days=days)
        result = prune_target(settings, keep, older, dry_run=dry_run, progress=advance)
    if as_json:
        body = {
            "dry_run": dry_run,
            "kept": list(result.kept),
            "kept_for_their_age": list(result.young),
            "dropped": list(result.dropped),
            "objects": result.objects,
            "bytes": result.bytes,
        }
        options.print_json(body)
        return
    for release in result.dropped:
        click.echo(f"{'would delete' if dry_run else 'deleted'} {release}")
    young = f", {len(result.young):,} of them younger than a day" * bool(result.young)
    click.echo(
        f"{counted(len(result.kept), 'release')} kept{young}; "
        f"{counted(result.objects, 'object')} of {counted(result.bytes, 'byte')} "
        f"{'would be' if dry_run else 'were'} deleted"
    )


@click.command("history")
@click.option(
    "--last",
    type=click.IntRange(min=1),
    default=30,
    show_default=True,
    help="Number of runs to list.",
)
@options.page_option
@options.on_target
@click.pass_context
def history_command(context: click.Context, as_json: bool, last: int, page: Path | None) -> None:
    """List the runs of TARGET, newest first: verdict, duration, rejected rows, and amounts.

    TARGET is a folder or s3://bucket/prefix. Runs that failed before the first
    release was published are not recorded.
    """
    settings = options.read_settings(context)
    records = read_records(target_store(settings), last)
    if page is not None:
        options.write_file(page, runs_page([each.to_json() for each in records]))
    if as_json:
        options.print_json([each.to_json() for each in records])
        return
    for record in records:
        _show(record)
    if not records:
        click.echo(f"{settings.target}: no runs are recorded there")
    if page is not None:
        click.echo(f"page: {page}")


def _show(record: RunRecord) -> None:
    good = record.verdict in GOOD
    began = record.began_at.isoformat(sep=" ", timespec="seconds")
    line = click.style(f"{record.verdict:<11}", fg="green" if good else "red", bold=True)
    click.echo(f"{began}  {line} {record.seconds:>9,.1f} s  {record.run}")
    if record.totals is not None:
        click.echo(f"  {totals_text(record.totals)}")
    slow = sorted(record.phases, key=lambda each: -each.seconds)[:3]
    if slow:
        phases = ", ".join(f"{each.stage} {each.seconds:,.1f} s" for each in slow)
        click.echo(f"  slowest phases: {phases}")
    if record.user or record.note:
        click.echo(f"  by {record.user}@{record.host}{f': {record.note}' if record.note else ''}")
    if record.rollback_to:
        reason = f": {record.reason}" if record.reason else ""
        click.echo(f"  back to release {record.rollback_to}{reason}")
    if record.error:
        click.echo(f"  {record.error}")
    elif record.release is not None:
        click.echo(f"  release {record.release}")


_INTERRUPTED = (
    "the files written before are still served; run the same command again to continue from here"
)


@click.command("export")
@options.target_argument()
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder that a web server serves. Created if it is missing.",
)
@options.setting_option(
    "publish.base_url",
    "--base-url",
    help="URL where the folder is served. Without it, links are relative.",
)
@options.endpoint_option
@options.json_option
@click.pass_context
def export_command(context: click.Context, out: Path, as_json: bool) -> None:
    """Write the public files of the provider directory in TARGET to a web server's folder.

    Writes the Bulk Publish files, the Plan Finder files, and the payer's brand of the current
    release. Run it again after each release: it writes only new files, and running downloads
    are not interrupted.
    """
    settings = options.read_settings(context)
    with if_interrupted(_INTERRUPTED):
        written = export_directory(settings, out)
    if as_json:
        options.print_json({"folder": str(out), **asdict(written)})
        return
    click.echo(
        f"{out}: {written.documents:,} documents and {written.files:,} files; "
        f"{written.written:,} files are new, {written.removed:,} were deleted"
    )
