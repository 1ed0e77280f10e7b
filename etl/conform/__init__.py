"""Checks any FHIR NDJSON against CARIN Blue Button, offline: auditors run it on anyone's output."""
