"""`cpcds synth`: synthetic extracts."""

from __future__ import annotations

import json
from datetime import date, datetime
from pathlib import Path

import click

from etl.cli.options import json_option
from etl.synth import AS_OF, Spec, write_extract


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
@json_option
def synth_command(
    members: int,
    seed: int,
    out: Path,
    fault_rate: float,
    form: str,
    compress: bool,
    as_of: datetime,
    as_json: bool,
) -> None:
    """Write a synthetic extract in the canonical layout: the same for the same seed."""
    day: date = as_of.date()
    spec = Spec(
        members=members,
        seed=seed,
        fault_rate=fault_rate,
        format=form,  # type: ignore[arg-type]
        gzip=compress,
        as_of=day,
    )
    written = write_extract(out, spec)
    if as_json:
        click.echo(json.dumps({"out": str(out), "rows": dict(written.rows)}, indent=2))
        return
    for table, count in written.rows.items():
        click.echo(f"{count:>12,} {table}")
    click.echo(f"{written.bytes:,} bytes in {out}")
