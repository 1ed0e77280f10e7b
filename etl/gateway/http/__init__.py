"""HTTP of the FHIR bases: requests, responses, the application, monitoring."""
