"""The command line. It parses, calls the library, and prints."""

from ._app import app as app
from ._app import main as main
