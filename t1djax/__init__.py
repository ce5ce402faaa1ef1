"""Type 1 diabetes in JAX: simulate, fit and forecast whole cohorts as one compiled program.

Where to begin, each with `help`:

* people: `reference_cohort` and `virtual_population` simulate them; `read_recording` and `read_cohort` read files.
* `fit` estimates every patient's parameters at once; `summary` makes a table of it.
* `identify` says which of the estimates the readings determine, and why the others not.
* `fit_state_space` and `state_space_forecasts` forecast; `score_forecasts` scores.
* `write_report` makes a page of it all.

`PARAMETERS` says what each symbol means. What is not of the first hour is in namespaces: `physics`, `data`, `io`,
`networks`, `training`, `inference`, `statespace`, `evaluation`, `plotting`, `records`, `experiment`, `tracking`,
`registry`, `privacy`. Research software, not a medical device.
"""

from importlib.metadata import version as _version

import lazy_loader as _lazy_loader

from ._moved import NAMESPACE_OF as _NAMESPACE_OF
from ._moved import moved as _moved

# `__init__.pyi` lists the names and where they are. Each is loaded when it is first asked for: a server of fitted
# patients trains nothing, and `--help` simulates nobody.
_listed, __dir__, __all__ = _lazy_loader.attach_stub(__name__, __file__)
__version__ = _version("t1djax")


def __getattr__(name: str) -> object:
    return _moved(name) if name in _NAMESPACE_OF else _listed(name)
