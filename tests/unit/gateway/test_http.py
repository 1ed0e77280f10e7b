"""HTTP as FHIR wants it: formats, validators, compression, methods, errors, the log."""

import asyncio
import gzip
import json
from hashlib import sha256

import pytest

from etl.bootstrap import served_app
from etl.errors import StoreError
from etl.gateway.http.responses import KINDS, SYSTEM
from etl.gateway.service import Service, ServiceOptions
from etl.gateway.startup import GatewayServices
from etl.model.data_models import CLAIMS
from tests.given.tables import read_tables, table
from tests.memory_store import MemoryStore
from tests.unit.gateway.calls import (
    BASE,
    NARROW_TOKEN,
    OTHER_TOKEN,
    TOKEN,
    another,
    bearer,
    served,
)
from tests.unit.gateway.memory_objects import MemoryObjects
from tests.unit.gateway.trees import KEY, busiest, members

EOB = "/fhir/ExplanationOfBenefit"
WRONG = "no-token-of-ours"
FORM = (b"content-type", b"application/x-www-form-urlencoded")


@pytest.fixture(scope="module")
def server():
    return served()


@pytest.fixture
def fresh():
    return served()


def own(kind):
    return next(one for one in members()[busiest()] if one["resourceType"] == kind)


def accept(value):
    return (b"accept", value.encode())


# Formats


@pytest.mark.parametrize(*table(__file__, "formats"))
def test_the_format_asked_for_is_the_format_answered(server, wanted, media):
    got = server.call(f"/fhir/Patient/{busiest()}", accept(wanted))
    assert (got.status, got.headers["content-type"]) == (200, media)


@pytest.mark.parametrize("wanted", read_tables(__file__)["refused_formats"])
def test_a_format_that_is_not_served_is_406(server, wanted):
    got = server.call(f"/fhir/Patient/{busiest()}", accept(wanted))
    assert (got.status, got.code) == (406, "format-not-acceptable")
    assert got.headers["content-type"] == "application/fhir+json"


@pytest.mark.parametrize(*table(__file__, "forced_formats"))
def test_the_parameter_beats_the_header(server, value, status):
    for path in (f"/fhir/Patient/{busiest()}", EOB, "/fhir/metadata"):
        assert server.call(f"{path}?_format={value}", accept("text/html")).status == status


# Validators


def test_a_resource_that_the_client_has_is_not_sent_again(server):
    path = f"/fhir/Patient/{busiest()}"
    got = server.call(path)
    assert got.headers["content-type"] == "application/fhir+json"
    assert got.headers["etag"] == f'W/"{own("Patient")["meta"]["versionId"]}"'
    again = server.call(path, (b"if-none-match", got.headers["etag"].encode()))
    assert (again.status, again.body) == (304, b"")
    assert again.headers["etag"] == got.headers["etag"]
    assert "content-type" not in again.headers
    listed = b'"other", ' + got.headers["etag"].removeprefix("W/").encode()
    assert server.call(path, (b"if-none-match", listed)).status == 304
    assert server.call(path, (b"if-none-match", b"*")).status == 304
    assert server.call(path, (b"if-none-match", b'W/"other"')).status == 200


def test_a_search_that_the_client_has_is_not_sent_again(server):
    got = server.call(f"{EOB}?_count=2")
    tag = (b"if-none-match", got.headers["etag"].encode())
    assert server.call(f"{EOB}?_count=2", tag).status == 304
    assert server.call(f"{EOB}?_count=3", tag).status == 200
    assert server.call(f"{EOB}?_count=2", tag, token=OTHER_TOKEN).status == 200


def test_the_time_of_a_change_is_told_and_believed_only_where_it_can_be(server):
    path = f"/fhir/Patient/{busiest()}"
    got = server.call(path)
    told = got.headers["last-modified"]
    assert told.endswith("GMT")
    # The payer's own date says nothing of the bytes: a corrected mapping changes them and keeps it.
    assert server.call(path, (b"if-modified-since", told.encode())).status == 200
    late = (b"if-modified-since", b"Fri, 01 Jan 2100 00:00:00 GMT")
    assert server.call(path, late).status == 304
    assert server.call(path, late, (b"if-none-match", b'"other"')).status == 200
    assert server.call(path, (b"if-modified-since", b"yesterday")).status == 200
    searched = server.call(EOB).headers["last-modified"].encode()
    assert server.call(EOB, (b"if-modified-since", searched)).status == 304


