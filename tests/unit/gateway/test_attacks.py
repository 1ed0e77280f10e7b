"""One member's token, and every way to ask for another member's data.

Whatever is asked, the answer is a refusal or holds nothing of any other member: no id of a
resource, no claim number, no member id.
"""

import base64
import json
import re
from functools import cache
from urllib.parse import quote

import pytest

from etl.gateway.http.responses import FhirError
from etl.gateway.supported_fhir import TYPES
from tests.unit.gateway.trees import BASE, bundle, grant, link, members, opened, run, sample_tree

EOB = "ExplanationOfBenefit"
OWN = ("Patient", "Coverage", "RelatedPerson", EOB)


@cache
def victim():
    """Return the member who is attacked: one with claims and a related person."""
    return max(members(), key=lambda one: len({row["resourceType"] for row in members()[one]}))


@cache
def attacker():
    """Return another member with claims."""
    return next(one for one in sorted(members()) if one != victim() and len(members()[one]) > 12)


@cache
def marks():
    """Return words that are other members' alone: ids of resources, identifiers."""
    found: dict[bool, set[str]] = {True: set(), False: set()}
    for one, rows in members().items():
        for row in rows:
            words = found[one == attacker()]
            words.add(row["id"])
            words |= {each["value"] for each in row.get("identifier", ())}
    return frozenset(found[False] - found[True])


def first(kind):
    return next((row["id"] for row in members()[victim()] if row["resourceType"] == kind), "none")


def spellings(kind, resource_id):
    """Return ways to write one reference."""
    plain = f"{kind}/{resource_id}"
    return [
        resource_id,
        plain,
        f"{BASE}/{plain}",
        f"{BASE}/{plain}/",
        f"{BASE}/../fhir/{plain}",
        f"/{plain}",
        f"./{plain}",
        f"{kind}//{resource_id}",
        f"{kind}%2F{resource_id}",
        quote(plain, safe=""),
        quote(quote(plain, safe=""), safe=""),
        plain.upper(),
        f" {plain}",
        f"{plain}\x00",
        f"{plain}\n",
        f"{plain}?x",
        f"{plain}#x",
        f"{plain}/_history/1",
        f"{kind}\\/{resource_id}",
        f"{attacker()},{resource_id}",
        f"{resource_id}|",
        f"|{resource_id}",
        f"http://elsewhere.example/{plain}",
        base64.b64encode(plain.encode()).decode(),
        "*",
        "%",
        "' or '1'='1",
        '{"$ne":""}',
        "../" * 4 + plain,
    ]


def searches():
    """Return type, parameter and value of each attack by search."""
    found = []
    for kind in OWN:
        for name, parameter in TYPES[kind].parameters.items():
            of = parameter.targets[0] if parameter.targets else kind
            values = spellings(of, first(of) if of in OWN else first(kind))
            found += [(kind, name, value) for value in values]
    for kind in OWN:
        for name in (
            *("patient:Patient", "patient.identifier", "patient:Patient._id", "subject", "member"),
            *("_has:Coverage:beneficiary:_id", "_filter", "_query", "_list", "_compartment"),
            *("patient:not", "patient:missing", "_id:not", "_id:missing", "identifier:not"),
            *(
                "PATIENT",
                "patient[]",
                "patient%5B%5D",
                " patient",
                "patient ",
                "_ID",
                "id",
                "owner",
            ),
        ):
            found += [(kind, name, victim())]
    for value in (
        *(
            "*",
            f"{EOB}:*",
            f"{EOB}:patient",
            f"{EOB}:patient:Patient",
            "Coverage:payor",
            "Patient:*",
        ),
        *(
            f"{EOB}:patient:{victim()}",
            f"Patient/{victim()}",
            "../Patient",
            "RelatedPerson:patient",
        ),
    ):
        found += [(kind, "_include", value) for kind in TYPES]
        found += [(kind, "_include:iterate", value) for kind in TYPES]
        found += [(kind, "_revinclude", value) for kind in TYPES]
    return found


@pytest.fixture(scope="module")
def service():
    return opened(sample_tree()).service


def told(service, kind, pairs, *, strict):
    """Return the Bundle without its links, which say again what was asked; or the refusal."""
    try:
        answer = run(service.search(grant(attacker()), kind, pairs, base=BASE, strict=strict))
    except FhirError as refusal:
        return f"{refusal.status} {refusal.diagnostics}"
    return json.dumps({**bundle(answer), "link": []})


def leaks(text):
    return sorted(marks().intersection(re.findall(r"[A-Za-z0-9.-]+", text)))


def test_the_table_is_long_and_the_marks_are_many():
    assert len(searches()) >= 150
    assert len(marks()) >= 1_000
    assert leaks(json.dumps(members()[victim()]))
    assert not leaks(json.dumps(members()[attacker()]))


@pytest.mark.slow
@pytest.mark.parametrize("strict", [True, False])
def test_no_search_reaches_another_member(service, strict):
    answered = 0
    for kind, name, value in searches():
        for more in ((), (("patient", attacker()),), (("_count", "1000"),)):
            pairs = [*more, (name, value)]
            said = told(service, kind, pairs, strict=strict)
            answered += said.startswith("{")
            assert not leaks(said), (kind, name, value)
    assert answered > 100


def test_no_read_reaches_another_member(service):
    assert TYPES.keys() >= set(OWN)
    for kind in TYPES:
        for of in OWN:
            for value in spellings(of, first(of)):
                with pytest.raises(FhirError) as caught:
                    run(service.read(grant(attacker()), kind, value))
                assert caught.value.status == 404
                with pytest.raises(FhirError) as caught:
                    run(service.read(grant(attacker()), kind, value, version="1"))
                assert caught.value.status == 404
                assert not leaks(caught.value.diagnostics)


def test_no_everything_reaches_another_member(service):
    for value in spellings("Patient", victim()):
        with pytest.raises(FhirError) as caught:
            run(service.everything(grant(attacker()), value, [], base=BASE))
        assert caught.value.status == 404
    found = run(service.everything(grant(attacker()), attacker(), [], base=BASE))
    assert not leaks(found.body.decode())


def test_no_page_link_of_another_member_works(service):
    found = bundle(
        run(service.search(grant(victim()), EOB, [("_count", "1")], base=BASE, strict=True))
    )
    cursor = link(found, "next") or ""
    for text in (cursor, cursor + "=", cursor[:-1], cursor[::-1], quote(cursor), cursor.lower()):
        with pytest.raises(FhirError) as caught:
            run(service.page(grant(attacker()), text, base=BASE))
        assert caught.value.status == 400


def test_a_grant_of_a_patient_that_is_none_reaches_nothing(service):
    for who in (
        "",
        "*",
        "..",
        f"{victim()}\n",
        f" {victim()}",
        victim().upper(),
        f"Patient/{victim()}",
    ):
        found = bundle(run(service.search(grant(who), EOB, [], base=BASE, strict=True)))
        assert found["total"] == 0
        with pytest.raises(FhirError):
            run(service.read(grant(who), "Patient", victim()))
