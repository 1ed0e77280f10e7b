"""Lineage: origins of elements of resources, fates of rows, and the page of both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, TypeAlias

from etl.model.canonical_tables import HEADERS
from etl.model.code_shapes import outline
from etl.reports.page import environment

HEADER_SUBJECTS: Final[Mapping[str, str]] = {table.replace("_", "-"): table for table in HEADERS}
"""Word of a subject (`claim:NUMBER`, `prior-auth:NUMBER`) -> table; the number is member data."""
Fate: TypeAlias = Literal["published", "quarantined", "superseded", "withdrawn", "deletes"]
FATES: Final[Mapping[str, str]] = {
    "published": "published",
    "quarantined": "not published: in quarantine",
    "superseded": "not published: superseded by another row",
    "withdrawn": "not published: not in force, or a prior authorization for drugs",
    "deletes": "deletes the row with its key",
}
"""Fates of rows in words."""
Through: TypeAlias = Literal["extract", "layers", "sidecar"]
THROUGH: Final[Mapping[str, str]] = {
    "extract": "the extract",
    "layers": "the rows that the release keeps",
    "sidecar": (
        "the row positions that the release keeps, without cells. If a layout combines rows, only "
        "the first row is listed, and no rows that it looks up"
    ),
}
"""Sources of answers in words."""


@dataclass(frozen=True, slots=True)
class SourceCell:
    """One cell of the payer's own files.

    Attributes:
        file: the file's name.
        row: its row in the file, of which the header is row 1.
        header: its header as the file spells it; as the layout does where the file is not at hand.
        text: as it stands there. A member's data. None where the file is not at hand.
        extract: extract that has the file, in words; empty where there is one only.
    """

    file: str
    row: int
    header: str
    text: str | None
    extract: str = ""


@dataclass(frozen=True, slots=True)
class CellOrigin:
    """One canonical cell, and what the layout made it of.

    Attributes:
        file: the file in which its row stands; None for a row that stands in no file.
        row: its row in the file, of which the header is row 1; None likewise.
        table: canonical table.
        column: canonical column.
        derived: whether the column is worked out from others; docs/mapping.md describes how.
        value: its text. A member's data.
        layout: file and line of the layout that makes the column; "" in the canonical layout, where
            cells are taken as they are.
        query: file of the query that computed it; then no cells of the payer's files are known, and
            its row is the one that the query passes on. "" where no query did.
        source: the cells of the payer's files that it was made of or that decided on it; none for
            a constant of the layout and for a derived column.
        rules: ids of the rules that found something in the cell.
        extract: extract that has the file, in words; empty where there is one only.
    """

    file: str | None
    row: int | None
    table: str
    column: str
    derived: bool
    value: str
    layout: str = ""
    query: str = ""
    source: tuple[SourceCell, ...] = ()
    rules: tuple[str, ...] = ()
    extract: str = ""


@dataclass(frozen=True, slots=True)
class AnswerOrigin:
    """One crosswalk's answer.

    Attributes:
        crosswalk: its name.
        word: the word that was looked up. A member's data.
        answer: the result; None where it has no code.
        place: file and line of the row; None where the word is not in it.
    """

    crosswalk: str
    word: str
    answer: str | None
    place: str | None


@dataclass(frozen=True, slots=True)
class Origin:
    """Origin of one element.

    Attributes:
        path: FHIR path with positions, without the resource's type: `item[0].net.value`.
        json: the value as it is published. A member's data.
        place: file and line of the mapping.
        map_ids: MapIDs that the line cites.
        cells: the cells that it was made of or that decided on it; none for a constant.
        answers: the crosswalks' answers that it was made of or that decided on it.
    """

    path: str
    json: str
    place: str
    map_ids: tuple[int, ...]
    cells: tuple[CellOrigin, ...]
    answers: tuple[AnswerOrigin, ...] = ()


@dataclass(frozen=True, slots=True)
class Explanation:
    """Origins of the elements of a resource.

    Attributes:
        resource: `Type/id`.
        profile: canonical of its profile, with its version.
        mapping: name of the mapping that makes it.
        origins: its elements in order, `id` and `meta` left out.
        agrees: whether the resource that is published now holds just this; None where no release
            was compared.
        rows: the rows that it was made of, where elements are not known; else none.
    """

    resource: str
    profile: str
    mapping: str
    origins: tuple[Origin, ...]
    agrees: bool | None
    rows: tuple[RowFate, ...] = ()


@dataclass(frozen=True, slots=True)
class Reason:
    """One rule by which a row was rejected.

    Attributes:
        rule: its id.
        says: its sentence.
        is_cause: whether the rejection began with it: of a row that depends on a rejected one, that
            is a rule about the other row.
    """

    rule: str
    says: str
    is_cause: bool


@dataclass(frozen=True, slots=True)
class CellFinding:
    """A rule that found something in a row.

    Attributes:
        rule: its id.
        column: the canonical column; "" where it is about the whole row.
        says: sentence of the rule.
    """

    rule: str
    column: str
    says: str


@dataclass(frozen=True, slots=True)
class RowFate:
    """Fate of one canonical row.

    Attributes:
        file: the file of the first row that it was made of.
        row: that row.
        table: canonical table.
        fate: a key of `FATES`.
        reasons: the rules that rejected it, the first one first; none unless it is quarantined.
        findings: what rules found in it, whether they reject or warn.
        extract: extract that has the file, in words; empty where there is one only.
    """

    file: str
    row: int
    table: str
    fate: Fate
    reasons: tuple[Reason, ...] = ()
    findings: tuple[CellFinding, ...] = ()
    extract: str = ""


@dataclass(frozen=True, slots=True)
class NamedFile:
    """A file whose rows are named, for those who still have it somewhere.

    Attributes:
        extract: its extract in words; empty where there is one only.
        file: its name.
        bytes: its size.
        sha256: its hash, in lower-case hex.
    """

    extract: str
    file: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Lineage:
    """Answer to a question about a resource, a claim, a prior authorization or a row.

    Attributes:
        subject: the subject of the question, as it was written.
        rows: the fates of the rows in question; none where a resource is the subject.
        resources: the resources in question; of a row, the elements that it has a part in.
        through: a key of `THROUGH`.
        files: the files that are named, where they are not at hand; else none.
    """

    subject: str
    rows: tuple[RowFate, ...]
    resources: tuple[Explanation, ...]
    through: Through = "extract"
    files: tuple[NamedFile, ...] = ()


def lineage_page(lineage: Lineage, *, shows_values: bool) -> str:
    """Return the lineage as a page that needs nothing else.

    Args:
        lineage: what to show.
        shows_values: whether members' data is shown; else outlines stand for it.
    """

    def shown(value: str | None) -> str:
        return "" if value is None else value if shows_values else outline(value)

    word, separator, number = lineage.subject.partition(":")
    is_header = bool(separator) and word in HEADER_SUBJECTS
    return (
        environment()
        .get_template("lineage.html.j2")
        .render(
            lineage=lineage,
            subject=f"{word}:{shown(number)}" if is_header else lineage.subject,
            shown=shown,
            shows_values=shows_values,
            fates=FATES,
            through=THROUGH[lineage.through],
        )
    )


def lineage_document(lineage: Lineage) -> dict[str, Any]:
    """Return the lineage as JSON values, members' data included."""
    return asdict(lineage)


@dataclass(frozen=True, slots=True)
class ResourceSubject:
    """A resource, by FHIR type and logical id."""

    resource_type: str
    logical_id: str

    def __str__(self) -> str:
        return f"{self.resource_type}/{self.logical_id}"


@dataclass(frozen=True, slots=True)
class HeaderSubject:
    """A claim or prior authorization, by the payer's number of it.

    Attributes:
        word: a key of `HEADER_SUBJECTS`.
        number: the payer's.
    """

    word: str
    number: str

    @property
    def table(self) -> str:
        """The table whose key the number is."""
        return HEADER_SUBJECTS[self.word]

    def __str__(self) -> str:
        return f"{self.word}:{self.number}"


@dataclass(frozen=True, slots=True)
class RowSubject:
    """A row of a file of the extract; the header is row 1."""

    file: str
    row: int

    def __str__(self) -> str:
        return f"{self.file}:{self.row}"


Subject: TypeAlias = ResourceSubject | HeaderSubject | RowSubject
