from ._clinical import plot_agp as plot_agp
from ._clinical import plot_day as plot_day
from ._clinical import plot_error_grid as plot_error_grid
from ._forecasts import plot_forecasts as plot_forecasts
from ._forecasts import plot_horizons as plot_horizons
from ._forecasts import plot_residuals as plot_residuals
from ._results import plot_result as plot_result
from ._results import save_figures as save_figures
