"""Type 1 diabetes in JAX: simulate, fit and forecast whole cohorts as one compiled program.

Where to begin, each with `help`:

* people: `reference_cohort` and `virtual_population` simulate them; `read_recording` and `read_cohort` read files.
* `fit` estimates every patient's parameters at once; `summary` makes a table of it.
* `identify` says which of the estimates the readings determine, and why the others not.
* `fit_state_space` and `state_space_forecasts` forecast; `score_forecasts` scores.
* `write_report` makes a page of it all.

`PARAMETERS` says what each symbol means. Research software, not a medical device.
"""

import typing as _typing
from importlib import import_module as _import_module
from importlib.metadata import version as _version

from ._arguments import ArgumentError as ArgumentError
from ._types import GlucoseUnit as GlucoseUnit
from .data import HORIZONS_MIN as HORIZONS_MIN
from .data import POPULATION as POPULATION
from .data import AbstractNoise as AbstractNoise
from .data import AR1Noise as AR1Noise
from .data import BretonKovatchevNoise as BretonKovatchevNoise
from .data import Cohort as Cohort
from .data import Masks as Masks
from .data import NoNoise as NoNoise
from .data import Patient as Patient
from .data import RandomGaps as RandomGaps
from .data import Sensor as Sensor
from .data import Series as Series
from .data import Subject as Subject
from .data import Therapy as Therapy
from .data import Truth as Truth
from .data import WhiteNoise as WhiteNoise
from .data import data_hash as data_hash
from .data import fingerprint as fingerprint
from .data import from_first_reading as from_first_reading
from .data import noise_level as noise_level
from .data import readings_ahead as readings_ahead
from .data import reference_cohort as reference_cohort
from .data import rolling_origins as rolling_origins
from .data import series as series
from .data import simulate_cohort as simulate_cohort
from .data import split as split
from .data import stack as stack
from .data import training_end as training_end
from .data import virtual_population as virtual_population
from .data import windows as windows
from .evaluation import BASELINES as BASELINES
from .evaluation import GLUCOSE_RANGES as GLUCOSE_RANGES
from .evaluation import SURVEILLANCE_LEVELS as SURVEILLANCE_LEVELS
from .evaluation import BaselineMethod as BaselineMethod
from .evaluation import Glycaemia as Glycaemia
from .evaluation import RidgeOptions as RidgeOptions
from .evaluation import baseline_forecasts as baseline_forecasts
from .evaluation import clarke_zones as clarke_zones
from .evaluation import comparison as comparison
from .evaluation import doubts as doubts
from .evaluation import error_grid as error_grid
from .evaluation import errors_by_range as errors_by_range
from .evaluation import gaussian_crps as gaussian_crps
from .evaluation import glucose_errors as glucose_errors
from .evaluation import glycaemia as glycaemia
from .evaluation import glycaemia_table as glycaemia_table
from .evaluation import metrics as metrics
from .evaluation import parkes_zones as parkes_zones
from .evaluation import persistence_rmse as persistence_rmse
from .evaluation import recovery as recovery
from .evaluation import results_table as results_table
from .evaluation import score_forecasts as score_forecasts
from .evaluation import spread as spread
from .evaluation import summary as summary
from .evaluation import surveillance_levels as surveillance_levels
from .forecasting import Forecast as Forecast
from .forecasting import WarmUp as WarmUp
from .forecasting import forecast as forecast
from .identifiability import UnidentifiableError as UnidentifiableError
from .identifiability import check_identifiable as check_identifiable
from .io import CheckpointError as CheckpointError
from .io import DataError as DataError
from .io import DataWarning as DataWarning
from .io import Flaw as Flaw
from .io import NewerFormatError as NewerFormatError
from .io import ReadOptions as ReadOptions
from .io import ReadReport as ReadReport
from .io import Recording as Recording
from .io import ResultError as ResultError
from .io import SavedTwins as SavedTwins
from .io import Stopped as Stopped
from .io import cohort_to_frame as cohort_to_frame
from .io import find_fitted as find_fitted
from .io import find_results as find_results
from .io import frame_to_cohort as frame_to_cohort
from .io import frame_to_patient as frame_to_patient
from .io import inspect_file as inspect_file
from .io import load_twins as load_twins
from .io import patient_to_frame as patient_to_frame
from .io import read_cohort as read_cohort
from .io import read_fitted as read_fitted
from .io import read_hupa as read_hupa
from .io import read_patient as read_patient
from .io import read_patient_truth as read_patient_truth
from .io import read_recording as read_recording
from .io import read_result as read_result
from .io import read_warm_start as read_warm_start
from .io import save_twins as save_twins
from .io import write_cohort as write_cohort
from .io import write_fitted as write_fitted
from .networks import BIRNN as BIRNN
from .networks import PINN as PINN
from .networks import AbstractFeatures as AbstractFeatures
from .networks import AbstractSurrogate as AbstractSurrogate
from .networks import BIRNNOptions as BIRNNOptions
from .networks import FlaxOptions as FlaxOptions
from .networks import FlaxSurrogate as FlaxSurrogate
from .networks import ModifiedMLP as ModifiedMLP
from .networks import ModifiedMLPOptions as ModifiedMLPOptions
from .networks import NetworkOptions as NetworkOptions
from .networks import PINNOptions as PINNOptions
from .networks import TimeFeatureOptions as TimeFeatureOptions
from .networks import TimeFeatures as TimeFeatures
from .networks import Window as Window
from .physics import INITIAL_STATES as INITIAL_STATES
from .physics import PARAMETERS as PARAMETERS
from .physics import Doses as Doses
from .physics import Inputs as Inputs
from .physics import Magdelaine as Magdelaine
from .physics import Parameter as Parameter
from .physics import Preset as Preset
from .physics import Prior as Prior
from .physics import Rates as Rates
from .physics import SecondOrderState as SecondOrderState
from .physics import Solution as Solution
from .physics import State as State
from .physics import Trajectory as Trajectory
from .physics import from_second_order as from_second_order
from .physics import presets as presets
from .physics import propagate as propagate
from .physics import rates as rates
from .physics import residual as residual
from .physics import second_order_rates as second_order_rates
from .physics import simulate as simulate
from .physics import solve as solve
from .physics import steady_state as steady_state
from .physics import to_second_order as to_second_order
from .physics import with_derived as with_derived
from .prediction import fitted_patient as fitted_patient
from .prediction import fitted_patients as fitted_patients
from .prediction import predict as predict
from .problem import Problem as Problem
from .problem import pose as pose
from .programs import map_patients as map_patients
from .question import LogNormal as LogNormal
from .question import Question as Question
from .question import population_belief as population_belief
from .records import ChunkMetrics as ChunkMetrics
from .records import Cost as Cost
from .records import Determination as Determination
from .records import Direction as Direction
from .records import Ensemble as Ensemble
from .records import ErrorGrid as ErrorGrid
from .records import Estimate as Estimate
from .records import Fit as Fit
from .records import FittedPatient as FittedPatient
from .records import FutureInputs as FutureInputs
from .records import GridName as GridName
from .records import Hierarchy as Hierarchy
from .records import History as History
from .records import Identification as Identification
from .records import Interval as Interval
from .records import Misfit as Misfit
from .records import NoiseModel as NoiseModel
from .records import Outcome as Outcome
from .records import PatientFit as PatientFit
from .records import PatientIdentification as PatientIdentification
from .records import PatientPosterior as PatientPosterior
from .records import PatientProfile as PatientProfile
from .records import PooledPatient as PooledPatient
from .records import Posterior as Posterior
from .records import Profile as Profile
from .records import Result as Result
from .records import RollingForecasts as RollingForecasts
from .records import RunData as RunData
from .records import RunInfo as RunInfo
from .records import TrainState as TrainState
from .records import WarmStart as WarmStart
from .records import WhatIf as WhatIf
from .reporting import write_report as write_report
from .tracking import GitState as GitState
from .tracking import MLflowTracker as MLflowTracker
from .tracking import RunSync as RunSync
from .tracking import SyncReport as SyncReport
from .tracking import TrackedRun as TrackedRun
from .tracking import Tracker as Tracker
from .tracking import TrackingError as TrackingError
from .tracking import TrackingWarning as TrackingWarning
from .tracking import git_state as git_state
from .tracking import sync as sync
from .tracking import tracked_runs as tracked_runs
from .tracking import tracking_status as tracking_status
from .twin import Physiology as Physiology
from .twin import Scales as Scales
from .twin import Sensitivities as Sensitivities
from .twin import Twin as Twin

