"""`cpcds run`: the nightly use."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from etl.bootstrap.recorded_run import RunObserver, run_and_record, start_of
from etl.bootstrap.use_cases import Approvals, plan_extract
from etl.cli import options
from etl.cli.progress import progress
from etl.cli.release_changes import changes_json, changes_text, plan_page, show_changes, show_plan
from etl.cli.result_tables import record_json, show_record, show_summary, summary_json
from etl.cli.run_log import LogFormat, run_log
from etl.errors import UsageError, if_interrupted
from etl.pipeline.progress import to_all
from etl.pipeline.reporting.report_files import LimitBroken, RunResult, page_of
from etl.pipeline.reporting.run_record import RunRecord

DEMO_KEY_WARNING: Final = (
    "warning: logical IDs use the public demonstration key, so anyone can compute them from "
    "member IDs; set CPCDS_ID_KEY before you publish real data"
)

NOTHING_WRITTEN: Final = "nothing was written; run the command again"


@click.command("run")
@options.extract_argument
@options.setting_option(
    "target",
    "--to",
    "target",
    help="Where to publish: a folder or s3://bucket/prefix. Default: output/.",
)
@options.endpoint_option
@click.option(
    "--rekey", is_flag=True, help="Publish with new IDs, because the ID key or payer ID changed."
)
@click.option("--after-rollback", is_flag=True, help="Publish even though a rollback is in force.")
@click.option(
    "--dry-run", is_flag=True, help="Show what would be published, without publishing it."
)
@options.page_option
@click.option(
    "--repair",
    is_flag=True,
    help="Read everything that is published, and rewrite objects that are missing or damaged.",
)
@click.option(
    "--note", default="", help="Note for the run's record, such as a ticket. No member data."
)
@options.job_options
@options.executor_options
@click.option(
    "--log",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File that gets a line for each step.",
)
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Format of the lines of --log: text, or one JSON object each.",
)
@options.json_option
@click.pass_context
def run_command(
    context: click.Context,
    extract: Path,
    rekey: bool,
    after_rollback: bool,
    dry_run: bool,
    page: Path | None,
    repair: bool,
    note: str,
    log: Path | None,
    log_format: LogFormat,
    as_json: bool,
) -> None:
    """Load, check, map, and publish the CPCDS extract EXTRACT, and write a report.

    Readers see the previous release until the new one is complete. Run the command again to
    finish an interrupted run. Exit code 3 means that the ID key differs from the published one,
    4 that a limit was exceeded, and 5 that storage failed, another run published first, or a
    rollback is in force. Nothing that readers see has changed then, unless storage failed so
    late that the message says that the new release is published, or may be.
    """
    if page is not None and not dry_run:
        raise UsageError("--html writes the page of a plan: use it with --dry-run")
    if dry_run and options.given_settings(context).get("run", {}).get("executor") == "spark":
        raise UsageError("--dry-run works only on this machine: leave out --executor spark")
    approvals = Approvals(rekey, after_rollback, repair)
    with run_log(log, log_format) as lines:
        settings = options.read_settings(context)
        start = start_of(settings, extract, note)
        lines.run = start.run
        if dry_run:
            with if_interrupted(NOTHING_WRITTEN), progress(quiet=as_json) as emit:
                planned = plan_extract(settings, extract, to_all(lines.emit, emit), approvals)
            if page is not None:
                options.write_file(page, plan_page(planned, settings.target))
            show_plan(planned, settings.target, as_json=as_json)
            return
        if settings.is_demo_key:
            lines.warning("logical IDs use the public demonstration key")
            click.echo(DEMO_KEY_WARNING, err=True)
        lines.info(f"run of {extract} to {settings.target}")
        ended: list[RunRecord] = []
        try:
            with progress(quiet=as_json) as emit:

                def run_ended(record: RunRecord) -> None:
                    lines.run_ended(record)
                    ended.append(record)

                observer = RunObserver(to_all(lines.emit, emit), lines.phase_ended, run_ended)
                ran = run_and_record(settings, start, observer, approvals, repair=repair)
        except LimitBroken as stopped:
            _show_stopped(stopped, ended[0], as_json=as_json)
            raise
        outcome = "nothing to do, readers still see" if ran.reported is None else "published"
        if ran.reported is not None and ran.manifest is not None:
            lines.info(f"changes: {changes_text(ran.changes, ran.manifest.subject)}")
            for note in ran.reported.report.notes:
                lines.warning(note)
                click.echo(f"warning: {note}", err=True)
        lines.info(f"{outcome} release {ran.release}")
    (record,) = ended
    if as_json:
        options.print_json(_as_json(ran, record))
    elif ran.reported is None or ran.manifest is None:
        click.echo(f"nothing to do: release {ran.release} was made from the same files")
    else:
        show_summary(ran.reported.report)
        show_changes(ran.changes, ran.money, ran.manifest.subject)
        show_record(record)
        click.echo(f"release {ran.release} is published to {settings.target}")
        click.echo(f"report: {page_of(settings.target, ran.release)}")


def _show_stopped(stopped: LimitBroken, record: RunRecord, *, as_json: bool) -> None:
    """Print the reasons a run stopped; the caller reports the error itself."""
    if stopped.report is None:
        return
    if as_json:
        body: dict[str, object] = {"target": record.target, "release": None}
        body |= {"published": False, "stopped": True, **summary_json(stopped.report)}
        body |= {"report": stopped.page, **record_json(record)}
        options.print_json(body)
    else:
        show_summary(stopped.report)
        show_record(record)
        click.echo(f"report: {stopped.page}")


def _as_json(ran: RunResult, record: RunRecord) -> dict[str, object]:
    target = record.target
    body: dict[str, object] = {
        "target": target,
        "release": ran.release,
        "published": ran.manifest is not None,
    }
    if ran.reported is not None:
        body |= summary_json(ran.reported.report)
        body["changes"] = changes_json(ran.changes, ran.money)
        body["report"] = page_of(target, ran.release)
    return body | record_json(record)
