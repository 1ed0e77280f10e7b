"""Search: what is understood, what is refused, and how an answer looks."""

from itertools import chain

import pytest

from etl.gateway.http.responses import FhirError
from etl.gateway.supported_fhir import TYPES
from etl.publish.block import PatientResources
from etl.publish.manifest import ReleaseFacts
from tests.given.tables import read_tables
from tests.memory_store import MemoryStore
from tests.unit.gateway.trees import (
    ALL,
    BASE,
    bundle,
    busiest,
    directory,
    grant,
    ids,
    link,
    members,
    opened,
    run,
    sample_tree,
)
from tests.unit.publish.samples import LATER, logical_id, publish, resource

EOB = "ExplanationOfBenefit"


def asked(service, query, *, kind=EOB, patient=None, scopes=ALL, strict=True):
    """Return the answer to a query written as in a URL, without escapes."""
    pairs = [one.partition("=")[::2] for one in query.split("&") if one]
    who = grant(patient or busiest(), scopes)
    return run(service.search(who, kind, pairs, base=BASE, strict=strict))


def refused(service, query, **more):
    with pytest.raises(FhirError) as caught:
        asked(service, query, **more)
    return caught.value


def test_a_default_page_is_ten_claims_the_newest_first(service):
    found = bundle(asked(service, ""))
    claims = [one for one in members()[busiest()] if one["resourceType"] == EOB]
    assert found["type"] == "searchset"
    assert found["total"] == len(claims) > 10
    assert [one["resource"] for one in found["entry"]] == claims[:10]
    assert found["link"][0] == {"relation": "self", "url": f"{BASE}/{EOB}?"[:-1]}
    assert [one["relation"] for one in found["link"]] == ["self", "next"]


def test_claims_are_found_by_use_and_by_profile_with_or_without_its_version(service):
    both = [one for one in members()[busiest()] if one["resourceType"] == EOB]
    claims = [one for one in both if one["use"] == "claim"]
    for value in ("claim", "http://hl7.org/fhir/claim-use|claim"):
        assert bundle(asked(service, f"use={value}"))["total"] == len(claims) < len(both)
    for query in ("use=preauthorization", "use:not=claim"):
        assert bundle(asked(service, query))["total"] == len(both) - len(claims)
    assert bundle(asked(service, "use:not=preauthorization"))["total"] == len(claims)
    (profile,) = claims[0]["meta"]["profile"]
    same = [one for one in claims if one["meta"]["profile"] == [profile]]
    for value in (profile.partition("|")[0], profile.replace("|", "\\|"), profile):
        assert bundle(asked(service, f"_profile={value}"))["total"] == len(same) > 0
    assert bundle(asked(service, f"_profile={profile}x,a.example"))["total"] == 0
    assert bundle(asked(service, "_profile:missing=true"))["total"] == 0


def test_the_self_link_says_what_was_understood(service):
    query = "service-date=ge2024-01-01T00:00:00+01:00&type=a b,c&nonsense=1&_count=2"
    found = bundle(asked(service, query, strict=False))
    assert found["link"][0]["url"] == (
        f"{BASE}/{EOB}?service-date=ge2024-01-01T00:00:00%2B01:00&type=a%20b,c&_count=2"
    )


def test_a_plus_that_was_not_escaped_is_still_a_zone(service):
    one = next(one for one in members()[busiest()] if one["resourceType"] == EOB)
    start = one["billablePeriod"]["start"]
    found = bundle(asked(service, f"service-date=ge{start}T00:00:00 00:00"))
    assert found["total"] > 0


TABLES = read_tables(__file__)
REFUSED = [
    *(tuple(row.values()) for row in TABLES["refused"]),
    ("_count=" + "9" * 5000, "parameter-invalid", "whole number"),
    ("&".join(["type=a"] * 101), "too-costly", "100"),
    ("_id=" + ",".join(["a"] * 501), "too-costly", "500"),
    ("service-date=" + ",".join(["2024"] * 101), "too-costly", "more than 64 points"),
    ("&".join(["service-date=2024,2023"] * 13), "too-costly", "more than 64 points"),
    ("_elements=" + ",".join(["item"] * 101), "too-costly", "100"),
]


@pytest.mark.parametrize(("query", "code", "says"), REFUSED)
def test_what_is_wrong_is_refused_with_what_to_do(service, query, code, says):
    said = refused(service, query)
    assert (said.status, said.code) == (400, code)
    assert says in said.diagnostics


