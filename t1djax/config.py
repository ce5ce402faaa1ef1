"""One experiment as a strict, frozen record: from YAML, from flags, or both."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import pydantic
import yaml

from .problem import Mode
from .training import PINNOptions, Stage, default_stages

REFERENCE = "reference"
"""The name under which the packaged cohort goes."""


class ConfigError(ValueError):
    """A configuration is not valid; the message names each field and the mend."""


class _Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class SensorConfig(_Strict):
    """The sensor that reads a simulated cohort."""

    noise: Literal["none", "white", "ar1", "breton-kovatchev"] = "none"
    """Model of the sensor error."""
    noise_sd_mg_dL: float = pydantic.Field(default=10.0, ge=0)
    """Its standard deviation, mg/dL, for white and ar1."""
    interval_min: float | None = pydantic.Field(default=None, gt=0)
    """Time between readings, min; left out, 1 for the reference cohort and 5 for a virtual one."""
    dropout: float = pydantic.Field(default=0.0, ge=0, lt=1)
    """Share of readings lost at random."""
    censor: bool = False
    """Whether readings are reported within 40 to 400 mg/dL."""


class HupaConfig(_Strict):
    """How to read a file of the HUPA-UCM dataset."""

    carbs_unit: Literal["g", "exchange", "none"] | None = None
    """Unit of its carbohydrate column. It differs from person to person, so it must be said."""
    start: str | None = None
    """First time to keep, ISO 8601 local."""
    hours: float | None = pydantic.Field(default=None, gt=0)
    """Length of the window, h."""
    info: str | None = None
    """`patients_info.csv`, for the body mass."""


class StageConfig(_Strict):
    """A stage of training; see `t1djax.Stage`."""

    trains: Literal["joint", "network", "physiology"] = "joint"
    """Which leaves move."""
    steps: int = pydantic.Field(gt=0)
    """How many steps."""
    optimizer: str = "gauss_newton"
    """`gauss_newton`, or the name of an optax optimiser such as `adam`."""
    learning_rate: float = pydantic.Field(default=3e-3, gt=0)
    """For optax optimisers."""
    schedule: Literal["constant", "cosine"] = "cosine"
    """How the learning rate goes."""
    residual_weight: tuple[float, float] = (1.0, 1.0)
    """Weight of the equations against the readings, first and last step; geometric in between."""

    def stage(self) -> Stage:
        """The stage as training takes it."""
        return Stage(**self.model_dump())


class NetworkConfig(_Strict):
    """The PINN and its training."""

    width: int = pydantic.Field(default=PINNOptions().width, gt=0)
    """Units of a hidden layer."""
    depth: int = pydantic.Field(default=PINNOptions().depth, gt=0)
    """Hidden layers."""
    octaves: int = pydantic.Field(default=PINNOptions().octaves, gt=0)
    """Fourier octaves of time."""
    cell_min: float = pydantic.Field(default=PINNOptions().cell_min, gt=0)
    """Length of a collocation cell, min."""
    stages: tuple[StageConfig, ...] | None = None
    """The curriculum; left out, the default one."""


class Experiment(_Strict):
    """Everything that determines a run.

    Example:
        >>> from t1djax.config import Experiment
        >>> Experiment(model="ode", mode="inverse", inverse_params=("ksi",)).patients
        'all'
    """

    model: Literal["pinn", "ode"] = "pinn"
    """What is fitted: a physics-informed network, or the equations themselves."""
    mode: Mode = "inverse"
    """forward: parameters known. inverse: `inverse_params` estimated."""
    data: str = REFERENCE
    """A cohort's folder, a patient's file, or `reference`."""
    patients: str = "all"
    """`all`, or names separated by commas; `3,5` and `Pat2-Pat11` mean patients of the reference cohort."""
    inverse_params: tuple[str, ...] = ()
    """What to estimate in inverse mode; left out, ksi."""
    seed: int = pydantic.Field(default=0, ge=0)
    """Sets noise, starts and initial weights."""
    results: str = "results"
    """Where result folders go."""
    sensor: SensorConfig = SensorConfig()
    """The sensor, for the reference cohort."""
    layout: Literal["table", "hupa"] = "table"
    """Layout of `data`: the library's own tables, or a file of the HUPA-UCM dataset."""
    hupa: HupaConfig = HupaConfig()
    """How to read the latter."""
    strict: bool = False
    """Whether readings below 40 mg/dL are an error."""
    assume_population: bool = False
    """Take parameters that nobody stated from the population."""
    estimate_initial_state: bool = False
    """Estimate insulin and food on board at the start."""
    network: NetworkConfig = NetworkConfig()
    """The PINN and its training; not used by `ode`."""

    @pydantic.field_validator("inverse_params", mode="before")
    @classmethod
    def _comma_separated(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> "Experiment":
        if self.mode == "forward" and self.inverse_params:
            raise ValueError("forward mode estimates nothing: leave inverse_params out, or set mode to inverse")
        if self.layout == "hupa" and self.hupa.carbs_unit is None:
            raise ValueError("layout hupa needs the unit of its carbohydrate (--carbs-unit): g, exchange, or none")
        if self.layout != "hupa" and self.hupa != HupaConfig():
            raise ValueError("carbs-unit, start, hours and info go with layout hupa")
        return self

    @property
    def free(self) -> tuple[str, ...]:
        """The parameters to estimate: those named, or ksi."""
        return () if self.mode == "forward" else self.inverse_params or ("ksi",)

    def pinn_options(self) -> tuple[PINNOptions, tuple[Stage, ...]]:
        """The network's options and its curriculum."""
        n = self.network
        options = PINNOptions(width=n.width, depth=n.depth, octaves=n.octaves, cell_min=n.cell_min)
        stages = default_stages(self.mode) if n.stages is None else tuple(s.stage() for s in n.stages)
        return options, stages


def load_experiment(path: str | Path | None, overrides: Mapping[str, Any] | None = None) -> Experiment:
    """The experiment of a YAML file, with overrides on top; nested ones merge.

    Args:
        path: the file; None for the defaults.
        overrides: values that win over the file's, such as those of flags; None values are skipped.

    Raises:
        ConfigError: listing every field that is wrong.
    """
    values: dict[str, Any] = {}
    if path is not None:
        try:
            values = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
        except OSError as e:
            raise ConfigError(f"{path}: cannot be read ({e.strerror}); name a YAML file") from e
        except (yaml.YAMLError, UnicodeDecodeError) as e:
            raise ConfigError(f"{path}: is not valid YAML: {e}") from e
        if not isinstance(values, dict):
            raise ConfigError(f"{path}: must be a mapping of fields such as `model: pinn`")
    try:
        return Experiment.model_validate(_merge(values, overrides or {}))
    except pydantic.ValidationError as e:
        where = f"{path}: " if path is not None else ""
        lines = [f"  {'.'.join(map(str, x['loc'])) or 'experiment'}: {_say(x)}" for x in e.errors()]
        raise ConfigError(f"{where}the configuration is not valid\n" + "\n".join(lines)) from e


def _say(error: Any) -> str:
    if error["type"] == "extra_forbidden":
        return "there is no such field; see `t1djax train --help`"
    return f"{error['msg'].removeprefix('Value error, ')} (given: {error['input']!r})"


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for name, value in over.items():
        if isinstance(value, Mapping):
            below = merged.get(name)
            inner = _merge(below if isinstance(below, Mapping) else {}, value)
            if inner or name in merged:
                merged[name] = inner
        elif value is not None:
            merged[name] = value
    return merged
