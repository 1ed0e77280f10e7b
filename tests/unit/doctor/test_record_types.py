"""The figures of a trailer: named only where the rows of its file come to them."""

from __future__ import annotations

from collections.abc import Mapping

from etl.doctor.record_types import TrailerFigure, trailer_figures

CLAIMS: Mapping[str, tuple[str, ...]] = {
    "column 1": ("CLM", "CLM"),
    "column 2": ("C1", "C2"),
    "column 3": ("10.00", "5.50"),
}
LINES: Mapping[str, tuple[str, ...]] = {
    "column 1": ("LIN",) * 3,
    "column 2": ("C1", "C1", "C2"),
    "column 3": ("4.00", "", "7.00"),
}


def figures(*cells: str) -> dict[str, TrailerFigure]:
    trailer: Mapping[str, tuple[str, ...]] = {
        f"column {at}": (cell,) for at, cell in enumerate(("TRL", *cells), start=1)
    }
    head: Mapping[str, tuple[str, ...]] = {"column 1": ("HDR",)}
    types = {"head": head, "claims": CLAIMS, "lines": LINES, "end": trailer}
    return {figure.header: figure for figure in trailer_figures("end", types)}


def test_numbers_of_rows_are_those_of_a_type_or_of_several() -> None:
    told = figures("2", "0003", "5", "6", "7", "4")
    assert [figure.rows_of for figure in told.values()] == [
        (("claims",),),
        (("lines",),),
        (("claims", "lines"),),
        (("head", "claims", "lines"),),
        (("head", "claims", "lines", "end"),),
    ]
    assert "column 7" not in told


def test_a_sum_is_that_of_a_column_to_the_cent() -> None:
    told = figures("15.50", "11", "15.51", "20240101", "", "ACME")
    assert told == {
        "column 2": TrailerFigure("column 2", sum_of=(("claims", "column 3"),)),
        "column 3": TrailerFigure("column 3", sum_of=(("lines", "column 3"),)),
    }
    assert told["column 2"].said == "the sum of column 3 of claims"


def test_a_number_that_several_sets_of_rows_fit_has_them_all() -> None:
    end: Mapping[str, tuple[str, ...]] = {"column 1": ("TRL",), "column 2": ("2",)}
    (figure,) = trailer_figures("end", {"a": CLAIMS, "b": CLAIMS, "end": end})
    assert figure.rows_of == (("a",), ("b",))
    assert figure.said == "the number of rows of a or of b"