def test_a_precondition_that_fails_is_412(server):
    path = f"/fhir/Patient/{busiest()}"
    tag = server.call(path).headers["etag"].encode()
    assert server.call(path, (b"if-match", tag)).status == 200
    got = server.call(path, (b"if-match", b'W/"other"'))
    assert (got.status, got.code) == (412, "precondition-failed")
    old = (b"if-unmodified-since", b"Sat, 01 Jan 2000 00:00:00 GMT")
    assert server.call(path, old).status == 412


# Compression


@pytest.mark.parametrize("value", ["gzip", "br, gzip;q=0.5", "*", "x-gzip", "GZIP"])
def test_large_answers_are_compressed_for_those_who_take_it(server, value):
    plain = server.call(EOB)
    got = server.call(EOB, (b"accept-encoding", value.encode()))
    assert got.headers["content-encoding"] == "gzip"
    assert int(got.headers["content-length"]) == len(got.body) < len(plain.body)
    assert gzip.decompress(got.body) == plain.body
    assert "accept-encoding" in got.headers["vary"]


@pytest.mark.parametrize("value", ["", "br", "gzip;q=0", "identity", "*;q=0", "gzip;q=x"])
def test_those_who_do_not_take_it_get_it_plain(server, value):
    got = server.call(EOB, (b"accept-encoding", value.encode()))
    assert "content-encoding" not in got.headers


# Caches, browsers


@pytest.mark.parametrize(
    "path", ["Patient/[id]", "ExplanationOfBenefit", "Patient/[id]/$everything"]
)
def test_no_cache_keeps_what_is_a_members(server, path):
    got = server.call(f"/fhir/{path.replace('[id]', busiest())}")
    assert got.headers["cache-control"] == "private, no-store"
    assert "authorization" in got.headers["vary"]
    assert got.headers["x-content-type-options"] == "nosniff"
    assert got.headers["strict-transport-security"] == "max-age=31536000; includeSubDomains"


def test_browser_apps_of_any_origin_may_read_answers_and_errors_by_default(server):
    got = server.call(EOB, (b"origin", b"https://app.example"))
    assert got.headers["access-control-allow-origin"] == "*"
    refused = server.call(EOB, token=WRONG)
    assert (refused.status, refused.headers["access-control-allow-origin"]) == (401, "*")
    assert "access-control-allow-credentials" not in got.headers
    assert "x-request-id" in got.headers["access-control-expose-headers"]


def test_origins_can_be_named():
    server = served(cors_origins=("https://app.example",))
    mine, other = (b"origin", b"https://app.example"), (b"origin", b"https://evil.example")
    got = server.call(EOB, mine)
    assert got.headers["access-control-allow-origin"] == "https://app.example"
    assert "origin" in got.headers["vary"]
    refused = server.call(EOB, other)
    assert "access-control-allow-origin" not in refused.headers
    assert "origin" in refused.headers["vary"]
    for path in ("/fhir/metadata", "/fhir/.well-known/smart-configuration"):
        assert server.call(path, other).headers["access-control-allow-origin"] == "*"


def test_a_browser_may_ask_first_without_a_token(server):
    got = server.call(
        f"/fhir/Patient/{busiest()}",
        (b"origin", b"https://app.example"),
        (b"access-control-request-method", b"GET"),
        (b"access-control-request-headers", b"authorization"),
        method="OPTIONS",
        token=None,
    )
    assert (got.status, got.body) == (204, b"")
    assert "authorization" in got.headers["access-control-allow-headers"]
    assert got.headers["access-control-allow-methods"] == "GET, HEAD, OPTIONS"
    assert got.headers["allow"] == "GET, HEAD, OPTIONS"


# Methods


