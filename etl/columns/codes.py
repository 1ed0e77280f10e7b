"""Read flags, lists, plain codes, and codes whose shape can be checked.

Only shapes are checked, because code systems may be licensed. Sources: ICD-10-CM/PCS and ICD-9-CM
coding conventions (CDC, CMS); NDC 21 CFR 207.33 and the 11-digit HIPAA billing form.
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
    empty_to_null,
    matches,
    replaced,
    text_bytes,
    trimmed,
    true_where,
)
from etl.model.code_shapes import NPI_DIGITS, NPI_DOUBLED, NPI_PREFIX_SUM

FLAG_WORDS: Final[Mapping[str, str]] = MappingProxyType(
    {"y": "Y", "yes": "Y", "true": "Y", "t": "Y", "1": "Y"}
    | {"n": "N", "no": "N", "false": "N", "f": "N", "0": "N"}
)
"""Words that mean yes and no, in lower case."""

_CONTROL: Final = r"[\x00-\x08\x0b\x0c\x0e-\x1f]"
"""Control characters that FHIR R4 forbids in `string`: all but tab, line feed, carriage return."""
_CODE_CONTROL: Final = r"[\x00-\x1f\x7f]"
_UNTIDY_LIST: Final = r"^[\s;]|[\s;]$|;[\s;]|\s;"

IcdKind = Literal["icd-10-cm", "icd-10-pcs", "icd-9-cm", "icd-9-pcs"]


def read_flags(column: Any) -> Parsed:
    """Convert yes and no, in any case, to `Y` and `N`; anything else is bad."""
    index = pc.index_in(pc.utf8_lower(column), value_set=pa.array(list(FLAG_WORDS), pa.string()))
    values = as_array(pc.take(pa.array(list(FLAG_WORDS.values()), pa.string()), index))
    return Parsed(values, pc.and_(pc.is_valid(column), pc.is_null(index)))


def read_lists(column: Any) -> Parsed:
    """Tidy lists joined by `;`: no surrounding blanks, no empty values; null if none is left.

    A list with a control character is bad.
    """
    values = column
    is_untidy = matches(column, _UNTIDY_LIST)
    if is_untidy.any():
        untidy = as_array(column.filter(pa.array(is_untidy)))
        untidy = pc.replace_substring_regex(untidy, pattern=r"[\s;]*;[\s;]*", replacement=";")
        untidy = empty_to_null(pc.utf8_trim(untidy, characters="; \t\r\n\f\v"))
        values = replaced(column, is_untidy, as_array(untidy))
    is_bad = matches(values, _CODE_CONTROL)
    return Parsed(blanked(values, is_bad), pa.array(is_bad))


def read_codes(column: Any) -> Parsed:
    """Keep codes, ids and words unchanged; those with control characters are bad."""
    is_bad = matches(column, _CODE_CONTROL)
    return Parsed(blanked(column, is_bad), pa.array(is_bad))


def read_text(column: Any) -> Parsed:
    """Remove characters that FHIR forbids from free text; `bad` tells which cells had any.

    Unlike in other kernels, bad cells keep a value: the rest of a name is still that name.
    """
    is_bad = matches(column, _CONTROL)
    if not is_bad.any():
        return Parsed(column, pa.array(is_bad))
    cleaned = as_array(column.filter(pa.array(is_bad)))
    cleaned = trimmed(pc.replace_substring_regex(cleaned, pattern=_CONTROL, replacement=""))
    return Parsed(replaced(column, is_bad, as_array(cleaned)), pa.array(is_bad))


@dataclass(frozen=True, slots=True)
class Icd:
    """A column read as codes of one ICD classification.

    Attributes:
        values: `string`, shape (n,): upper case, with the point where the classification has it;
            unchanged if `impossible`.
        misplaced: numpy `bool`: the point was in another place and has been moved.
        unusual: numpy `bool`: could be such a code, but has an unusual shape.
        impossible: numpy `bool`: can't be a code of this classification; ICD-10 excludes codes
            whose point makes them external causes of ICD-9, such as `E885.9`.
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
        column: `string`, shape (n,); null if absent.
        kind: the classification, which decides where the point is (ICD-10-PCS has none).
    """
    shape = _ICD[kind]
    upper = pc.utf8_upper(column)
    pointless = pc.replace_substring(upper, pattern=".", replacement="")
    pointed = pointless
    if shape.point is not None:
        pattern, replacement = shape.point
        pointed = pc.replace_substring_regex(pointless, pattern=pattern, replacement=replacement)
    is_present = pc.is_valid(column).to_numpy(zero_copy_only=False)
    is_impossible = is_present & ~matches(pointless, shape.possible)
    if shape.other_version:
        is_impossible |= matches(upper, shape.other_version)
    is_unusual = is_present & ~is_impossible & ~matches(pointless, shape.usual)
    has_point = matches(column, r"\.")
    is_moved = true_where(pc.not_equal(upper, pointed))
    values = as_array(pc.if_else(pa.array(is_impossible), column, pointed))
    return Icd(values, has_point & is_moved & ~is_impossible, is_unusual, is_impossible)


_NDC_FORMS: Final = (
    (r"^([0-9]{5})-([0-9]{4})-([0-9]{2})$", r"\1\2\3"),
    (r"^([0-9]{4})-([0-9]{4})-([0-9]{2})$", r"0\1\2\3"),
    (r"^([0-9]{5})-([0-9]{3})-([0-9]{2})$", r"\10\2\3"),
    (r"^([0-9]{5})-([0-9]{4})-([0-9])$", r"\1\20\3"),
)


def read_ndc(column: Any) -> Parsed:
    """Convert NDCs of 11 digits or hyphenated 4-4-2, 5-3-2, 5-4-1, 5-4-2 to 11 digits."""
    values = column
    is_plain = matches(column, r"^[0-9]{11}$")
    if matches(column, r"-").any():
        for pattern, replacement in _NDC_FORMS:
            # RE2 has groups of one digit only, so `\10` is group 1 and a zero.
            values = pc.replace_substring_regex(values, pattern=pattern, replacement=replacement)
        values = as_array(values)
        is_plain = matches(values, r"^[0-9]{11}$")
    is_bad = pc.is_valid(column).to_numpy(zero_copy_only=False) & ~is_plain
    return Parsed(blanked(values, is_bad), pa.array(is_bad))


def are_npis(column: Any) -> Any:
    """Return which texts are NPIs: `code_shapes.is_npi` for a column.

    Args:
        column: `string`, shape (n,), best without duplicates; null if absent.

    Returns:
        numpy `bool`, shape (n,); false where absent.
    """
    is_npi = matches(column, f"^{NPI_DIGITS}$")
    if is_npi.any():
        digits = text_bytes(column.filter(pa.array(is_npi))).reshape(-1, 10) - ord("0")
        doubled = np.array(NPI_DOUBLED, dtype=np.uint8)[digits[:, 0:9:2]]
        sums = NPI_PREFIX_SUM + doubled.sum(axis=1) + digits[:, 1::2].sum(axis=1)
        is_npi[is_npi] = sums % 10 == 0
    return is_npi
