"""Names that were at the top level in 0.1 and are in a namespace since 0.2; until 0.3 the old place works and warns."""

import warnings
from importlib import import_module
from typing import Any

MOVED: dict[str, str] = {
    "config": "ConfigError load_sweep MissingPathError SensorConfig SweepConfig",
    "data": (
        "AbstractNoise data_hash fingerprint from_first_reading HORIZONS_MIN Masks noise_level NoNoise POPULATION "
        "readings_ahead rolling_origins Series series simulate_cohort split stack Subject training_end"
    ),
    "evaluation": (
        "BaselineMethod BASELINES clarke_zones comparison errors_by_range gaussian_crps glucose_errors "
        "GLUCOSE_RANGES Glycaemia parkes_zones persistence_rmse pooled_forecasts recovery results_table "
        "RidgeOptions spread SURVEILLANCE_LEVELS surveillance_levels"
    ),
    "experiment": "Busy Execution Matched Pair plan_sweep Program ResultDifference Run Sweep SweepProgress",
    "forecasting": "Forecast WarmUp",
    "identifiability": "check_identifiable",
    "inference": (
        "fisher_information fit_ode HMC least_squares LeastSquares NUTS Optimum posterior_glucose ProfileOptions"
    ),
    "io": (
        "CheckpointError find_fitted Flaw NewerFormatError read_hupa read_patient read_patient_truth "
        "read_warm_start ReadOptions ReadReport Recording ResultError SavedTwins Stopped"
    ),
    "networks": (
        "AbstractFeatures AbstractSurrogate BIRNN FlaxSurrogate ModifiedMLP NetworkOptions PINN TimeFeatureOptions "
        "TimeFeatures Window"
    ),
    "physics": (
        "from_second_order INITIAL_STATES Inputs Parameter Preset Prior Rates rates residual second_order_rates "
        "SecondOrderState Solution solve State steady_state to_second_order Trajectory with_derived"
    ),
    "population": "people_split PeopleFold",
    "prediction": "fitted_patient",
    "privacy": "ForgetStep Forgotten Searched Trace",
    "problem": "Problem",
    "programs": "map_patients",
    "question": "population_belief",
    "records": (
        "ChunkMetrics Cost Determination Direction Ensemble ErrorGrid FittedPatient FutureInputs GridName "
        "Hierarchy History Identification Interval Misfit NoiseModel PatientIdentification PatientPosterior "
        "PatientProfile PooledPatient Posterior Profile Replay Result RollingForecasts RunData RunInfo TrainState "
        "WarmStart WhatIf"
    ),
    "statespace": ("Hyper HYPERPARAMETERS PatientStateSpace SmoothedStates StateSpaceFit"),
    "tracking": (
        "git_state GitState RunSync SyncReport tracked_runs TrackedRun Tracker tracking_status TrackingError "
        "TrackingWarning"
    ),
    "training": "default_stages fit_members fit_network Keeper Memory Progress",
    "trials": "Trial",
    "twin": "Physiology Scales Sensitivities Twin",
}
"""The names by namespace."""
NAMESPACE_OF = {name: namespace for namespace, names in MOVED.items() for name in names.split()}


def moved(name: str) -> Any:
    """What a name at its old place stands for."""
    namespace = f"t1djax.{NAMESPACE_OF[name]}"
    warnings.warn(f"t1djax.{name} is {namespace}.{name} now", DeprecationWarning, stacklevel=3)
    return getattr(import_module(namespace), name)
