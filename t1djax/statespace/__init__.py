"""Linear-Gaussian models of real glucose."""

from ._answers import AbstractAnswer as AbstractAnswer
from ._answers import Dose as Dose
from ._answers import RescueCarbs as RescueCarbs
from ._answers import Seen as Seen
from ._exponential import discrete as discrete
from ._filter import kalman_spread as kalman_spread
from ._filter import kalman_update as kalman_update
from ._fit import PatientStateSpace as PatientStateSpace
from ._fit import StateSpaceFit as StateSpaceFit
from ._fit import fit_state_space as fit_state_space
from ._forecast import DoseResponses as DoseResponses
from ._forecast import dose_responses as dose_responses
from ._forecast import state_space_forecasts as state_space_forecasts
from ._hyper import HYPERPARAMETERS as HYPERPARAMETERS
from ._hyper import Hyper as Hyper
from ._hyper import StateSpaceOptions as StateSpaceOptions
from ._numbers import model_numbers as model_numbers
from ._numbers import model_of_numbers as model_of_numbers
from ._paths import SmoothedStates as SmoothedStates
from ._paths import smoothed_states as smoothed_states
from ._replay import replay as replay
from ._scenarios import factor as factor
from ._scenarios import other_doses as other_doses
from ._scenarios import replaced_doses as replaced_doses
from ._settings import person_settings as person_settings
