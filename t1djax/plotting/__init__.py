from ._results import plot_result as plot_result
from ._results import save_figures as save_figures
