"""Reports for auditors: `report.json` and pages, made from plain values.

`Report` holds all contents of a report, `report_document` is what of it may be shown, and all that
a page is made of. `write_report` writes the files after checking that counts and money add up,
`summary` gives the rows that the command line prints. No value of a member reaches any of them:
places only.
"""

from etl.reports.document import FORMAT_VERSION, report_document, report_json
from etl.reports.finding_places import FindingPlaces, ShownPlace
from etl.reports.page import report_page, rule_page
from etl.reports.report_values import (
    DefaultStamp,
    EmptyCrosswalk,
    Example,
    ExtractFacts,
    ExtractFile,
    MappingFacts,
    MissingCells,
    QuarantineFile,
    ReleaseBefore,
    Report,
    RuleTotals,
    SuiteLine,
    Unmapped,
)
from etl.reports.report_writer import write_report
from etl.reports.summary import Cause, Rejected, Summary, rejected, summary

__all__ = [
    "FORMAT_VERSION",
    "Cause",
    "DefaultStamp",
    "EmptyCrosswalk",
    "Example",
    "ExtractFacts",
    "ExtractFile",
    "FindingPlaces",
    "MappingFacts",
    "MissingCells",
    "QuarantineFile",
    "Rejected",
    "ReleaseBefore",
    "Report",
    "RuleTotals",
    "ShownPlace",
    "SuiteLine",
    "Summary",
    "Unmapped",
    "rejected",
    "report_document",
    "report_json",
    "report_page",
    "rule_page",
    "summary",
    "write_report",
]
