"""A tester of Plan-Net servers: knows the guide and a base URL, nothing of this project.

It sends what ONC's Inferno sends, group by group, with values found in what the server gave before,
and looks at the answers as Inferno does, but for what is better here: a resource with several
references matches by any of them (Inferno looks at the first), a chain takes its value from a
resource that is referred to (Inferno takes the first that it came across, and so asks that one
organization serve all chains), and what resources hold is looked at on all pages.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import httpx2

from tests.conformance.plan_net_checks import (
    COMBINATIONS,
    GROUPS,
    PROFILES,
    Group,
)
from tests.conformance.plan_net_elements import (
    Json,
    UnknownParameter,
    all_references,
    elements,
    has,
    matches,
    matches_modified,
    modified_values,
    name_of,
    parameter,
    references,
    sent_values,
    type_codes,
)

Outcome = Literal["pass", "fail", "skip"]

PAGES = 20
"""Pages that are read of one search."""
ROLE = "PractitionerRole"
AFFILIATION = "OrganizationAffiliation"
_STRUCTURES = "http://hl7.org/fhir/us/davinci-pdex-plan-net/StructureDefinition/plannet-"


class Failed(Exception):
    """The server answered otherwise than the guide says."""


class Skipped(Exception):
    """There is nothing to show it by: no resource has a value."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What came of one check.

    Attributes:
        number: Inferno's, as `5.38`.
        group: name of the profile.
        what: kind of check, and what it is about.
        is_optional: whether a server may do without.
        outcome: as it ended.
        why: of a failure or skip.
    """

    number: str
    group: str
    what: str
    is_optional: bool
    outcome: Outcome
    why: str = ""

    def __str__(self) -> str:
        return f"{self.number} {self.group} {self.what}: {self.outcome} {self.why}".rstrip()


@dataclass(frozen=True, slots=True)
class Answer:
    """All pages of a search.

    Attributes:
        request: type and query, for messages.
        matches: resources that the search found.
        included: those that came with them.
    """

    request: str
    matches: list[Json]
    included: list[Json]


@dataclass
class PlanNetTester:
    """Goes through all checks, once.

    Attributes:
        base: FHIR base URL.
        http: sends requests.
        version: of the guide that the server's resources claim.
        pools: group → what is known of it, gathered resources first.
    """

    base: str
    http: httpx2.Client
    version: str
    pools: dict[str, list[Json]] = field(default_factory=dict)

    def results(self) -> Iterator[CheckResult]:
        """Yield what comes of each check, in Inferno's order."""
        yield from self._group(1, "Capability statement", self._capability_checks())
        # Each test of a chain needs resources of other groups: they are all gathered first.
        for group in GROUPS:
            self.pools[group.name] = []
            try:
                self.pools[group.name] = self._gathered(group)
            except Failed:
                continue  # the check of its own says so
        for number, group in enumerate(GROUPS, 2):
            yield from self._group(number, group.name, self._checks(group))

    def _group(
        self, number: int, name: str, checks: Iterable[tuple[str, bool, Callable[[], None]]]
    ) -> Iterator[CheckResult]:
        for at, (what, is_optional, check) in enumerate(checks, 1):
            outcome: Outcome = "pass"
            why = ""
            try:
                check()
            except (Failed, UnknownParameter) as error:
                outcome, why = "fail", str(error)
            except Skipped as error:
                outcome, why = "skip", str(error)
            yield CheckResult(f"{number}.{at:02}", name, what, is_optional, outcome, why)

    # Requests

    def document(self, path: str) -> Json:
        """Return what a GET answers.

        Raises:
            Failed: not 200, or no JSON object.
        """
        url = path if path.startswith("http") else f"{self.base}/{path}"
        answer = self.http.get(url, headers={"accept": "application/fhir+json"})
        return _resource_of(answer, path)

    def search(self, type_: str, *pairs: tuple[str, str]) -> Answer:
        """Return all pages of a search, at most `PAGES`.

        Raises:
            Failed: an answer that is no searchset, or holds other than it says.
        """
        request = f"{type_}?{httpx2.QueryParams(pairs)}" if pairs else type_
        answer = Answer(request, [], [])
        url = request
        for _ in range(PAGES):
            bundle = self.document(url)
            _demand(bundle["resourceType"] == "Bundle", request, f"a {bundle['resourceType']}")
            _demand(bundle.get("type") == "searchset", request, f"a Bundle of {bundle.get('type')}")
            for entry in bundle.get("entry", []):
                mode = entry.get("search", {}).get("mode")
                resource = entry["resource"]
                if mode == "match":
                    _demand(resource["resourceType"] == type_, request, "matches of other types")
                    answer.matches.append(resource)
                elif mode == "include":
                    answer.included.append(resource)
            following = [link["url"] for link in bundle["link"] if link["relation"] == "next"]
            if not following:
                break
            url = following[0]
        return answer

    def found(self, type_: str, *pairs: tuple[str, str]) -> Answer:
        """Return all pages of a search that finds something.

        Raises:
            Failed: it does not.
        """
        answer = self.search(type_, *pairs)
        _demand(bool(answer.matches), answer.request, "nothing")
        return answer

    # Capability statement

    def _capability_checks(self) -> Iterator[tuple[str, bool, Callable[[], None]]]:
        yield "statement without a token", False, self._check_statement
        yield "FHIR version", False, self._check_fhir_version
        yield "JSON", False, self._check_json
        yield "supported profiles", False, self._check_profiles
        yield "instantiates", False, self._check_instantiates
        yield "parameters, includes and reverse includes", False, self._checkparameters

    def _check_statement(self) -> None:
        kind = self.document("metadata")["resourceType"]
        _demand(kind == "CapabilityStatement", "metadata", kind)

    def _check_fhir_version(self) -> None:
        version = self.document("metadata").get("fhirVersion")
        _demand(version in ("4.0.0", "4.0.1"), "metadata", f"fhirVersion {version}")

    def _check_json(self) -> None:
        formats = set(self.document("metadata").get("format", []))
        _demand(
            bool(formats & {"json", "application/json", "application/fhir+json"}),
            "metadata",
            f"formats {sorted(formats)}",
        )

    def _check_profiles(self) -> None:
        named = {
            url
            for resource in self.document("metadata")["rest"][0]["resource"]
            for url in resource.get("supportedProfile", [])
        }
        lacking = [name for name in PROFILES if f"{_STRUCTURES}{name}" not in named]
        _demand(not lacking, "metadata", f"no supportedProfile {lacking}")

    def _check_instantiates(self) -> None:
        wanted = "http://hl7.org/fhir/us/davinci-pdex-plan-net/CapabilityStatement/plan-net"
        named = [url.partition("|")[0] for url in self.document("metadata").get("instantiates", [])]
        _demand(wanted in named, "metadata", f"instantiates {named}")

    def _checkparameters(self) -> None:
        stated = {one["type"]: one for one in self.document("metadata")["rest"][0]["resource"]}
        for group in GROUPS:
            of_type = stated.get(group.type, {})
            lacking = set(group.searches.split())
            lacking -= {parameter["name"] for parameter in of_type.get("searchParam", [])}
            includes = {f"{group.type}:{name}" for name in group.includes.split()}
            lacking |= includes - set(of_type.get("searchInclude", []))
            reverse = set(group.reverse_includes.split())
            lacking |= reverse - set(of_type.get("searchRevInclude", []))
            _demand(not lacking, "metadata", f"{group.type} without {sorted(lacking)}")

    # Checks of a profile

    def _checks(self, group: Group) -> Iterator[tuple[str, bool, Callable[[], None]]]:
        optional = group.optional.split()
        yield "gather", False, partial(self._check_gathered, group)
        yield "read", False, partial(self._check_read, group)
        for name in group.searches.split():
            yield f"search {name}", name in optional, partial(self._check_search, group, name)
        for written in group.modifiers.split():
            yield f"modifier {written}", True, partial(self._check_modifier, group, written)
        for name in group.includes.split():
            yield (
                f"_include {name}",
                name in optional,
                partial(self._check_include, group, name),
            )
        for path in group.reverse_includes.split():
            yield f"_revinclude {path}", False, partial(self._check_reverse_include, group, path)
        for name, chained in (group.chains or {}).items():
            for chain in chained.split():
                check = partial(self._check_chain, group, name, chain)
                yield f"chain {name}.{chain}", False, check
        for path, parameters in (group.reverse_chains or {}).items():
            for name in parameters.split():
                check = partial(self._check_reverse_chain, group, path, name)
                yield f"chain _has:{path}:{name}", False, check
        if group.name == ROLE:
            yield f"search by {COMBINATIONS[ROLE]}", False, self._check_roles
        elif group.name in COMBINATIONS:
            yield f"search by {COMBINATIONS[group.name]}", False, self._check_services
        yield "profile", False, partial(self._check_profile, group)
        yield "must support", False, partial(self._check_must_support, group)
        yield "references", False, partial(self._check_references, group)
        yield "search by POST", False, partial(self._check_post, group)
        yield "page by page", False, partial(self._check_pages, group)

    def _check_gathered(self, group: Group) -> None:
        self.pools[group.name] = self._gathered(group)
        _demand(bool(self.pools[group.name]), group.type, "no resource of the profile")

    def _gathered(self, group: Group) -> list[Json]:
        gathered = self.search(group.type, ("_count", "200")).matches
        if group.type != "Organization":
            return gathered
        networks = group.name == "Network"
        return [resource for resource in gathered if ("ntwk" in type_codes(resource)) is networks]

    def _check_read(self, group: Group) -> None:
        for first in self._pool(group)[:1]:
            path = f"{group.type}/{first['id']}"
            found = self.document(path)
            _demand(
                (found["resourceType"], found["id"]) == (group.type, first["id"]),
                path,
                f"{found['resourceType']}/{found['id']}",
            )
            _demand(found == first, path, "another content than the search")

    def _check_search(self, group: Group, name: str) -> None:
        value, with_system = self._value(self._pool(group), group.type, name)
        answer = self.found(group.type, (name, value))
        for resource in answer.matches:
            _demand(
                matches(resource, group.type, name, value),
                answer.request,
                f"{resource['id']}, which does not match",
            )
        if with_system != value:
            narrower = self.found(group.type, (name, with_system))
            ids = {resource["id"] for resource in answer.matches}
            more = {resource["id"] for resource in narrower.matches} - ids
            _demand(not more, narrower.request, "more than without the system")

    def _check_modifier(self, group: Group, written: str) -> None:
        values = [v for one in self._pool(group) for v in modified_values(one, group.type, written)]
        if not values:
            raise Skipped(f"no {group.name} has what {written} searches")
        value = values[0].upper() if written.endswith(":text") else values[0]
        answer = self.found(group.type, (written, value))
        came = {name_of(one) for one in answer.matches}
        wanted = {
            name_of(one)
            for one in self._all(group.type)
            if matches_modified(one, group.type, written, value)
        }
        _demand(came == wanted, answer.request, f"{sorted(came)} in place of {sorted(wanted)}")

    def _check_include(self, group: Group, name: str) -> None:
        for resource in self._pool(group):
            wanted = set(references(resource, group.type, name))
            if wanted:
                break
        else:
            raise Skipped(f"no {group.name} has a {name}")
        include = ("_include", f"{group.type}:{name}")
        answer = self.found(group.type, ("_id", resource["id"]), include)
        came = {name_of(included) for included in answer.included}
        _demand(came == wanted, answer.request, f"{sorted(came)} in place of {sorted(wanted)}")

    def _check_reverse_include(self, group: Group, path: str) -> None:
        other, _, name = path.partition(":")
        reference = next(
            (
                reference
                for resource in self.pools[other]
                for reference in references(resource, other, name)
                if reference in self._names(group)
            ),
            None,
        )
        if reference is None:
            raise Skipped(f"no {other} refers to a {group.name} as {name}")
        # Inferno sends the reference as it found it; an id alone is what FHIR means.
        for sent in (reference, reference.partition("/")[2]):
            answer = self.found(group.type, ("_id", sent), ("_revinclude", path))
            _demand(bool(answer.included), answer.request, f"no {other}")
            for included in answer.included:
                _demand(
                    reference in references(included, other, name),
                    answer.request,
                    f"{name_of(included)}, which does not refer to it",
                )

    def _check_chain(self, group: Group, name: str, chain: str) -> None:
        referred = {
            reference
            for resource in self._pool(group)
            for reference in references(resource, group.type, name)
        }
        if not referred:
            raise Skipped(f"no {group.name} has a {name}")
        type_ = min(referred).partition("/")[0]
        candidates = [one for one in self._of_type(type_) if name_of(one) in referred]
        value, _ = self._value(candidates, type_, chain)
        answer = self.found(group.type, (f"{name}.{chain}", value))
        targets = {name_of(one) for one in self.found(type_, (chain, value)).matches}
        for resource in answer.matches:
            _demand(
                bool(targets & set(references(resource, group.type, name))),
                answer.request,
                f"{resource['id']}, which refers to none that {type_}?{chain}={value} finds",
            )
        expected = {
            resource["id"]
            for resource in self._all(group.type)
            if targets & set(references(resource, group.type, name))
        }
        lacking = expected - {resource["id"] for resource in answer.matches}
        _demand(not lacking, answer.request, f"not {sorted(lacking)}")

    def _check_reverse_chain(self, group: Group, path: str, name: str) -> None:
        other, _, reference = path.partition(":")
        names = self._names(group)
        candidates = [
            resource
            for resource in self.pools[other]
            if names & set(references(resource, other, reference))
        ]
        value, _ = self._value(candidates, other, name)
        answer = self.found(group.type, (f"_has:{path}:{name}", value))
        targets = {
            target
            for resource in self.found(other, (name, value)).matches
            for target in references(resource, other, reference)
        }
        came = {name_of(resource) for resource in answer.matches}
        _demand(came == targets, answer.request, f"{sorted(came)} in place of {sorted(targets)}")

    def _check_roles(self) -> None:
        for role in self.pools[ROLE]:
            people = references(role, ROLE, "practitioner")
            if people and role.get("specialty") and role.get("location"):
                break
        else:
            raise Skipped("no role has specialty, location and practitioner")
        sent = [(name, self._value([role], ROLE, name)[0]) for name in ("specialty", "location")]
        include = ("_include", f"{ROLE}:practitioner")
        answer = self.found(ROLE, *sent, include)
        for resource in answer.matches:
            for name, value in sent:
                _demand(matches(resource, ROLE, name, value), answer.request, resource["id"])
        referred = {
            one for resource in answer.matches for one in references(resource, ROLE, "practitioner")
        }
        came = {name_of(resource) for resource in answer.included}
        _demand(came == referred, answer.request, f"{sorted(came)} in place of {sorted(referred)}")

    def _check_services(self) -> None:
        by_name = {name_of(one): one for one in self.pools["HealthcareService"]}
        for affiliation in self.pools[AFFILIATION]:
            services = [
                by_name[one]
                for one in references(affiliation, AFFILIATION, "service")
                if by_name.get(one, {}).get("specialty")
            ]
            networks = references(affiliation, AFFILIATION, "network")
            if services and networks:
                break
        else:
            raise Skipped("no affiliation has a network, and a service with a specialty")
        specialty, _ = self._value(services, "HealthcareService", "specialty")
        path = f"_has:{AFFILIATION}:service:network"
        answer = self.found("HealthcareService", ("specialty", specialty), (path, networks[0]))
        targets = {
            one
            for resource in self.found(AFFILIATION, ("network", networks[0])).matches
            for one in references(resource, AFFILIATION, "service")
        }
        for resource in answer.matches:
            is_match = matches(resource, "HealthcareService", "specialty", specialty)
            _demand(is_match and name_of(resource) in targets, answer.request, resource["id"])

    def _check_profile(self, group: Group) -> None:
        """Look at what each resource claims; whether it keeps to that is for HL7's engine."""
        for resource in self._pool(group):
            claimed = resource.get("meta", {}).get("profile", [])
            wanted = f"{_STRUCTURES}{group.name}|{self.version}"
            _demand(wanted in claimed, name_of(resource), f"of profile {claimed}")
            _demand(
                "lastUpdated" in resource["meta"], name_of(resource), "without meta.lastUpdated"
            )

    def _check_must_support(self, group: Group) -> None:
        paths = group.must_support.split()
        if self.version != "1.1.0":
            paths += group.must_support_later.split()
        lacking = [path for path in paths if not any(has(one, path) for one in self._pool(group))]
        if lacking:
            raise Skipped(f"no {group.name} has {', '.join(lacking)}")

    def _check_references(self, group: Group) -> None:
        for resource in self._pool(group):
            for reference in all_references(resource):
                found = self._resolved(reference)
                _demand(name_of(found) == reference, name_of(resource), f"referring to {reference}")

    def _check_post(self, group: Group) -> None:
        value, _ = self._value(self._pool(group), group.type, "_id")
        path = f"{group.type}/_search"
        accept = {"accept": "application/fhir+json"}
        answer = self.http.post(f"{self.base}/{path}", data={"_id": value}, headers=accept)
        entries = _resource_of(answer, path).get("entry", [])
        _demand([one["resource"]["id"] for one in entries] == [value], f"POST {path}", "another")

    def _check_pages(self, group: Group) -> None:
        size = max(1, -(-len(self._all(group.type)) // (PAGES - 1)))
        ids = [one["id"] for one in self.search(group.type, ("_count", str(size))).matches]
        known = sorted(one["id"] for one in self._all(group.type))
        _demand(sorted(ids) == known, f"{group.type}?_count={size}", f"{len(ids)} resources")

    # What is known

    def _pool(self, group: Group) -> list[Json]:
        pool = self.pools[group.name]
        if not pool:
            raise Skipped(f"no {group.name} is known")
        return pool

    def _names(self, group: Group) -> set[str]:
        return {name_of(resource) for resource in self._pool(group)}

    def _of_type(self, type_: str) -> list[Json]:
        return [one for group in GROUPS if group.type == type_ for one in self.pools[group.name]]

    _all = _of_type

    def _resolved(self, reference: str) -> Json:
        known = {name_of(one): one for one in self._of_type(reference.partition("/")[0])}
        return known.get(reference) or self.document(reference)

    def _value(self, resources: Sequence[Json], type_: str, name: str) -> tuple[str, str]:
        """Return a value of a parameter that some resource has; and the same with its system."""
        kind, paths = parameter(type_, name)
        for resource in resources:
            for element in (one for path in paths for one in elements(resource, path)):
                for value, with_system in sent_values(kind, element):
                    return value, with_system
        raise Skipped(f"no {type_} has a {name}")


def _demand(holds: bool, request: str, what: str) -> None:
    if not holds:
        raise Failed(f"{request} gave {what}")


def _resource_of(answer: httpx2.Response, request: str) -> Json:
    _demand(answer.status_code == 200, request, f"status {answer.status_code}")
    kind = answer.headers.get("content-type", "")
    _demand("json" in kind, request, f"content of type {kind}")
    document = answer.json()
    _demand(isinstance(document, dict) and "resourceType" in document, request, "no resource")
    found: Json = document
    return found
