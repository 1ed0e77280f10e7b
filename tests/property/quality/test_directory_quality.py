"""Figures of a directory against a slow count, one row after the other."""

from collections import Counter
from datetime import date, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from etl.bootstrap.settings import read_settings
from etl.engine.directory_rows import roles_in_networks
from etl.model.data_models import DIRECTORY
from etl.quality.totals.directory import ENTRIES, directory_quality
from tests.e2e.commands import same_definitions
from tests.unit.quality import world

Row = dict[str, str | None]
DAY = date(2026, 11, 1)
FLAGS = ("newpt", "existptfam", "existptonly", "nopt", "closed?", None)


def crosswalks():
    return same_definitions(read_settings(None), DIRECTORY).crosswalks


def cells(*texts):
    return st.sampled_from(texts)


def lists(*keys):
    some = st.lists(st.sampled_from(keys), max_size=3, unique=True)
    return some.map(lambda chosen: ";".join(chosen) or None)


FAULTS = (
    "zip-shape",
    "zip-elsewhere",
    "half-position",
    "zero-position",
    "position-elsewhere",
)
UPDATED = st.sampled_from(
    [None, *((DAY - timedelta(days)).isoformat() for days in (-1, 0, 30, 31, 90, 91, 400))]
)
ADDRESS = {
    "address_line": cells("1 Main St.", "1  main st", "2 Oak", None),
    "city": cells("Boston", "BOSTON", None),
    "state": cells("MA", "ct", "PR", "ZZ", None),
    "postal_code": cells("02134", "02134-1234", "06101", "00601", "2134", "abc", None),
    "country": cells(None, "US", "usa", "FR"),
    "latitude": cells("42.3", "0", "18.2", None),
    "longitude": cells("-71.0", "0.0", "-66.1", None),
}
NPI = cells("1245319599", "1234567893", None)
ORGANIZATIONS = ("O1", "O2", "O3", "O4")
PEOPLE = ("D1", "D2", "D3")
NETWORKS = ("N1", "N2", "N3")
PLACES = ("L1", "L2", "L3")
ROLES = ("R1", "R2", "R3", "R4")


def table(keys, key, **columns):
    """Return rows of some of the keys, each key once and in order."""
    row = st.fixed_dictionaries({**columns, "last_updated": UPDATED})
    rows = st.dictionaries(st.sampled_from(keys), row)
    return rows.map(lambda found: [{key: name, **found[name]} for name in sorted(found)])


DIRECTORIES = st.fixed_dictionaries(
    {
        "directory_organization": table(
            ORGANIZATIONS,
            "organization_id",
            type=lists("fac", "payer", "bus", "prvgrp"),
            name=cells("Acme", "ACME,", "Other"),
            npi=NPI,
            # Chains never return to themselves: rules have cut them.
            part_of_id=st.none(),
            **ADDRESS,
        ),
        "directory_practitioner": table(
            PEOPLE,
            "practitioner_id",
            family_name=cells("Doe", "DOE", "Roe"),
            given_name=cells("Ann", "ann ", None),
            npi=NPI,
            **ADDRESS,
        ),
        "network": table(
            NETWORKS, "network_id", name=cells("Net"), area_location_ids=lists(*PLACES)
        ),
        "insurance_plan": table(
            ("P1", "P2"),
            "plan_id",
            network_ids=lists(*NETWORKS),
            plan_area_location_ids=lists(*PLACES),
        ),
        "location": table(PLACES, "location_id", name=cells("A", "a.", "B"), **ADDRESS),
        "provider_role": table(
            ROLES,
            "role_id",
            practitioner_id=cells(*PEOPLE, None),
            organization_id=cells(*ORGANIZATIONS, None),
            network_ids=lists(*NETWORKS),
            accepts_new_patients=st.sampled_from(FLAGS),
            accepts_from_network_id=cells(*NETWORKS, None),
        ),
        "affiliation": table(
            ("A1", "A2", "A3"),
            "affiliation_id",
            participating_organization_id=cells(*ORGANIZATIONS, None),
            network_ids=lists(*NETWORKS),
        ),
    }
)
PARENTS = st.lists(st.sampled_from([*ORGANIZATIONS, None]), min_size=4, max_size=4)
EXCEPTIONS = st.dictionaries(
    st.tuples(st.sampled_from(ROLES), st.sampled_from(NETWORKS)), st.sampled_from(FLAGS)
)


