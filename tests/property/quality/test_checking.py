"""What holds of a check whatever comes in: rows of any disorder, cut in any way."""

from decimal import Decimal

import pyarrow as pa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from etl.model.canonical_tables import AMOUNT_COLUMNS
from etl.model.canonical_tables import CLAIMS_TABLES as TABLES
from etl.quality.check import check
from etl.quality.checks.frames import RuleContext
from etl.quality.totals.counts import add_counts, reconcile
from etl.quality.totals.money import MoneyKey, add_money
from etl.rows import no_findings
from tests.given.tables import read_tables
from tests.unit.quality.world import LISTED, KeysInMemory, standard_book, tables, world

CELLS = st.sampled_from(read_tables(__file__)["cells"])


@st.composite
def spoiled_worlds(draw):
    """Return a world with cells changed, rows dropped and rows sent again, some of them changed."""
    of = world()
    for _ in range(draw(st.integers(0, 6))):
        table = draw(st.sampled_from(sorted(of)))
        if not of[table]:
            continue
        at = draw(st.integers(0, len(of[table]) - 1))
        deed = draw(st.sampled_from(["change", "change", "drop", "again"]))
        if deed == "drop":
            del of[table][at]
        elif deed == "again":
            of[table].append(dict(of[table][at]))
            at = len(of[table]) - 1
        if deed != "drop" and draw(st.booleans()):
            column = draw(st.sampled_from(TABLES[table].names))
            of[table][at][column] = draw(CELLS)
            of[table][at] = {name: text for name, text in of[table][at].items() if text}
    return of


def checked(parts, known=None):
    context = RuleContext(standard_book(), known or KeysInMemory(), LISTED)
    return check(parts, no_findings(), context)


calm = settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.data_too_large])


@calm
@given(spoiled_worlds())
def test_no_row_and_no_cent_is_ever_lost(of):
    got = checked(tables(of))
    reconcile(got.counts)
    assert all(totals.adds_up for totals in got.money.values())
    for name in of:
        assert got.counts[name].rows_in == len(of[name])


@calm
@given(spoiled_worlds(), st.randoms(use_true_random=False))
def test_the_order_of_rows_decides_nothing(of, dice):
    straight = tables(of)
    shuffled = {}
    for name, table in straight.items():
        order = list(range(table.num_rows))
        dice.shuffle(order)
        shuffled[name] = table.take(pa.array(order, pa.int64()))
    one, two = checked(straight), checked(shuffled)
    assert one.findings.equals(two.findings)
    assert one.rejected.equals(two.rejected)
    assert one.counts == two.counts
    assert one.money == two.money
    for name, table in one.tables.items():
        places = [("_file", "ascending"), ("_row", "ascending")]
        assert two.tables[name].sort_by(places).equals(table.sort_by(places))


def keys_of(of):
    """Return what reading the whole extract finds out about its ids."""

    def shared(table, key):
        owners = {}
        for row in of[table]:
            if row.get(key) and row.get("member_id"):
                owners.setdefault(row[key], set()).add(row["member_id"])
        return frozenset(each for each, members in owners.items() if len(members) > 1)

    def ids(table, key):
        return frozenset(row[key] for row in of[table] if row.get(key))

    return KeysInMemory(
        ids("claim", "claim_id"),
        ids("member", "member_id"),
        ids("coverage", "coverage_id"),
        shared_claims=shared("claim", "claim_id"),
        shared_coverages=shared("coverage", "coverage_id"),
    )


def owners_of(of, name):
    """Return whose partition each row of a table belongs to, as `sources` cuts them."""
    claims = {}
    for row in of["claim"]:
        if row.get("claim_id") and row.get("member_id"):
            known = claims.get(row["claim_id"], row["member_id"])
            claims[row["claim_id"]] = min(known, row["member_id"])
    by_claim = name.startswith("claim_")
    return [
        claims.get(row.get("claim_id", ""), f"claim {row.get('claim_id')}")
        if by_claim
        else row.get("member_id", f"claim {row.get('claim_id')}")
        for row in of[name]
    ]


