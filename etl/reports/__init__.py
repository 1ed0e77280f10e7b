"""What auditors read: `report.json` and `index.html`, made from plain values.

`Tally` adds up partitions in bounded memory, `Report` holds everything a report says,
`write_report` writes both files after checking that counts and money add up, `summary` gives the
rows that the command line prints. No value of a member reaches any of them: places only.
"""

from etl.reports.finding_places import FindingPlaces
from etl.reports.report_values import (
    DefaultStamp,
    Example,
    ExtractFacts,
    ExtractFile,
    MappingFacts,
    QuarantineFile,
    Report,
    RuleTotals,
    SuiteLine,
    Unmapped,
)
from etl.reports.report_writer import FORMAT_VERSION, report_json, report_page, write_report
from etl.reports.summary import Cause, Rejected, Summary, rejected, summary
from etl.reports.tally import Tally

__all__ = [
    "FORMAT_VERSION",
    "Cause",
    "DefaultStamp",
    "Example",
    "ExtractFacts",
    "ExtractFile",
    "FindingPlaces",
    "MappingFacts",
    "QuarantineFile",
    "Rejected",
    "Report",
    "RuleTotals",
    "SuiteLine",
    "Summary",
    "Tally",
    "Unmapped",
    "rejected",
    "report_json",
    "report_page",
    "summary",
    "write_report",
]
