"""Apache Spark: units of a run, processed by its executors."""
