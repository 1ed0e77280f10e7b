"""Error reference: meaning and remedy of each error, for the documentation.

Sources: FHIR R4 http.html 3.1.0; RFC 6749 sections 4.1.2.1 and 5.2; RFC 6750 section 3.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class ErrorEntry:
    """One error: its code, its meaning, and the remedy for the developer."""

    code: str
    means: str
    cure: str


FHIR: Final = (
    ErrorEntry(
        "400",
        "A parameter's value cannot be read; or a page link was altered.",
        "Fix what the diagnostics name. Parameters that are not supported are ignored, and named "
        "at the end of the Bundle; with prefer: handling=strict they are 400 as well.",
    ),
    ErrorEntry(
        "401",
        "No token, or one that is expired, revoked or not ours. www-authenticate says which.",
        "Refresh. If that fails too, the consent has ended: launch again.",
    ),
    ErrorEntry(
        "403",
        "The member did not grant a scope that this needs.",
        "Compare with scope in the token answer; ask for more in a new launch.",
    ),
    ErrorEntry(
        "404",
        "There is no such resource, or it is not this member's, which looks the same.",
        "Search again rather than keeping ids from elsewhere.",
    ),
    ErrorEntry(
        "405",
        "This address does not take the method. Nothing can be written here.",
        "Use GET, or POST to _search; allow names what is taken.",
    ),
    ErrorEntry(
        "406",
        "accept asks for something other than JSON.",
        "Send accept: application/json or application/fhir+json.",
    ),
    ErrorEntry(
        "410",
        "The resource was retracted; or a page link is too old.",
        "Delete your copy; or run the search again.",
    ),
    ErrorEntry("414", "The URL is too long.", "Post the search to {Type}/_search instead."),
    ErrorEntry(
        "415",
        "A search was posted as something other than a form.",
        "Send it as content-type: application/x-www-form-urlencoded.",
    ),
    ErrorEntry("429", "Too many requests.", "Wait for retry-after seconds."),
    ErrorEntry("500", "A fault of ours.", "Write to us, with the answer's x-request-id."),
    ErrorEntry(
        "503",
        "The server cannot answer just now. Nothing was lost.",
        "Try again after retry-after seconds, then less and less often.",
    ),
)
"""Answers of the FHIR API."""

OAUTH: Final = (
    ErrorEntry(
        "invalid_request",
        "A parameter is missing, doubled or malformed: no PKCE challenge, an invalid aud.",
        "Compare with the tables above; error_description names the parameter.",
    ),
    ErrorEntry(
        "invalid_client",
        "Client id or secret is invalid, or the app is disabled. Status 401.",
        "Check the authorization header; rotate the secret if it is lost.",
    ),
    ErrorEntry(
        "invalid_grant",
        "The code or refresh token is expired, used already, revoked, of another app, or the "
        "redirect URI or verifier does not fit.",
        "Launch again. Never send a code twice.",
    ),
    ErrorEntry(
        "unauthorized_client",
        "The app is not registered for this way of asking, or not approved yet.",
        "Look at its state under App Registration.",
    ),
    ErrorEntry(
        "unsupported_response_type", "response_type is not code.", "Send response_type=code."
    ),
    ErrorEntry(
        "unsupported_grant_type",
        "grant_type is neither authorization_code nor refresh_token.",
        "Send one of the two.",
    ),
    ErrorEntry(
        "invalid_scope",
        "No scope is left that opens data, or a refresh asks for more than was granted.",
        "error_description names each scope and why. A scope that is unknown or would write is "
        "left out and the rest granted: compare with scope in the token answer.",
    ),
    ErrorEntry("access_denied", "The member said no.", "Respect it. Offer to try again later."),
    ErrorEntry("server_error", "Something is wrong on our side.", "Write to us if it stays."),
    ErrorEntry("temporarily_unavailable", "We cannot answer just now.", "Try again in a minute."),
)
"""Errors of the authorize and token endpoints."""
