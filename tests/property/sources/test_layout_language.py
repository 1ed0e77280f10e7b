"""What the kernels of the layout language make of columns is what a slow reader makes of cells."""

import re
from datetime import date
from decimal import Decimal

import pyarrow as pa
from hypothesis import example, given, settings
from hypothesis import strategies as st

from etl.sources.convert.canonical_rows import WantedRows, look_up
from etl.sources.convert.columns import apply_steps, read_formatted_dates, read_formatted_numbers
from etl.sources.convert.raw_rows import RawRows
from etl.sources.layout.conversions import DateFormat, LetterCase, NumberFormat, Pad, Replace, Trim
from etl.sources.layout.model import Condition, EffectivePeriod, Lookup, RowOrder, match_rows

texts = st.lists(st.none() | st.text("ab-|,; 0é9", min_size=1, max_size=7), max_size=12)


def column(cells):
    """Cells as rows have them: trimmed, null where nothing is left."""
    return pa.array([(cell or "").strip() or None for cell in cells], pa.string())


steps = st.one_of(
    st.builds(Replace, st.sampled_from(["a", "-[|]", "[0é]+"]), st.sampled_from(["", "x", "-"])),
    st.builds(Trim, st.sampled_from(["0", "a-"]), st.sampled_from(["left", "right", "both"])),
    st.builds(Pad, st.integers(1, 9), st.just("0"), st.sampled_from(["left", "right"])),
    st.builds(LetterCase, st.sampled_from(["upper", "lower"])),
)


def slow_step(text, step):
    match step:
        case Replace(pattern, by):
            return re.sub(pattern, by, text)
        case Trim(characters, side):
            if side != "right":
                text = text.lstrip(characters)
            return text.rstrip(characters) if side != "left" else text
        case Pad(to, filler, side):
            return text.rjust(to, filler) if side == "left" else text.ljust(to, filler)
        case LetterCase(case):
            return text.upper() if case == "upper" else text.lower()
        case _:
            raise AssertionError(step)


@given(texts, st.lists(steps, min_size=1, max_size=3))
def test_steps(cells, some):
    expected = []
    for cell in column(cells).to_pylist():
        for step in some:
            cell = None if cell is None else (slow_step(cell, step) or "").strip() or None
        expected.append(cell)
    assert apply_steps(column(cells), tuple(some)).to_pylist() == expected


MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
FORMATS = ["MM/DD/YYYY", "D.M.YYYY", "DD-Mon-YYYY", "YYYYMMDD", "YYYY-MM-DD hh:mm:ss"]


def slow_date(text, form):
    """Read a date from left to right, a piece at a time."""
    at, found = 0, {}
    while form:
        piece = next(
            (
                t
                for t in ("YYYY", "Mon", "MM", "DD", "hh", "mm", "ss", "M", "D")
                if form.startswith(t)
            ),
            None,
        )
        if piece is None:
            if text[at : at + 1] != form[0]:
                return None
            at, form = at + 1, form[1:]
            continue
        form = form[len(piece) :]
        if piece == "Mon":
            name = text[at : at + 3].title()
            if name not in MONTHS or not name.isascii():
                return None
            found["M"], at = MONTHS.index(name) + 1, at + 3
            continue
        width = len(piece)
        if width == 1 and re.fullmatch("[0-9]{2}", text[at : at + 2]):
            width = 2
        digits = text[at : at + width]
        if not re.fullmatch(f"[0-9]{{{width}}}", digits):
            return None
        at += width
        number = int(digits)
        found[piece[0]] = number
    if at != len(text) or any(
        found.get(part, 0) > most for part, most in (("h", 23), ("m", 59), ("s", 59))
    ):
        return None
    try:
        return date(found["Y"], found["M"], found["D"]).isoformat()
    except ValueError:
        return None


def unread(cells, expected):
    """Where there was a text of which nothing was made."""
    return [
        cell is not None and value is None
        for cell, value in zip(cells.to_pylist(), expected, strict=True)
    ]


days = st.dates(date(1, 1, 1), date(9999, 12, 31))


