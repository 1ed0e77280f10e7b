"""A payer's value set of sensitive codes: which codes are not to be published (decision 0007).

A file of lines `system,code[,group]`. A code that ends with `*` stands for all that begin so. Case,
and the points, hyphens and blanks inside a code, are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import Annotated, Any, Final

from etl.documents.csv_text import read_csv
from etl.documents.models import Check, ErrorIds, Mistake, Model, RawText, read_as
from etl.errors import Mistakes, nearest


class CodeSystem(Enum):
    """The code systems of claims, as the file names them."""

    ICD_10_CM = "ICD-10-CM"
    ICD_9_CM = "ICD-9-CM"
    ICD_10_PCS = "ICD-10-PCS"
    ICD_9_PCS = "ICD-9-PCS"
    CPT = "CPT"
    HCPCS = "HCPCS"
    HIPPS = "HIPPS"
    CDT = "CDT"
    NDC = "NDC"
    MS_DRG = "MS-DRG"
    AP_DRG = "AP-DRG"
    APR_DRG = "APR-DRG"
    REVENUE = "REVENUE"


DIAGNOSES: Final = frozenset({CodeSystem.ICD_10_CM, CodeSystem.ICD_9_CM})
SERVICES: Final = frozenset({CodeSystem.CPT, CodeSystem.HCPCS, CodeSystem.HIPPS, CodeSystem.CDT})
PROCEDURES: Final = frozenset({CodeSystem.ICD_10_PCS, CodeSystem.ICD_9_PCS}) | SERVICES
DRGS: Final = frozenset({CodeSystem.MS_DRG, CodeSystem.AP_DRG, CodeSystem.APR_DRG})

_OTHER_NAMES: Final = {
    "http://hl7.org/fhir/sid/icd-10-cm": CodeSystem.ICD_10_CM,
    "http://hl7.org/fhir/sid/icd-9-cm": CodeSystem.ICD_9_CM,
    "http://www.cms.gov/Medicare/Coding/ICD10": CodeSystem.ICD_10_PCS,
    "http://www.ama-assn.org/go/cpt": CodeSystem.CPT,
    "https://www.cms.gov/Medicare/Coding/HCPCSReleaseCodeSets": CodeSystem.HCPCS,
    "http://www.ada.org/cdt": CodeSystem.CDT,
    "http://hl7.org/fhir/sid/ndc": CodeSystem.NDC,
    "https://www.nubc.org/CodeSystem/RevenueCodes": CodeSystem.REVENUE,
    "http://uri.hddaccess.com/cs/apdrg": CodeSystem.AP_DRG,
    "http://uri.hddaccess.com/cs/aprdrg": CodeSystem.APR_DRG,
    "https://www.cms.gov/Medicare/Medicare-Fee-for-Service-Payment/AcuteInpatientPPS/"
    "MS-DRG-Classifications-and-Software": CodeSystem.MS_DRG,
    "HCPCS Level II": CodeSystem.HCPCS,
    "DRG": CodeSystem.MS_DRG,
    "ICD-9-CM procedures": CodeSystem.ICD_9_PCS,
}
"""Further names: the URLs that the guide has for the systems, and words of value sets of others."""


def _folded(word: str) -> str:
    return re.sub(r"[^a-z0-9]", "", word.lower())


_NAMES: Final[Mapping[str, CodeSystem]] = {
    **{_folded(system.value): system for system in CodeSystem},
    **{_folded(name): system for name, system in _OTHER_NAMES.items()},
}


def plain_code(system: CodeSystem, code: str) -> str:
    """Return a code as codes are compared.

    A hyphenated NDC is filled up to 11 digits (5-4-2), a revenue code to 4, and a DRG to 3.
    """
    if system is CodeSystem.NDC and code.count("-") == 2:
        code = "".join(
            part.zfill(size) for part, size in zip(code.split("-"), (5, 4, 2), strict=True)
        )
    plain = re.sub(r"[\s.\-]", "", code).upper()
    if system is CodeSystem.REVENUE:
        return plain.zfill(4)
    if system in DRGS:
        return plain.lstrip("0").zfill(3)
    return plain


@dataclass(frozen=True, slots=True)
class SensitiveCodes:
    """The codes that are not to be published.

    Attributes:
        exact: system -> codes, as `plain_code` writes them -> group.
        prefixes: system -> beginnings of codes -> group.
    """

    exact: Mapping[CodeSystem, Mapping[str, str]] = field(default_factory=dict)
    prefixes: Mapping[CodeSystem, Mapping[str, str]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self.exact or self.prefixes)

    def group(self, systems: Iterable[CodeSystem], code: str, *, whole: bool = False) -> str | None:
        """Return the group of a code in any of some systems; None where it may be published.

        Args:
            systems: those that the code may be of.
            code: as the source has it.
            whole: whether lines that end with `*` are ignored.
        """
        for system in sorted(systems, key=lambda system: system.value):
            plain = plain_code(system, code)
            found = self.exact.get(system, {}).get(plain)
            if found is not None:
                return found
            if whole:
                continue
            for prefix, group in self.prefixes.get(system, {}).items():
                if plain.startswith(prefix):
                    return group
        return None


_ID: Final = "config-sensitive-codes"
_HEADERS: Final = (("system", "code"), ("system", "code", "group"))


def _system_of(word: Any, _context: Any) -> CodeSystem:
    system = _NAMES.get(_folded(word))
    if system is None:
        names = [each_system.value for each_system in CodeSystem]
        hint = nearest(word.upper(), names) or f"systems are {', '.join(names)}"
        raise Mistake(_ID, "claims have no codes of that system", hint)
    return system


def _bare(code: str) -> str:
    return re.sub(r"[\s.\-]", "", code.removesuffix("*")).upper()


def _not_bare(code: str, _context: Any) -> str:
    if not _bare(code):
        raise Mistake(_ID, "a code, or the beginning of codes before a *, is missing")
    return code


@dataclass(frozen=True, slots=True)
class _Line(Model):
    """A line of the file; a code that ends with `*` is the beginning of codes."""

    system: Annotated[CodeSystem, Check(_system_of, before=True)]
    code: Annotated[RawText, Check(_not_bare)]
    group: RawText = ""


def read_sensitive(text: str, file: str) -> SensitiveCodes:
    """Return the codes of a file.

    Args:
        text: its lines; a header `system,code` or `system,code,group`, `#` begins a comment.
        file: what messages call it.

    Raises:
        MappingError: `config-sensitive-codes`: no such header, a line without system or code, a
            system that claims do not have, a `*` alone; every mistake, in the order of lines.
    """
    exact: dict[CodeSystem, dict[str, str]] = {}
    prefixes: dict[CodeSystem, dict[str, str]] = {}
    mistakes, ids = Mistakes(), ErrorIds(_ID, _ID, _ID)
    for row in read_csv(text, file, _ID, mistakes, _header).rows:
        with mistakes.collected():
            line = read_as(_Line, row, file, ids)
            if line.code.endswith("*"):
                prefixes.setdefault(line.system, {})[_bare(line.code)] = line.group
            else:
                plain = plain_code(line.system, line.code)
                exact.setdefault(line.system, {})[plain] = line.group
    mistakes.report()
    return SensitiveCodes(MappingProxyType(exact), MappingProxyType(prefixes))


def _header(cells: tuple[str, ...]) -> tuple[str, ...]:
    names = tuple(cell.lower() for cell in cells)
    if names not in _HEADERS:
        raise Mistake(_ID, "the header has to be system,code or system,code,group")
    return names
