"""No small cell follows from all sums of a run together: a solver tries every one."""

from collections import Counter
from dataclasses import dataclass, replace
from decimal import Decimal
from operator import attrgetter
from typing import NamedTuple

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from etl.quality.totals.money import MoneyKey, MoneyTotals
from etl.reports.certificate import CertificateFacts, FileMoney
from etl.reports.document import report_document
from etl.reports.summary import totals_of
from tests.unit.reports.test_report import report

MOST = 10
CATEGORY = "benefit"
LEVELS = {"claim": "header", "claim_line": "lines"}
FATES = ("net", "other", "quarantined", "superseded")
SOURCES = {
    "source": FATES,
    "published": ("net", "other"),
    "quarantined": ("quarantined",),
    "superseded": ("superseded",),
    "net": ("net",),
}
STATED = {"header": {"states_total": True}, "lines": {}}
SUMMED = {
    "header": {"states_total": False},
    "lines": {"states_total": None},
}
"""Claims whose rows state the amount; those whose published total is summed: of lines, none is."""
JOINT = attrgetter("claim_type", "payer", "plan")


class Group(NamedTuple):
    """Claims that are alike: each has one line, with the amount of the claim."""

    claims: int
    cents: int
    claim_type: str
    payer: str
    plan: str
    month: str
    file: str
    fate: str
    states_total: bool

    @property
    def is_published(self):
        return self.fate in ("net", "other")


@dataclass
class Reader:
    """Collects the equations of someone who has every page."""

    groups: list[Group]

    def __post_init__(self):
        self.equations = []
        self.claims = Counter()

    def add(self, variables, text):
        """Add a sum as it is written; None where it is withheld."""
        if text is not None:
            self.equations.append((Counter(variables), Decimal(text)))

    def equal(self, some, others):
        """Add that two sums are the same, whatever they are."""
        both = Counter(some)
        both.subtract(Counter(others))
        self.equations.append((both, Decimal(0)))

    def count(self, variable, **wanted):
        """Add a variable, and over how many claims it is: those with such attributes."""
        self.claims[variable] = sum(
            each.claims
            for each in self.groups
            if all(getattr(each, name) == value for name, value in wanted.items())
        )
        return variable

    def disclosed(self):
        """Return what the equations leave one value for, of all amounts that are not negative."""
        names = [name for name, claims in self.claims.items() if claims]
        at = {name: number for number, name in enumerate(names)}
        left = np.zeros((len(self.equations), len(names)))
        for line, (coefficients, _) in zip(left, self.equations, strict=True):
            for name, factor in coefficients.items():
                if name in at:
                    line[at[name]] = factor
        right = np.array([float(amount) for _, amount in self.equations])

        def least(goal):
            solved = linprog(goal, A_eq=left, b_eq=right, method="highs")
            assert solved.status in (0, 3), "the sums contradict each other"
            return solved.fun if solved.status == 0 else -np.inf

        found = []
        for name in names:
            if not 0 < self.claims[name] <= MOST:
                continue
            goal = np.zeros(len(names))
            goal[at[name]] = 1
            most = -least(-goal)
            # A sum of nothing over many claims says that each of them has nothing.
            if 0.005 <= most < np.inf and most - least(goal) < 0.005:
                found.append(name)
        return found


def money_of(groups):
    cells = {}
    for each in groups:
        for level in LEVELS:
            if level == "claim" and not each.states_total:
                continue
            key = MoneyKey(level, each.claim_type, CATEGORY)
            names = ["source", *(name for name in SOURCES if each.fate in SOURCES[name][:2])]
            sums = dict.fromkeys(names, each.claims * each.cents)
            sums |= {f"{name}_claims": each.claims for name in names if name != "source"}
            cells[key] = cells.get(key, MoneyTotals()) + MoneyTotals(**sums)
    return cells