@calm
@given(spoiled_worlds())
def test_partitions_come_to_the_same_as_the_whole(of):
    whole, known = tables(of), keys_of(of)
    owners = {name: owners_of(of, name) for name in of}
    parts = [
        checked(
            {
                name: whole[name].filter(
                    pa.array([each == member for each in owners[name]], pa.bool_())
                )
                for name in of
            },
            known,
        )
        for member in sorted({each for names in owners.values() for each in names})
    ]
    one = checked(whole, known)
    assert add_counts([one.counts, *(part.counts for part in parts)]) == add_counts(
        [one.counts, one.counts]
    )
    assert add_money(part.money for part in parts) == add_money([one.money])
    for what in ("findings", "rejected"):
        rows = [row for part in parts for row in getattr(part, what).to_pylist()]
        assert sorted(map(str, rows)) == sorted(map(str, getattr(one, what).to_pylist())), what
    for name in of:
        rows = [row for part in parts for row in part.tables[name].to_pylist()]
        assert sorted(map(str, rows)) == sorted(map(str, one.tables[name].to_pylist())), name


@calm
@given(spoiled_worlds())
def test_what_was_accepted_is_accepted_again_as_it_is(of):
    once = checked(tables(of))
    again = checked(dict(once.tables))
    changed = {name for name in TABLES if not again.tables[name].equals(once.tables[name])}
    # A row that lost its neighbours may say something new about them; it may not read differently.
    for name in changed:
        kept = again.tables[name]
        first = once.tables[name]
        for row in kept.to_pylist():
            assert row in first.to_pylist(), name
    shapes = {"date-unreadable", "amount-unreadable", "icd-point", "lost-zero-revenue", "required"}
    assert not shapes & set(again.findings.column("rule").to_pylist())


@calm
@given(spoiled_worlds())
def test_published_money_is_the_sum_of_what_is_published(of):
    got = checked(tables(of))
    types = dict(
        zip(
            got.tables["claim"].column("claim_id").to_pylist(),
            got.tables["claim"].column("claim_type").to_pylist(),
            strict=True,
        )
    )
    sums = {}
    for level in ("claim", "claim_line"):
        for row in got.tables[level].to_pylist():
            for column in AMOUNT_COLUMNS:
                if row[column] is not None:
                    key = MoneyKey(level, types[row["claim_id"]], column.removeprefix("amount_"))
                    sums[key] = sums.get(key, Decimal(0)) + Decimal(row[column])
    assert {key: total * 100 for key, total in sums.items()} == {
        key: totals.published for key, totals in got.money.items() if key in sums
    }
    assert all(not totals.published for key, totals in got.money.items() if key not in sums)


@calm
@given(spoiled_worlds())
def test_every_accepted_row_has_what_it_hangs_on(of):
    got = checked(tables(of))

    def ids(table, column):
        return set(got.tables[table].column(column).to_pylist())

    assert ids("coverage", "member_id") <= ids("member", "member_id")
    alive = [row for row in got.tables["claim"].to_pylist() if row["record_action"] != "D"]
    assert {row["coverage_id"] for row in alive} <= ids("coverage", "coverage_id")
    owners = {row["coverage_id"]: row["member_id"] for row in got.tables["coverage"].to_pylist()}
    for claim in alive:
        assert owners[claim["coverage_id"]] == claim["member_id"]
    for name in of:
        if name.startswith("claim_"):
            assert ids(name, "claim_id") <= ids("claim", "claim_id"), name
    for name, table in got.tables.items():
        keys = list(zip(*(table.column(key).to_pylist() for key in TABLES[name].key), strict=True))
        assert len(set(keys)) == len(keys), name
        for column in () if "D" in ids(name, "record_action") else TABLES[name].required:
            assert table.column(column).null_count == 0, (name, column)
