"""`cpcds export`: a provider directory's public files, for any web server."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from etl.bootstrap.directory_folder import export_directory
from etl.cli.options import endpoint, json_option, print_json
from etl.errors import if_interrupted

_INTERRUPTED = "what was written before is served on; running the same again goes on from here"


@click.command("export")
@click.argument("target")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder that a web server serves; made where it is missing.",
)
@click.option("--base-url", help="URL under which it is served; without one, links are relative.")
@click.option("--endpoint-url", help="S3-compatible server other than AWS.")
@json_option
@click.pass_context
def export_command(
    context: click.Context,
    target: str,
    out: Path,
    base_url: str | None,
    endpoint_url: str | None,
    as_json: bool,
) -> None:
    """Write the public files of the provider directory in TARGET to a folder for a web server.

    Bulk Publish, Plan Finder files, and the payer's brand: of the release that readers see.
    Again after the next release it writes what is new, and those who are fetching go on.
    """
    publish = {} if base_url is None else {"base_url": base_url}
    settings = context.obj.settings(target=target, store=endpoint(endpoint_url), publish=publish)
    with if_interrupted(_INTERRUPTED):
        written = export_directory(settings, out)
    if as_json:
        print_json({"folder": str(out), **asdict(written)})
        return
    click.echo(
        f"{out}: {written.documents:,} documents and {written.files:,} files; "
        f"{written.written:,} files are new, {written.removed:,} were deleted"
    )