def items(row, column):
    return [each for each in (row.get(column) or "").split(";") if each]


class SlowCount:
    """The figures, by looking at every row for each of them."""

    def __init__(self, rows):
        self.rows = rows
        self.places = Counter()
        self.people = rows["directory_practitioner"]
        self.organizations = {
            str(row["organization_id"]): row for row in rows["directory_organization"]
        }
        self.memberships = list(self._memberships())

    def _memberships(self):
        """Yield (role, network, flag) for each network of a role; one without network for none."""
        for role in self.rows["provider_role"]:
            own = {
                row["network_id"]: row
                for row in self.rows["provider_role_network"]
                if row["role_id"] == role["role_id"]
            }
            networks = {*items(role, "network_ids"), *own}
            for network in networks or {None}:
                flag = own.get(network, {}).get("accepts_new_patients")
                if flag is None and role["accepts_from_network_id"] in (None, network):
                    flag = role["accepts_new_patients"]
                yield role, network, flag

    def found(self, table, figure, which):
        self.places.update((table, at, figure) for at, holds in enumerate(which, 2) if holds)
        return sum(which)

    def chain(self, key):
        """Return an organization and what it is part of, in some steps."""
        links = [key]
        while (above := self.organizations[links[-1]]["part_of_id"]) in self.organizations:
            links.append(str(above))
        return links

    def in_network(self, key):
        return any(
            network is not None and role["organization_id"] == key
            for role, network, _ in self.memberships
        ) or any(
            row["participating_organization_id"] == key and items(row, "network_ids")
            for row in self.rows["affiliation"]
        )

    def coverage(self):
        roles, plans = self.rows["provider_role"], self.rows["insurance_plan"]
        acting = {role["practitioner_id"] for role in roles}
        listed = {role["practitioner_id"] for role, net, _ in self.memberships if net is not None}
        covered = {role["role_id"] for role, net, _ in self.memberships if net is not None}
        care = {
            key: any(kind in ("fac", "prvgrp", "atyprv") for kind in items(row, "type"))
            for key, row in self.organizations.items()
        }
        outside = [
            care[key] and not any(map(self.in_network, self.chain(key)))
            for key in self.organizations
        ]
        provided = {net for _, net, _ in self.memberships} | {
            net
            for row in self.rows["affiliation"]
            if row["participating_organization_id"] in self.organizations
            for net in items(row, "network_ids")
        }
        planned = {net for row in plans for net in items(row, "network_ids")}
        networks = [row["network_id"] for row in self.rows["network"]]
        people = [row["practitioner_id"] for row in self.people]
        person, organization = "directory_practitioner", "directory_organization"
        return {
            "practitioners": len(people),
            "practitioners_without_role": self.found(
                person, "practitioner-without-role", [key not in acting for key in people]
            ),
            "practitioners_without_network": self.found(
                person, "practitioner-without-network", [key not in listed for key in people]
            ),
            "organizations": sum(care.values()),
            "organizations_without_network": self.found(
                organization, "organization-without-network", outside
            ),
            "roles": len(roles),
            "roles_without_network": self.found(
                "provider_role",
                "role-without-network",
                [role["role_id"] not in covered for role in roles],
            ),
            "plans": len(plans),
            "plans_without_network": self.found(
                "insurance_plan",
                "plan-without-network",
                [not row["network_ids"] for row in plans],
            ),
            "networks": len(networks),
            "networks_without_provider": self.found(
                "network", "network-without-provider", [net not in provided for net in networks]
            ),
            "networks_without_plan": self.found(
                "network", "network-without-plan", [net not in planned for net in networks]
            ),
        }

    def networks(self):
        known = {row["practitioner_id"] for row in self.people}
        found = []
        for row in self.rows["network"]:
            key = row["network_id"]
            mine = [(role, flag) for role, net, flag in self.memberships if net == key]
            flags = Counter(flag for _, flag in mine)
            found.append(
                (
                    key,
                    sum(key in items(plan, "network_ids") for plan in self.rows["insurance_plan"]),
                    len(
                        {
                            each["participating_organization_id"]
                            for each in self.rows["affiliation"]
                            if key in items(each, "network_ids")
                        }
                        & {*self.organizations}
                    ),
                    len({role["practitioner_id"] for role, _ in mine} & known),
                    len(mine),
                    {code: flags[code] for code in ("newpt", "existptfam", "existptonly", "nopt")},
                )
            )
        return found

    def ages(self):
        found = []
        for name in ENTRIES:
            days = [
                (DAY - date.fromisoformat(row["last_updated"])).days
                if row["last_updated"]
                else None
                for row in self.rows.get(name, ())
            ]
            dated = [day for day in days if day is not None]
            found.append(
                (
                    name,
                    len(days),
                    sum(day <= 30 for day in dated),
                    self.found(
                        name,
                        "older-than-30-days",
                        [day is not None and 30 < day <= 90 for day in days],
                    ),
                    self.found(
                        name, "older-than-90-days", [day is not None and day > 90 for day in days]
                    ),
                    self.found(name, "undated", [day is None for day in days]),
                    DAY - timedelta(max(dated)) if dated else None,
                )
            )
        return found

    def addresses(self, table):
        states = crosswalks()["state_area"]
        areas = {
            key
            for name in ("network", "insurance_plan")
            for row in self.rows[name]
            for column in ("area_location_ids", "plan_area_location_ids")
            for key in items(row, column)
        }
        parts = ("address_line", "city", "state", "postal_code")
        faults = []
        absent, missing = 0, Counter[str]()
        lacking = []
        for row in self.rows[table]:
            abroad = (row["country"] or "us").lower() not in ("us", "usa")
            if abroad or row.get("location_id") in areas:
                faults.append({"other"})
                lacking.append(False)
                continue
            empty = [part for part in parts if not row[part]]
            absent += len(empty) == len(parts)
            lacking.append(0 < len(empty) < len(parts))
            missing.update(empty if lacking[-1] else ())
            faults.append({*_faults(row, states)})
        return (
            sum("other" not in each for each in faults),
            absent,
            self.found(table, "address-incomplete", lacking),
            {part: missing[part] for part in parts},
            sum(bool(each - {"other"}) for each in faults),
            *(self.found(table, kind, [kind in each for each in faults]) for kind in FAULTS),
        )

    def duplicates(self):
        names = {
            "directory_organization": ("name",),
            "directory_practitioner": ("family_name", "given_name"),
            "location": ("name",),
        }
        found = {}
        for table, columns in names.items():
            rows = self.rows[table]
            if table != "location":
                found[table, "npi"] = self._twice(table, "npi", [row["npi"] for row in rows])
            keys = [_name_and_address(row, columns) for row in rows]
            found[table, "name-and-address"] = self._twice(table, "name-and-address", keys)
        return found

    def _twice(self, table, by, keys):
        rows = self.rows[table]
        groups = []
        for key in {*keys} - {None}:
            mine = [row for row, of in zip(rows, keys, strict=True) if of == key]
            if by == "npi" and table == "directory_organization":
                several = len({self.chain(str(row["organization_id"]))[-1] for row in mine}) > 1
            else:
                several = len(mine) > 1
            if by != "npi" and table != "location":
                several = several and any(row["npi"] is None for row in mine)
            if several:
                groups.append(key)
        return len(groups), self.found(table, f"same-{by}", [key in groups for key in keys])