if _typing.TYPE_CHECKING:
    from .config import ConfigError as ConfigError
    from .config import Experiment as Experiment
    from .config import MissingPathError as MissingPathError
    from .config import SensorConfig as SensorConfig
    from .config import SweepConfig as SweepConfig
    from .config import load_experiment as load_experiment
    from .config import load_sweep as load_sweep
    from .experiment import Busy as Busy
    from .experiment import Execution as Execution
    from .experiment import Matched as Matched
    from .experiment import Pair as Pair
    from .experiment import Program as Program
    from .experiment import ResultDifference as ResultDifference
    from .experiment import Run as Run
    from .experiment import Sweep as Sweep
    from .experiment import SweepProgress as SweepProgress
    from .experiment import diff_results as diff_results
    from .experiment import fit as fit
    from .experiment import fit_ensemble as fit_ensemble
    from .experiment import plan_sweep as plan_sweep
    from .experiment import run as run
    from .experiment import sweep as sweep
    from .inference import HMC as HMC
    from .inference import NUTS as NUTS
    from .inference import LeastSquares as LeastSquares
    from .inference import Optimum as Optimum
    from .inference import ProfileOptions as ProfileOptions
    from .inference import fisher_information as fisher_information
    from .inference import fit_hierarchy as fit_hierarchy
    from .inference import fit_ode as fit_ode
    from .inference import identify as identify
    from .inference import least_squares as least_squares
    from .inference import posterior_glucose as posterior_glucose
    from .inference import preflight as preflight
    from .inference import profile as profile
    from .inference import sample_posterior as sample_posterior
    from .privacy import ForgetStep as ForgetStep
    from .privacy import Forgotten as Forgotten
    from .privacy import Searched as Searched
    from .privacy import Trace as Trace
    from .privacy import TrainedOn as TrainedOn
    from .privacy import forget as forget
    from .statespace import HYPERPARAMETERS as HYPERPARAMETERS
    from .statespace import Discrepancy as Discrepancy
    from .statespace import DiscrepancyOptions as DiscrepancyOptions
    from .statespace import Filtered as Filtered
    from .statespace import Hyper as Hyper
    from .statespace import PatientStateSpace as PatientStateSpace
    from .statespace import PeopleFold as PeopleFold
    from .statespace import Smoothed as Smoothed
    from .statespace import StateSpaceFit as StateSpaceFit
    from .statespace import StateSpaceOptions as StateSpaceOptions
    from .statespace import fit_discrepancy as fit_discrepancy
    from .statespace import fit_state_space as fit_state_space
    from .statespace import kalman_filter as kalman_filter
    from .statespace import people_split as people_split
    from .statespace import smooth as smooth
    from .statespace import state_space_forecasts as state_space_forecasts
    from .training import Keeper as Keeper
    from .training import Memory as Memory
    from .training import Progress as Progress
    from .training import Stage as Stage
    from .training import default_stages as default_stages
    from .training import fit_members as fit_members
    from .training import fit_network as fit_network

