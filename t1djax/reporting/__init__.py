"""Reports that people read in a browser."""

from ._report import write_report as write_report
