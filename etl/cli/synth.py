"""`cpcds synth`: synthetic extracts."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Final, Literal

import click
from click.core import ParameterSource

from etl.cli.options import json_option, print_json
from etl.cli.progress import counting
from etl.errors import UsageError
from etl.synth.extract import write_extract, write_formulary, write_network
from etl.synth.spec import AS_OF, SINCE, Spec

_OF_CLAIMS: Final = (
    "members",
    "since",
    "parts",
    "short_form",
    "change_rate",
    "whole_claims",
    "prior_auth_rate",
)
"""Options that public data have not."""
_COUNTED: Final = {"": "members", "directory": "practitioners", "formulary": "drugs"}
"""Option for public data -> the option with its size; "" is for claims."""


@click.command("synth")
@click.option("--members", type=int, default=0, help="Number of members in an extract of claims.")
@click.option("--directory", is_flag=True, help="Write a provider directory instead of claims.")
@click.option(
    "--practitioners", type=int, default=0, help="Number of practitioners, with --directory."
)
@click.option("--formulary", is_flag=True, help="Write a drug formulary instead of claims.")
@click.option("--drugs", type=int, default=0, help="Number of drugs, with --formulary.")
@click.option(
    "--seed", type=int, default=1, show_default=True, help="A different seed gives different data."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder for the extract. Created if it is missing.",
)
@click.option(
    "--fault-rate",
    type=float,
    default=0.0,
    show_default=True,
    help="Share of claims (or directory regions) with a fault.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "parquet"]),
    default="csv",
    show_default=True,
    help="Format of the files.",
)
@click.option("--gzip", "compress", is_flag=True, help="Compress the files.")
@click.option(
    "--as-of",
    type=click.DateTime(["%Y-%m-%d"]),
    default=AS_OF.isoformat(),
    show_default=True,
    help="Date of the extract.",
)
@click.option(
    "--kind",
    type=click.Choice(["full", "delta"]),
    default="full",
    show_default=True,
    help="A full extract, or only the changes of one day.",
)
@click.option("--day", type=int, default=0, show_default=True, help="Days after the as-of date.")
@click.option(
    "--since",
    type=click.DateTime(["%Y-%m-%d"]),
    default=SINCE.isoformat(),
    show_default=True,
    help="Earliest start of a coverage.",
)
@click.option(
    "--parts", type=int, default=1, show_default=True, help="Number of files for each table."
)
@click.option(
    "--short-form", is_flag=True, help="Write diagnoses and procedures as columns of claims."
)
@click.option(
    "--change-rate",
    type=float,
    default=0.01,
    show_default=True,
    help="Share of members whose data changes on a later day.",
)
@click.option("--whole-claims", is_flag=True, help="In a delta, write all rows of a changed claim.")
@click.option(
    "--prior-auth-rate",
    type=float,
    default=1.0,
    show_default=True,
    help="Prior authorization requests of each member per year. 0 leaves out their tables.",
)
@json_option
@click.pass_context
def synth_command(
    context: click.Context,
    members: int,
    directory: bool,
    practitioners: int,
    formulary: bool,
    drugs: int,
    seed: int,
    out: Path,
    fault_rate: float,
    form: Literal["csv", "parquet"],
    compress: bool,
    as_of: datetime,
    kind: Literal["full", "delta"],
    day: int,
    since: datetime,
    parts: int,
    short_form: bool,
    change_rate: float,
    whole_claims: bool,
    prior_auth_rate: float,
    as_json: bool,
) -> None:
    """Write a synthetic extract in the canonical layout. The same seed gives the same extract."""
    content = _check_options(context, directory=directory, formulary=formulary)
    spec = Spec(
        members=members,
        practitioners=practitioners,
        drugs=drugs,
        seed=seed,
        kind=kind,
        day=day,
        as_of=as_of.date(),
        since=since.date(),
        format=form,
        gzip=compress,
        parts=parts,
        fault_rate=fault_rate,
        short_form=short_form,
        change_rate=change_rate,
        whole_claims=whole_claims,
        prior_auth_rate=prior_auth_rate,
    )
    total = drugs or practitioners or spec.population
    write = {"": write_extract, "directory": write_network, "formulary": write_formulary}[content]
    with counting("writing", _COUNTED[content], total, quiet=as_json) as advance:
        written = write(out, spec, lambda progress: advance(progress.done))
    if as_json:
        print_json({"out": str(out), "rows": dict(written.rows)})
        return
    for table, count in written.rows.items():
        click.echo(f"{count:>12,} {table}")
    click.echo(f"{written.bytes:,} bytes in {out}")


def _check_options(context: click.Context, *, directory: bool, formulary: bool) -> str:
    """Return which public data to write; "" for claims. Refuse options of other extracts.

    Raises:
        UsageError: an option is missing, or does not go with the others.
    """
    if directory and formulary:
        raise UsageError("use --directory or --formulary, not both")
    content = "directory" if directory else "formulary" if formulary else ""
    given_options = {
        name
        for name in context.params
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }
    if content and (astray := sorted(given_options & set(_OF_CLAIMS))):
        option = astray[0].replace("_", "-")
        raise UsageError(
            f"--{option} is only for extracts of claims; leave it out with --{content}"
        )
    for other, counted in _COUNTED.items():
        if other != content and counted in given_options:
            raise UsageError(
                f"--{counted} is only for {f'--{other}' if other else 'extracts of claims'}; "
                f"use --{_COUNTED[content]} to set the number of {_COUNTED[content]}"
            )
    if _COUNTED[content] not in given_options:
        raise UsageError(
            "use --members N, --directory and --practitioners N, or --formulary and --drugs N"
        )
    return content