def test_no_refusal_repeats_a_value(service):
    marked = "Zx9marked"
    for query in (
        f"service-date={marked}",
        f"patient=Group/{marked}",
        f"identifier=a|{marked}|c",
        f"_count={marked}",
        f"_sort={marked}",
        f"_include={marked}",
        f"_total={marked}",
        f"bad {marked}=1",
    ):
        said = refused(service, query)
        assert marked not in said.diagnostics + repr(said.expression)


@pytest.mark.parametrize("query", TABLES["ignored"])
def test_what_is_not_supported_or_empty_is_ignored_named_and_left_out_of_the_self_link(
    service, query
):
    found = bundle(asked(service, f"_count=2&{query}", strict=False))
    without = bundle(asked(service, "_count=2", strict=False))
    last = found["entry"].pop()
    assert found == without
    assert last["search"] == {"mode": "outcome"}
    assert last["fullUrl"].startswith("urn:uuid:")
    (issue,) = last["resource"]["issue"]
    assert (issue["severity"], issue["code"]) == ("warning", "not-supported")
    assert issue["diagnostics"].startswith(f"{query.partition('=')[0]} was ignored: it ")
    assert refused(service, f"_count=2&{query}", strict=True).status == 400


@pytest.mark.parametrize(
    "query",
    [
        one
        for one, code, _ in REFUSED
        if code != "parameter-unsupported" and not one.endswith("=") and one.count("=a") < 100
    ]
    + ["type:in=x", "_sort:desc=_id", "_count:exact=1", "_total:=none", "_elements:exclude=item"]
    + ["type:=x", "_id:not=x", "_include:recurse=Coverage:payor"],
)
def test_an_invalid_value_and_a_modifier_are_refused_however_the_client_wants_it_handled(
    service, query
):
    assert refused(service, query, strict=False).status == 400


def test_of_several_sort_keys_those_that_are_supported_decide(service):
    found = bundle(asked(service, "_sort=-_id,patient", strict=False))
    told = found["entry"].pop()
    assert "a value of _sort was ignored: it takes" in repr(told)
    assert found["link"][0]["url"] == f"{BASE}/{EOB}?_sort=-_id"
    assert ids(found) == ids(bundle(asked(service, "_sort=-_id")))


def test_no_note_repeats_a_value(service):
    marked = "Zxmarked"
    for query in (f"nonsense={marked}", f"bad {marked}=1", f"_include={marked}:x"):
        found = bundle(asked(service, query, strict=False))
        assert marked not in repr(found["entry"][-1])


def test_count_shapes_pages_and_the_self_link_and_never_exceeds_the_limit(service):
    total = bundle(asked(service, ""))["total"]
    for count, used in ((3, 3), (999_999, 100), (2**31 - 1, 100), (2**63 - 1, 100), (0, 0)):
        found = bundle(asked(service, f"_count={count}"))
        assert len(ids(found)) == min(used, total)
        assert found["link"][0]["url"] == f"{BASE}/{EOB}?_count={used}"
    for query in ("_count=0", "_count=0&_total=none"):
        none = bundle(asked(service, query))
        assert none["total"] == total
        assert "entry" not in none
        assert [one["relation"] for one in none["link"]] == ["self"]


def test_summary_count_gives_the_total_alone(service):
    for query in ("_summary=count&_include=*", "_summary=count&_total=none"):
        found = bundle(asked(service, query))
        assert found["total"] > 0
        assert "entry" not in found
    assert "total" not in bundle(asked(service, "_total=none"))


def test_elements_keep_the_mandatory_ones_and_every_cent_as_it_was_written(service):
    whole = asked(service, "_count=3").body.decode()
    part = asked(service, "_count=3&_elements=total").body.decode()
    found, full = (
        bundle(asked(service, "_count=3&_elements=total")),
        bundle(asked(service, "_count=3")),
    )
    for one, all_of_it in zip(found["entry"], full["entry"], strict=True):
        assert set(one["resource"]) == {
            *("resourceType", "id", "meta", "total", "status", "type", "use", "patient"),
            *("created", "insurer", "provider", "outcome", "insurance"),
        }
        assert one["resource"]["meta"].pop("tag")[0]["code"] == "SUBSETTED"
        assert all(all_of_it["resource"][name] == value for name, value in one["resource"].items())
    amounts = [piece.split("}")[0] for piece in part.split('"value":')[1:]]
    assert amounts
    assert all(f'"value":{amount}' in whole for amount in amounts)
    assert any(amount.split(",")[0].endswith("0") and "." in amount for amount in amounts)


