"""The command line. It parses, calls the library, and prints."""

from . import (  # noqa: F401 - each adds its commands
    _diff,
    _forecast,
    _forget,
    _identify,
    _inspect,
    _registry,
    _report,
    _results,
    _simulate,
    _sweep,
    _track,
    _train,
)
from ._app import app as app
from ._app import main as main
