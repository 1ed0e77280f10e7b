"""Great Expectations suites and their Data Docs, over a sample of the checked rows."""