@pytest.mark.parametrize("path", read_tables(__file__)["heads"])
def test_head_is_get_without_the_body(server, path):
    path = path.replace("[id]", busiest())
    full, head = server.call(path), server.call(path, method="HEAD")
    assert head.status == full.status
    if path.startswith("/fhir"):  # for the others, the server leaves it out
        assert head.body == b""
    once = ("x-request-id", "content-length" if path == "/metrics" else "")
    assert {k: v for k, v in head.headers.items() if k not in once} == {
        k: v for k, v in full.headers.items() if k not in once
    }


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "TRACE", "POST", "BREW"])
@pytest.mark.parametrize("path", ["Patient", "Patient/[id]", "Patient/[id]/_history/1", "metadata"])
def test_nothing_can_be_written(server, method, path):
    got = server.call(f"/fhir/{path.replace('[id]', busiest())}", method=method, body=b"{}")
    assert (got.status, got.code) == (405, "method-not-allowed")
    assert got.headers["allow"] == "GET, HEAD, OPTIONS"


def test_a_search_may_be_asked_for_at_its_address_of_posting(server):
    plain = server.call(f"{EOB}?_count=2")
    got = server.call(f"{EOB}/_search?_count=2")
    assert (got.status, got.json) == (200, plain.json)
    refused = server.call(f"{EOB}/_search", method="PUT")
    assert (refused.status, refused.headers["allow"]) == (405, "GET, HEAD, OPTIONS, POST")


def test_a_compartment_is_searched_by_its_address(server):
    path = f"/fhir/Patient/{busiest()}/ExplanationOfBenefit"
    plain = server.call(f"{EOB}?_count=2&_include=*")
    for got in (
        server.call(f"{path}?_count=2&_include=*"),
        server.call(f"{path}/_search?_count=2&_include=*"),
        server.call(f"{path}/_search", FORM, method="POST", body=b"_count=2&_include=*"),
    ):
        assert got.status == 200
        assert got.json["entry"] == plain.json["entry"]
        assert got.json["link"][0]["url"] == f"{BASE}{path}?_count=2&_include=*"
    assert server.trail.kept[-2].what == f"Patient/{busiest()}/ExplanationOfBenefit"
    other = server.call(f"/fhir/Patient/{another()}/ExplanationOfBenefit")
    assert (other.status, other.code) == (404, "not-found")


def test_the_trail_names_every_type_that_was_delivered(server):
    first = server.call(f"{EOB}?_count=2&_include=*").json
    following = next(link["url"] for link in first["link"] if link["relation"] == "next")
    assert len(server.trail.kept[-1].delivered) > 2
    path = f"/fhir/Patient/{busiest()}"
    for target in (
        f"{EOB}?_count=2&_include=*",
        following.removeprefix(BASE),
        f"{path}/$everything",
        f"{path}",
        f"{EOB}?_count=2",
        f"{EOB}?_summary=count",
    ):
        body = server.call(target).json
        found = [one["resource"] for one in body.get("entry", ())] or [body]
        types = {each["resourceType"] for each in found} - {"Bundle", "OperationOutcome"}
        assert server.trail.kept[-1].delivered == tuple(sorted(types)), target
    assert server.call(f"{EOB}?_count=2", (b"if-none-match", b"*")).status == 304
    assert server.trail.kept[-1].delivered == ()


# Posted searches


def test_a_posted_search_is_the_same_search(server):
    asked = server.call(f"{EOB}?_count=3&type=pharmacy")
    for target, body in (("", b"_count=3&type=pharmacy"), ("?_count=3", b"type=pharmacy")):
        got = server.call(f"{EOB}/_search{target}", FORM, method="POST", body=body)
        assert got.status == 200
        assert got.json["total"] == asked.json["total"]
        assert got.json.get("entry") == asked.json.get("entry")
    empty = server.call(f"{EOB}/_search", method="POST")
    assert empty.status == 200


@pytest.mark.parametrize("media", read_tables(__file__)["refused_media"])
def test_only_a_form_can_be_posted(server, media):
    header = (b"content-type", media.encode())
    got = server.call(f"{EOB}/_search", header, method="POST", body=b"_count=3")
    assert (got.status, got.code) == (415, "media-type-unsupported")


def test_a_form_may_say_its_charset(server):
    header = (b"content-type", b"application/x-www-form-urlencoded; charset=UTF-8")
    assert server.call(f"{EOB}/_search", header, method="POST", body=b"_count=3").status == 200


