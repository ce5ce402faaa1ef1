"""The usual figure of each record."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ..data import Patient
from ..records import ErrorGrid, PatientFit, PatientIdentification, PatientPosterior, PersonSettings
from ._clinical import plot_day, plot_error_grid
from ._identification import plot_identification
from ._posterior import plot_draws
from ._results import plot_fit
from ._settings import plot_settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_USUAL: Mapping[type, Callable[..., Any]] = {
    Patient: plot_day,
    PatientFit: plot_fit,
    PatientIdentification: plot_identification,
    PatientPosterior: plot_draws,
    ErrorGrid: plot_error_grid,
    PersonSettings: plot_settings,
}


def plot(record: Any, **how: Any) -> "Figure":
    """Draw a record: a day of a patient, a fit, an identification, draws of a posterior, an error grid, settings.

    Args:
        record: one of these; each has it as its method `plot` as well.
        how: options of the function that draws it, such as `hours` of `plot_day`.

    Returns:
        The figure.

    Raises:
        TypeError: where there is no usual figure of such a record.

    Example:
        >>> import t1djax
        >>> cohort = t1djax.reference_cohort(interval_min=15, names=["Pat2"])
        >>> len(cohort["Pat2"].plot(hours=12).axes)
        3
    """
    draw = _USUAL.get(type(record))
    if draw is None:
        kinds = ", ".join(kind.__name__ for kind in _USUAL)
        raise TypeError(f"plot: no usual figure of a {type(record).__name__}; there is one of {kinds}")
    return draw(record, **how)
