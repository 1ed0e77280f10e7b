"""CPCDS extracts in any known layout, into canonical rows partitioned by member."""
