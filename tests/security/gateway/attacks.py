"""Attacks on one member's data with another member's token, as a table.

Each line of attacks.toml is a request that tries to reach what is another's, and what may come:

* `refused`: an error of 400 to 499, as an OperationOutcome;
* `empty`: an answer that holds nothing;
* `own`: an answer, with the token's own member's data and nothing else.

Words in braces stand for the other member's: `{them}` their Patient's id, `{claim}` and `{cover}`
ids of a claim and a coverage, `{strange}` and `{npi}` a practitioner of theirs whom the token's
member has nothing to do with, `{version}` the claim's version, `{number}` their claim number,
`{page}` a page link of theirs; `{me}`, `{mine}` and `{mypage}` are the token's member's own, and
`{token}` is the other's token.
"""

from dataclasses import dataclass
from typing import Literal

from tests.given.tables import read_tables

Outcome = Literal["refused", "empty", "own", "refused or empty", "refused or own"]


@dataclass(frozen=True, slots=True)
class Attack:
    """One request.

    Attributes:
        target: what stands in the request line.
        outcome: what may come of it.
        method: HTTP method.
        headers: beside the token's.
        body: of a POST.
    """

    target: str
    outcome: Outcome
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    body: str = ""


_FORM = {"content-type": "application/x-www-form-urlencoded"}


def _read_attacks():
    tables = read_tables(__file__)
    for group in tables["lines"]:
        for target in group["targets"].splitlines():
            yield Attack(target, group["outcome"])
    for request in tables["requests"]:
        headers = request.pop("headers")
        if request["method"] == "POST":
            headers = _FORM | headers
        yield Attack(**request, headers=tuple(headers.items()))


ATTACKS = list(_read_attacks())
