"""`cpcds export`: a provider directory's public files, for any web server."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from etl.bootstrap.directory_folder import export_directory
from etl.cli import options
from etl.errors import if_interrupted

_INTERRUPTED = "what was written before is served on; running the same again goes on from here"


@click.command("export")
@options.target_argument()
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder that a web server serves; made where it is missing.",
)
@options.setting_option(
    "publish.base_url",
    "--base-url",
    help="URL under which it is served; without one, links are relative.",
)
@options.endpoint_option
@options.json_option
@click.pass_context
def export_command(context: click.Context, out: Path, as_json: bool) -> None:
    """Write the public files of the provider directory in TARGET to a folder for a web server.

    Bulk Publish, Plan Finder files, and the payer's brand: of the release that readers see.
    Again after the next release it writes what is new, and those who are fetching go on.
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