_LATER = {
    "config": (
        "ConfigError",
        "Experiment",
        "MissingPathError",
        "SensorConfig",
        "SweepConfig",
        "load_experiment",
        "load_sweep",
    ),
    "experiment": (
        "Busy",
        "Execution",
        "Matched",
        "Pair",
        "Program",
        "ResultDifference",
        "Run",
        "Sweep",
        "SweepProgress",
        "diff_results",
        "fit",
        "fit_ensemble",
        "plan_sweep",
        "run",
        "sweep",
    ),
    "inference": (
        "HMC",
        "NUTS",
        "LeastSquares",
        "Optimum",
        "ProfileOptions",
        "fisher_information",
        "fit_hierarchy",
        "fit_ode",
        "identify",
        "least_squares",
        "posterior_glucose",
        "preflight",
        "profile",
        "sample_posterior",
    ),
    "privacy": (
        "ForgetStep",
        "Forgotten",
        "Searched",
        "Trace",
        "TrainedOn",
        "forget",
    ),
    "statespace": (
        "HYPERPARAMETERS",
        "Discrepancy",
        "DiscrepancyOptions",
        "Filtered",
        "Hyper",
        "PatientStateSpace",
        "PeopleFold",
        "Smoothed",
        "StateSpaceFit",
        "StateSpaceOptions",
        "fit_discrepancy",
        "fit_state_space",
        "kalman_filter",
        "people_split",
        "smooth",
        "state_space_forecasts",
    ),
    "training": (
        "Keeper",
        "Memory",
        "Progress",
        "Stage",
        "default_stages",
        "fit_members",
        "fit_network",
    ),
}
"""Names by their rooms, loaded when they are first asked for: a server of fitted patients trains nothing."""
_ROOMS = {name: room for room, names in _LATER.items() for name in names}


if not _typing.TYPE_CHECKING:  # to a type checker it would make every name exist

    def __getattr__(name: str) -> _typing.Any:
        if name in _LATER:
            return _import_module(f".{name}", __name__)
        if name not in _ROOMS:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(_import_module(f".{_ROOMS[name]}", __name__), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_ROOMS, *_LATER})


__version__ = _version("t1djax")
