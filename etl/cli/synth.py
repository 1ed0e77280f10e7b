"""`cpcds synth`: synthetic extracts."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Literal

import click

from etl.cli.options import json_option
from etl.cli.progress import counting
from etl.synth import AS_OF, SINCE, Spec, write_extract


@click.command("synth")
@click.option("--members", type=int, required=True, help="How many members.")
@click.option("--seed", type=int, default=1, show_default=True, help="Another seed, other data.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder for the extract; made where it is missing.",
)
@click.option("--fault-rate", type=float, default=0.0, show_default=True, help="Share of faults.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "psv", "tsv", "parquet"]),
    default="csv",
    show_default=True,
    help="Form of the files.",
)
@click.option("--gzip", "compress", is_flag=True, help="Compress the files.")
@click.option(
    "--as-of",
    type=click.DateTime(["%Y-%m-%d"]),
    default=AS_OF.isoformat(),
    show_default=True,
    help="Day of the extract.",
)
@click.option(
    "--kind",
    type=click.Choice(["full", "delta"]),
    default="full",
    show_default=True,
    help="The whole world, or what changed on one day.",
)
@click.option("--day", type=int, default=0, show_default=True, help="Days after the as-of date.")
@click.option(
    "--since",
    type=click.DateTime(["%Y-%m-%d"]),
    default=SINCE.isoformat(),
    show_default=True,
    help="No coverage starts earlier.",
)
@click.option("--parts", type=int, default=1, show_default=True, help="Files a table is cut into.")
@click.option("--short-form", is_flag=True, help="Diagnoses and procedures as columns of claims.")
@click.option(
    "--change-rate",
    type=float,
    default=0.01,
    show_default=True,
    help="Share of members to whom something happens on a later day.",
)
@click.option("--whole-claims", is_flag=True, help="In a delta, every row of a touched claim.")
@json_option
def synth_command(
    members: int,
    seed: int,
    out: Path,
    fault_rate: float,
    form: str,
    compress: bool,
    as_of: datetime,
    kind: Literal["full", "delta"],
    day: int,
    since: datetime,
    parts: int,
    short_form: bool,
    change_rate: float,
    whole_claims: bool,
    as_json: bool,
) -> None:
    """Write a synthetic extract in the canonical layout: the same for the same seed."""
    spec = Spec(
        members=members,
        seed=seed,
        fault_rate=fault_rate,
        format=form,  # type: ignore[arg-type]
        gzip=compress,
        as_of=as_of.date(),
        kind=kind,
        day=day,
        since=since.date(),
        parts=parts,
        short_form=short_form,
        change_rate=change_rate,
        whole_claims=whole_claims,
    )
    with counting("writing", "members", spec.population, quiet=as_json) as advance:
        written = write_extract(out, spec, lambda progress: advance(progress.done))
    if as_json:
        click.echo(json.dumps({"out": str(out), "rows": dict(written.rows)}, indent=2))
        return
    for table, count in written.rows.items():
        click.echo(f"{count:>12,} {table}")
    click.echo(f"{written.bytes:,} bytes in {out}")
