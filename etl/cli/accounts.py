"""Commands on the authorization server's database: apps, audit trail, developers."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from etl.auth.apps import IssuedApp
from etl.auth.audit_events import verify_trail
from etl.auth.database import migrate, open_database, present_version
from etl.auth.database_tables import App
from etl.auth.records import AppStatus
from etl.auth.registration import draft_of_metadata
from etl.auth.services import Services
from etl.auth.yearly_numbers import yearly_numbers
from etl.bootstrap import auth
from etl.bootstrap.settings import Settings
from etl.cli.options import json_option, print_json
from etl.documents.json_text import read_json
from etl.errors import DataRejected, UsageError


def with_services(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the authorization server's services as its first argument."""

    @click.pass_context
    @functools.wraps(command)
    def run(context: click.Context, /, **options: Any) -> None:
        with auth.services(context.obj.settings()) as services:
            command(services, **options)

    return run


@click.group("apps")
def apps_group() -> None:
    """Manage registered apps."""


@apps_group.command("list")
@click.option(
    "--status",
    type=click.Choice([status.value for status in AppStatus]),
    help="List only apps with this status. Default: all except deleted apps.",
)
@json_option
@with_services
def list_command(services: Services, status: str | None, as_json: bool) -> None:
    """List the apps, newest first."""
    apps = services.apps.all((AppStatus(status),) if status else ())
    if as_json:
        print_json([_document(app) for app in apps])
        return
    for app in apps:
        draft = app.draft
        click.echo(f"{app.client_id}  {app.status:<8}  {draft.name} ({draft.organization})")
    if not apps:
        click.echo("no apps")


@apps_group.command("show")
@click.argument("client_id")
@json_option
@with_services
def show_command(services: Services, client_id: str, as_json: bool) -> None:
    """Show everything that is registered for an app."""
    app = services.apps.get(client_id)
    if as_json:
        print_json(_document(app))
    else:
        _show(app)


@apps_group.command("register")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--client-id", help="Client ID of the app. Default: random.")
@click.option("--plain", is_flag=True, help="Allow the app to use the authorize URL without PKCE.")
@json_option
@click.pass_context
def register_command(
    context: click.Context, file: Path, client_id: str | None, plain: bool, as_json: bool
) -> None:
    """Register the app in FILE (RFC 7591 client metadata), and print its secret once.

    Running servers know the app at once. Its site can call the token endpoint within a second.
    """
    try:
        metadata = read_json(file.read_text(encoding="utf-8"), str(file))
    except UnicodeDecodeError:
        raise UsageError(f"{file} is not UTF-8; write it as UTF-8") from None
    if not isinstance(metadata, dict):
        raise UsageError(f"{file}: it is not a JSON object")
    draft = draft_of_metadata(metadata, plain_launch=plain)
    with auth.services(context.obj.settings()) as services:
        issued = services.apps.register(draft, origin="operator", client_id=client_id)
    _tell_secret(issued, as_json)


@apps_group.command("approve")
@click.argument("client_id")
@click.option(
    "--revision",
    help="Do not ask. Approve the app if it has not changed since `apps show` printed it.",
)
@with_services
def approve_command(services: Services, client_id: str, revision: str | None) -> None:
    """Show a pending app, and approve it.

    If the developer changes the app in the meantime, it is not approved.
    """
    if revision is None:
        app = services.apps.get(client_id)
        _show(app)
        click.confirm(f"Approve {app.draft.name} as shown?", abort=True)
        revision = app.revision
    app = services.apps.approve(client_id, revision)
    click.echo(f"{app.draft.name} is active{', without PKCE' if app.is_plain else ''}")


@apps_group.command("disable")
@click.argument("client_id")
@with_services
def disable_command(services: Services, client_id: str) -> None:
    """Disable an app. Its tokens stop working within half a minute, and its consents are kept."""
    app = services.apps.disable(client_id)
    click.echo(f"{app.draft.name} is disabled")


@apps_group.command("enable")
@click.argument("client_id")
@with_services
def enable_command(services: Services, client_id: str) -> None:
    """Enable a disabled app again."""
    app = services.apps.enable(client_id)
    click.echo(f"{app.draft.name} is {app.status.value}")


@apps_group.command("rotate-secret")
@click.argument("client_id")
@json_option
@with_services
def rotate_secret_command(services: Services, client_id: str, as_json: bool) -> None:
    """Give an app a new secret, and print it once. The old secret stops working."""
    issued = services.apps.rotate_secret(client_id)
    _tell_secret(issued, as_json)


