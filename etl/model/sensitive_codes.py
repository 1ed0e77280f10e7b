"""A payer's value set of sensitive codes, which must not be published (decision 0009).

A CSV file of `system,code[,group]`. A code that ends with `*` is a prefix. Case, points, hyphens
and blanks in codes are ignored.
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
    """The code systems of claims, by their names in the file."""

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
"""Other names: the guide's URLs of the systems, and names in other value sets."""


def _fold(word: str) -> str:
    return re.sub(r"[^a-z0-9]", "", word.lower())


_NAMES: Final[Mapping[str, CodeSystem]] = {
    **{_fold(system.value): system for system in CodeSystem},
    **{_fold(name): system for name, system in _OTHER_NAMES.items()},
}


def normalize_code(system: CodeSystem, code: str) -> str:
    """Normalize a code for comparison.

    Pads a hyphenated NDC to 11 digits (5-4-2), a revenue code to 4, and a DRG to 3.
    """
    if system is CodeSystem.NDC and code.count("-") == 2:
        code = "".join(
            part.zfill(size) for part, size in zip(code.split("-"), (5, 4, 2), strict=True)
        )
    normalized = re.sub(r"[\s.\-]", "", code).upper()
    if system is CodeSystem.REVENUE:
        return normalized.zfill(4)
    if system in DRGS:
        return normalized.lstrip("0").zfill(3)
    return normalized


@dataclass(frozen=True, slots=True)
class SensitiveCodes:
    """The codes that must not be published.

    Attributes:
        exact: system -> codes from `normalize_code` -> group.
        prefixes: system -> prefixes of codes -> group.
    """

    exact: Mapping[CodeSystem, Mapping[str, str]] = field(default_factory=dict)
    prefixes: Mapping[CodeSystem, Mapping[str, str]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self.exact or self.prefixes)

    def group(self, systems: Iterable[CodeSystem], code: str, *, exact: bool = False) -> str | None:
        """Return the group of a sensitive code; None if it may be published.

        Args:
            systems: the systems that the code may belong to.
            code: the code in the source.
            exact: ignore prefixes.
        """
        for system in sorted(systems, key=lambda system: system.value):
            normalized = normalize_code(system, code)
            exact_group = self.exact.get(system, {}).get(normalized)
            if exact_group is not None:
                return exact_group
            if exact:
                continue
            for prefix, group in self.prefixes.get(system, {}).items():
                if normalized.startswith(prefix):
                    return group
        return None


_ID: Final = "config-sensitive-codes"
_HEADERS: Final = (("system", "code"), ("system", "code", "group"))


def _find_system(word: Any, _context: Any) -> CodeSystem:
    system = _NAMES.get(_fold(word))
    if system is None:
        names = [known_system.value for known_system in CodeSystem]
        hint = nearest(word.upper(), names) or f"systems are {', '.join(names)}"
        raise Mistake(_ID, "claims have no codes of that system", hint)
    return system


def _strip_code(code: str) -> str:
    return re.sub(r"[\s.\-]", "", code.removesuffix("*")).upper()


def _check_code(code: str, _context: Any) -> str:
    if not _strip_code(code):
        raise Mistake(_ID, "a code, or the beginning of codes before a *, is missing")
    return code


@dataclass(frozen=True, slots=True)
class _Line(Model):
    """A line of the file; a code that ends with `*` is a prefix."""

    system: Annotated[CodeSystem, Check(_find_system, before_type=True)]
    code: Annotated[RawText, Check(_check_code)]
    group: RawText = ""


def read_sensitive(text: str, file: str) -> SensitiveCodes:
    """Parse a file of sensitive codes.

    Args:
        text: CSV with a header `system,code` or `system,code,group`; `#` begins a comment.
        file: the file's name in messages.

    Raises:
        MappingError: `config-sensitive-codes`: the header is wrong, or a line has no system or
            code, an unknown system, or only a `*`; the error lists all mistakes.
    """
    exact: dict[CodeSystem, dict[str, str]] = {}
    prefixes: dict[CodeSystem, dict[str, str]] = {}
    mistakes, ids = Mistakes(), ErrorIds(_ID, _ID, _ID)
    for row in read_csv(text, file, _ID, mistakes, _check_header).rows:
        with mistakes.collected():
            line = read_as(_Line, row, file, ids)
            if line.code.endswith("*"):
                prefixes.setdefault(line.system, {})[_strip_code(line.code)] = line.group
            else:
                normalized = normalize_code(line.system, line.code)
                exact.setdefault(line.system, {})[normalized] = line.group
    mistakes.report()
    return SensitiveCodes(MappingProxyType(exact), MappingProxyType(prefixes))


def _check_header(cells: tuple[str, ...]) -> tuple[str, ...]:
    names = tuple(cell.lower() for cell in cells)
    if names not in _HEADERS:
        raise Mistake(_ID, "the header has to be system,code or system,code,group")
    return names