def _faults(row, states):
    zips, state = row["postal_code"], row["state"]
    digits = (zips or "").replace("-", "")
    shaped = digits.isdigit() and len(digits) in (5, 9)
    if zips and not shaped:
        yield "zip-shape"
    ranges = states.answer(state, "zips") if state else None
    if shaped and ranges:
        prefixes = {
            f"{number:03d}"
            for span in ranges.split()
            for low, _, high in [span.partition("-")]
            for number in range(int(low), int(high or low) + 1)
        }
        if digits[:3] not in prefixes:
            yield "zip-elsewhere"
    latitude, longitude = row["latitude"], row["longitude"]
    if latitude is None or longitude is None:
        if latitude != longitude:
            yield "half-position"
    elif float(latitude) == float(longitude) == 0:
        yield "zero-position"
    elif ranges and state:
        south, north, west, east = (
            float(states.answer(state, side) or 0) for side in ("south", "north", "west", "east")
        )
        if not (south <= float(latitude) <= north and west <= float(longitude) <= east):
            yield "position-elsewhere"


def _name_and_address(row, columns):
    def plain(text):
        return " ".join((text or "").lower().replace(".", " ").replace(",", " ").split())

    where = (row["postal_code"] or "")[:5] or plain(row["city"])
    if not row["address_line"] or not where:
        return None
    return (*(plain(row[column]) for column in columns), plain(row["address_line"]), where)


