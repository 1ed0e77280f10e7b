"""`cpcds serve`: the gateway, and what stands beside it, in one process or several."""

from __future__ import annotations

import json
from pathlib import Path

import click

from etl.bootstrap.http_server import Bound, bind, run
from etl.bootstrap.served_app import served_targets
from etl.cli import options
from etl.errors import UsageError, counted


@click.command("serve")
@options.target_argument(required=False)
@options.setting_option("serve.host", "--host", help="Address to listen on. Default: 127.0.0.1.")
@options.setting_option(
    "serve.port",
    "--port",
    type=click.IntRange(0, 65535),
    help="Port, or 0 for any free port. Default: 8000.",
)
@options.setting_option(
    "serve.workers",
    "--workers",
    type=click.IntRange(min=1),
    help="Number of processes. Default: 1.",
)
@options.setting_option(
    "serve.base_url", "--base-url", help="Scheme, host, and port that apps use to reach the server."
)
@options.setting_option(
    "serve.directory",
    "--directory",
    metavar="TARGET",
    help="Target with a provider directory, served at /directory along with the claims.",
)
@options.setting_option(
    "serve.formulary",
    "--formulary",
    metavar="TARGET",
    help="Target with a drug formulary, served at /formulary along with the claims.",
)
@options.endpoint_option
@click.pass_context
def serve_command(context: click.Context) -> None:
    """Serve the release published in TARGET as a FHIR API.

    TARGET is a folder or s3://bucket/prefix. Default: the setting `target`. If it contains a
    provider directory or a drug formulary, only that is served, to everyone.
    """
    bound = bind(options.read_settings(context))
    run(bound, lambda: _announce(bound))


def _announce(bound: Bound) -> None:
    for line in greeting(bound):
        click.echo(line)
    if bound.other_ids:
        click.echo(
            f"warning: {bound.settings.target} was published with another "
            f"{' and another '.join(bound.other_ids)}, so that no member who signs in is found in "
            "it; set what it was published with",
            err=True,
        )


def greeting(bound: Bound) -> list[str]:
    """Return the first lines of output: address, content, and access."""
    settings, serve = bound.settings, bound.settings.serve
    where = [
        f"{target} at {serve.base_url}{model.path}" for model, target in served_targets(settings)
    ]
    lines = [f"serving {', '.join(where)}"]
    if bound.served is not None:
        lines.append(f"release {bound.served.release}, made {bound.served.created}")
    else:
        lines.append(f"no release yet, so requests are answered 503: {bound.trouble}")
    if not settings.target:
        lines.append("mode: public. No claims are served, so no token is needed")
    elif settings.auth.mode != "off":
        portal = f"; developer portal at {serve.base_url}/" if settings.portal.enabled else ""
        lines.append(f"mode: {settings.auth.mode}{portal}")
    else:
        lines.append(
            "mode: closed. No authorization is configured, so every access token is refused; "
            "to try it out, see auth.mode sandbox"
        )
    return lines


@click.group("portal")
def portal_group() -> None:
    """Check the texts of the developer portal and the members' pages."""


@portal_group.command("check")
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.pass_context
def portal_check_command(context: click.Context, file: Path | None) -> None:
    """Check a `portal.toml`: keys, texts, links, colors, and files.

    Default for FILE: the setting `portal.file`.
    """
    from etl.portal.site_file import read_site_file

    file = file or options.read_settings(context).portal.file
    if file is None:
        raise UsageError("no portal.toml to check: pass one as FILE, or set portal.file")
    site = read_site_file(file)
    texts = counted(sum(map(len, site.texts.values())), "text")
    click.echo(f"{file}: fine; {texts} of your own")


@portal_group.command("texts")
def portal_texts_command() -> None:
    """Print the texts of all pages by page and key, in the form used in `portal.toml`."""
    from etl.web.texts import TEXTS

    for page, texts in TEXTS.items():
        click.echo(f"[texts.{page}]")
        for key, text in texts.items():
            click.echo(f"{key} = {json.dumps(text, ensure_ascii=False)}")
        click.echo()