def test_a_compressed_or_too_large_body_is_not_read(server):
    packed = server.call(
        f"{EOB}/_search", FORM, (b"content-encoding", b"gzip"), method="POST", body=b"x"
    )
    assert packed.status == 415
    large = server.call(f"{EOB}/_search", FORM, method="POST", body=b"_id=" + b"x" * 70_000)
    assert (large.status, large.code) == (413, "body-too-large")
    told = (b"content-length", b"99999999")
    assert server.call(f"{EOB}/_search", FORM, told, method="POST", body=b"").status == 413


def test_everything_can_be_posted_as_parameters(server):
    path = f"/fhir/Patient/{busiest()}/$everything"
    header = (b"content-type", b"application/fhir+json")
    body = {
        "resourceType": "Parameters",
        "parameter": [
            {"name": "_type", "valueString": "Coverage"},
            {"name": "_count", "valueInteger": 5},
        ],
    }
    got = server.call(path, header, method="POST", body=json.dumps(body).encode())
    asked = server.call(f"{path}?_type=Coverage&_count=5")
    assert got.json["entry"] == asked.json["entry"]
    for wrong in (b"[", b"[]", b"{}", b'{"resourceType":"Parameters","parameter":[{"name":1}]}'):
        assert server.call(path, header, method="POST", body=wrong).code == "body-malformed"


# Tokens


def test_without_a_token_the_answer_is_401_and_says_how(server):
    got = server.call(EOB, token=None)
    assert (got.status, got.code) == (401, "token-missing")
    assert got.headers["www-authenticate"] == 'Bearer realm="FHIR"'


@pytest.mark.parametrize("value", read_tables(__file__)["refused_tokens"])
def test_a_token_that_is_none_is_401(server, value):
    header = value.replace("[long]", "x" * 9000).encode()
    got = server.call(EOB, (b"authorization", header), token=None)
    assert (got.status, got.code) == (401, "token-invalid")
    assert 'error="invalid_token"' in got.headers["www-authenticate"]


def test_the_scheme_is_read_in_any_case(server):
    assert (
        server.call(EOB, (b"authorization", f"bEARER {TOKEN}".encode()), token=None).status == 200
    )


@pytest.mark.parametrize("name", ["access_token", "ACCESS_TOKEN", "token", "acces%73_token"])
def test_a_token_in_the_url_or_the_form_is_refused(server, name):
    for token in (TOKEN, None):
        got = server.call(f"{EOB}?{name}={TOKEN}", token=token)
        assert (got.status, got.code) == (400, "token-in-url")
        assert TOKEN.encode() not in got.body
    got = server.call(f"{EOB}/_search", FORM, method="POST", body=f"{name}={TOKEN}".encode())
    assert (got.status, got.code) == (400, "token-in-url")


def test_two_tokens_are_none(server):
    got = server.call(EOB, bearer(OTHER_TOKEN))
    assert (got.status, got.code) == (400, "header-repeated")


def test_a_scope_that_is_missing_is_403_and_says_which(server):
    got = server.call(EOB, token=NARROW_TOKEN)
    assert (got.status, got.code) == (403, "scope-insufficient")
    assert 'error="insufficient_scope"' in got.headers["www-authenticate"]
    assert "patient/ExplanationOfBenefit.s" in got.json["issue"][0]["diagnostics"]


# Addresses


@pytest.mark.parametrize(*table(__file__, "addresses"))
def test_what_is_wrong_with_an_address_is_said(server, path, status, code):
    path = path.replace("[id]", busiest()).replace("[long]", "a" * 9000)
    got = server.call(path.replace("[many]", "&".join(["_id=1"] * 101)))
    assert (got.status, got.code) == (status, code)
    assert got.headers["content-type"] == "application/fhir+json"


# Preferences


STRICT = (b"prefer", b"return=minimal; handling=strict")


