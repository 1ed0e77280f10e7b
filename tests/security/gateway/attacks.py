"""Attacks on one member's data with another member's token, as a table.

Each line is one request that tries to reach what is another's, and what may come of it:

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

Outcome = Literal["refused", "empty", "own", "refused or empty", "refused or own"]

EOB_SEARCH = "/fhir/ExplanationOfBenefit/_search"
FORM = ("content-type", "application/x-www-form-urlencoded")
COMPARTMENT = "/fhir/Patient/{them}/ExplanationOfBenefit/_search"
LENIENT = ("prefer", "handling=lenient")
STRICT = ("prefer", "handling=strict")


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


def _lines(outcome: Outcome, text: str) -> list[Attack]:
    return [Attack(line.strip(), outcome) for line in text.strip().splitlines()]


IDS = [
    # Another's id in the path.
    *_lines(
        "refused",
        """
        /fhir/Patient/{them}
        /fhir/Patient/{them}/
        /fhir/ExplanationOfBenefit/{claim}
        /fhir/Coverage/{cover}
        /fhir/ExplanationOfBenefit/{claim}/_history/{version}
        /fhir/Patient/{them}/_history/1
        /fhir/Patient/{them}/$everything
        /fhir/Patient/{them}/%24everything
        /fhir/Patient/{them}/$everything?_type=ExplanationOfBenefit
        /fhir/Patient/{them}/$everything?patient={me}
        /fhir/Patient/{them}/ExplanationOfBenefit
        /fhir/Patient/{them}/*
        /fhir/Patient/{them}/$export
        /fhir/Patient/{them}?_format=json
        /fhir/Organization/{them}
        /fhir/Practitioner/{claim}
        /fhir/Location/{claim}
        /fhir/Patient/{claim}
        /fhir/Coverage/{claim}
        /fhir/ExplanationOfBenefit/{them}
        /fhir/RelatedPerson/{them}
        /fhir/Patient/{me},{them}
        /fhir/Patient/{me}%2C{them}
        /fhir/Patient/{me}|{them}
        /fhir/Patient/{me}/../{them}
        /fhir/Patient/{me}/$everything/../../{them}
        /fhir/Patient/$everything
        /fhir/$everything
        /fhir/Patient/$export
        /fhir/$export
        /fhir/Group/1/$export
        /fhir/ExplanationOfBenefit/_history
        /fhir/ExplanationOfBenefit/{claim}/_history
        /fhir/_history
        /fhir/Patient/{them}/_search
        /fhir/ExplanationOfBenefit/$graphql?query={{id}}
        /fhir/$graphql
        /fhir/Bundle
        /fhir/Binary/{claim}
        /fhir/List/$find
        """,
    ),
]

PATHS = _lines(
    # The path written otherwise.
    "refused",
    """
    /fhir/patient/{them}
    /fhir/PATIENT/{them}
    /fhir/Patient/%7Bthem%7D
    /fhir//Patient/{them}
    /fhir/Patient//{them}
    /fhir/./Patient/{them}
    /fhir/%2e/Patient/{them}
    /fhir/Patient/%2e%2e/Patient/{them}
    /fhir/Patient/..%2fPatient%2f{them}
    /fhir/Patient%2f{them}
    /fhir/Patient%252f{them}
    /fhir/Patient/%2e%2e%2f%2e%2e%2fpatients
    /fhir/Patient/..%5c{them}
    /fhir/Patient/{them}%00
    /fhir/Patient/{them}%00.json
    /fhir/Patient/{them}.json
    /fhir/Patient/{them};{me}
    /fhir/Patient;x={me}/{them}
    /fhir/Patient/{them}%20
    /fhir/Patient/%20{them}
    /fhir/Patient/{them}%0a
    /fhir/Patient/{them}%0d%0aX-Evil:%201
    /fhir/Patient/{them}%23
    /fhir/Patient/{them}%3F_id={me}
    /fhir/Patient/%252e%252e/{them}
    /fhir/Patient/%c0%ae%c0%ae/{them}
    /fhir/Patient/%ef%bc%8e%ef%bc%8e/{them}
    /fhir/P%61tient/{them}
    /%66hir/Patient/{them}
    /fhir/../fhir/Patient/{them}
    //fhir/Patient/{them}
    /FHIR/Patient/{them}
    /fhir/patients/../../current.json
    /fhir/../../../../etc/passwd
    /fhir/%2e%2e/%2e%2e/etc/passwd
    /fhir/current.json
    /fhir/patients
    /fhir/releases
    /fhir/Patient/%E2%80%8B{them}
    /fhir/Patient/{them}%E2%80%8B
    /fhir/Patient/%u0050
    /fhir/Patient/{them}%
    /directory/Patient/{them}
    /directory/ExplanationOfBenefit/{claim}
    /directory/ExplanationOfBenefit?patient={them}
    /directory/Coverage
    /directory/Patient/{them}/$everything
    /directory/_page/{page}
    /directory/../fhir/Patient/{them}
    """,
)

SEARCHES = [
    # Another's id in a search.
    *_lines(
        "empty",
        """
        /fhir/Patient?_id={them}
        /fhir/ExplanationOfBenefit?patient={them}
        /fhir/ExplanationOfBenefit?patient=Patient/{them}
        /fhir/ExplanationOfBenefit?patient=Patient%2F{them}
        /fhir/ExplanationOfBenefit?patient:Patient={them}
        /fhir/ExplanationOfBenefit?patient=https://payer.example/fhir/Patient/{them}
        /fhir/ExplanationOfBenefit?patient={me}&patient={them}
        /fhir/ExplanationOfBenefit?patient={them}&patient={me}
        /fhir/ExplanationOfBenefit?_id={claim}
        /fhir/ExplanationOfBenefit?_id={claim}&patient={me}
        /fhir/ExplanationOfBenefit?_id={claim}&patient={them}
        /fhir/ExplanationOfBenefit?identifier={number}
        /fhir/ExplanationOfBenefit?coverage={cover}
        /fhir/ExplanationOfBenefit?coverage=Coverage/{cover}
        /fhir/Coverage?_id={cover}
        /fhir/Coverage?patient={them}
        /fhir/Coverage?beneficiary={them}
        /fhir/Coverage?beneficiary=Patient/{them}
        /fhir/Coverage?_id={cover}&_include=Coverage:patient
        /fhir/RelatedPerson?patient={them}
        /fhir/ExplanationOfBenefit?patient={them}&_include=*
        /fhir/ExplanationOfBenefit?patient={them}&_include=ExplanationOfBenefit:*
        /fhir/ExplanationOfBenefit?patient={them}&_summary=count
        /fhir/ExplanationOfBenefit?patient={them}&_total=accurate&_count=0
        /fhir/ExplanationOfBenefit?patient={them}&_elements=patient
        /fhir/ExplanationOfBenefit?patient={them}&_sort=-_lastUpdated
        /fhir/ExplanationOfBenefit?patient={them}&callback=alert
        /fhir/Organization?_id={them}
        /fhir/Practitioner?_id={claim}
        /fhir/Location?_id={cover}
        """,
    ),
    *_lines(
        "own",
        """
        /fhir/ExplanationOfBenefit?patient={me},{them}
        /fhir/ExplanationOfBenefit?patient={them},{me}
        /fhir/ExplanationOfBenefit?_id={mine},{claim}
        /fhir/ExplanationOfBenefit?_id={claim}%2C{mine}
        /fhir/ExplanationOfBenefit
        /fhir/ExplanationOfBenefit?_count=100000
        /fhir/ExplanationOfBenefit?patient:missing=false
        /fhir/ExplanationOfBenefit?type:not=pharmacy
        /fhir/ExplanationOfBenefit?identifier:not={number}
        /fhir/ExplanationOfBenefit?service-date=ge1900-01-01
        /fhir/ExplanationOfBenefit?_lastUpdated=ne1900-01-01
        /fhir/ExplanationOfBenefit?_include=*&_include:iterate=*
        /fhir/ExplanationOfBenefit?_include=ExplanationOfBenefit:patient
        /fhir/ExplanationOfBenefit?_include=ExplanationOfBenefit:coverage&_include:iterate=Coverage:*
        /fhir/Coverage?_include=Coverage:payor&_include:iterate=Coverage:beneficiary
        /fhir/Patient
        /fhir/Coverage
        /fhir/RelatedPerson
        /fhir/Organization?name=a
        /fhir/Patient/{me}/$everything
        /fhir/Patient/{me}/$everything?_since=1900-01-01T00:00:00Z
        /fhir/Patient/{me}/$everything?start=1900-01-01&end=2999-12-31
        """,
    ),
    # What is not supported or empty is ignored, and reaches no further than a search without it.
    *_lines(
        "own",
        """
        /fhir/ExplanationOfBenefit?patient.name=Roe
        /fhir/ExplanationOfBenefit?patient.identifier={number}
        /fhir/ExplanationOfBenefit?patient:Patient.birthdate=1970-01-01
        /fhir/ExplanationOfBenefit?coverage.beneficiary={them}
        /fhir/ExplanationOfBenefit?Patient={them}
        /fhir/ExplanationOfBenefit?PATIENT={them}
        /fhir/ExplanationOfBenefit?patient[]={them}
        /fhir/ExplanationOfBenefit?patient%5B0%5D={them}
        /fhir/ExplanationOfBenefit?%20patient={them}
        /fhir/ExplanationOfBenefit?subject={them}
        /fhir/ExplanationOfBenefit?member={them}
        /fhir/ExplanationOfBenefit?_filter=patient%20eq%20{them}
        /fhir/ExplanationOfBenefit?_query=all
        /fhir/ExplanationOfBenefit?_content=Roe
        /fhir/ExplanationOfBenefit?_text=Roe
        /fhir/ExplanationOfBenefit?_list={them}
        /fhir/ExplanationOfBenefit?_type=Patient,Coverage
        /fhir/ExplanationOfBenefit?_contained=true
        /fhir/ExplanationOfBenefit?_revinclude=Coverage:beneficiary
        /fhir/Patient?_revinclude=ExplanationOfBenefit:patient
        /fhir/Patient?_revinclude:iterate=ExplanationOfBenefit:patient
        /fhir/Organization?_revinclude=ExplanationOfBenefit:insurer
        /fhir/Organization?_has:ExplanationOfBenefit:insurer:patient={them}
        /fhir/Patient?_has:ExplanationOfBenefit:patient:_id={claim}
        /fhir/ExplanationOfBenefit?_include=Patient:link
        /fhir/ExplanationOfBenefit?_include=ExplanationOfBenefit:patient:Group
        /fhir/ExplanationOfBenefit?_offset=0&_getpages=1
        /fhir/ExplanationOfBenefit?page=2
        /fhir/ExplanationOfBenefit?cursor={page}
        /fhir/ExplanationOfBenefit?_page={page}
        /fhir/ExplanationOfBenefit?release=1
        /fhir/ExplanationOfBenefit?_sort=patient
        /fhir/ExplanationOfBenefit?_security=N
        /fhir/ExplanationOfBenefit?_since=1900-01-01
        /fhir/Patient/{me}/$everything?patient={them}
        /fhir/Patient/{me}/$everything?_id={them}
        /fhir/Patient/{me}?_id={them}
        /fhir/ExplanationOfBenefit?patient=
        /fhir/ExplanationOfBenefit?patient
        /fhir/ExplanationOfBenefit?_id=
        """,
    ),
    # The compartment of one member is not another's.
    *_lines(
        "refused",
        """
        /fhir/Patient/{them}/Coverage
        /fhir/Patient/{them}/RelatedPerson?_include=*
        /fhir/Patient/{them}/ExplanationOfBenefit?patient={me}
        /fhir/Patient/{them}/ExplanationOfBenefit?_id={claim}
        /fhir/Patient/{them}/ExplanationOfBenefit/_search
        /fhir/Patient/{them}/ExplanationOfBenefit/_search?_id={claim}
        /fhir/Patient/{them}/Patient
        /fhir/Patient/{them}/Organization
        /fhir/Patient/{me}/Patient
        /fhir/Patient/{me}/*
        /fhir/Patient/{me}/Organization
        /fhir/Patient/{me}/ExplanationOfBenefit/{claim}
        /fhir/Patient/{me},{them}/ExplanationOfBenefit
        /fhir/Patient/*/ExplanationOfBenefit
        /fhir/Patient/_search/ExplanationOfBenefit
        /fhir/Coverage/{cover}/ExplanationOfBenefit
        /fhir/Practitioner/{claim}/ExplanationOfBenefit
        /directory/Patient/{them}/ExplanationOfBenefit
        """,
    ),
    *_lines(
        "empty",
        """
        /fhir/PractitionerRole?practitioner={strange}
        /fhir/PractitionerRole?practitioner=Practitioner/{strange}&_include=*
        /fhir/Practitioner?identifier={npi}
        /fhir/PractitionerRole?practitioner={them}
        /fhir/Location?organization={claim}
        /fhir/Patient/{me}/ExplanationOfBenefit?patient={them}
        /fhir/Patient/{me}/ExplanationOfBenefit?_id={claim}
        /fhir/Patient/{me}/ExplanationOfBenefit/_search?_id={claim}
        /fhir/Patient/{me}/Coverage?beneficiary={them}
        """,
    ),
    *_lines(
        "own",
        """
        /fhir/Patient/{me}/ExplanationOfBenefit?_include=*&_include:iterate=*
        /fhir/Patient/{me}/ExplanationOfBenefit?patient={me},{them}
        /fhir/Patient/{me}/Coverage
        /fhir/Patient/{me}/RelatedPerson
        /fhir/PractitionerRole
        /fhir/PractitionerRole?practitioner:missing=false&_include=*
        /fhir/Location?name:contains=a&_include:iterate=*
        /fhir/ExplanationOfBenefit/_search?patient={me}
        """,
    ),
    *_lines(
        "refused or empty",
        """
        /fhir/ExplanationOfBenefit?patient=https://evil.example/fhir/Patient/{them}
        /fhir/ExplanationOfBenefit?patient=Patient/{them}/_history/1
        /fhir/ExplanationOfBenefit?patient=//Patient/{them}
        /fhir/ExplanationOfBenefit?patient=Patient/../Patient/{them}
        /fhir/ExplanationOfBenefit?patient=*
        /fhir/ExplanationOfBenefit?patient=%25
        /fhir/ExplanationOfBenefit?patient=%2A
        /fhir/ExplanationOfBenefit?patient=,
        /fhir/ExplanationOfBenefit?patient=%5C,{them}
        /fhir/ExplanationOfBenefit?patient={them}%20OR%201=1
        /fhir/ExplanationOfBenefit?patient='%20or%20'1'='1
        /fhir/ExplanationOfBenefit?patient={{"$ne":null}}
        /fhir/ExplanationOfBenefit?patient=%2527
        /fhir/ExplanationOfBenefit?_id=*
        /fhir/ExplanationOfBenefit?_id=../{claim}
        /fhir/ExplanationOfBenefit?_id=ExplanationOfBenefit/{claim}
        /fhir/ExplanationOfBenefit?_id=%25
        /fhir/ExplanationOfBenefit?identifier=%7C{number}
        /fhir/ExplanationOfBenefit?identifier={number}|
        /fhir/ExplanationOfBenefit?identifier=urn:cpcds:demo:claim-id|{number}
        /fhir/ExplanationOfBenefit?identifier=|
        /fhir/Coverage?patient=Practitioner/{them}
        """,
    ),
    *_lines(
        "refused",
        """
        /fhir/ExplanationOfBenefit?patient:not={me}
        /fhir/ExplanationOfBenefit?patient:above={me}
        /fhir/ExplanationOfBenefit?patient:identifier={number}
        /fhir/ExplanationOfBenefit?patient:Organization={them}
        /fhir/ExplanationOfBenefit?patient:missing=maybe
        /fhir/ExplanationOfBenefit?patient%00={them}
        /fhir/ExplanationOfBenefit?_include:recurse=*
        /fhir/ExplanationOfBenefit?_include=../{them}
        /fhir/ExplanationOfBenefit?_elements=*
        /fhir/ExplanationOfBenefit?_count=-1
        /fhir/ExplanationOfBenefit?_count=1&_count=1000
        /fhir/Patient/{me}/$everything?_type=Claim
        /fhir?_type=Patient
        /fhir/?_type=ExplanationOfBenefit&patient={them}
        """,
    ),
]

PASSED_OVER = _lines(
    "own",
    """
    /fhir/Patient/{me}?_format[]=json
    /fhir/_page/{mypage}?_count=1000
    /fhir/_page/{mypage}?patient={them}
    """,
)

FORMATS = _lines(
    "refused",
    """
    /fhir/Patient/{me}?_format=fhir
    /fhir/Patient/{me}?_format=xml
    /fhir/Patient/{me}?_format=html
    /fhir/Patient/{me}?_format=json&_format=html
    /fhir/Patient/{me}?_format=application/javascript
    /fhir/Patient/{me}?_format=../json
    /fhir/Patient/{me}?_format=json%00
    """,
)

LINKS = _lines(
    "refused",
    """
    /fhir/_page/{page}
    /fhir/_page/{mypage}x
    /fhir/_page/x{mypage}
    /fhir/_page/{mypage}=
    /fhir/_page/{mypage}{mypage}
    /fhir/_page/{mypage}/
    /fhir/_page/{mypage}%00
    /fhir/_page/
    /fhir/_page
    /fhir/_page/e30
    /fhir/_page/eyJwYXRpZW50IjoiKiJ9
    /fhir/_page/..%2fPatient
    /fhir/_page/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA
    """.replace("/fhir/_page/{mypage}/\n", ""),
)

HEADERS = [
    # Headers that proxies, frameworks or other servers believe.
    *(
        Attack("/fhir/Patient/{them}", "refused", headers=((name, value),))
        for name, value in (
            ("x-patient", "{them}"),
            ("x-patient-id", "{them}"),
            ("x-original-url", "/fhir/Patient/{me}"),
            ("x-rewrite-url", "/fhir/Patient/{me}"),
            ("x-forwarded-user", "{them}"),
            ("x-forwarded-for", "127.0.0.1"),
            ("x-http-method-override", "OPTIONS"),
            ("cookie", "session={token}; access_token={token}"),
            ("x-access-token", "{token}"),
            ("proxy-authorization", "Bearer {token}"),
            ("accept", "application/fhir+json;patient={them}"),
            ("if-none-match", "*"),
            ("range", "bytes=0-100000"),
            ("prefer", "handling=lenient"),
        )
    ),
    Attack("/fhir/Patient/{them}", "refused", headers=(("authorization", "Bearer {token}"),)),
    Attack("/fhir/Patient/{them}", "refused", headers=(("Authorization", "Basic e30="),)),
    Attack("/fhir/ExplanationOfBenefit?access_token={token}", "refused"),
    Attack("/fhir/ExplanationOfBenefit?ACCESS_TOKEN={token}", "refused"),
    Attack("/fhir/ExplanationOfBenefit?%61ccess_token={token}", "refused"),
    *(
        Attack(target, "own", headers=((name, value),))
        for target in ("/fhir/ExplanationOfBenefit?_count=1", "/fhir/Patient/{me}/$everything")
        for name, value in (
            ("x-forwarded-host", "evil.example"),
            ("forwarded", "host=evil.example;proto=http"),
            ("x-forwarded-prefix", "/evil"),
            ("x-forwarded-proto", "gopher"),
            ("x-original-host", "evil.example"),
        )
    ),
    *(
        Attack("/fhir/ExplanationOfBenefit?x=1&patient={them}", "empty", headers=(("prefer", one),))
        for one in ("handling=lenient", "handling=lenient; wait=1", 'handling="lenient"')
    ),
    # What a lenient client gives up is a parameter that searches, never whose data it is.
    Attack("/fhir/ExplanationOfBenefit?patient.name=x", "own", headers=(LENIENT,)),
    Attack("/fhir/Patient?_revinclude=*", "own", headers=(LENIENT,)),
    Attack("/fhir/ExplanationOfBenefit?member={them}", "own", headers=(LENIENT,)),
]

METHODS = [
    *(Attack("/fhir/Patient/{them}", "refused", method=one) for one in ("PUT", "PATCH", "DELETE")),
    *(Attack("/fhir/Patient/{them}", "refused", method=one) for one in ("TRACE", "get", "FOO")),
    Attack("/fhir", "refused", "POST", (("content-type", "application/fhir+json"),), "{{}}"),
    Attack(
        "/fhir/",
        "refused",
        "POST",
        (("content-type", "application/fhir+json"),),
        '{{"resourceType":"Bundle","type":"batch","entry":[{{"request":{{"method":"GET",'
        '"url":"Patient/{them}"}}}}]}}',
    ),
    Attack("/fhir/Patient/{them}", "refused", "POST", (FORM,), "_id={me}"),
    Attack("/fhir/Patient", "refused", "POST", (FORM,), "_id={them}"),
    Attack("/fhir/Patient/_search", "empty", "POST", (FORM,), "_id={them}"),
    Attack("/fhir/Patient/_search?_id={me}", "empty", "POST", (FORM,), "_id={them}"),
    Attack("/fhir/Patient/_search?_id={them}", "empty", "POST", (FORM,), "_id={me}"),
    Attack("/fhir/Patient/_search/", "empty", "POST", (FORM,), "_id={them}"),
    Attack("/fhir/_search", "refused", "POST", (FORM,), "_type=Patient"),
    Attack(EOB_SEARCH, "empty", "POST", (FORM,), "patient={them}"),
    Attack(
        EOB_SEARCH + "?patient={me}",
        "empty",
        "POST",
        (FORM,),
        "patient={them}",
    ),
    Attack(EOB_SEARCH, "own", "POST", (FORM,), "patient.name=Roe"),
    Attack(EOB_SEARCH, "refused", "POST", (FORM, STRICT), "patient.name=Roe"),
    Attack(COMPARTMENT, "refused", "POST", (FORM,), "_count=1"),
    Attack(COMPARTMENT, "refused", "POST", (FORM,), "patient={me}"),
    Attack(COMPARTMENT.replace("{them}", "{me}"), "empty", "POST", (FORM,), "_id={claim}"),
    Attack(COMPARTMENT.replace("{them}", "{me}"), "own", "POST", (FORM,), "_count=1"),
    Attack(EOB_SEARCH, "refused", "POST", (FORM,), "access_token={token}"),
    Attack(
        EOB_SEARCH,
        "refused",
        "POST",
        (("content-type", "application/json"),),
        '{{"patient":"{them}"}}',
    ),
    Attack("/fhir/Patient/{them}/$everything", "refused", "POST", (FORM,), ""),
    Attack("/fhir/Patient/{me}/$everything", "own", "POST", (FORM,), "patient={them}"),
    Attack("/fhir/Patient/{me}/$everything", "refused", "POST", (FORM, STRICT), "patient={them}"),
    Attack(
        "/fhir/Patient/{me}/$everything",
        "own",
        "POST",
        (("content-type", "application/fhir+json"),),
        '{{"resourceType":"Parameters","parameter":[{{"name":"patient","valueString":"{them}"}}]}}',
    ),
    Attack("/fhir/_page/{page}", "refused", "POST", (FORM,), ""),
    Attack("/fhir/Patient/{them}/_history/1", "refused", "DELETE"),
]

ATTACKS = [*IDS, *PATHS, *SEARCHES, *FORMATS, *LINKS, *PASSED_OVER, *HEADERS, *METHODS]
