"""The examples of the documentation, with the running server's own addresses in them.

Shell examples work when pasted into a shell; the files are ready to run. The tests do both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined

from etl.portal.provider_search import SearchExample
from etl.portal.site_facts import ServerFacts

SCOPE: Final = "launch/patient openid fhirUser offline_access patient/*.rs"
"""Scopes that the examples request."""

LOOPBACK: Final = "http://127.0.0.1:8765/callback"
"""Redirect address of the Python and JavaScript files."""

FILES: Final[Mapping[str, str]] = {
    "first_claim.sh": "text/x-shellscript",
    "first_claim.py": "text/x-python",
    "first_claim.mjs": "text/javascript",
}
"""Files to download → media type."""


@dataclass(frozen=True, slots=True)
class CodeExample:
    """One code example.

    Attributes:
        label: short name, for a tab.
        language: Pygments' name of its language.
        text: the code.
        title: its purpose.
    """

    label: str
    language: str
    text: str
    title: str


@cache
def _files() -> Environment:
    # Code, not HTML: nothing is escaped. The inserted values are the server's configuration.
    return Environment(  # noqa: S701
        loader=PackageLoader("etl.portal", "examples"),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )


def example_file(name: str, served: ServerFacts, redirect_uri: str) -> str:
    """Return one of `FILES`, ready to run against this server."""
    return _files().get_template(f"{name}.j2").render(served=served, redirect_uri=redirect_uri)


def page_examples(
    served: ServerFacts, client_id: str, redirect_uri: str
) -> dict[str, str | list[CodeExample]]:
    """Return the code examples of the pages.

    Args:
        served: facts of the running server.
        client_id: shown in them; the developer's own, where there is one.
        redirect_uri: a registered one of this app.
    """
    return {
        "hero_request": _HERO.format(fhir=served.fhir),
        "hero_answer": _HERO_ANSWER,
        "authorize_format": _FORMAT.format(authorize=served.authorize, fhir=served.fhir),
        "authorize_shell": _AUTHORIZE.format(
            client_id=client_id,
            redirect_uri=redirect_uri,
            redirect=quote(redirect_uri, safe=""),
            scope=quote(SCOPE, safe="/*"),
            aud=quote(served.fhir, safe=""),
            authorize=served.authorize,
        ),
        "redirect_answer": f"{redirect_uri}?code=…&state=…&iss=…",
        "token": [
            CodeExample("JSON", "bash", _TRADE_JSON.format(token=served.token), "Confidential app"),
            CodeExample("Form", "bash", _TRADE_FORM.format(token=served.token), "Confidential app"),
            CodeExample(
                "Public app", "bash", _TRADE_PUBLIC.format(token=served.token), "Public app"
            ),
        ],
        "token_answer": _TRADED.format(seconds=served.token_seconds),
        "refresh": _REFRESH.format(token=served.token),
        "revoke": _REVOKE.format(revoke=served.revoke),
        "requests": [
            CodeExample(
                "curl", "bash", _CURL.format(fhir=served.fhir), "Claims with their providers"
            ),
            CodeExample("Python", "python", _PYTHON.format(fhir=served.fhir), "Standard library"),
            CodeExample(
                "JavaScript", "javascript", _SCRIPT.format(fhir=served.fhir), "Node or browser"
            ),
        ],
        "paging": _PAGING.format(fhir=served.fhir),
        "syncing": _SYNCING.format(fhir=served.fhir),
    }


def directory_examples(
    directory: str, wanted: SearchExample | None
) -> Mapping[str, str | list[CodeExample]]:
    """Return the code examples of the Provider Directory's page; they need no token.

    Args:
        directory: FHIR base URL of the Provider Directory.
        wanted: a search that finds somebody in the served release; with None there is no such
            example, as of a directory without networks.
    """
    examples: dict[str, str | list[CodeExample]] = {
        "first": _PRACTITIONERS.format(directory=directory)
    }
    if wanted is not None:
        values = {
            "directory": directory,
            "specialty": wanted.specialty,
            "network": wanted.network,
            "postal_code": wanted.postal_code,
        }
        title = "In a network, near a ZIP code, taking new patients"
        examples["search"] = [
            CodeExample(label, language, text.format(**values), title)
            for label, language, text in (
                ("curl", "bash", _FIND_CURL),
                ("Python", "python", _FIND_PYTHON),
                ("JavaScript", "javascript", _FIND_SCRIPT),
            )
        ]
        examples["networks"] = _NETWORKS.format(directory=directory)
        examples["plans"] = _PLANS.format(directory=directory)
        if wanted.position:
            examples["distance"] = _DISTANCE.format(directory=directory, position=wanted.position)
    return examples


_PRACTITIONERS: Final = """\
curl -sS "{directory}/Practitioner?_count=5" -H "accept: application/json"
"""

_NETWORKS: Final = """\
curl -sS "{directory}/Organization?type=ntwk&_count=100" \\
  -H "accept: application/json" |
  jq -r '.entry[].resource | "Organization/\\(.id)  \\(.name)"'
