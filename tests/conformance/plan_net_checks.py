"""What outside testers ask of a Plan-Net server, as data: parameters, chains, must support.

Source: CapabilityStatement, SearchParameters and profiles of Plan-Net 1.1.0 and 1.2.0, and what
ONC's Inferno tests of them (davinci-plan-net-test-kit 0.13.3, which knows 1.1.0). The order of the
groups and of the kinds of checks is Inferno's.
"""

from collections.abc import Mapping
from dataclasses import dataclass

ORGANIZATION_CHAINS = "name address partof type"
LOCATION_CHAINS = "address address-postalcode address-city address-state organization type"
SERVICE_CHAINS = "service-category organization location"


@dataclass(frozen=True, slots=True)
class Group:
    """Checks of one profile.

    Attributes:
        name: last part of the profile's canonical, without `plannet-`.
        type: FHIR resource type.
        searches: parameters, each searched by itself.
        must_support: paths, as `PARAMETERS` writes them; `path=value` asks for that value.
        must_support_later: those that 1.2.0 asks for as well.
        includes: parameters of `_include`.
        reverse_includes: `Type:parameter` of `_revinclude`.
        chains: reference parameter → parameters of what it refers to.
        reverse_chains: `Type:parameter` of `_has` → parameters of that type.
        modifiers: `parameter:modifier` that SearchParameters of the guide name and Inferno does not
            test, of tokens; a server may leave them out.
        optional: parameters of `searches` and `includes` that a server may leave out.
    """

    name: str
    type: str
    searches: str
    must_support: str
    must_support_later: str = ""
    includes: str = ""
    reverse_includes: str = ""
    chains: Mapping[str, str] | None = None
    reverse_chains: Mapping[str, str] | None = None
    modifiers: str = ""
    optional: str = "_lastUpdated"


PARAMETERS = {
    "_id": "id id",
    "_lastUpdated": "instant meta.lastUpdated",
    "Endpoint.organization": "reference managingOrganization",
    "InsurancePlan.administered-by": "reference administeredBy",
    "InsurancePlan.owned-by": "reference ownedBy",
    "InsurancePlan.coverage-area": "reference coverageArea",
    "InsurancePlan.name": "string name alias",
    "InsurancePlan.plan-type": "token plan.type",
    "InsurancePlan.identifier": "identifier identifier",
    "InsurancePlan.type": "token type",
    "OrganizationAffiliation.primary-organization": "reference organization",
    "OrganizationAffiliation.participating-organization": "reference participatingOrganization",
    "OrganizationAffiliation.location": "reference location",
    "OrganizationAffiliation.service": "reference healthcareService",
    "OrganizationAffiliation.network": "reference network",
    "OrganizationAffiliation.endpoint": "reference endpoint",
    "OrganizationAffiliation.role": "token code",
    "OrganizationAffiliation.specialty": "token specialty",
    "PractitionerRole.practitioner": "reference practitioner",
    "PractitionerRole.organization": "reference organization",
    "PractitionerRole.location": "reference location",
    "PractitionerRole.service": "reference healthcareService",
    "PractitionerRole.network": "reference extension(network-reference).valueReference",
    "PractitionerRole.endpoint": "reference endpoint",
    "PractitionerRole.role": "token code",
    "PractitionerRole.specialty": "token specialty",
    "Practitioner.name": "name name",
    "Practitioner.family": "string name.family",
    "Practitioner.given": "string name.given",
    "HealthcareService.location": "reference location",
    "HealthcareService.coverage-area": "reference coverageArea",
    "HealthcareService.organization": "reference providedBy",
    "HealthcareService.endpoint": "reference endpoint",
    "HealthcareService.name": "string name",
    "HealthcareService.service-category": "token category",
    "HealthcareService.service-type": "token type",
    "HealthcareService.specialty": "token specialty",
    "Location.partof": "reference partOf",
    "Location.organization": "reference managingOrganization",
    "Location.endpoint": "reference endpoint",
    "Location.address-city": "string address.city",
    "Location.address-state": "string address.state",
    "Location.address-postalcode": "string address.postalCode",
    "Location.address": "address address",
    "Location.type": "token type",
    "Organization.partof": "reference partOf",
    "Organization.endpoint": "reference endpoint",
    "Organization.address": "address address",
    "Organization.name": "string name alias",
    "Organization.type": "token type",
    "Organization.coverage-area": "reference extension(location-reference).valueReference",
}
"""Parameter → kind of its values, and the paths where a resource has them.

In a path `extension(x)` are the entries whose url, or system, ends in `/x`, or is `x`.
"""