def test_summaries_are_subsets(service):
    (whole,) = bundle(asked(service, "_count=1"))["entry"]
    assert "text" not in whole["resource"]
    for summary in ("true", "data", "text"):
        one = bundle(asked(service, f"_count=1&_summary={summary}"))["entry"][0]["resource"]
        assert ("item" in one) == (summary == "data")
        assert {"status", "patient", "insurance"} <= set(one)
        # Without the narrative, which it doesn't have, a resource is whole.
        assert (one == whole["resource"]) == (summary == "data")
        assert ("tag" in one["meta"]) == (summary != "data")


def test_of_several_elements_those_that_a_type_has_are_returned(service):
    found = bundle(asked(service, "_count=2&_elements=nope,total", strict=False))
    told = found["entry"].pop()
    assert "a value of _elements was ignored: it names no top-level element" in repr(told)
    assert found == bundle(asked(service, "_count=2&_elements=total"))
    assert refused(service, "_elements=nope,total", strict=True).status == 400


def test_an_include_outside_the_scopes_is_left_out_and_told(service):
    scopes = (f"patient/{EOB}.rs", "patient/Patient.r", "patient/Coverage.s")
    found = bundle(asked(service, "_count=2&_include=*", scopes=scopes))
    assert {one.partition("/")[0] for one in ids(found, "include")} == {"Patient"}
    told = [one["diagnostics"] for one in found["entry"][-1]["resource"]["issue"]]
    assert any("patient/Coverage.r" in one for one in told)
    assert any("patient/Organization.r" in one for one in told)


def test_searching_needs_the_scope_to_search(service):
    assert "ExplanationOfBenefit" in TYPES
    for kind in TYPES:
        said = refused(service, "_id=x", kind=kind, scopes=(f"patient/{kind}.r",))
        assert (said.status, said.code) == (403, "scope-insufficient")
        assert f"patient/{kind}.s" in said.diagnostics


@pytest.mark.parametrize("kind", ["Organization", "Practitioner", "PractitionerRole", "Location"])
def test_ids_of_a_directory_are_found_beyond_what_the_member_is_concerned_with(service, kind):
    within = ids(bundle(asked(service, "_count=100", kind=kind)))
    names = [name for name in directory() if name.startswith(f"{kind}/")]
    other = next(name for name in names if name not in within)
    some = f"_id={other},{within[0]}".replace(f"{kind}/", "")
    assert set(ids(bundle(asked(service, some, kind=kind)))) == {other, within[0]}


def test_roles_and_locations_bring_along_what_they_refer_to(service):
    roles = bundle(asked(service, "_include=*&_count=100", kind="PractitionerRole"))
    assert {one.partition("/")[0] for one in ids(roles, "include")} == {
        *("Practitioner", "Organization", "Location"),
    }
    places = bundle(asked(service, "_include=Location:organization", kind="Location"))
    assert ids(places)
    assert {one.partition("/")[0] for one in ids(places, "include")} == {"Organization"}


def test_one_tag_stands_for_one_answer_and_another_question_has_another(service):
    """Tags are made from the question: none may be that of two answers, of whatever members."""
    queries = ("", "_count=3", "_total=none", "_summary=count", f"_include={EOB}:insurer")
    lenient = ("colour=red", "colour=red&taste=sweet")
    some = (ALL, ("patient/ExplanationOfBenefit.rs",))
    answers: dict[str, set[bytes]] = {}
    questions = set()
    for member in (busiest(), next(one for one in members() if one != busiest())):
        for scopes in some:
            who = grant(member, scopes)
            for query in (*queries, *lenient):
                page = asked(service, query, patient=member, scopes=scopes, strict=False)
                questions.add((member, scopes, query))
                answers.setdefault(page.etag, set()).add(page.body)
                if cursor := link(bundle(page), "next"):
                    page = run(service.page(who, cursor, base=BASE))
                    questions.add((member, scopes, cursor))
                    answers.setdefault(page.etag, set()).add(page.body)
    assert all(len(bodies) == 1 for bodies in answers.values())
    assert len(answers) == len(questions)


def test_only_iterated_includes_are_followed_from_what_was_included(service):
    plain = f"_count=3&_include={EOB}:coverage&_include=Coverage:payor"
    once = ids(bundle(asked(service, plain)), "include")
    assert {one.partition("/")[0] for one in once} == {"Coverage"}
    iterated = plain.replace("_include=Coverage", "_include:iterate=Coverage")
    more = ids(bundle(asked(service, iterated)), "include")
    assert {one.partition("/")[0] for one in more} == {"Coverage", "Organization"}