@st.composite
def dated(draw):
    """A format, and texts that mostly fit it."""
    form = draw(st.sampled_from(FORMATS))
    cells = []
    for day in draw(st.lists(days, max_size=8)):
        text = form
        for piece, value in (
            ("YYYY", f"{day.year:04}"),
            ("Mon", MONTHS[day.month - 1].upper()),
            ("MM", f"{day.month:02}"),
            ("DD", f"{day.day + draw(st.sampled_from([0, 0, 3])):02}"),
            ("hh", f"{draw(st.integers(0, 25)):02}"),
            ("mm", "59"),
            ("ss", "07"),
        ):
            text = text.replace(piece, value)
        if form == "D.M.YYYY":
            text = f"{day.day}.{day.month}.{day.year:04}"
        cells.append(text)
    return form, [*cells, *draw(texts)]


@settings(max_examples=200)
@given(dated())
@example(("DD-Mon-YYYY", ["30-May-2015", "29-Feb-2023", "1-May-2015"]))
def test_dates(written):
    form, cells = written
    texts_ = column(cells)
    values, bad = read_formatted_dates(texts_, DateFormat((form,)))
    expected = [cell and slow_date(cell, form) for cell in texts_.to_pylist()]
    assert values.to_pylist() == expected
    assert bad.tolist() == unread(texts_, expected)


def slow_number(text, form):
    """Take off what stands around the digits, then read these."""
    negative = text.startswith("(") and text.endswith(")")
    if negative:
        text = text[1:-1]
        if re.search("[-+()]", text):
            return None
    signs = re.findall("[-+]", text)
    if len(signs) > 1:
        return None
    body = re.fullmatch(r"(?P<a>[-+]?)(?:[$€£])?( ?)(?P<b>[-+]?)(?P<d>.*?)( ?)(?P<c>[-+]?)", text)
    if body is None:
        return None
    negative |= signs == ["-"]
    digits = body["d"]
    whole, _, part = (digits, "", "") if form.implied else digits.partition(form.decimal)
    groups = whole.split(form.thousands)
    plain = len(groups) == 1 or (1 <= len(groups[0]) <= 3 and all(len(g) == 3 for g in groups[1:]))
    joined = "".join(groups)
    if not plain or not re.fullmatch("[0-9]*", joined + part) or not joined + part:
        return None
    value = Decimal(f"{joined or 0}.{part or 0}")
    if form.implied:
        value = Decimal(joined).scaleb(-form.implied)
    return -value if negative else value


number_texts = st.lists(
    st.none()
    | st.text("0123456789.,$()-+ ", min_size=1, max_size=9)
    | st.decimals(-(10**7), 10**7, places=2).map(lambda d: f"${d:,}")
    | st.integers(0, 10**8).map(lambda n: f"({n:,}.00)")
    | st.integers(0, 10**8).map(lambda n: f"{n}-"),
    max_size=10,
)


@settings(max_examples=300)
@given(
    number_texts,
    st.sampled_from([NumberFormat(), NumberFormat(",", "."), NumberFormat(implied=2)]),
)
@example(["$1,234.56", "(30.00)", "30.00-", "1,23", "($1,000)", "- 5", "5"], NumberFormat())
def test_numbers(cells, form):
    texts_ = column(cells)
    values, bad = read_formatted_numbers(texts_, form)
    expected = [slow_number(cell, form) if cell else None for cell in texts_.to_pylist()]
    assert [value and Decimal(value) for value in values.to_pylist()] == expected
    assert bad.tolist() == unread(texts_, expected)


cells_of_two = st.fixed_dictionaries(
    {
        "A": st.sampled_from([None, "5", "10", "-2.50", "x", "X", "2024-02-01"]),
        "B": st.sampled_from([None, "5", "2024-01-31", "2024-02-01T10:00:00Z", "ab"]),
    }
)
leaves = st.one_of(
    st.builds(Condition, st.sampled_from("AB"), any_of=st.just(frozenset({"x", "5"}))),
    st.builds(Condition, st.sampled_from("AB"), none_of=st.just(frozenset({"x"}))),
    st.builds(Condition, st.sampled_from("AB"), filled=st.booleans()),
    st.builds(Condition, st.just("A"), differs_from=st.just("B")),
    st.builds(Condition, st.sampled_from("AB"), pattern=st.sampled_from(["[0-9]+", "a.*"])),
)
conditions = st.recursive(
    leaves,
    lambda some: st.one_of(
        st.builds(lambda each: Condition(none_hold=tuple(each)), st.lists(some, min_size=1)),
    ),
    max_leaves=5,
)


