"""Flags, lists, plain codes, and code systems that can be checked by shape alone.

Licensed code systems are not here: only shapes are checked. Sources: ICD-10-CM/PCS and
ICD-9-CM coding conventions (CDC, CMS); NDC 21 CFR 207.33 and the 11-digit HIPAA billing form.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.arrays import (
    Parsed,
    as_array,
    blanked,
    matches,
    replaced,
    text_bytes,
    trimmed,
    true_where,
    without_empty,
)
from etl.model.code_shapes import NPI_DIGITS, NPI_DOUBLED, NPI_PREFIX_SUM

FLAG_WORDS: Final[Mapping[str, str]] = MappingProxyType(
    {"y": "Y", "yes": "Y", "true": "Y", "t": "Y", "1": "Y"}
    | {"n": "N", "no": "N", "false": "N", "f": "N", "0": "N"}
)
"""Words that are read as yes and no, in lower case."""

_CONTROL: Final = r"[\x00-\x08\x0b\x0c\x0e-\x1f]"
"""FHIR R4 `string`: no control character but tab, line feed and carriage return."""
_CODE_CONTROL: Final = r"[\x00-\x1f\x7f]"
_UNTIDY_LIST: Final = r"^[\s;]|[\s;]$|;[\s;]|\s;"

IcdKind = Literal["icd-10-cm", "icd-10-pcs", "icd-9-cm", "icd-9-pcs"]


def read_flags(column: Any) -> Parsed:
    """Read yes and no, in any case, as `Y` and `N`; anything else is bad."""
    index = pc.index_in(pc.utf8_lower(column), value_set=pa.array(list(FLAG_WORDS), pa.string()))
    values = as_array(pc.take(pa.array(list(FLAG_WORDS.values()), pa.string()), index))
    return Parsed(values, pc.and_(pc.is_valid(column), pc.is_null(index)))


def read_lists(column: Any) -> Parsed:
    """Read values joined by `;`: no blanks around them, no empty ones; absent when none is left.

    A value with a control character inside is bad, and the list with it.
    """
    values = column
    odd = matches(column, _UNTIDY_LIST)
    if odd.any():
        rest = as_array(column.filter(pa.array(odd)))
        rest = pc.replace_substring_regex(rest, pattern=r"[\s;]*;[\s;]*", replacement=";")
        rest = without_empty(pc.utf8_trim(rest, characters="; \t\r\n\f\v"))
        values = replaced(column, odd, as_array(rest))
    bad = matches(values, _CODE_CONTROL)
    return Parsed(blanked(values, bad), pa.array(bad))


def read_codes(column: Any) -> Parsed:
    """Read codes, ids and words unchanged; a control character inside is bad."""
    bad = matches(column, _CODE_CONTROL)
    return Parsed(blanked(column, bad), pa.array(bad))


def read_text(column: Any) -> Parsed:
    """Read free text: characters that FHIR forbids are taken out, and `bad` says where.

    Unlike the other kernels the value stays: what is left of a name is still that name.
    """
    bad = matches(column, _CONTROL)
    if not bad.any():
        return Parsed(column, pa.array(bad))
    rest = as_array(column.filter(pa.array(bad)))
    rest = trimmed(pc.replace_substring_regex(rest, pattern=_CONTROL, replacement=""))
    return Parsed(replaced(column, bad, as_array(rest)), pa.array(bad))


@dataclass(frozen=True, slots=True)
class Icd:
    """A column read as codes of one ICD classification.

    Attributes:
        values: `string`, shape (n,): upper case, with the point where the classification has it;
            as it was sent where `impossible`.
        misplaced: numpy `bool`: the point stood in another place, and was corrected.
        unusual: numpy `bool`: could be such a code, but not by its shape.
        impossible: numpy `bool`: cannot be a code of this classification; nor can one of ICD-10
            that is an external cause of ICD-9 by its point, such as `E885.9`.
    """

    values: Any
    misplaced: Any
    unusual: Any
    impossible: Any


@dataclass(frozen=True, slots=True)
class _IcdShape:
    usual: str
    possible: str
    point: tuple[str, str] | None
    other_version: str = ""


_ICD_9_EXTERNAL_CAUSE: Final = "E(?:0[0-3]|[89][0-9])[0-9]"
"""The categories E000 to E030 and E800 to E999 of ICD-9-CM."""
_ICD: Final[Mapping[str, _IcdShape]] = {
    "icd-10-cm": _IcdShape(
        # All codes of transport accidents (V00 to V99) have seven characters.
        r"^(?:[A-UW-Z][0-9][0-9A-Z]{1,5}|V[0-9]{2}[0-9X]{3}[ADS])$",
        r"^[A-Z][0-9A-Z]{1,7}$",
        (r"^(.{3})(.+)$", r"\1.\2"),
        rf"^{_ICD_9_EXTERNAL_CAUSE}\.[0-9]$",
    ),
    "icd-10-pcs": _IcdShape(r"^[0-9A-HJ-NP-Z]{7}$", r"^[0-9A-Z]{7}$", None),
    "icd-9-cm": _IcdShape(
        rf"^(?:[0-9]{{3,5}}|V[0-9]{{2,4}}|{_ICD_9_EXTERNAL_CAUSE}[0-9]?)$",
        rf"^(?:[0-9]{{2,6}}|V[0-9]{{1,5}}|{_ICD_9_EXTERNAL_CAUSE}[0-9]{{0,2}})$",
        (r"^(E.{3}|[^E].{2})(.+)$", r"\1.\2"),
    ),
    "icd-9-pcs": _IcdShape(r"^[0-9]{3,4}$", r"^[0-9]{2,4}$", (r"^(.{2})(.+)$", r"\1.\2")),
}


def read_icd(column: Any, kind: IcdKind) -> Icd:
    """Read ICD codes with or without their point.

    Args:
        column: `string`, shape (n,); null where absent.
        kind: which classification: it decides where the point belongs (ICD-10-PCS has none).
    """
    shape = _ICD[kind]
    upper = pc.utf8_upper(column)
    bare = pc.replace_substring(upper, pattern=".", replacement="")
    placed = bare
    if shape.point is not None:
        pattern, replacement = shape.point
        placed = pc.replace_substring_regex(bare, pattern=pattern, replacement=replacement)
    there = pc.is_valid(column).to_numpy(zero_copy_only=False)
    impossible = there & ~matches(bare, shape.possible)
    if shape.other_version:
        impossible |= matches(upper, shape.other_version)
    unusual = there & ~impossible & ~matches(bare, shape.usual)
    pointed = matches(column, r"\.")
    moved = true_where(pc.not_equal(upper, placed))
    values = as_array(pc.if_else(pa.array(impossible), column, placed))
    return Icd(values, pointed & moved & ~impossible, unusual, impossible)


_NDC_FORMS: Final = (
    (r"^([0-9]{5})-([0-9]{4})-([0-9]{2})$", r"\1\2\3"),
    (r"^([0-9]{4})-([0-9]{4})-([0-9]{2})$", r"0\1\2\3"),
    (r"^([0-9]{5})-([0-9]{3})-([0-9]{2})$", r"\10\2\3"),
    (r"^([0-9]{5})-([0-9]{4})-([0-9])$", r"\1\20\3"),
)


def read_ndc(column: Any) -> Parsed:
    """Read NDCs of 11 digits, or hyphenated 4-4-2, 5-3-2, 5-4-1 and 5-4-2, as 11 digits."""
    values = column
    plain = matches(column, r"^[0-9]{11}$")
    if matches(column, r"-").any():
        for pattern, becomes in _NDC_FORMS:
            # RE2 has groups of one digit only, so `\10` is group 1 and a zero.
            values = pc.replace_substring_regex(values, pattern=pattern, replacement=becomes)
        values = as_array(values)
        plain = matches(values, r"^[0-9]{11}$")
    bad = pc.is_valid(column).to_numpy(zero_copy_only=False) & ~plain
    return Parsed(blanked(values, bad), pa.array(bad))


def npi_holds(column: Any) -> Any:
    """Return where text is a National Provider Identifier: `is_npi` of the model, by column.

    Args:
        column: `string`, shape (n,), best without repetitions; null where absent.

    Returns:
        numpy `bool`, shape (n,); false where absent.
    """
    holds = matches(column, f"^{NPI_DIGITS}$")
    if holds.any():
        digits = text_bytes(column.filter(pa.array(holds))).reshape(-1, 10) - ord("0")
        doubled = np.array(NPI_DOUBLED, dtype=np.uint8)[digits[:, 0:9:2]]
        sums = NPI_PREFIX_SUM + doubled.sum(axis=1) + digits[:, 1::2].sum(axis=1)
        holds[holds] = sums % 10 == 0
    return holds
