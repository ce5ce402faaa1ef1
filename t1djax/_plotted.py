"""Records that have a figure draw it themselves, by `t1djax.plotting`, which is imported when it is asked for."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Plotted:
    """Base of records that `t1djax.plotting.plot` draws."""

    def plot(self, **how: Any) -> "Figure":
        """The usual figure of this record; `t1djax.plotting` has others.

        Args:
            how: options of the function of `t1djax.plotting` that draws it.

        Returns:
            The figure; a notebook shows it, `savefig` keeps it.
        """
        return import_module("t1djax.plotting").plot(self, **how)
