"""Lineage: origins of elements of resources, fates of rows, and the page of both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, TypeAlias

from etl.model.canonical_tables import HEADERS
from etl.model.code_shapes import outline
from etl.reports.page import environment

HEADER_SUBJECTS: Final[Mapping[str, str]] = {table.replace("_", "-"): table for table in HEADERS}
"""First word of a subject (`claim:NUMBER`, `prior-auth:NUMBER`) -> table. The number is PHI."""
Fate: TypeAlias = Literal["published", "quarantined", "superseded", "withdrawn", "deletes"]
FATES: Final[Mapping[str, str]] = {
    "published": "published",
    "quarantined": "not published: in quarantine",
    "superseded": "not published: superseded by another row",
    "withdrawn": "not published: not in force, or a prior authorization for drugs",
    "deletes": "deletes the row with its key",
}
"""Fates of rows in words."""
Through: TypeAlias = Literal["extract", "layers", "sidecar", "quarantine"]
THROUGH: Final[Mapping[str, str]] = {
    "extract": "the extract",
    "layers": "the rows that the release keeps",
    "sidecar": (
        "the row positions that the release keeps, without cells. If a layout combines rows, only "
        "the first row is listed, and no rows that it looks up"
    ),
    "quarantine": "the quarantine of the latest run",
}
"""Sources of answers in words."""


@dataclass(frozen=True, slots=True)
class SourceCell:
    """One cell of the payer's own files.

    Attributes:
        file: the file's name.
        row: its row in the file, of which the header is row 1.
        header: its header as the file spells it, or as the layout does if the file is missing.
        text: the cell's text, member data. None if the file is missing.
        extract: description of the extract that has the file; empty if there is only one.
    """

    file: str
    row: int
    header: str
    text: str | None
    extract: str = ""


@dataclass(frozen=True, slots=True)
class CellOrigin:
    """One canonical cell, and the cells that the layout made it from.

    Attributes:
        file: the file of its row; None for a row that is in no file.
        row: its row in the file, counting the header as row 1; None if it is in no file.
        table: canonical table.
        column: canonical column.
        derived: whether the column is computed from others; docs/mapping.md describes how.
        value: its text, member data.
        layout: file and line of the layout that makes the column; "" in the canonical layout, which
            takes cells unchanged.
        query: file of the query that computed it, or "". After a query, the source cells are
            unknown, and the row is the one that the query passes on.
        source: the source cells that it was made from or that decided its value; none for a
            constant of the layout and for a derived column.
        rules: IDs of the rules with findings in the cell.
        extract: description of the extract that has the file; empty if there is only one.
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
    """One answer of a crosswalk.

    Attributes:
        crosswalk: its name.
        word: the word that was looked up, member data.
        answer: the code; None if the word has none.
        place: file and line of the crosswalk's row; None if the word is not in it.
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
        json: the published value, member data.
        place: file and line of the mapping.
        map_ids: MapIDs that the line cites.
        cells: the cells that it was made from or that decided its value; none for a constant.
        answers: the crosswalks' answers that it was made from or that decided its value.
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
        origins: its elements in order, without `id` and `meta`.
        agrees: whether the published resource has exactly these elements; None if no release was
            compared.
        rows: the rows that it was made from, if its elements are unknown; otherwise none.
    """

    resource: str
    profile: str
    mapping: str
    origins: tuple[Origin, ...]
    agrees: bool | None
    rows: tuple[RowFate, ...] = ()


@dataclass(frozen=True, slots=True)
class Reason:
    """One rule that rejected a row.

    Attributes:
        rule: its ID.
        says: its sentence.
        is_cause: whether it is the first cause. For a row that depends on a rejected one, that is a
            rule about the other row.
    """

    rule: str
    says: str
    is_cause: bool


@dataclass(frozen=True, slots=True)
class CellFinding:
    """A finding of a rule in a row.

    Attributes:
        rule: the rule's ID.
        column: the canonical column; "" if the finding is about the whole row.
        says: the rule's sentence.
    """

    rule: str
    column: str
    says: str


@dataclass(frozen=True, slots=True)
class RowFate:
    """Fate of one canonical row.

    Attributes:
        file: the file of the first row that it was made from.
        row: that row.
        table: canonical table.
        fate: a key of `FATES`.
        reasons: the rules that rejected it, in order; none unless it is quarantined.
        findings: findings in the row, rejections and warnings.
        extract: description of the extract that has the file; empty if there is only one.
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
    """A file that an answer names, so that its owner can identify a copy.

    Attributes:
        extract: description of its extract; empty if there is only one.
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
        subject: the subject of the question, as the user wrote it.
        rows: the fates of the subject's rows; none if the subject is a resource.
        resources: the subject's resources; for a row, only the elements made from it.
        through: a key of `THROUGH`.
        files: the named files if they are missing; otherwise none.
        searched: what was searched for a claim or a prior authorization.
    """

    subject: str
    rows: tuple[RowFate, ...]
    resources: tuple[Explanation, ...]
    through: Through = "extract"
    files: tuple[NamedFile, ...] = ()
    searched: tuple[str, ...] = ()


def lineage_page(lineage: Lineage, *, shows_values: bool) -> str:
    """Return the lineage as one self-contained HTML page.

    Args:
        lineage: the lineage.
        shows_values: whether to show members' data; otherwise their outlines.
    """

    def shown(value: str | None) -> str:
        return "" if value is None else value if shows_values else outline(value)

    word, colon, number = lineage.subject.partition(":")
    is_header = bool(colon) and word in HEADER_SUBJECTS
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
    """Return the lineage as JSON values, including members' data."""
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
    """A claim or prior authorization, by the payer's number.

    Attributes:
        word: a key of `HEADER_SUBJECTS`.
        number: the payer's number.
    """

    word: str
    number: str

    @property
    def table(self) -> str:
        """The table that has the number as its key."""
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