def test_what_is_not_supported_is_ignored_unless_the_client_wants_it_refused(server):
    page = server.call(f"{EOB}?_count=1").json["link"][-1]["url"].removeprefix(BASE)
    for path in (
        f"{EOB}?unknown=1",
        f"{EOB}?patient.name=x",
        f"{EOB}?_revinclude=Provenance:target",
        f"/fhir/Patient/{busiest()}/$everything?unknown=1",
        f"/fhir/Patient/{busiest()}/$everything?_type=",
        f"{page}?_count=7",
    ):
        got = server.call(path)
        assert got.status == 200
        assert "preference-applied" not in got.headers
        assert " was ignored: it " in repr(got.json["entry"][-1])
        assert b"unknown=1" not in got.body
        lenient = server.call(path, (b"prefer", b"handling=lenient"))
        assert (lenient.status, lenient.json) == (200, got.json)
        assert lenient.headers["preference-applied"] == "handling=lenient"
        refused = server.call(path, STRICT)
        assert (refused.status, refused.code) in (
            (400, "parameter-unsupported"),
            (400, "parameter-invalid"),
        )


def test_a_read_takes_what_shapes_it_and_passes_over_the_rest(server):
    path = f"/fhir/Patient/{busiest()}"
    whole = server.call(path).json
    for query in (
        "_total=none",
        "_pretty=true",
        "name=x",
        "_include=*",
        "_elements=",
        "_elements=item",
    ):
        got = server.call(f"{path}?{query}")
        assert (got.status, got.json) == (200, whole)
        strict = server.call(f"{path}?{query}", STRICT)
        assert (strict.status, query) == (200 if query == "_pretty=true" else 400, query)
    some = server.call(f"{path}?_elements=birthDate,gender").json
    assert set(some) == {"resourceType", "id", "meta", "birthDate", "gender"}
    assert some["meta"]["tag"][0]["code"] == "SUBSETTED"
    summary = server.call(f"{path}/_history/{whole['meta']['versionId']}?_summary=true").json
    assert summary["meta"]["tag"][0]["code"] == "SUBSETTED"
    assert summary["name"] == whole["name"]


# Errors


def test_every_error_is_an_outcome_with_a_code_of_the_table(server):
    for path in (f"{EOB}?service-date=x", "/fhir/Claim", "/fhir/Patient/unknown"):
        got = server.call(path)
        (issue,) = got.json["issue"]
        kind = KINDS[got.code]
        assert got.json["resourceType"] == "OperationOutcome"
        assert (got.status, issue["code"]) == (kind.status, kind.issue)
        assert issue["details"]["coding"][0]["system"] == SYSTEM
        assert issue["diagnostics"]
        assert got.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (StoreError("patients/ab/secret.ndjson.gz is damaged"), 503, "storage-unavailable"),
        (TimeoutError(), 503, "storage-unavailable"),
        (ValueError("Jane Roe, born 1970"), 500, "internal-error"),
        (KeyError("Jane Roe"), 500, "internal-error"),
    ],
)
def test_a_fault_is_answered_without_a_word_of_what_went_wrong(
    monkeypatch, fresh, error, status, code
):
    async def broken(*args, **more):
        raise error

    monkeypatch.setattr(Service, "search", broken)
    got = fresh.call(EOB)
    assert (got.status, got.code) == (status, code)
    assert "Roe" not in got.body.decode()
    assert "secret" not in got.body.decode()
    assert "Traceback" not in got.body.decode()
    assert ("retry-after" in got.headers) == (status == 503)
    text = b"".join(fresh.log).decode()
    assert "Roe" not in text
    assert "test_http.py" in text  # where it was, all the same


def test_a_request_that_takes_too_long_is_503(monkeypatch):
    async def slow(*args, **more):
        await asyncio.Event().wait()

    monkeypatch.setattr(Service, "search", slow)
    monkeypatch.setattr(served_app, "REQUEST_SECONDS", 0.05)
    got = served().call(EOB)
    assert (got.status, got.code) == (503, "storage-unavailable")


def test_before_the_first_release_the_answer_is_503_and_says_so():
    server = served(
        GatewayServices([(CLAIMS, MemoryObjects(MemoryStore()))], [KEY], ServiceOptions())
    )
    got = server.call(EOB)
    assert (got.status, got.code) == (503, "not-published")
    assert server.call("/readyz").status == 503
    assert server.call("/healthz").status == 200
    assert server.call("/fhir/metadata").status == 200


