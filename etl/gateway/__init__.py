"""The FHIR gateway: read and search, over a published tree, of what one grant opens."""
