"""What a run tells: its report and quarantine, the results of suites, its record."""