_TIMES = "extension(contactpoint-availabletime)"
_VIA = "extension(via-intermediary)"
_IDENTIFIED = "identifier.type identifier.value"
_HOURS = (
    "availableTime availableTime.daysOfWeek availableTime.allDay "
    "availableTime.availableStartTime availableTime.availableEndTime "
    "notAvailable notAvailable.description notAvailable.during"
)
_ADDRESS = "address.line address.city address.state address.postalCode"
_QUALIFIED = " ".join(
    f"extension(qualification).extension({part})"
    for part in ("identifier", "code", "issuer", "status", "period", "whereValid")
)

GROUPS = (
    Group(
        "Endpoint",
        "Endpoint",
        "organization _id _lastUpdated",
        "status=active connectionType name managingOrganization contact contact.system "
        "contact.value payloadType payloadMimeType address extension(endpoint-usecase)",
        includes="organization",
        chains={"organization": ORGANIZATION_CHAINS},
    ),
    Group(
        "InsurancePlan",
        "InsurancePlan",
        "administered-by owned-by coverage-area name plan-type identifier _id _lastUpdated type",
        f"{_IDENTIFIED} identifier.assigner status=active type name alias period ownedBy "
        "administeredBy coverageArea contact contact.name contact.name.text contact.telecom "
        "contact.telecom.system contact.telecom.value endpoint network plan.type plan.coverageArea",
        includes="administered-by owned-by coverage-area",
        chains={"administered-by": "name partof", "owned-by": "name partof"},
        modifiers="plan-type:text type:text identifier:text identifier:of-type",
        optional="_lastUpdated identifier",
    ),
    Group(
        "OrganizationAffiliation",
        "OrganizationAffiliation",
        "primary-organization participating-organization location service network endpoint role "
        "specialty _id _lastUpdated",
        f"{_IDENTIFIED} active period organization participatingOrganization network code "
        "specialty location healthcareService telecom telecom.system telecom.value telecom.rank "
        "endpoint",
        _QUALIFIED,
        includes="primary-organization participating-organization location service endpoint "
        "network",
        chains={
            "primary-organization": "type address name partof",
            "participating-organization": "type address name partof",
            "location": LOCATION_CHAINS,
            "service": SERVICE_CHAINS,
            "network": "name partof",
            "endpoint": "organization",
        },
        modifiers="role:text specialty:text",
    ),
    Group(
        "PractitionerRole",
        "PractitionerRole",
        "practitioner organization location service network endpoint role specialty _id "
        "_lastUpdated",
        f"{_IDENTIFIED} active period practitioner organization code specialty location "
        f"healthcareService telecom telecom.system telecom.value telecom.rank {_HOURS} endpoint "
        f"extension(newpatients) extension(network-reference) extension(qualification) "
        f"{_QUALIFIED} telecom.{_TIMES} telecom.{_VIA}",
        includes="practitioner organization location service network endpoint",
        chains={
            "practitioner": "name",
            "organization": ORGANIZATION_CHAINS,
            "location": LOCATION_CHAINS,
            "service": SERVICE_CHAINS,
            "network": ORGANIZATION_CHAINS,
            "endpoint": "organization",
        },
        modifiers="role:text specialty:text",
    ),
    Group(
        "Practitioner",
        "Practitioner",
        "name _id _lastUpdated family given",
        "identifier identifier.type identifier.system identifier.value identifier(us-npi) active "
        "name name.text name.family name.given telecom address address.extension(geolocation) "
        "qualification qualification.identifier qualification.code qualification.period "
        "qualification.issuer qualification.extension(practitioner-qualification) communication "
        "communication.extension(communication-proficiency)",
        f"{_ADDRESS} address.country telecom.system telecom.value",
        reverse_includes="PractitionerRole:practitioner",
        reverse_chains={"PractitionerRole:practitioner": "location network specialty role"},
    ),
    Group(
        "HealthcareService",
        "HealthcareService",
        "location coverage-area organization endpoint name service-category service-type specialty "
        "_id _lastUpdated",
        f"{_IDENTIFIED} active providedBy category type specialty location name comment telecom "
        f"telecom.system telecom.value coverageArea appointmentRequired {_HOURS} "
        f"availabilityExceptions endpoint extension(newpatients) extension(delivery-method) "
        f"telecom.{_TIMES} telecom.{_VIA}",
        includes="location coverage-area organization endpoint",
        reverse_includes="PractitionerRole:service OrganizationAffiliation:service",
        chains={
            "location": LOCATION_CHAINS,
            "organization": ORGANIZATION_CHAINS,
            "endpoint": "organization",
        },
        modifiers="service-category:text service-type:text specialty:text",
    ),
    Group(
        "Location",
        "Location",
        "partof organization endpoint address-city address-state address-postalcode address type "
        "_id _lastUpdated",
        f"{_IDENTIFIED} status=active name alias description type telecom telecom.system "
        f"telecom.value address {_ADDRESS} position managingOrganization partOf hoursOfOperation "
        "hoursOfOperation.daysOfWeek hoursOfOperation.allDay hoursOfOperation.openingTime "
        "hoursOfOperation.closingTime availabilityExceptions endpoint extension(newpatients) "
        "extension(accessibility) extension(location-boundary-geojson) "
        f"telecom.{_TIMES} telecom.{_VIA}",
        "identifier",
        includes="endpoint organization partof",
        reverse_includes="HealthcareService:location InsurancePlan:coverage-area "
        "OrganizationAffiliation:location PractitionerRole:location",
        chains={
            "partof": "type address organization",
            "organization": ORGANIZATION_CHAINS,
            "endpoint": "organization",
        },
        reverse_chains={"InsurancePlan:coverage-area": "owned-by"},
        modifiers="type:text",
    ),
    Group(
        "Network",
        "Organization",
        "partof endpoint address name _id _lastUpdated type coverage-area",
        f"identifier identifier.type identifier.system identifier.value active=true type name "
        f"address {_ADDRESS} address.country partOf contact contact.name contact.telecom "
        "contact.telecom.system contact.telecom.value endpoint extension(location-reference)",
        includes="partof endpoint coverage-area",
        reverse_includes="PractitionerRole:network",
        chains={"partof": "name address type", "endpoint": "organization"},
        reverse_chains={"PractitionerRole:network": "location"},
    ),
    Group(
        "Organization",
        "Organization",
        "partof endpoint address name _id _lastUpdated type coverage-area",
        f"identifier identifier.type identifier.system identifier.value identifier(us-npi) active "
        f"type name telecom telecom.system telecom.value telecom.rank address address.type "
        f"address.text {_ADDRESS} address.country address.extension(geolocation) partOf contact "
        "contact.telecom contact.telecom.system contact.telecom.value contact.telecom.use endpoint "
        f"extension(qualification) extension(org-description) telecom.{_TIMES} telecom.{_VIA}",
        f"extension(organization-period) {_QUALIFIED}",
        includes="partof endpoint coverage-area",
        reverse_includes="Endpoint:organization HealthcareService:organization "
        "InsurancePlan:administered-by InsurancePlan:owned-by "
        "OrganizationAffiliation:primary-organization PractitionerRole:organization "
        "OrganizationAffiliation:participating-organization",
        chains={"partof": "name address type", "endpoint": "organization"},
        reverse_chains={
            "OrganizationAffiliation:participating-organization": "location network specialty",
            "InsurancePlan:owned-by": "coverage-area",
        },
        modifiers="type:text",
        optional="_lastUpdated coverage-area",
    ),
)
"""In the order in which Inferno goes through them.

Of a Network Inferno asks for `telecom`, too, which its profile forbids; of a PractitionerRole for
parts of a qualification under an empty url, which here have their own.
"""

COMBINATIONS = {
    "PractitionerRole": "a specialty, a location, and the practitioners",
    "HealthcareService": "a specialty, and a network of its affiliations",
}
"""Groups with a search by several parameters → by which."""

PROFILES = (
    "Endpoint",
    "HealthcareService",
    "Location",
    "Network",
    "Organization",
    "OrganizationAffiliation",
    "Practitioner",
    "PractitionerRole",
)
"""Profiles that the CapabilityStatement has to name, without a version."""