def whole(rows, parents, exceptions):
    """Return rows that refer to what is there, as accepted ones do."""
    rows = {name: [{**row} for row in of] for name, of in rows.items()}
    for row, parent in zip(rows["directory_organization"], parents, strict=False):
        if parent is not None and parent < str(row["organization_id"]):
            row["part_of_id"] = parent  # to a lesser key: no chain returns to itself
    known = {str(row["network_id"]) for row in rows["network"]}
    for name in ("insurance_plan", "provider_role", "affiliation"):
        for row in rows[name]:
            named = [key for key in items(row, "network_ids") if key in known]
            row["network_ids"] = ";".join(named) or None
    for row in rows["provider_role"]:
        if row["accepts_from_network_id"] not in known:
            row["accepts_from_network_id"] = None
    roles = {row["role_id"] for row in rows["provider_role"]}
    return {
        **rows,
        "provider_role_network": [
            {"role_id": role, "network_id": network, "accepts_new_patients": flag}
            for (role, network), flag in sorted(exceptions.items(), key=lambda each: each[0])
            if role in roles and network in known
        ],
    }


def figures(rows):
    tables = world.tables(rows, DIRECTORY.tables)
    roles = roles_in_networks(tables["provider_role"], tables["provider_role_network"])
    return directory_quality(tables, roles, crosswalks(), DAY)


@settings(max_examples=60)
@given(DIRECTORIES, PARENTS, EXCEPTIONS)
def test_figures_are_those_of_a_slow_count(drawn, parents, exceptions):
    rows = whole(drawn, parents, exceptions)
    quality, places = figures(rows)
    slow = SlowCount(rows)
    coverage = {name: getattr(quality.coverage, name) for name in type(quality.coverage).__slots__}
    assert coverage == slow.coverage()
    assert [
        (
            *(each.network, each.plans, each.organizations, each.practitioners, each.roles),
            dict(each.accepting),
        )
        for each in quality.networks
    ] == slow.networks()
    assert [
        (each.table, each.rows, each.recent, each.aging, each.old, each.undated, each.oldest)
        for each in quality.ages
    ] == slow.ages()
    for each in quality.addresses:
        counts = (each.zip_shape, each.zip_elsewhere, each.half_position, each.zero_position)
        assert (
            *(each.rows, each.absent, each.incomplete, dict(each.missing), each.impossible),
            *counts,
            each.position_elsewhere,
        ) == slow.addresses(each.table)
    found = {(each.table, each.by): (each.groups, each.rows) for each in quality.duplicates}
    assert found == slow.duplicates()
    listed = zip(
        *(places.column(name).to_pylist() for name in ("table", "row", "figure")), strict=True
    )
    assert Counter(listed) == slow.places


@settings(max_examples=60)
@given(DIRECTORIES, PARENTS)
def test_rows_of_one_entry_have_one_number_and_others_have_others(drawn, parents):
    rows = whole(drawn, parents, {})
    _, places = figures(rows)
    groups = {}
    for each in places.to_pylist():
        if each["figure"] != "same-npi":
            continue
        npi = rows[each["table"]][each["row"] - 2]["npi"]
        groups.setdefault((each["table"], each["group"]), set()).add(npi)
    assert all(len(numbers) == 1 for numbers in groups.values())
    assert len({(table, *numbers) for (table, _), numbers in groups.items()}) == len(groups)
