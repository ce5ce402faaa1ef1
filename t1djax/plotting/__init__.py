from ._identification import plot_identification as plot_identification
from ._identification import plot_profiles as plot_profiles
from ._results import plot_result as plot_result
from ._results import save_figures as save_figures
