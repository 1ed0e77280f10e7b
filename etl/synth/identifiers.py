"""Identifiers with the shapes and check digits of real ones, from ranges that are not in use.

NPIs begin with 2: the check digit is right, yet every NPI given out so far begins with 1. Tax,
NAIC and CLIA numbers begin with 00, which none in use does, and telephone numbers are 555-01xx,
which the numbering plan keeps for fiction. NDCs have labelers 00900 to 00909.
"""

from __future__ import annotations

from typing import Final

from etl.model.code_shapes import npi_check_digit

_PRIME: Final = 999_999_937
"""The largest prime of nine digits: multiplying by anything shuffles 0 to itself, without twins."""
_FACTOR: Final = 618_033_989


def npi(serial: int) -> str:
    """Return the NPI of a serial number of eight digits (45 CFR 162.406)."""
    body = f"2{serial % 100_000_000:08d}"
    return body + npi_check_digit(body)


def shuffled(index: int, salt: int) -> int:
    """Return a number of at most nine digits that no other index below 999,999,937 has."""
    return (index * _FACTOR + salt) % _PRIME


def tax_id(serial: int) -> str:
    """Return an employer identification number, nine digits."""
    return f"00{serial % 10_000_000:07d}"


def clia(serial: int) -> str:
    """Return a CLIA number: ten characters, D in third place."""
    return f"00D{serial % 10_000_000:07d}"


def phone(area: str, serial: int) -> str:
    """Return a telephone number that is not in use."""
    return f"{area}-555-{100 + serial % 100:04d}"
