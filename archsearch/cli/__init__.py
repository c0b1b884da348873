"""The command line: one file per verb."""

from archsearch.cli.main import main

__all__ = ["main"]
