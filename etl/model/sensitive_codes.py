"""A payer's value set of sensitive codes, which must not be published (decision 0009).

A CSV file of `system,code[,group]`. A code that ends with `*` is a prefix. Codes are found however
a source spells them: case, width, punctuation, blanks and lost zeros don't matter.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
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
_NUMBERS: Final = DRGS | {CodeSystem.NDC, CodeSystem.REVENUE}

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


@dataclass(frozen=True, slots=True)
class CodeKind:
    """The codes of one kind of column.

    Attributes:
        systems: the code systems.
        form: form of these codes, as sources write them. Any other text in such a column is
            compared with the listed codes of all systems.
    """

    systems: frozenset[CodeSystem]
    form: re.Pattern[str]


_SERVICE: Final = r"[A-EGHJ-MP-V]\d{4}|\d{4}[\dFMTU]"
"""Codes of HCPCS, CPT and CDT. HCPCS has no codes that begin with F, I, N, O, W, X, Y or Z."""
_NUMBER_END: Final = r"(\.0*)?"
"""What a spreadsheet adds to a number."""

DIAGNOSIS: Final = CodeKind(
    # A service code has the form of a diagnosis without its point: it is compared with both.
    DIAGNOSES,
    re.compile(
        rf"(?!({_SERVICE})$)([A-Z]\d[\dA-Z](\.?[\dA-Z]{{1,4}})?|E?\d{{1,3}}(\.\d{{0,2}}|\d\d?)?)"
    ),
)
PROCEDURE: Final = CodeKind(PROCEDURES, re.compile(rf"[\dA-HJ-NP-Z]{{7}}|\d\d\.?\d\d?|{_SERVICE}"))
SERVICE: Final = CodeKind(SERVICES, re.compile(_SERVICE))
MODIFIER: Final = CodeKind(frozenset({CodeSystem.CPT, CodeSystem.HCPCS}), re.compile(r"[\dA-Z]{2}"))
DRG: Final = CodeKind(DRGS, re.compile(rf"\d{{1,5}}{_NUMBER_END}|\d{{3,4}}[-.]\d"))
REVENUE: Final = CodeKind(frozenset({CodeSystem.REVENUE}), re.compile(rf"\d{{1,5}}{_NUMBER_END}"))
NDC: Final = CodeKind(
    frozenset({CodeSystem.NDC}),
    re.compile(rf"\d{{1,11}}{_NUMBER_END}|\d{{1,5}}-\d{{1,4}}-\d{{1,2}}"),
)

_FORMS: Final[Mapping[CodeSystem, re.Pattern[str]]] = {
    system: re.compile(form)
    for systems, form in (
        ({CodeSystem.ICD_10_CM}, r"[A-Z][\dIO][\dA-Z]{1,5}"),
        ({CodeSystem.ICD_9_CM}, r"\d{3,5}|[EV]\d{2,4}"),
        ({CodeSystem.ICD_10_PCS}, r"[\dA-Z]{7}"),
        ({CodeSystem.ICD_9_PCS}, r"\d{3,4}"),
        (SERVICES, r"[\dA-Z]{5}|[\dA-Z]{2}"),
        ({CodeSystem.NDC}, r"\d{8,11}"),
        ({*DRGS, CodeSystem.REVENUE}, r"\d{3,5}"),
    )
    for system in systems
}
"""Form of a system's codes, without punctuation, inside a longer text."""

_WITH_MODIFIERS: Final = re.compile(rf"({_SERVICE})([\dA-Z]{{2}})+")
_RUN: Final = re.compile(r"[\dA-Z]+")
_SYSTEM_NAME: Final = re.compile(r"ICD\W*(9|10)(\W*(CM|PCS))?")
_CODE_IN_TEXT: Final = re.compile(
    r"(?<![\dA-Z])(?:[A-Z]\d[\dA-Z](?:[ .\-]?\d[\dA-Z]{0,3})?|[\dA-Z]{5}|[\dA-Z]{7}"
    r"|\d[\d-]{8,11}\d)(?![\dA-Z])"
)
"""What may be a code in prose. Shorter numbers may mean anything."""


def _fold_text(text: str) -> str:
    """Return a text in upper case, in plain characters and without invisible ones."""
    if text.isascii() and text.isprintable():
        return text.strip().upper()
    plain = unicodedata.normalize("NFKC", text).strip().upper()
    return "".join(letter for letter in plain if letter.isprintable() or letter.isspace())


def _codes_inside(text: str) -> Iterator[str]:
    """Yield everything in a folded text that may be a code, without punctuation."""
    runs = _RUN.findall(_SYSTEM_NAME.sub(" ", text))
    for start in range(len(runs)):
        for end in range(start, min(start + 6, len(runs))):
            token = "".join(runs[start : end + 1])
            yield token
            # A qualifier before the code, or modifiers behind it.
            yield from (token[at:] for at in range(1, 4) if token[:at].isalpha())
            yield token[-11:]
            if _WITH_MODIFIERS.fullmatch(token):
                yield from (token[:5], *re.findall("..", token[5:]))


