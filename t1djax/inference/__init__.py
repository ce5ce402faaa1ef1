from ._chains import HMC as HMC
from ._chains import NUTS as NUTS
from ._hierarchy import fit_hierarchy as fit_hierarchy
from ._least_squares import LeastSquares as LeastSquares
from ._least_squares import fisher_information as fisher_information
from ._least_squares import fit_ode as fit_ode
from ._posterior import sample_posterior as sample_posterior
from ._predict import posterior_glucose as posterior_glucose