# Rates, load


def test_an_app_that_asks_too_often_is_told_when_to_come_back():
    server = served(rate_limit="2/hour")
    assert [server.call(EOB).status for _ in range(3)] == [200, 200, 429]
    got = server.call(EOB)
    assert got.code == "rate-limited"
    assert 0 < int(got.headers["retry-after"]) <= 3600
    assert server.call(EOB, token=OTHER_TOKEN).status == 200
    assert len(server.trail.kept) == 3


def test_an_address_that_tries_tokens_is_slowed_down():
    server = served(refused_limit="2/hour")
    tries = [server.call(EOB, token=WRONG).status for _ in range(3)]
    assert tries == [401, 401, 429]
    assert server.call(EOB, token=WRONG, client="192.0.2.2").status == 401
    assert server.call(EOB).status == 200


def test_what_is_wrong_before_the_token_is_looked_at_is_counted_as_well():
    server = served(refused_limit="2/hour")
    wrong = [f"{EOB}?token=x", f"{EOB}?a=%zz", f"{EOB}?token=y"]
    assert [server.call(one, token=None).status for one in wrong] == [400, 400, 429]
    assert len(server.trail.kept) == 2
    assert server.call(EOB).status == 200


# Long searches


def test_the_pages_of_a_search_that_only_fits_into_a_form_can_be_followed(listed):
    first = listed.call("/directory/Organization?_count=100", token=None).json
    known = [one["resource"]["id"] for one in first["entry"]]
    unknown = [sha256(b"%d" % n).hexdigest()[:32] for n in range(500 - len(known))]
    body = f"_count=9&_id={','.join([*known, *unknown])}".encode()
    bundle = listed.call(
        "/directory/Organization/_search", FORM, method="POST", body=body, token=None
    ).json
    found = [one["resource"]["id"] for one in bundle["entry"]]
    while following := [one["url"] for one in bundle["link"] if one["relation"] == "next"]:
        bundle = listed.call(following[0].removeprefix(BASE), token=None).json
        found += [one["resource"]["id"] for one in bundle["entry"]]
    assert sorted(found) == sorted(known)


def test_a_search_that_is_too_long_for_page_links_is_refused_at_once(listed):
    first = listed.call("/directory/Organization?_count=100", token=None).json
    known = [one["resource"]["id"] for one in first["entry"]]
    unknown = [sha256(b"%d" % n).hexdigest() for n in range(900)]
    halves = (unknown[:450], unknown[450:])
    body = "&".join(["_count=9", *(f"_id={','.join([*known, *half])}" for half in halves)])
    got = listed.call(
        "/directory/Organization/_search", FORM, method="POST", body=body.encode(), token=None
    )
    assert got.status == 400
    assert "fewer values" in got.json["issue"][0]["diagnostics"]


# The audit trail


def test_no_token_that_stood_in_a_url_gets_into_the_trail(fresh):
    fresh.call(f"{EOB}?access_token={TOKEN}")
    fresh.call(f"{EOB}?type=oral&token={TOKEN}", token=None)
    fresh.call(f"{EOB}/_search", FORM, method="POST", body=f"token={TOKEN}".encode())
    assert [one.outcome for one in fresh.trail.kept] == [400, 400, 400]
    assert TOKEN not in repr(fresh.trail.kept)


def test_every_access_is_taken_down_before_it_is_answered(fresh):
    fresh.call(f"/fhir/Patient/{busiest()}", (b"x-request-id", b"0123456789abcdef"))
    fresh.call(f"{EOB}?type=oral&_count=2")
    fresh.call(f"{EOB}/_search", FORM, method="POST", body=b"type=oral")
    fresh.call(f"/fhir/Patient/{another()}")
    fresh.call(EOB, token=WRONG)
    fresh.call(f"/fhir/Patient/{busiest()}/$everything?_type=Coverage")
    fresh.call("/fhir/metadata")
    told = [(one.interaction, one.what, one.query, one.outcome) for one in fresh.trail.kept]
    assert told == [
        ("read", f"Patient/{busiest()}", "", 200),
        ("search", "ExplanationOfBenefit", "type=oral&_count=2", 200),
        ("search", "ExplanationOfBenefit", "type=oral", 200),
        ("read", f"Patient/{another()}", "", 404),
        ("search", "ExplanationOfBenefit", "", 401),
        ("everything", f"Patient/{busiest()}", "_type=Coverage", 200),
    ]
    first = fresh.trail.kept[0]
    assert (first.request, first.client, first.patient, first.address) == (
        "0123456789abcdef",
        "app-1",
        busiest(),
        "192.0.2.1",
    )
    assert first.when.tzinfo is not None


