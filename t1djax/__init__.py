"""Type 1 diabetes in JAX: simulate, fit and forecast whole cohorts as one compiled program."""

from importlib.metadata import version as _version

from .data import Cohort as Cohort
from .data import Masks as Masks
from .data import Patient as Patient
from .data import Series as Series
from .data import Truth as Truth
from .data import series as series
from .data import split as split
from .data import stack as stack
from .identifiability import UnidentifiableError as UnidentifiableError
from .identifiability import check_identifiable as check_identifiable
from .inference import LeastSquares as LeastSquares
from .inference import fisher_information as fisher_information
from .inference import fit_ode as fit_ode
from .physics import INITIAL_STATES as INITIAL_STATES
from .physics import PARAMETERS as PARAMETERS
from .physics import Doses as Doses
from .physics import Inputs as Inputs
from .physics import Magdelaine as Magdelaine
from .physics import Parameter as Parameter
from .physics import Preset as Preset
from .physics import SecondOrderState as SecondOrderState
from .physics import State as State
from .physics import Trajectory as Trajectory
from .physics import from_second_order as from_second_order
from .physics import presets as presets
from .physics import propagate as propagate
from .physics import rates as rates
from .physics import residual as residual
from .physics import second_order_rates as second_order_rates
from .physics import simulate as simulate
from .physics import steady_state as steady_state
from .physics import to_second_order as to_second_order
from .problem import Problem as Problem
from .problem import pose as pose
from .records import Cost as Cost
from .records import Estimate as Estimate
from .records import Fit as Fit
from .records import History as History
from .records import PatientFit as PatientFit
from .records import Result as Result
from .twin import Physiology as Physiology

__version__ = _version("t1djax")