def normalize_code(system: CodeSystem, code: str) -> str:
    """Normalize a code for comparison.

    Pads a hyphenated NDC to 11 digits (5-4-2), a revenue code to 4, and a DRG to 3.
    """
    return spellings(system, code)[0]


def spellings(system: CodeSystem, code: str) -> tuple[str, ...]:
    """Return every code that a text may mean, normalized; the most likely one first.

    An NDC of ten digits has lost a zero from any of its parts. The last digit of a DRG may be the
    severity of an APR-DRG. ICD-9 codes lose zeros at both ends if a spreadsheet reads them.
    """
    folded = _fold_text(code)
    if system in _NUMBERS:
        folded = re.sub(r"\.0*$", "", folded)
    if system is CodeSystem.NDC and re.fullmatch(r"\d{1,5}-\d{1,4}-\d{1,2}", folded):
        parts = zip(folded.split("-"), (5, 4, 2), strict=True)
        folded = "".join(part.zfill(size) for part, size in parts)
    elif system is CodeSystem.ICD_9_CM and re.fullmatch(r"\d{1,3}(\.\d*)?", folded):
        whole, _, rest = folded.partition(".")
        folded = whole.zfill(3) + rest
    normalized = re.sub(r"[\W_]", "", folded)
    if len(normalized) > 2:  # a letter typed for a digit; a modifier such as HO has letters
        normalized = normalized[0] + normalized[1:].translate({ord("O"): "0", ord("I"): "1"})
    if system is CodeSystem.REVENUE:
        return (normalized.lstrip("0").zfill(4),)
    if system in DRGS:
        bare = normalized.lstrip("0")
        with_severity = (text for text in (normalized, bare) if re.fullmatch(r"\d{3,4}[1-4]", text))
        return (bare.zfill(3), *(text[:-1].lstrip("0").zfill(3) for text in with_severity))
    if system is CodeSystem.NDC and len(normalized) == 10:
        return tuple(f"{normalized[:at]}0{normalized[at:]}" for at in (0, 5, 9))
    if system is CodeSystem.NDC:
        return (normalized.zfill(11),)
    if system is CodeSystem.ICD_9_CM and normalized.isdigit():
        return (normalized, *(normalized + zeros for zeros in ("0", "00")))
    return (normalized,)


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
            for normalized in spellings(system, code):
                group = self._find_group(system, normalized, exact)
                if group is not None:
                    return group
        return None

    def _find_group(self, system: CodeSystem, normalized: str, exact: bool) -> str | None:
        exact_group = self.exact.get(system, {}).get(normalized)
        if exact_group is not None or exact:
            return exact_group
        groups = self.prefixes.get(system, {}).items()
        return next((group for prefix, group in groups if normalized.startswith(prefix)), None)

    def is_in_cell(self, kind: CodeKind, text: str) -> bool:
        """Return whether a cell contains a sensitive code, however it is spelled.

        A number or a code that has the form of the column's codes is compared only with these: the
        same characters mean something else in another system.
        """
        folded = _fold_text(text)
        if kind.form.fullmatch(folded):
            return any(self._lists(system, folded) for system in kind.systems)
        return any(
            self._lists(system, code)
            for code in dict.fromkeys(_codes_inside(folded))
            for system in CodeSystem
            if _FORMS[system].fullmatch(code)
        )

    def is_in_text(self, text: str) -> bool:
        """Return whether prose mentions a sensitive code."""
        return any(
            self._lists(system, code)
            for word in _CODE_IN_TEXT.findall(_fold_text(text))
            for code in ("".join(_RUN.findall(word)),)
            for system in ({CodeSystem.CPT, CodeSystem.NDC} if code.isdigit() else CodeSystem)
            if _FORMS[system].fullmatch(code)
        )

    def _lists(self, system: CodeSystem, code: str) -> bool:
        """Return whether a code is sensitive, or a diagnosis begins with a sensitive one."""
        is_listed = system in self.exact or system in self.prefixes
        return is_listed and any(
            self._find_group(system, normalized[:end], exact=len(code) == 2) is not None
            for normalized in spellings(system, code)
            for end in (range(3, len(normalized) + 1) if system in DIAGNOSES else (None,))
        )


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
                codes = exact.setdefault(line.system, {})
                every = spellings(line.system, line.code)
                listed = every if line.system is CodeSystem.NDC else every[:1]
                codes |= dict.fromkeys(listed, line.group)
    mistakes.report()
    return SensitiveCodes(MappingProxyType(exact), MappingProxyType(prefixes))


def _check_header(cells: tuple[str, ...]) -> tuple[str, ...]:
    names = tuple(cell.lower() for cell in cells)
    if names not in _HEADERS:
        raise Mistake(_ID, "the header has to be system,code or system,code,group")
    return names
