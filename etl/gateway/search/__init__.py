"""FHIR search over the columns of an index: parameters → conditions → rows."""