"""

_PLANS: Final = """\
curl -sS "{directory}/InsurancePlan?_count=100" \\
  -H "accept: application/json" |
  jq -r '.entry[].resource | "\\(.name): \\([.network[]?.reference] | join(", "))"'
"""

_FIND_CURL: Final = """\
curl -sS -G {directory}/PractitionerRole \\
  -H "accept: application/json" \\
  -d "specialty={specialty}" \\
  -d "network={network}" \\
  -d "location.address-postalcode={postal_code}" \\
  -d "new-patients=newpt" \\
  -d "_include=PractitionerRole:practitioner" \\
  -d "_include=PractitionerRole:location"
"""

_FIND_PYTHON: Final = """\
import json, urllib.parse, urllib.request

query = urllib.parse.urlencode(
    {{
        "specialty": "{specialty}",
        "network": "{network}",
        "location.address-postalcode": "{postal_code}",
        "new-patients": "newpt",
        "_include": ["PractitionerRole:practitioner", "PractitionerRole:location"],
    }},
    doseq=True,
)
url = f"{directory}/PractitionerRole?{{query}}"
request = urllib.request.Request(url, headers={{"accept": "application/json"}})
with urllib.request.urlopen(request) as answer:
    bundle = json.load(answer)
for entry in bundle.get("entry", []):
    resource = entry["resource"]
    if resource["resourceType"] == "Practitioner":
        print(resource["name"][0]["text"])
"""

_FIND_SCRIPT: Final = """\
const query = new URLSearchParams([
  ["specialty", "{specialty}"],
  ["network", "{network}"],
  ["location.address-postalcode", "{postal_code}"],
  ["new-patients", "newpt"],
  ["_include", "PractitionerRole:practitioner"],
  ["_include", "PractitionerRole:location"],
]);
const answer = await fetch(`{directory}/PractitionerRole?${{query}}`, {{
  headers: {{ accept: "application/json" }},
}});
const bundle = await answer.json();
for (const {{ resource }} of bundle.entry ?? []) {{
  if (resource.resourceType === "Practitioner") console.log(resource.name[0].text);
}}
"""

_DISTANCE: Final = """\
curl -sS -G {directory}/Location \\
  -H "accept: application/json" \\
  --data-urlencode "near={position}|25|[mi_us]"
"""

_HERO: Final = """\
curl "{fhir}/ExplanationOfBenefit?_count=1" \\
  -H "accept: application/json" \\
  -H "authorization: Bearer $ACCESS_TOKEN"
"""

_HERO_ANSWER: Final = """\
{
  "resourceType": "Bundle",
  "type": "searchset",
  "total": 27,
  "entry": [{
    "resource": {
      "resourceType": "ExplanationOfBenefit",
      "type": { "coding": [{ "code": "pharmacy" }] },
      "billablePeriod": { "start": "2025-11-03" },
      "outcome": "complete",
      "payment": { "amount": { "value": 41.87, "currency": "USD" } }
    }
  }]
}
"""

_FORMAT: Final = """\
{authorize}
  ?response_type=code
  &client_id={{client_id}}
  &redirect_uri={{redirect_uri}}
  &scope={{scope}}
  &state={{state}}
  &aud={fhir}
  &code_challenge={{code_challenge}}
  &code_challenge_method=S256
"""

_AUTHORIZE: Final = """\
CLIENT_ID='{client_id}'
REDIRECT_URI='{redirect_uri}'

STATE=$(openssl rand -hex 16)
VERIFIER=$(openssl rand -hex 32)
CHALLENGE=$(printf %s "$VERIFIER" | openssl dgst -sha256 -binary |
  openssl base64 -A | tr '+/' '-_' | tr -d '=')

echo "{authorize}\\
?response_type=code\\
&client_id=$CLIENT_ID\\
&redirect_uri={redirect}\\
&scope={scope}\\
&state=$STATE\\
&aud={aud}\\
&code_challenge=$CHALLENGE\\
&code_challenge_method=S256"
"""

_TRADE_JSON: Final = """\
CODE='the code from the redirect'
CLIENT_SECRET='your client secret'

curl -sS {token} \\
  -H "content-type: application/json" \\
  -H "accept: application/json" \\
  -H "authorization: Basic $(printf %s "$CLIENT_ID:$CLIENT_SECRET" | openssl base64 -A)" \\
  -d '{{
    "grant_type": "authorization_code",
    "code": "'"$CODE"'",
    "redirect_uri": "'"$REDIRECT_URI"'",
    "code_verifier": "'"$VERIFIER"'"
  }}'
"""

_TRADE_FORM: Final = """\
CODE='the code from the redirect'
CLIENT_SECRET='your client secret'