def facts_of(groups):
    money = {}
    files = {}
    explained = [0, 0]
    for each in (group for group in groups if group.is_published and group.claims):
        cents = each.claims * each.cents
        for level in LEVELS:
            for by, value in (
                ("type", each.claim_type),
                ("payer", each.payer),
                ("plan", each.plan),
                ("month", each.month),
                ("status", "active" if each.fate == "net" else "cancelled"),
            ):
                before = money.get((by, value, level, CATEGORY), (0, 0))
                money[by, value, level, CATEGORY] = (before[0] + cents, before[1] + each.claims)
            line = files.get(
                (each.file, level), FileMoney(each.file, level, CATEGORY, 0, 0, source=0)
            )
            is_stated = level == "claim_line" or each.states_total
            files[each.file, level] = replace(
                line,
                claims=line.claims + each.claims,
                published=line.published + cents,
                source=(line.source or 0) + (cents if is_stated else 0),
                explained=line.explained + (0 if is_stated else cents),
                differences=line.differences + (0 if is_stated else each.claims),
            )
        if not each.states_total:
            explained = [explained[0] + each.claims, explained[1] + cents]
    return CertificateFacts(
        facts=1,
        sums=1,
        carried=0,
        counted={},
        reasons={("sum-of-lines", f"claim.{CATEGORY}"): (explained[0], explained[1])}
        if explained[0]
        else {},
        money=money,
        files=tuple(files.values()),
        joint=joint_of(groups),
    )


def joint_of(groups):
    joint = Counter[tuple[str, ...]]()
    for each in groups:
        if each.is_published:
            joint[JOINT(each)] += each.claims
    return joint


def made(groups):
    return replace(report(), money=money_of(groups), certificate=facts_of(groups))


def read(groups, told):
    """Return what a reader of the report knows."""
    document, reader = report_document(told), Reader(groups)
    types = sorted({each.claim_type for each in groups})
    rows = {}
    for shown in LEVELS.values():
        for name in types:
            for fate in FATES:
                reader.count((shown, name, fate), claim_type=name, fate=fate, **STATED[shown])
        for line in document["money"]:
            if line["level"] == shown:
                for total, fates in SOURCES.items():
                    cells = [(shown, line["claim_type"], fate) for fate in fates]
                    reader.add(cells, line[total])
        for line in document["money_totals"]:
            if line["level"] == shown:
                for total, fates in SOURCES.items():
                    reader.add(
                        [(shown, name, fate) for name in types for fate in fates], line[total]
                    )
        rows[shown] = [(shown, name, fate) for name in types for fate in SOURCES["published"]]
        _read_bytes(reader, document["certificate"], shown, rows[shown])
    net = totals_of(told).money.net
    reader.add([("header", name, "net") for name in types], net.get(CATEGORY))
    return reader


def _read_bytes(reader, certificate, shown, rows):
    """Add what the certificate says of one level: each table divides rows and summed totals."""

    summed = [
        reader.count((shown, "summed", fate), fate=fate, **SUMMED[shown])
        for fate in SOURCES["published"]
    ]
    for line in certificate["explained"]:
        if shown == "header":
            reader.add(summed, line["amount"])
    if not any(reader.claims[name] for name in rows):  # every total is the sum of its lines
        reader.equal(summed, [("lines", *name[1:]) for name in rows])
    # Which types, payers and plans go together is no secret, nor is how many claims of each.
    together = sorted({JOINT(each) for each in reader.groups if each.is_published})
    joint = {
        values: reader.count(
            (shown, "together", *values),
            is_published=True,
            **dict(zip(("claim_type", "payer", "plan"), values, strict=True)),
        )
        for values in together
    }
    for name in {values[0] for values in together}:
        of_type = [row for row in rows if row[1] == name]
        more = reader.count(
            (shown, "summed of", name), is_published=True, claim_type=name, **SUMMED[shown]
        )
        reader.equal([*of_type, more], [joint[each] for each in together if each[0] == name])
    for by, of in (
        ("payer", "payer"),
        ("plan", "plan"),
        ("month", "month"),
        ("status", "fate"),
    ):
        lines = [
            line for line in certificate["money"] if (line["by"], line["level"]) == (by, shown)
        ]
        words = {"net": "active", "other": "cancelled"} if by == "status" else {}
        values = {getattr(each, of) for each in reader.groups if each.is_published}
        cells = {
            words.get(value, value): reader.count(
                (shown, by, value), is_published=True, **{of: value}
            )
            for value in values
        }
        for line in lines:
            named = {each["value"] for each in lines}
            others = [cell for value, cell in cells.items() if value not in named]
            parts = others if line["value"] is None else [cells[line["value"]]]
            reader.add(parts, line["amount"])
        reader.equal(cells.values(), [*rows, *summed])
        if by in ("payer", "plan"):
            at = ("payer", "plan").index(by) + 1
            for value, cell in cells.items():
                reader.equal([cell], [joint[each] for each in together if each[at] == value])
        if by == "status":
            for word, fate in (("active", "net"), ("cancelled", "other")):
                if word in cells:
                    of_fate = [name for name in (*rows, *summed) if name[2] == fate]
                    reader.equal([cells[word]], of_fate)
    _read_files(reader, certificate, shown, rows, summed)


