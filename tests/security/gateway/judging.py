"""What another member's data is, and whether an answer holds any of it."""

import json
from functools import cache

from etl.gateway.http.responses import KINDS
from tests.unit.gateway.calls import FHIR, OTHER_TOKEN, another, served
from tests.unit.gateway.trees import (
    LISTED,
    busiest,
    directory,
    members,
    opened,
    sample_tree,
)


@cache
def server():
    return served(opened(sample_tree(), listed=sample_tree(LISTED)))


def of(member, kind):
    return next(one for one in members()[member] if one["resourceType"] == kind)


def cursor(token):
    """Return a page link's last part, of the member of a token."""
    target = "/fhir/Organization?_count=1"
    found = server().call(target) if token is None else server().call(target, token=token)
    (url,) = [one["url"] for one in found.json["link"] if one["relation"] == "next"]
    return str(url).rpartition("/")[2]


@cache
def words():
    """Return what the words in braces stand for."""
    me, them = busiest(), another()
    claim = of(them, "ExplanationOfBenefit")
    return {
        "me": me,
        "them": them,
        "mine": of(me, "ExplanationOfBenefit")["id"],
        "claim": claim["id"],
        "cover": of(them, "Coverage")["id"],
        "version": claim["meta"]["versionId"],
        "number": claim["identifier"][0]["value"],
        "page": cursor(OTHER_TOKEN),
        "mypage": cursor(None),
        "token": OTHER_TOKEN,
        **stranger(),
    }


def stranger():
    """Return id and NPI of a practitioner with a role, of the other's claims alone."""
    mine, theirs = json.dumps(members()[busiest()]), json.dumps(members()[another()])
    one = next(
        directory()[role["practitioner"]["reference"]]
        for name, role in directory().items()
        if name.startswith("PractitionerRole/")
        and role["practitioner"]["reference"] in theirs
        and role["practitioner"]["reference"] not in mine
    )
    npi = next(x["value"] for x in one["identifier"] if x["system"].endswith("us-npi"))
    return {"strange": one["id"], "npi": npi}


@cache
def secrets():
    """Return what stands in the other's resources alone: ids, numbers, names, dates."""
    own = json.dumps([*members()[busiest()], *directory().values()])
    found = set()
    for one in members()[another()]:
        found.add(one["id"])
        found.update(named["value"] for named in one.get("identifier", []) if "value" in named)
        found.update(name["family"] for name in one.get("name", []) if "family" in name)
        found.update(one[key] for key in ("birthDate", "created") if key in one)
    return tuple(sorted(word for word in found if word not in own))


def refused(got):
    if not 400 <= got.status < 500:
        return False
    if got.headers["content-type"].startswith("text/plain"):  # outside the FHIR bases
        return got.body == b"Not Found"
    return got.code in KINDS


def entries(got):
    """Return what was found; what the server says of the search itself is looked through later."""
    if got.json["resourceType"] != "Bundle":
        return [got.json]
    found = got.json.get("entry", [])
    return [one["resource"] for one in found if one["search"]["mode"] != "outcome"]


def empty(got):
    return got.status == 200 and not entries(got) and got.json.get("total", 0) == 0


def own(got):
    """Return whether all that was answered is the member's own, or the directory's, as stored."""
    held = {f"{x['resourceType']}/{x['id']}": x for x in members()[busiest()]} | directory()
    return got.status == 200 and all(
        held.get(f"{x['resourceType']}/{x['id']}") == x for x in entries(got)
    )


def assert_nothing_of_another(got):
    """Fail where a body or a header holds what is the other member's alone."""
    if got.status == 200 and got.body:
        document = got.json
        for one in document.pop("link", []):  # repeats the question
            assert one["url"].startswith(f"{FHIR}/")
        for entry in document.get("entry", []):
            assert entry["search"]["mode"] == "outcome" or entry["fullUrl"].startswith(f"{FHIR}/")
        text = json.dumps(document)
    else:
        text = got.body.decode()
    for secret in secrets():
        assert secret not in text
    for name, value in got.headers.items():
        assert not any(secret in value for secret in secrets()), name
        assert "evil" not in value.lower(), name
