"""Reports for auditors: `report.json` and pages, made from plain values.

`report_values.Report` holds all contents of a report, `document.report_document` is the part of it
that may be shown, and all that a page is made of. `document.write_report` checks that counts and
money add up, and writes the files; `summary.totals_of` gives the totals that the command line, the
log and the run's record show. No value of a member reaches any of them: places only.
"""