def _read_files(reader, certificate, shown, rows, summed):
    lines = [line for line in certificate["files"] if line["level"] == shown]
    names = {each.file for each in reader.groups if each.is_published}
    parts = {
        name: {
            "source": reader.count(
                (shown, "source of", name), is_published=True, file=name, **STATED[shown]
            ),
            "explained": reader.count(
                (shown, "explained of", name), is_published=True, file=name, **SUMMED[shown]
            ),
        }
        for name in names
    }
    for line in lines:
        named = {each["file"] for each in lines}
        of = (
            [name for name in names if name not in named]
            if line["file"] is None
            else [line["file"]]
        )
        reader.add((cell for name in of for cell in parts[name].values()), line["published"])
        for column in ("source", "explained"):
            reader.add((parts[name][column] for name in of), line[column])
    reader.equal((cells["source"] for cells in parts.values()), rows)
    reader.equal((cells["explained"] for cells in parts.values()), summed)


def in_payer(group):
    return group._replace(plan=f"{group.payer}-{group.plan}")


groups_of_claims = st.lists(
    st.builds(
        Group,
        st.sampled_from([1, 4, 6, 10, 11, 40, 500]),
        st.sampled_from([1, 137, 90_000]),
        st.sampled_from(["vision", "oral", "pharmacy"]),
        st.sampled_from(["payer-1", "payer-2"]),
        st.sampled_from(["a", "b"]),
        st.sampled_from(["2026-01", "2026-02", "2026-03"]),
        st.sampled_from(["a.csv", "b.csv"]),
        st.sampled_from(["net", "net", "net", "other", "quarantined", "superseded"]),
        st.sampled_from([True, True, True, False]),
    ).map(in_payer),
    min_size=1,
    max_size=9,
)
MANY = [
    Group(500, 90_000, name, "payer-1", "payer-1-a", "2026-01", "a.csv", "net", True)
    for name in ("oral", "pharmacy")
]
FEW = Group(3, 137, "vision", "payer-1", "payer-1-a", "2026-01", "a.csv", "net", True)


@settings(deadline=None, max_examples=25)
@given(groups_of_claims)
@example([*MANY, FEW])
@example([*MANY, FEW._replace(fate="other")])
@example([*MANY, FEW._replace(claim_type="oral", states_total=False)])
@example([*MANY, FEW._replace(fate="quarantined"), FEW._replace(cents=0)])
@example([*MANY, FEW._replace(file="b.csv", payer="payer-2", month="2026-02")])
@example(
    [
        *MANY,
        FEW._replace(payer="vision", plan="vision"),
        *(
            Group(60, 137, "oral", "dental", plan, "2026-01", "a.csv", "net", True)
            for plan in ("gold", "silver")
        ),
    ]
)
def test_no_sum_over_few_claims_follows_from_all_that_a_run_publishes(groups):
    assert read(groups, made(groups)).disclosed() == []


def test_the_solver_finds_what_is_not_withheld():
    every = replace(made([*MANY, FEW]), small_cells=0)
    assert ("header", "vision", "net") in read([*MANY, FEW], every).disclosed()


def test_the_total_and_the_sums_of_large_parts_are_shown_beside_a_small_one():
    more = Group(900, 137, "inpatient", "payer-1", "payer-1-a", "2026-01", "a.csv", "net", True)
    document = report_document(made([*MANY, FEW, more]))
    (total,) = (line for line in document["money_totals"] if line["level"] == "header")
    assert total["published"] == total["net"] == "901237.11"
    shown = {line["claim_type"]: line["net"] for line in document["money"]}
    assert shown["inpatient"] == "1233.00"
    assert shown["vision"] is None
    (file, _) = document["certificate"]["files"]
    assert file["published"] == total["published"]
