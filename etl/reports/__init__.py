"""Reports for auditors: `report.json` and pages, made from plain values.

`report_values.Report` holds all contents of a report, `document.report_document` is what of it may
be shown, and all that a page is made of. `report_writer.write_report` writes the files after
checking that counts and money add up, `summary.summary` gives the rows that the command line
prints. No value of a member reaches any of them: places only.
"""
