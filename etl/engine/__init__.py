"""Runs plans over whole columns: accepted rows in, FHIR resources as bytes out."""
