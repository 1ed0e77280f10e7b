"""Form parsing, and the draft of an app from the registration form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request

from etl.auth import http
from etl.auth.registration import ATTESTATIONS, DEFAULT_SCOPES, AppDraft, Authentication, ClientType

KINDS: Final[Mapping[str, tuple[ClientType, Authentication]]] = {
    "secret": ("confidential", "secret"),
    "key": ("confidential", "private_key_jwt"),
    "public": ("public", "none"),
}
"""The form's one question about the client → type and authentication of the draft."""

TEXTS: Final = (
    "name", "organization", "description", "website", "logo_uri", "policy_uri", "terms_uri",
    "contact_name", "contact_email", "contact_phone", "jwks",
)  # fmt: skip
"""Fields of the form that are copied to the draft unchanged."""


@dataclass(frozen=True, slots=True)
class Form:
    """A submitted form, and its errors.

    Attributes:
        values: field → text. Passwords are never shown again.
        errors: field → one sentence for the person who filled it in; in the form's order.
    """

    values: Mapping[str, str] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)

    def value(self, name: str) -> str:
        """Return a field's text; empty where it was not sent."""
        return self.values.get(name, "")

    def ticked(self, name: str) -> bool:
        """Return whether a box is ticked."""
        return bool(self.values.get(name))

    def with_errors(self, errors: Mapping[str, str]) -> Form:
        """Return the form with these errors."""
        return Form(self.values, errors)


async def read_form(request: Request) -> Form:
    """Return the form of a POST.

    Raises:
        HTTPException: 413 it is too large; 400 it cannot be read.
    """
    try:
        pairs = await http.read_form(request)
    except http.BadBody as error:
        raise HTTPException(error.status) from None
    return Form({name: text.replace("\r\n", "\n") for name, text in pairs})


def blank_draft(
    *, name: str, email: str, organization: str, redirect_uris: tuple[str, ...] = ()
) -> Form:
    """Return the registration form as a developer first sees it.

    Redirect URIs to suggest are those of a sandbox, where nothing but a name is left to fill in.
    """
    values = {
        "organization": organization,
        "contact_name": name,
        "contact_email": email,
        "kind": "secret",
        "redirect_uris": "\n".join(redirect_uris),
        "scopes": " ".join(DEFAULT_SCOPES),
    }
    if redirect_uris:
        values["organization"] = organization or "Sandbox"
        values["contact_name"] = name or email.partition("@")[0]
        values["policy_uri"] = "https://example.org/privacy"
        values |= {f"attest_{attestation}": "yes" for attestation in ATTESTATIONS}
    return Form(values)


def form_of(draft: AppDraft) -> Form:
    """Return the registration form of an existing app."""
    pair = (draft.client_type, draft.authentication)
    kind = next(name for name, known_pair in KINDS.items() if known_pair == pair)
    values = {name: getattr(draft, name) for name in TEXTS}
    values |= {f"attest_{name}": "yes" for name in draft.attestations}
    if draft.plain_launch:
        values["plain_launch"] = "yes"
    values |= {"kind": kind, "scopes": " ".join(draft.scopes)}
    return Form(values | {"redirect_uris": "\n".join(draft.redirect_uris)})


def draft_of(form: Form) -> AppDraft:
    """Return the draft of a registration form.

    Raises:
        InvalidForm: with a sentence for each invalid field.
    """
    client_type, authentication = KINDS.get(form.value("kind"), KINDS["secret"])
    texts = {name: form.value(name) for name in TEXTS}
    if authentication != "private_key_jwt":
        texts["jwks"] = ""  # left over from another choice; no error
    return AppDraft(
        client_type=client_type,
        authentication=authentication,
        redirect_uris=tuple(form.value("redirect_uris").split()),
        attestations=tuple(name for name in ATTESTATIONS if form.ticked(f"attest_{name}")),
        scopes=tuple(form.value("scopes").split()) or DEFAULT_SCOPES,
        plain_launch=form.ticked("plain_launch"),
        **texts,
    )


def explain_errors(form: Form, problems: Mapping[str, str]) -> Form:
    """Return a registration form with the errors of a draft at the form's fields."""
    errors = {
        {"client_type": "kind", "authentication": "kind"}.get(name, name): text
        for name, text in problems.items()
        if name != "attestations"
    }
    if "attestations" in problems:
        for name in ATTESTATIONS:
            if not form.ticked(f"attest_{name}"):
                errors[f"attest_{name}"] = "Please confirm this."
    return form.with_errors(errors)