def test_what_cannot_be_taken_down_is_not_answered(fresh):
    fresh.trail.fails = True
    for path in (f"/fhir/Patient/{busiest()}", EOB, f"/fhir/Patient/{busiest()}/$everything"):
        got = fresh.call(path)
        assert (got.status, got.code) == (503, "audit-unavailable")
        assert "retry-after" in got.headers
        assert busiest().encode() not in got.body


# Request ids and the log


def test_a_request_id_is_taken_over_if_it_is_well_formed(server):
    mine = b"3f2c7a9e-1b4d-4c56-8e9a-0f1e2d3c4b5a"
    assert server.call(EOB, (b"x-request-id", mine)).headers["x-request-id"] == mine.decode()
    for bad in (b"Jane-Roe", b"", b"a" * 100, b"0123456789abcdef\r\nx: y", b"short"):
        given = server.call(EOB, (b"x-request-id", bad)).headers["x-request-id"]
        assert given != bad.decode()
        assert len(given) == 28
    a, b = (server.call(EOB).headers["x-request-id"] for _ in range(2))
    assert a != b


def test_a_log_line_says_what_was_done_and_nothing_of_whom(fresh):
    claim = own("ExplanationOfBenefit")
    number = claim["identifier"][0]["value"]
    fresh.call(f"{EOB}/{claim['id']}")
    fresh.call(f"{EOB}?identifier={number}")
    fresh.call(f"/fhir/{number}/{number}")
    fresh.call(f"/fhir/Patient/{number}?{number}={number}")
    fresh.call(f"{EOB}?identifier={number}", token=None)
    fresh.call(f"/{number}", method=number)
    text = b"".join(fresh.log).decode()
    for word in (number, claim["id"], busiest(), TOKEN, BASE):
        assert word not in text
    read, searched, *_ = fresh.lines()
    assert read["route"] == "/fhir/ExplanationOfBenefit/[id]"
    assert (read["status"], read["client"], read["event"]) == (200, "app-1", "request")
    assert read["patient"] == searched["patient"]
    assert len(read["patient"]) == 16
    assert searched["release"] == fresh.service.releases.served.release
    assert {"time", "request", "method", "ms", "bytes"} <= set(read)


def test_the_hash_of_a_patient_hangs_on_the_key():
    hashes = set()
    for key in ("a" * 32, "b" * 32, "a" * 32):
        server = served(log_key=key)
        server.call(EOB)
        hashes.add(server.lines()[0]["patient"])
    assert len(hashes) == 2


# Health and metrics


def test_readiness_names_the_release(server):
    got = server.call("/readyz", token=None)
    assert got.json["release"] == server.service.releases.served.release
    assert got.headers["cache-control"] == "no-store"


def test_metrics_count_requests_reads_and_the_age_of_the_release(fresh):
    fresh.call(EOB)
    fresh.call(f"/fhir/Patient/{another()}")
    text = fresh.call("/metrics", token=None).body.decode()
    counted = (
        'cpcds_requests_total{method="GET",route="/fhir/ExplanationOfBenefit",status="200"} 1.0'
    )
    assert counted in text
    assert 'cpcds_refusals_total{error="not-found"} 1.0' in text
    for name in (
        "cpcds_request_seconds_bucket",
        "cpcds_object_reads_total",
        "cpcds_cache_hits_total",
        "cpcds_release_created_seconds",
        "cpcds_requests_in_flight",
    ):
        assert name in text
    assert busiest() not in text
    assert another() not in text


def test_metrics_can_be_left_out():
    assert served(metrics=False).call("/metrics", token=None).status == 404


# The directory
