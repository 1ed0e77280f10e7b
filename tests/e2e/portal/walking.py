"""What a developer and a member do on the pages, step by step."""

import base64
import hashlib
import os
import re
import secrets
import subprocess
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from urllib.parse import urlencode

from playwright.sync_api import Page, expect

from etl.auth.mail import Mail

_NUMBERS = count(1)


def sign_in(page: Page, *, mails: Sequence[Mail] = ()) -> str:
    """Open an account; return its e-mail address.

    Args:
        page: of somebody who is not signed in.
        mails: what the server sends; a sandbox shows the link on the page.
    """
    email = f"dana{next(_NUMBERS)}.{os.getpid()}@lens.example"
    page.goto("/sign-in?next=/apps/new")
    page.get_by_label("Email").fill(email)
    page.get_by_role("button", name="Send the link").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Your link to sign in")
    if mails:
        page.goto(re.findall(r"/sign-in/\S+", mails[-1].text)[0])
    else:
        page.locator("pre.mail a").click()
    page.get_by_role("main").get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Application Registration Form")
    return email


def register(page: Page, *, redirect_uris: str = "", public: bool = False) -> tuple[str, str]:
    """Fill in the form that is open, of a sandbox; return client id and secret."""
    page.get_by_label("Name", exact=True).first.fill("Claim Lens")
    if public:
        page.get_by_label("No: it runs on a phone or in a browser").check()
    if redirect_uris:
        page.get_by_role("textbox", name="Redirect URIs").fill(redirect_uris)
    page.get_by_role("button", name="Register the app").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("The app is registered")
    secret = page.locator("#client-secret")
    client_id = page.locator("#client-id").inner_text()
    return client_id, secret.inner_text() if secret.count() else ""


def first_member(page: Page) -> tuple[str, str]:
    """Read user name and password of a sandbox member with claims off the page."""
    page.goto("/sandbox")
    password = page.locator("dd code").inner_text()
    for row in page.locator("tbody tr").all():
        if row.locator("td[data-label='All claims']").inner_text().strip().split()[-1] != "0":
            return row.locator("th").inner_text().strip(), password
    raise AssertionError("no sandbox member has claims")


def consent(page: Page, username: str, password: str) -> None:
    """Sign in as a member where an app sent the browser, and share."""
    page.locator("input[name=username]").fill(username)
    page.locator("input[type=password]").fill(password)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("button", name="Share", exact=True).click()


def in_shell(script: str, folder: Path) -> str:
    """Run what was pasted into a shell; return what it printed."""
    return run_example(["/bin/bash", "-euo", "pipefail", "-c", script], folder)


def run_example(command: Sequence[str], folder: Path, **environment: str) -> str:
    """Run an example in a folder, with nothing else in its environment; return its output."""
    done = subprocess.run(
        command,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        timeout=60,
        cwd=folder,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def filled(script: str, **values: str) -> str:
    """Return a script with the values of its first lines filled in, as a reader would."""
    for name, value in values.items():
        script, times = re.subn(
            rf"^{name}='[^']*'$", f"{name}='{value}'", script, flags=re.MULTILINE
        )
        assert times == 1, f"{name} is not to be filled in:\n{script}"
    return script


def code_by_hand(
    page: Page, base: str, client_id: str, scope: str, username: str, password: str
) -> tuple[str, str]:
    """Launch an app whose redirect URI is the portal's code page; return code and verifier."""
    verifier, state = secrets.token_urlsafe(48), secrets.token_urlsafe(16)
    challenge = hashlib.sha256(verifier.encode()).digest()
    query = {
        "response_type": "code",
        "client_id": client_id,
        "redirect_uri": f"{base}/code",
        "scope": scope,
        "state": state,
        "aud": f"{base}/fhir",
        "code_challenge": base64.urlsafe_b64encode(challenge).decode().rstrip("="),
        "code_challenge_method": "S256",
    }
    page.goto(f"/oauth/authorize?{urlencode(query)}")
    consent(page, username, password)
    shown = page.locator("main pre code")
    shown.nth(1).wait_for()  # the browser may still be on its way from the consent page
    code, came = shown.all_inner_texts()
    assert came == state
    return code, verifier


def token_by_hand(
    page: Page, base: str, app: tuple[str, str], scope: str, member: tuple[str, str]
) -> dict[str, str]:
    """Launch a confidential app by hand, as a member who shares; return the token response."""
    code, verifier = code_by_hand(page, base, app[0], scope, *member)
    fields: dict[str, str | float | bool] = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": f"{base}/code",
        "code_verifier": verifier,
    }
    basic = base64.b64encode(":".join(app).encode()).decode()
    headers = {"accept": "application/json", "authorization": f"Basic {basic}"}
    traded = page.request.post("/oauth/token", headers=headers, form=fields)
    assert traded.ok, traded.text()
    return dict(traded.json())
