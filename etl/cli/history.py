"""`cpcds history`: the runs of a target."""

from __future__ import annotations

import json
from pathlib import Path

import click

from etl.bootstrap.targets import target_store
from etl.cli.options import endpoint, page_option, write_file
from etl.cli.releases import on_target
from etl.cli.result_tables import totals_text
from etl.pipeline.run_history import read_records
from etl.pipeline.run_record import GOOD, RunRecord
from etl.reports.runs import runs_page


@click.command("history")
@click.option(
    "--last", type=click.IntRange(min=1), default=30, show_default=True, help="How many runs."
)
@page_option
@on_target
@click.pass_context
def history_command(
    context: click.Context,
    target: str,
    endpoint_url: str | None,
    as_json: bool,
    last: int,
    page: Path | None,
) -> None:
    """List the runs of TARGET, newest first: verdict, duration, what was rejected, money.

    TARGET is a folder, or s3://bucket/prefix. Runs that failed before anything was published there
    leave no record.
    """
    settings = context.obj.settings(target=target, store=endpoint(endpoint_url))
    records = read_records(target_store(settings), last)
    if page is not None:
        write_file(page, runs_page([each.to_json() for each in records]))
    if as_json:
        click.echo(json.dumps([each.to_json() for each in records], indent=2))
        return
    for record in records:
        _show(record)
    if not records:
        click.echo(f"{target}: no record of a run is kept there")
    if page is not None:
        click.echo(f"page: {page}")


def _show(record: RunRecord) -> None:
    good = record.verdict in GOOD
    began = record.start.began.isoformat(sep=" ", timespec="seconds")
    line = click.style(f"{record.verdict:<11}", fg="green" if good else "red", bold=True)
    click.echo(f"{began}  {line} {record.seconds:>9,.1f} s  {record.start.run}")
    if record.totals is not None:
        click.echo(f"  {totals_text(record.totals)}")
    slow = sorted(record.phases, key=lambda each: -each.seconds)[:3]
    if slow:
        phases = ", ".join(f"{each.stage} {each.seconds:,.1f} s" for each in slow)
        click.echo(f"  slowest phases: {phases}")
    if record.rollback is not None:
        to, reason = record.rollback
        click.echo(f"  back to release {to}{f': {reason}' if reason else ''}")
    if record.error:
        click.echo(f"  {record.error}")
    elif record.release is not None:
        click.echo(f"  release {record.release}")
