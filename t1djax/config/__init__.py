"""Experiments and sweeps as strict, frozen records: from YAML, from flags, or both."""

from ._base import ConfigError as ConfigError
from ._base import MissingPathError as MissingPathError
from ._base import built as built
from ._base import with_defaults as with_defaults
from ._experiment import BESIDE as BESIDE
from ._experiment import REFERENCE as REFERENCE
from ._experiment import Experiment as Experiment
from ._experiment import SensorConfig as SensorConfig
from ._experiment import both_ways as both_ways
from ._experiment import load_experiment as load_experiment
from ._sweep import SweepConfig as SweepConfig
from ._sweep import load_sweep as load_sweep
from ._trial import TrialConfig as TrialConfig
from ._trial import load_trial as load_trial
from ._yaml import Loader as Loader
