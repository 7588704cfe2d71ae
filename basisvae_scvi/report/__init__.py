"""One HTML file that shows what a fit found, and whether it can be trusted."""

from ._read import read_results
from ._write import write_report

__all__ = ["read_results", "write_report"]
