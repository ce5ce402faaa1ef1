"""One style for all figures; matplotlib is imported when the first is made."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito (2008): told apart by readers with any colour vision, and in grey.
INK, FIT, HELD_OUT, FORECAST, TRUTH = "#222222", "#0072B2", "#E69F00", "#D55E00", "#009E73"
COLOURS = (FIT, FORECAST, TRUTH, HELD_OUT, "#CC79A7", "#56B4E9", INK)
TARGET_MG_DL = (70.0, 180.0)  # Battelino et al., Diabetes Care 42(8), 2019
STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "savefig.dpi": 150,
    "figure.constrained_layout.use": True,
}


@contextlib.contextmanager
def new_figure(width: float, height: float, **style: Any) -> "Iterator[Figure]":
    """A figure of a size in inches, and its style for what is drawn on it."""
    from matplotlib import rc_context  # noqa: PLC0415 - heavy, and only people who plot need it
    from matplotlib.figure import Figure  # noqa: PLC0415

    with rc_context(STYLE | style):
        yield Figure(figsize=(width, height))
