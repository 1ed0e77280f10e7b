"""The FHIR gateway: read and search over a published tree, within one grant."""
