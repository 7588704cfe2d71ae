"""One HTML file that shows what a fit found, and whether it can be trusted."""

from ._finding import Finding
from ._read import read_results
from ._trust import run_findings
from ._write import write_report

__all__ = ["Finding", "read_results", "run_findings", "write_report"]