@apps_group.command("delete")
@click.argument("client_id")
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_services
def delete_command(services: Services, client_id: str, yes: bool) -> None:
    """Delete an app, and end all of its consents."""
    app = services.apps.get(client_id)
    if not yes:
        click.confirm(f"Delete {app.draft.name} and end all its consents?", abort=True)
    services.apps.delete(client_id)
    click.echo(f"{app.draft.name} is deleted")


@apps_group.command("usage")
@click.option("--year", type=click.IntRange(2016, 9999), required=True, help="Calendar year, UTC.")
@json_option
@with_services
def usage_command(services: Services, year: int, as_json: bool) -> None:
    """Count the members whose data went to any app in a year, and to several apps."""
    numbers = yearly_numbers(services.database, year, "", services.clock().date())
    if as_json:
        counts = {"once": numbers.members, "several": numbers.several_apps}
        print_json({"year": year, **counts, "apps": numbers.apps})
        return
    click.echo(f"members whose data went to one or more apps: {numbers.members:,}")
    click.echo(f"members whose data went to several apps: {numbers.several_apps:,}")
    for name, members in numbers.apps:
        click.echo(f"  {name}: {members:,}")


@click.group("auth")
def auth_group() -> None:
    """Manage the authorization server itself."""


@auth_group.command("migrate")
@click.pass_context
def migrate_command(context: click.Context) -> None:
    """Migrate the tables of `auth.database` to this program's version."""
    settings: Settings = context.obj.settings()
    auth.expect_server(settings)
    database = open_database(settings.auth.database)
    try:
        migrate(database)
        click.echo(f"the tables are at version {present_version(database)}")
    finally:
        database.close()


@auth_group.command("rotate-keys")
@with_services
def rotate_keys_command(services: Services) -> None:
    """Sign new tokens with new keys. Keys also rotate automatically every 90 days."""
    services.keys.rotate()
    click.echo("new tokens are signed with new keys; the old keys stay published for a day")


@click.group("audit")
def audit_group() -> None:
    """Verify the audit trail."""


@audit_group.command("verify")
@click.argument("archives", nargs=-1, type=click.Path(path_type=Path, file_okay=False, exists=True))
@json_option
@click.pass_context
def verify_command(context: click.Context, archives: tuple[Path, ...], as_json: bool) -> None:
    """Check that nothing in the audit trail was changed, removed, or inserted.

    ARCHIVES are folders that audit files were moved to.
    """
    settings: Settings = context.obj.settings()
    auth.expect_server(settings)
    if not settings.auth.audit.is_dir():
        raise UsageError(
            f"{settings.auth.audit} is not a folder; the setting auth.audit is set to it"
        )
    database = open_database(settings.auth.database)
    try:
        migrate(database)
        verified = verify_trail((settings.auth.audit, *archives), database)
    finally:
        database.close()
    if as_json:
        print_json(asdict(verified))
    else:
        click.echo(f"{verified.events:,} events in {verified.files:,} files")
        for problem in verified.problems:
            click.echo(f"  {problem}")
    if verified.problems:
        raise DataRejected("the audit trail was changed after it was written")
    if not as_json:
        click.echo("no event was changed")


def _tell_secret(issued: IssuedApp, as_json: bool) -> None:
    app = issued.app
    if as_json:
        click.echo(json.dumps({"client_id": app.client_id, "client_secret": issued.secret}))
        return
    click.echo(f"client id      {app.client_id}")
    if issued.secret is not None:
        click.echo(f"client secret  {issued.secret}")
        click.echo("The secret is shown only once. Only its hash is stored.")


def _show(app: App) -> None:
    for name, value in _document(app).items():
        text = ", ".join(value) if isinstance(value, list) else str(value)
        click.echo(f"{name:<16}  {text}")


def _document(app: App) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "client_id": app.client_id,
        "status": app.status.value,
        "created": app.created.isoformat(),
        "origin": app.origin,
        "plain": app.is_plain,
        "revision": app.revision,
    }
    return facts | app.draft.model_dump(mode="json")


@click.group("developers")
def developers_group() -> None:
    """Manage the developer accounts of the portal."""


@developers_group.command("list")
@json_option
@with_services
def developers_list_command(services: Services, as_json: bool) -> None:
    """List the accounts, newest first, with the number of their apps."""
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
