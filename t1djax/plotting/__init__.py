from ._posterior import plot_draws as plot_draws
from ._posterior import plot_forest as plot_forest
from ._results import plot_result as plot_result
from ._results import save_figures as save_figures
