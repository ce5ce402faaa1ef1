from ._clinical import plot_agp as plot_agp
from ._clinical import plot_day as plot_day
from ._clinical import plot_days as plot_days
from ._clinical import plot_error_grid as plot_error_grid
from ._comparison import plot_comparison as plot_comparison
from ._comparison import save_comparison as save_comparison
from ._forecasts import plot_forecasts as plot_forecasts
from ._forecasts import plot_horizons as plot_horizons
from ._forecasts import plot_residuals as plot_residuals
from ._identification import plot_identification as plot_identification
from ._identification import plot_profiles as plot_profiles
from ._identification import plot_windows as plot_windows
from ._notebooks import show_figures
from ._plot import plot as plot
from ._posterior import plot_draws as plot_draws
from ._posterior import plot_forest as plot_forest
from ._replay import plot_replay as plot_replay
from ._results import plot_fit as plot_fit
from ._results import plot_result as plot_result
from ._results import save_figures as save_figures
from ._settings import plot_settings as plot_settings
from ._trials import grid_zones as grid_zones
from ._trials import plot_trial as plot_trial

show_figures()
