"""What holds for any input, held against slow and obvious oracles."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from etl.model.canonical_tables import CLAIMS_TABLES as TABLES
from etl.model.code_shapes import npi_check_digit
from etl.synth import Spec
from etl.synth.daily_changes import delta_of, difference, member_on
from etl.synth.extract_writer import DELIMITERS, HashedFile, TextFile
from etl.synth.identifiers import npi, shuffled
from etl.synth.pricing import Terms, adjustments, cents_of, money, price
from etl.synth.sample_codes import REFUSALS
from etl.synth.seeded_random import Dice, Weighted, iso, mixed

CENTS = st.integers(0, 10**9)
PER_CENT = st.integers(0, 100)


@given(
    CENTS,
    st.builds(
        Terms,
        discount=PER_CENT,
        copay=st.integers(0, 50_000),
        coinsurance=PER_CENT,
        deductible=st.integers(0, 500_000),
        prior=PER_CENT,
        refusal=st.none() | st.sampled_from(REFUSALS),
    ),
)
def test_a_price_keeps_every_equation_to_the_cent(submitted: int, terms: Terms) -> None:
    found = price(submitted, terms)
    member = found["deductible"] + found["coinsurance"] + found["copay"]

    assert min(found.values()) >= 0
    assert found["eligible"] == submitted - found["noncovered"] - found["discount"]
    assert found["memberliability"] == member + found["noncovered"]
    assert found["eligible"] == found["benefit"] + found["priorpayerpaid"] + member
    reasons = adjustments(found, terms.refusal)
    assert submitted - sum(reason.cents for reason in reasons) == found["benefit"]
    assert found["deductible"] <= terms.deductible
    if terms.refusal:
        assert found["benefit"] == 0
        assert (found["noncovered"] > 0) == (terms.refusal.group == "PR" and submitted > 0)


@given(st.integers(-(10**12), 10**12))
def test_money_reads_back(cents: int) -> None:
    text = money(cents)

    assert cents_of(text) == cents
    assert text[-3] == "."


@given(st.text("0123456789", min_size=9, max_size=9))
def test_exactly_one_check_digit_is_right(digits: str) -> None:
    right = [digit for digit in "0123456789" if _luhn_holds("80840" + digits + digit)]

    assert right == [npi_check_digit(digits)]


def _luhn_holds(number: str) -> bool:
    total = 0
    for place, digit in enumerate(reversed(number)):
        total += sum(int(each) for each in str(int(digit) * (1 + place % 2)))
    return total % 10 == 0


@given(st.integers(0, 99_999_999))
def test_an_npi_has_ten_digits_and_its_check_digit(serial: int) -> None:
    assert len(npi(serial)) == 10
    assert _luhn_holds("80840" + npi(serial))


@given(st.lists(st.integers(0, 999_999_936), unique=True, min_size=2, max_size=50), st.integers(0))
def test_shuffling_makes_no_twins(indexes: list[int], salt: int) -> None:
    numbers = [shuffled(index, salt) for index in indexes]

    assert len(set(numbers)) == len(indexes)
    assert all(0 <= number < 10**9 for number in numbers)


@given(st.lists(st.integers(-(2**70), 2**70), max_size=6))
def test_mixing_depends_on_every_part(parts: list[int]) -> None:
    assert 0 <= mixed(*parts) < 2**64
    for place, part in enumerate(parts):
        other = [*parts[:place], part + 1, *parts[place + 1 :]]
        assert mixed(*other) != mixed(*parts)


@given(st.integers(0, 2**64), st.integers(-1000, 1000), st.integers(0, 1000))
def test_a_draw_stays_within_its_bounds(seed: int, low: int, width: int) -> None:
    dice = Dice(seed)
    weights = Weighted(one=1, none=0, three=3)
    points = ((0.0, 1.0), (0.5, 2.0), (1.0, 64.0))

    for _ in range(20):
        assert low <= dice.between(low, low + width) <= low + width
        assert 0 <= dice.below(width + 1) <= width
        assert dice.weighted(weights) in {"one", "three"}
        assert 1 <= dice.quantile(points) <= 64
        assert not dice.chance(0)
        assert dice.chance(1000)


@given(st.dates(date(1900, 1, 1), date(2100, 1, 1)))
def test_a_day_prints_as_the_calendar_has_it(day: date) -> None:
    assert iso(day.toordinal()) == day.isoformat()
    assert date.fromisoformat(iso(day.toordinal() + 1)) - day == timedelta(days=1)


_TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
_TRAPS = st.sampled_from(['"', ",", "|", "\t", "\n", "\r\n", "\r", '""', "a,b", " x ", "'"])
_ROWS = st.lists(
    st.dictionaries(st.sampled_from(["a", "b", "c"]), _TEXT | _TRAPS, max_size=3), max_size=8
)


@given(_ROWS, st.sampled_from(sorted(DELIMITERS.values())))
def test_delimited_text_is_what_the_csv_module_writes(
    rows: list[dict[str, str]], delimiter: str
) -> None:
    expected = io.StringIO(newline="")
    writer = csv.DictWriter(
        expected, ["a", "b", "c"], delimiter=delimiter, lineterminator="\n", restval=""
    )
    writer.writeheader()
    writer.writerows(rows)

    with TemporaryDirectory() as folder:
        file = HashedFile(Path(folder) / "x.csv")
        text = TextFile(file, ["a", "b", "c"], delimiter, packed=False)
        text.write(rows)
        text.finish()
        file.close()
        assert file.path.read_bytes().decode() == expected.getvalue()
        assert file.bytes == len(expected.getvalue().encode())


_STATE = st.dictionaries(
    st.sampled_from(["1", "2", "3", "4"]), st.sampled_from(["x", "y", "z"]), max_size=4
)


@given(_STATE, _STATE)
def test_a_difference_leads_from_one_state_to_the_other(
    old: dict[str, str], new: dict[str, str]
) -> None:
    def rows(state: dict[str, str]) -> list[dict[str, str]]:
        return [{"member_id": key, "city": city} for key, city in state.items()]

    result = dict(old)
    for row in difference({"member": rows(old)}, {"member": rows(new)}, "2026-01-01")["member"]:
        if row["record_action"] == "D":
            assert row["last_updated"] == "2026-01-01"
            del result[row["member_id"]]
        else:
            assert (row["member_id"] in old) == (row["record_action"] == "U")
            assert old.get(row["member_id"]) != row["city"]
            result[row["member_id"]] = row["city"]
    assert result == new


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**40), st.integers(0, 60), st.integers(1, 6), st.booleans())
def test_a_member_of_day_k_is_the_one_of_day_0_with_his_deltas(
    seed: int, index: int, days: int, whole: bool
) -> None:
    def spec(day: int) -> Spec:
        return Spec(
            50,
            seed=seed,
            day=day,
            kind="delta" if day else "full",
            change_rate=0.6,
            whole_claims=whole,
        )

    tables = {
        table: _keyed(table, rows) for table, rows in member_on(spec(0), index, 0).rows().items()
    }
    if index >= 50:
        tables = {table: {} for table in tables}
    for day in range(1, days + 1):
        for table, rows in delta_of(spec(day), index).items():
            for key, row in _keyed(table, rows).items():
                if row["record_action"] == "D":
                    del tables[table][key]
                else:
                    tables[table][key] = row
    joined = 0 if index < 50 else index - 49
    now = member_on(spec(days), index, days).rows() if joined <= days else {}
    expected = {table: _keyed(table, now.get(table, ())) for table in tables}
    assert _contents(tables) == _contents(expected)


Keyed = dict[tuple[str, ...], dict[str, str]]


def _keyed(table: str, rows: Sequence[dict[str, str]]) -> Keyed:
    return {tuple(row[part] for part in TABLES[table].key): row for row in rows}


def _contents(tables: dict[str, Keyed]) -> dict[str, Keyed]:
    return {
        table: {key: row | {"record_action": ""} for key, row in rows.items()}
        for table, rows in tables.items()
    }