def slow_holds(condition, row):
    if condition.none_hold:
        return not all(slow_holds(one, row) for one in condition.none_hold)
    cell = row[condition.column or ""]
    if condition.any_of:
        return cell is not None and cell.lower() in condition.any_of
    if condition.none_of:
        return cell is None or cell.lower() not in condition.none_of
    if condition.filled is not None:
        return (cell is not None) == condition.filled
    if condition.differs_from is not None:
        return cell is None or cell != row[condition.differs_from]
    if condition.pattern is not None:
        return cell is not None and re.fullmatch(condition.pattern, cell) is not None
    raise AssertionError(condition)


@given(conditions, st.lists(cells_of_two, max_size=6))
def test_conditions(condition, rows):
    columns = {name: pa.array([row[name] for row in rows], pa.string()) for name in "AB"}
    found = match_rows([condition], columns.__getitem__, len(rows))
    assert found.tolist() == [slow_holds(condition, row) for row in rows]


DAYS = [None, "2024-01-01", "2024-01-02", "20240103", "odd"]
others = st.lists(
    st.fixed_dictionaries(
        {
            "who": st.sampled_from(["m", "n", None]),
            "k": st.sampled_from(["1", "2", None]),
            "since": st.sampled_from(DAYS),
            "until": st.sampled_from(DAYS),
            "rank": st.sampled_from(["1", "10", "2", None]),
            "value": st.sampled_from(["a", "b", None]),
        }
    ),
    max_size=7,
)
askers = st.lists(
    st.tuples(
        st.sampled_from(["m", "n", None]), st.sampled_from(["1", "2", None]), st.sampled_from(DAYS)
    ),
    max_size=5,
)


def slow_day(text):
    return text.replace("-", "") if text else None


def slow_lookup(rows, source, who, k, on):
    """Value, whether rows disagree, and whether none is there, by looking at one row at a time."""
    if who is None or k is None or (source.in_force and on is None):
        return None, False, False
    fitting = [row for row in rows if (row["who"], row["k"]) == (who, k)]
    if source.in_force and fitting:
        if on == "odd" or any("odd" in (row["since"], row["until"]) for row in fitting):
            return None, True, False
        fitting = [
            row
            for row in fitting
            if (slow_day(row["since"]) or "0")
            <= (slow_day(on) or "")
            <= (slow_day(row["until"]) or "9")
        ]
    if not fitting:
        return None, False, source.rows == "one"
    if source.rows != "any" and len(fitting) > 1:
        return None, True, False
    if source.order:
        ranks = [(row["rank"] is None, int(row["rank"] or 0)) for row in fitting]
        fitting = [row for row, rank in zip(fitting, ranks, strict=True) if rank == min(ranks)]
    said = {row["value"] for row in fitting}
    return (said.pop(), False, False) if len(said) == 1 else (None, True, False)


@settings(max_examples=300)
@given(
    others,
    askers,
    st.booleans(),
    st.booleans(),
    st.sampled_from(["any", "at most one", "one"]),
)
def test_lookups(rows, wanted, dated_, ordered, cardinality):
    source = Lookup(
        "other",
        ("k",),
        ("k",),
        "value",
        "who",
        "who",
        (RowOrder("rank"),) if ordered else (),
        cardinality,
        EffectivePeriod("on", "since", "until") if dated_ else None,
    )
    names = ("who", "k", "since", "until", "rank", "value")
    table = pa.table({name: pa.array([row[name] for row in rows], pa.string()) for name in names})
    who, keys, on = (pa.array([row[at] for row in wanted], pa.string()) for at in range(3))
    joined = pa.array([f"{a}\x1f{b}" if a and b else None for a, b, _ in wanted], pa.string())
    found = look_up(RawRows(table), source, WantedRows(who, joined, on if dated_ else None))
    got = list(
        zip(found.values.to_pylist(), found.torn.tolist(), found.missing.tolist(), strict=True)
    )
    assert got == [slow_lookup(rows, source, *row) for row in wanted]
    del keys