def made_of(*searches):
    """Return a service over one member whose claims 0, 1, … have these search values."""
    store = MemoryStore()
    claims = [resource(EOB, f"claim-{at}", search=one) for at, one in enumerate(searches)]
    publish(store, [PatientResources(logical_id("ann"), [resource("Patient", "ann"), *claims])])
    return opened(store).service


def found_in(service, query):
    """Return the numbers of the claims that are found."""
    names = {f"{EOB}/{logical_id(f'claim-{at}')}": at for at in range(10)}
    return [names[one] for one in ids(bundle(asked(service, query, patient=logical_id("ann"))))]


def test_a_claim_without_a_value_is_not_found_by_one_that_all_others_have():
    lab = {"provider": ["Organization/lab"]}
    service = made_of(lab, {}, lab)
    assert sorted(found_in(service, "provider=lab")) == [0, 2]
    assert found_in(service, "provider:missing=true") == [1]
    assert found_in(service, "service-date=ne2024") == []
    assert len(found_in(service, "type:not=oral")) == 3


def test_of_several_dates_the_earliest_counts_and_descending_the_latest():
    dates: tuple[list[str], ...] = (
        ["2024-01-01", "2024-12-31"],
        ["2024-03-01"],
        ["2024-02-01", "2024-06-30"],
        [],
    )
    service = made_of(*({"service-date": one} if one else {} for one in dates))
    assert found_in(service, "_sort=service-date") == [0, 2, 1, 3]
    assert found_in(service, "_sort=-service-date") == [0, 2, 1, 3]
    periods = made_of({"service-date": ["2024-01-01/2024-12-31"]}, {"service-date": ["2024-06-01"]})
    assert found_in(periods, "_sort=-service-date") == [1, 0]


@pytest.mark.parametrize("part", ["prefix", "suffix"])
def test_people_are_found_by_the_prefix_and_suffix_of_their_name(part):
    everyone = {
        f"{one['resourceType']}/{one['id']}": one
        for one in (*chain.from_iterable(members().values()), *directory().values())
        if one["resourceType"] in ("Patient", "Practitioner")
    }
    having = [
        (reference, name[part][0])
        for reference, one in everyone.items()
        for name in one["name"]
        if part in name
    ]
    service = opened(sample_tree()).service
    assert having
    for reference, text in having:
        kind, _, logical_id = reference.partition("/")
        pairs = [("name", text.lower()), ("_id", logical_id)]
        answer = service.search(grant(logical_id), kind, pairs, base=BASE, strict=True)
        assert reference in ids(bundle(run(answer)))


def test_the_subscriber_comes_along_with_a_coverage(service):
    found = [
        bundle(asked(service, "_include=Coverage:subscriber", kind="Coverage", patient=member))
        for member in list(members())[:10]
    ]
    included = {one.partition("/")[0] for page in found for one in ids(page, "include")}
    assert included == {"Patient", "RelatedPerson"}


def test_what_a_release_has_no_column_for_is_ignored_and_named():
    store = MemoryStore()
    claims = [resource(EOB, "claim", search={"type": ["urn:x|oral"]})]
    facts = ReleaseFacts("full", mapping={"search": {EOB: ["type"]}})
    who = logical_id("ann")
    publish(store, [PatientResources(who, [resource("Patient", "ann"), *claims])], facts=facts)
    old = opened(store).service
    for query in ("status=active", "created=2024", "_sort=created"):
        found = bundle(asked(old, query, patient=who, strict=False))
        assert found["total"] == 1
        assert f"{query.partition('=')[0]} was ignored" in repr(found["entry"][-1])
        assert refused(old, query, patient=who).code == "parameter-unsupported"
    assert bundle(asked(old, "type=oral", patient=who))["total"] == 1
    facts = ReleaseFacts("full", mapping={"search": {EOB: ["type"], "Patient": ["birthdate"]}})
    publish(store, [PatientResources(who, [resource("Patient", "ann")])], facts=facts, now=LATER)
    new = opened(store).service
    assert bundle(asked(new, "birthdate=1970", kind="Patient", patient=who))["total"] == 0
    assert refused(new, "provider=x", patient=who).code == "parameter-unsupported"
    assert bundle(asked(new, "type=oral", patient=who))["total"] == 0
