"""Administration of developers' accounts on the portal."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from etl.bootstrap import auth
from etl.cli.options import json_option


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
                "verified": developer.verified.isoformat() if developer.verified else None,
                "apps": apps,
            }
            for developer, apps in developers
        ]
        click.echo(json.dumps(documents, indent=2))
        return
    for developer, apps in developers:
        note = "" if developer.verified else "  (address not verified)"
        account = f"{developer.email}  {developer.name}"
        click.echo(f"{developer.created:%Y-%m-%d}  {apps:>3} apps  {account}{note}")
    if not developers:
        click.echo("no accounts")


@developers_group.command("reset-password")
@click.argument("email")
@click.pass_context
def reset_password_command(context: click.Context, email: str) -> None:
    """Give the account of EMAIL a new random password, and sign it out everywhere.

    Verify the requester's identity by other means. Apps that were registered before the address was
    verified are disabled: another person may have registered them.
    """
    disabled = 0
    with auth.services(context.obj.settings()) as services:
        password = services.developers.reset_password(email)
        developer = services.developers.of_email(email)
        if developer.verified is None:
            for app in services.apps.of_developer(developer.id):
                services.apps.disable(app.client_id)
                disabled += 1
    if disabled:
        click.echo(f"{disabled} apps disabled: the address of their account was never verified")
    click.echo(f"new password: {password}")
    click.echo("It is shown this once. Its owner should change it under Settings.")


@developers_group.command("verify")
@click.argument("email")
@click.pass_context
def verify_command(context: click.Context, email: str) -> None:
    """Take EMAIL, the address of an account, for verified.

    For portals without a mail server: make sure by other means that its owner has the account.
    """
    with auth.services(context.obj.settings()) as services:
        services.developers.verify_by_operator(email)
    click.echo("the address is verified; its owner can register apps")
