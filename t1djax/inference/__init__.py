from ._least_squares import LeastSquares as LeastSquares
from ._least_squares import fisher_information as fisher_information
from ._least_squares import fit_ode as fit_ode
from ._profile import ProfileOptions as ProfileOptions
from ._profile import profile as profile
from ._report import identify as identify
from ._report import preflight as preflight
from ._report import quick_verdict as quick_verdict
