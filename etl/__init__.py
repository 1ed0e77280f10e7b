"""CPCDS flat files in, CARIN Blue Button resources out, served from plain files."""
