"""Reports that people read in a browser."""

from ._report import write_report as write_report
from ._trials import write_trial_page as write_trial_page
