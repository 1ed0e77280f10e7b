"""Administration of developers' accounts on the portal."""

from __future__ import annotations

from dataclasses import asdict

import click

from etl.bootstrap import auth
from etl.cli.options import json_option, print_json


@click.group("developers")
def developers_group() -> None:
    """Manage the accounts of developers on the portal."""


@developers_group.command("list")
@json_option
@click.pass_context
def list_command(context: click.Context, as_json: bool) -> None:
    """List the accounts, the newest first, with how many apps each has."""
    with auth.services(context.obj.settings()) as services:
        developers = [
            (developer, len(services.apps.of_developer(developer.id)))
            for developer in services.developers.all()
        ]
    if as_json:
        documents = [
            {
                **asdict(developer),
                "created": developer.created.isoformat(),
                "apps": apps,
            }
            for developer, apps in developers
        ]
        print_json(documents)
        return
    for developer, apps in developers:
        account = f"{developer.email}  {developer.name}".rstrip()
        click.echo(f"{developer.created:%Y-%m-%d}  {apps:>3} apps  {account}")
    if not developers:
        click.echo("no accounts")
