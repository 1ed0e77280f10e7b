"""FHIR search as its specification reads, resource by resource: slow, obvious, and no index.

It shares no code with the gateway. Values are taken out of the JSON along the expressions of the
SearchParameters; dates are pairs of datetimes; prefixes are the sentences of R4 search 3.1.1.4.5.
"""

import re
from datetime import UTC, datetime, timedelta

from tests.given.tables import read_tables
from tests.unit.gateway.plan_net_oracle import text_matches, values_at

FIRST = datetime(1, 1, 1, tzinfo=UTC)
LAST = datetime(9999, 12, 31, tzinfo=UTC)


def date_range(text):
    """Return the time that a date of any precision may mean."""
    if len(text) == 4:
        year = int(text)
        return datetime(year, 1, 1, tzinfo=UTC), datetime(year + 1, 1, 1, tzinfo=UTC)
    if len(text) == 7:
        start = datetime.fromisoformat(text + "-01").replace(tzinfo=UTC)
        return start, (start + timedelta(days=32)).replace(day=1)
    if len(text) == 10:
        start = datetime.fromisoformat(text).replace(tzinfo=UTC)
        return start, start + timedelta(days=1)
    time = datetime.fromisoformat(text)
    start = time if time.tzinfo else time.replace(tzinfo=UTC)
    clock = re.sub(r"(Z|[+-]\d\d:\d\d)$", "", text.partition("T")[2])
    if len(clock) == 5:
        return start, start + timedelta(minutes=1)
    fraction = clock.partition(".")[2]
    return start, start + timedelta(microseconds=10 ** (6 - len(fraction)))


def period_range(period):
    start = date_range(period["start"])[0] if "start" in period else FIRST
    end = date_range(period["end"])[1] if "end" in period else LAST
    return start, end


def dates(resource, parameter):
    """Return what a date parameter's expression finds in a resource."""
    if parameter == "_lastUpdated":
        return [date_range(resource["meta"]["lastUpdated"])]
    if parameter in ("created", "birthdate"):
        name = "birthDate" if parameter == "birthdate" else parameter
        return [date_range(resource[name])] if name in resource else []
    period = resource.get("billablePeriod", {})
    found = []
    if parameter == "service-date":
        if period:
            found.append(period_range(period))
        for item in resource.get("item", []):
            if "servicedDate" in item:
                found.append(date_range(item["servicedDate"]))
            if "servicedPeriod" in item:
                found.append(period_range(item["servicedPeriod"]))
        return found
    if "start" in period:
        found.append(date_range(period["start"]))
    if parameter == "service-start-date":
        for item in resource.get("item", []):
            if "servicedDate" in item:
                found.append(date_range(item["servicedDate"]))
            if "start" in item.get("servicedPeriod", {}):
                found.append(date_range(item["servicedPeriod"]["start"]))
    return found


def date_matches(resource, asked, now):
    prefix, text = (asked[:2], asked[2:]) if asked[0].isalpha() else ("eq", asked)
    value = date_range(text)
    contains = value[0] <= resource[0] and resource[1] <= value[1]
    reaches_above = resource[1] > value[1]
    reaches_below = resource[0] < value[0]
    match prefix:
        case "eq":
            return contains
        case "ne":
            return not contains
        case "gt":
            return reaches_above
        case "lt":
            return reaches_below
        case "ge":
            return reaches_above or contains
        case "le":
            return reaches_below or contains
        case "sa":
            return resource[0] >= value[1]
        case "eb":
            return resource[1] <= value[0]
        case "ap":
            low = value[0] - abs(now - value[0]) / 10
            high = value[1] + abs(now - value[1]) / 10
            return resource[0] < high and resource[1] > low
        case _:
            raise AssertionError(prefix)


def tokens(resource, parameter):
    """Return system and code of what a token parameter's expression finds."""
    if parameter == "_id":
        return [(None, resource["id"])]
    if parameter == "status":  # a code without a system of its own: `|code` finds it, too
        systems = ("http://hl7.org/fhir/explanationofbenefit-status", None)
        return [(system, resource["status"]) for system in systems]
    if parameter in ("specialty", "type"):
        codings = values_at(resource, f"{parameter}.coding")
        return [(one.get("system"), one["code"]) for one in codings]
    return [
        (one.get("system"), one["value"]) for one in resource.get(parameter, []) if "value" in one
    ]


def token_matches(value, asked):
    system, bar, code = asked.rpartition("|")
    if not bar:
        return value[1] == code
    if not code:
        return value[0] == system
    return value == (system or None, code)


def strings(resource):
    """Return what the parameter `name` finds: an organization's name, a person's and its parts.

    The server says which parts (R4, Practitioner-name): not titles and degrees.
    """
    name = resource.get("name", [])
    if isinstance(name, str):
        return [name, *resource.get("alias", [])]
    parts = ("text", "family", "given")
    return [text for one in name for part in parts for text in values_at(one, part)]


PATHS = read_tables(__file__)["paths"]


def belongs_to(resource):
    """Return which provider a role or place belongs to; nothing for other types."""
    if resource["resourceType"] == "PractitionerRole":
        return str(resource["practitioner"]["reference"])
    if resource["resourceType"] == "Location":
        return str(resource["managingOrganization"]["reference"])
    return "nobody"


def references(resource, parameter):
    return [value for path in PATHS[parameter] for value in values_at(resource, path)]


def reference_matches(value, asked, base):
    asked = asked.removeprefix(f"{base}/")
    return value == asked or ("/" not in asked and value.partition("/")[2] == asked)


DATES = (
    *("_lastUpdated", "service-date", "service-start-date", "billable-period-start"),
    *("created", "birthdate"),
)
TOKENS = ("_id", "type", "identifier", "specialty", "status")


def matches(resource, name, value, *, base, now):
    """Return whether a resource meets one parameter; commas mean or."""
    parameter, _, modifier = name.partition(":")
    if parameter in DATES:
        found = dates(resource, parameter)
    elif parameter in TOKENS:
        found = tokens(resource, parameter)
    elif parameter == "name":
        found = strings(resource)
    else:
        found = references(resource, parameter)
    if modifier == "missing":
        return (not found) == (value == "true")

    def one(stored, asked):
        if parameter in DATES:
            return date_matches(stored, asked, now)
        if parameter in TOKENS:
            return token_matches(stored, asked)
        if parameter == "name":
            return text_matches(stored, modifier, asked)
        return reference_matches(stored, asked, base)

    alternatives = re.split(r"(?<!\\),", value)
    alternatives = [re.sub(r"\\([,|$\\])", r"\1", one) for one in alternatives]
    met = any(one(stored, asked) for asked in alternatives for stored in found)
    return not met if modifier == "not" else met


def sort_key(resource, parameter, descending):
    """Return what a resource is sorted by, or None where it has no such value."""
    if parameter == "_id":
        return resource["id"]
    starts = [start for start, _ in dates(resource, parameter)]
    if not starts:
        return None
    return max(starts) if descending else min(starts)


def in_order(resources, sort):
    """Return resources as `_sort` orders them; those without a value last, ties as they were."""
    for rule in reversed(sort.split(",")):
        name, descending = rule.removeprefix("-"), rule.startswith("-")
        having = [one for one in resources if sort_key(one, name, descending) is not None]
        without = [one for one in resources if sort_key(one, name, descending) is None]
        having.sort(key=lambda one: sort_key(one, name, descending), reverse=descending)
        resources = having + without
    return resources
