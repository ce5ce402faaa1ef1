"""Type 1 diabetes in JAX: simulate, fit and forecast whole cohorts as one compiled program.

Where to begin, each with `help`:

* people: `reference_cohort` and `virtual_population` simulate them; `read_recording` and `read_cohort` read files.
* `fit` estimates every patient's parameters at once; `summary` makes a table of it.
* `identify` says which of the estimates the readings determine, and why the others not.
* `fit_state_space` and `state_space_forecasts` forecast; `score_forecasts` scores.
* `write_report` makes a page of it all.

`PARAMETERS` says what each symbol means. Research software, not a medical device.
"""

from importlib.metadata import version as _version

import lazy_loader as _lazy_loader

# `__init__.pyi` lists the names and where they are. Each is loaded when it is first asked for: a server of fitted
# patients trains nothing, and `--help` simulates nobody.
__getattr__, __dir__, __all__ = _lazy_loader.attach_stub(__name__, __file__)
__version__ = _version("t1djax")
