"""The command line: parse, call one use case, show one result."""

from etl.cli.main import main

__all__ = ["main"]