curl -sS {token} \\
  -H "accept: application/json" \\
  -u "$CLIENT_ID:$CLIENT_SECRET" \\
  --data-urlencode "grant_type=authorization_code" \\
  --data-urlencode "code=$CODE" \\
  --data-urlencode "redirect_uri=$REDIRECT_URI" \\
  --data-urlencode "code_verifier=$VERIFIER"
"""

_TRADE_PUBLIC: Final = """\
CODE='the code from the redirect'

curl -sS {token} \\
  -H "accept: application/json" \\
  --data-urlencode "client_id=$CLIENT_ID" \\
  --data-urlencode "grant_type=authorization_code" \\
  --data-urlencode "code=$CODE" \\
  --data-urlencode "redirect_uri=$REDIRECT_URI" \\
  --data-urlencode "code_verifier=$VERIFIER"
"""

_TRADED: Final = """\
{{
  "access_token": "eyJhbGciOi…",
  "token_type": "Bearer",
  "expires_in": {seconds},
  "scope": "launch/patient openid fhirUser offline_access patient/*.rs",
  "patient": "the member's Patient id",
  "id_token": "eyJhbGciOi…",
  "refresh_token": "…"
}}
"""

_REFRESH: Final = """\
REFRESH_TOKEN='from the last token answer'

curl -sS {token} \\
  -u "$CLIENT_ID:$CLIENT_SECRET" \\
  --data-urlencode "grant_type=refresh_token" \\
  --data-urlencode "refresh_token=$REFRESH_TOKEN"
"""

_REVOKE: Final = """\
curl -sS {revoke} \\
  -u "$CLIENT_ID:$CLIENT_SECRET" \\
  --data-urlencode "token=$REFRESH_TOKEN"
"""

_CURL: Final = """\
ACCESS_TOKEN='access_token of the token answer'
PATIENT='patient of the token answer'

curl -sS -G {fhir}/ExplanationOfBenefit \\
  -H "content-type: application/json" \\
  -H "accept: application/json" \\
  -H "authorization: Bearer $ACCESS_TOKEN" \\
  -d "patient=$PATIENT" \\
  -d "service-date=ge2024-01-01" \\
  -d "_include=ExplanationOfBenefit:provider"
"""

_PYTHON: Final = """\
import json, os, urllib.parse, urllib.request

query = urllib.parse.urlencode(
    {{
        "patient": os.environ["PATIENT"],
        "service-date": "ge2024-01-01",
        "_include": "ExplanationOfBenefit:provider",
    }}
)
request = urllib.request.Request(
    f"{fhir}/ExplanationOfBenefit?{{query}}",
    headers={{
        "content-type": "application/json",
        "accept": "application/json",
        "authorization": f"Bearer {{os.environ['ACCESS_TOKEN']}}",
    }},
)
with urllib.request.urlopen(request) as answer:
    bundle = json.load(answer)
for entry in bundle.get("entry", []):
    print(entry["resource"]["resourceType"], entry["resource"]["id"])
"""

_SCRIPT: Final = """\
const query = new URLSearchParams({{
  patient: process.env.PATIENT,
  "service-date": "ge2024-01-01",
  _include: "ExplanationOfBenefit:provider",
}});
const answer = await fetch(`{fhir}/ExplanationOfBenefit?${{query}}`, {{
  headers: {{
    "content-type": "application/json",
    accept: "application/json",
    authorization: `Bearer ${{process.env.ACCESS_TOKEN}}`,
  }},
}});
const bundle = await answer.json();
for (const {{ resource }} of bundle.entry ?? []) {{
  console.log(resource.resourceType, resource.id);
}}
"""

_PAGING: Final = """\
URL="{fhir}/ExplanationOfBenefit?patient=$PATIENT"
while [ -n "$URL" ]; do
  PAGE=$(curl -sS "$URL" -H "authorization: Bearer $ACCESS_TOKEN")
  printf '%s\\n' "$PAGE" | jq -c '.entry[]?.resource | [.type.coding[0].code, .id]'
  URL=$(printf '%s\\n' "$PAGE" | jq -r '.link[] | select(.relation == "next").url')
done
"""

_SYNCING: Final = """\
URL="{fhir}/Patient/$PATIENT/\\$everything$(cat since.query 2>/dev/null)"
while [ -n "$URL" ]; do
  PAGE=$(curl -sS "$URL" -H "authorization: Bearer $ACCESS_TOKEN")
  printf '%s\\n' "$PAGE" | jq -r '.entry[]?.resource | select(.id)
    | "keep \\(.resourceType)/\\(.id)"'
  printf '%s\\n' "$PAGE" | jq -r '.entry[]?.resource.issue[]? | select(.code == "deleted")
    | "drop \\(.details.text)"'
  URL=$(printf '%s\\n' "$PAGE" | jq -r '.link[] | select(.relation == "next").url')
done
printf '%s\\n' "$PAGE" | jq -r '"?_since=" + .meta.lastUpdated' > since.query
"""
