"""One experiment as a strict, frozen record: from YAML, from flags, or both."""

import dataclasses
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import pydantic
import yaml

from .networks import ARCHITECTURES, NetworkOptions
from .physics import INITIAL_STATES, PARAMETERS
from .problem import LogNormal, Mode
from .training import Optimizer, Stage, default_stages

REFERENCE = "reference"
"""The name under which the packaged cohort goes."""


_Model = Literal["pinn", "modified_mlp", "birnn", "ode"]


class ConfigError(ValueError):
    """A configuration is not valid; the message names each field and the mend."""


class _Strict(pydantic.BaseModel):
    # Strict: `seed: true` and `strict: "yes"` are slips, not numbers and booleans.
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class SensorConfig(_Strict):
    """The sensor that reads a simulated cohort."""

    noise: Literal["none", "white", "ar1", "breton-kovatchev"] = "none"
    """Model of the sensor error."""
    noise_sd_mg_dL: float = pydantic.Field(default=10.0, ge=0)
    """Its standard deviation, mg/dL, for white and ar1."""
    interval_min: float | None = pydantic.Field(default=None, ge=0.1, le=1440)
    """Time between readings, min, from 0.1 to a day; left out, 1 for the reference cohort and 5 for a virtual one."""
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
    optimizer: Optimizer = "gauss_newton"
    """`gauss_newton`, or the name of an optax optimiser."""
    learning_rate: float = pydantic.Field(default=3e-3, gt=0)
    """For optax optimisers, without unit."""
    schedule: Literal["constant", "cosine"] = "cosine"
    """How the learning rate goes."""
    clip_norm: float | None = pydantic.Field(default=None, gt=0)
    """Largest norm of the gradient, for optax optimisers; without unit."""
    residual_weight: tuple[float, float] = pydantic.Field(default=(1.0, 1.0), strict=False)
    """Weight of the equations against the readings, first and last step; geometric in between. Without unit."""
    balance: Literal["none", "gradient_norm", "ntk"] = "none"
    """How the terms of the loss are balanced, for optax optimisers."""
    causal: float = pydantic.Field(default=0.0, ge=0)
    """How strongly equations wait for earlier ones, for optax optimisers; without unit."""

    @pydantic.model_validator(mode="after")
    def _buildable(self) -> "StageConfig":
        self.stage()  # says what else is wrong, now rather than when it comes to training
        return self

    def stage(self) -> Stage:
        """The stage as training takes it."""
        return Stage(**self.model_dump())


_STAGES = pydantic.TypeAdapter(Annotated[tuple[StageConfig, ...], pydantic.Field(strict=False)])


class PriorConfig(_Strict):
    """What is believed of a parameter; see `t1djax.LogNormal`."""

    median: float = pydantic.Field(gt=0)
    """The median, in the parameter's unit."""
    sd_log: float = pydantic.Field(gt=0)
    """Standard deviation of the natural logarithm, without unit."""

    def belief(self) -> LogNormal:
        """The prior as `pose` takes it."""
        return LogNormal(self.median, self.sd_log)


_Positive = Annotated[float, pydantic.Field(gt=0)]
_Bounds = Annotated[tuple[_Positive, _Positive], pydantic.Field(strict=False)]


class Experiment(_Strict):
    """Everything that determines a run.

    Example:
        >>> from t1djax.config import Experiment
        >>> Experiment(model="ode", mode="inverse", inverse_params=("ksi",)).patients
        'all'
    """

    model: _Model = "pinn"
    """What is fitted: one of the physics-informed networks, or the equations themselves."""
    mode: Mode = "inverse"
    """forward: parameters known. inverse: `inverse_params` estimated."""
    data: str = pydantic.Field(default=REFERENCE, min_length=1)
    """A cohort's folder, a patient's file, or `reference`."""
    patients: str = "all"
    """`all`, or names separated by commas; `3,5` and `Pat2-Pat11` mean patients of the reference cohort."""
    inverse_params: tuple[str, ...] = pydantic.Field(default=(), strict=False)
    """What to estimate in inverse mode; left out, ksi."""
    seed: int = pydantic.Field(default=0, ge=0, lt=2**32)
    """Sets noise, starts and initial weights."""
    members: int = pydantic.Field(default=1, ge=1, le=1000)
    """Fits per patient, in one program, from starts and weights of `seed`, `seed + 1`, ..., on the same readings."""
    results: str = pydantic.Field(default="results", min_length=1)
    """Where result folders go."""
    sensor: SensorConfig = SensorConfig()
    """The sensor, for the reference cohort."""
    layout: Literal["table", "hupa", "auto"] = "table"
    """Layout of `data`: the library's own tables, a file of the HUPA-UCM dataset, or one known by its content."""
    hupa: HupaConfig = HupaConfig()
    """How to read the latter two."""
    strict: bool = False
    """Whether readings below 40 mg/dL are an error."""
    assume_population: bool = False
    """Take parameters that nobody stated from the population."""
    estimate_initial_state: bool = False
    """Estimate insulin and food on board at the start."""
    priors: dict[str, PriorConfig] = {}
    """What is believed of some of the parameters to estimate, by symbol."""
    bounds: dict[str, _Bounds] = {}
    """Lower and upper bounds of some of them, in their units, by symbol."""
    noise_sd_mg_dL: float | None = pydantic.Field(default=None, gt=0)
    """Standard deviation of the readings' noise, mg/dL; left out, it is estimated."""
    warm_start: str | None = pydantic.Field(default=None, min_length=1)
    """A result folder, or a folder with one result per patient of the same model: the fit starts from its estimates and
    networks."""
    network: dict[str, Any] = {}
    """Fields of the architecture's options (`PINNOptions`, `ModifiedMLPOptions`, `BIRNNOptions`), and `stages`, a list
    of stages with the fields of `Stage`; not used by `ode`."""

    @pydantic.field_validator("network")
    @classmethod
    def _buildable(cls, value: dict[str, Any], info: Any) -> dict[str, Any]:
        if (model := info.data.get("model")) is not None:
            errors = []
            for field, build in (("", lambda: _options(model, value)), ("stages", lambda: _stages(value))):
                try:
                    build()
                except pydantic.ValidationError as e:
                    errors += [{**x, "loc": (*([field] if field else []), *x["loc"])} for x in e.errors()]
            for x in errors:
                if x["type"] == "unexpected_keyword_argument" and len(x["loc"]) == 1:
                    fields = [f.name for f in dataclasses.fields(ARCHITECTURES[model])]
                    x["msg"] = f"there is no such field of {model}; there are {', '.join(fields)} and stages"
            if value.get("stages") is not None and not value["stages"] and not errors:
                what = {"type": "value_error", "loc": ("stages",), "input": {}}
                errors.append(what | {"msg": "name at least one stage, or leave them out"})
            if errors:
                raise _Nested(errors)
        return value

    @pydantic.field_validator("inverse_params", mode="before")
    @classmethod
    def _comma_separated(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        parts = tuple(part.strip() for part in value.split(",") if part.strip())
        if not parts:
            raise ValueError("name at least one parameter, for example ksi")
        return parts

    @pydantic.field_validator("inverse_params")
    @classmethod
    def _parameters(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := [symbol for symbol in value if symbol not in PARAMETERS]:
            raise ValueError(f"unknown parameter {', '.join(unknown)}; one can estimate {', '.join(PARAMETERS)}")
        return value

    @pydantic.field_validator("priors", "bounds")
    @classmethod
    def _estimable(cls, value: dict[str, Any]) -> dict[str, Any]:
        there = [*PARAMETERS, *INITIAL_STATES]
        if unknown := [symbol for symbol in value if symbol not in there]:
            raise ValueError(f"unknown parameter {', '.join(unknown)}; there are {', '.join(there)}")
        return value

    @pydantic.field_validator("bounds")
    @classmethod
    def _in_order(cls, value: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
        for symbol, (low, high) in value.items():
            if low >= high:
                raise ValueError(f"{symbol} from {low:g} to {high:g}: the lower bound comes first")
        return value

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> "Experiment":
        if self.seed + self.members > 2**32:
            raise ValueError("seed + members must stay below 4294967296")
        if self.warm_start is not None and self.members > 1:
            raise ValueError("a warm start gives every member the same start: leave members out, or warm_start")
        if self.mode == "forward" and self.inverse_params:
            raise ValueError("forward mode estimates nothing: leave inverse_params out, or set mode to inverse")
        if self.layout == "hupa" and self.hupa.carbs_unit is None:
            raise ValueError("layout hupa needs the unit of its carbohydrate (--carbs-unit): g, exchange, or none")
        if self.layout == "table" and self.hupa != HupaConfig():
            raise ValueError("carbs-unit, start, hours and info go with layout hupa")
        if self.layout == "auto" and self.hupa.info is not None:
            raise ValueError("info goes with layout hupa")
        if self.layout != "table" and self.data == REFERENCE:
            raise ValueError(f"layout {self.layout} reads a file: name it as data")
        if self.layout != "table" and self.patients != "all":
            raise ValueError(f"layout {self.layout} reads one person's file: leave patients out")
        return self

    @property
    def free(self) -> tuple[str, ...]:
        """The parameters to estimate: those named, or ksi."""
        return () if self.mode == "forward" else self.inverse_params or ("ksi",)

    def options(self) -> NetworkOptions | None:
        """The network's options; None for `ode`."""
        return _options(self.model, self.network)

    def stages(self, free: Iterable[str]) -> tuple[Stage, ...]:
        """The curriculum: the one given, or the default one for what is `free`."""
        given = _stages(self.network)
        return (
            default_stages(self.mode, free, self.options(), warm=self.warm_start is not None)
            if given is None
            else given
        )


_Names = Annotated[tuple[str, ...], pydantic.Field(strict=False)]


class SweepConfig(_Strict):
    """A matrix of experiments: models by modes by sets of parameters, on the same patients and seeds.

    What the experiments share stands beside the matrix, by the names of `Experiment`'s fields: `data`, `patients`,
    `sensor`, `priors`, `results`, and so on.

    Example:
        >>> from t1djax.config import SweepConfig
        >>> sweep = SweepConfig(models=("pinn", "ode"), modes=("forward", "inverse"), seeds=3)
        >>> [(e.model, e.mode) for e in sweep.experiments()]
        [('pinn', 'forward'), ('pinn', 'inverse'), ('ode', 'forward'), ('ode', 'inverse')]
    """

    models: Annotated[tuple[_Model, ...], pydantic.Field(strict=False, min_length=1)] = (
        "pinn",
        "modified_mlp",
        "birnn",
        "ode",
    )
    """Which models."""
    modes: Annotated[tuple[Mode, ...], pydantic.Field(strict=False, min_length=1)] = ("inverse",)
    """Which modes."""
    inverse_params: Annotated[tuple[_Names, ...], pydantic.Field(strict=False, min_length=1)] = (("ksi",),)
    """Sets of parameters to estimate in inverse mode, such as [[ksi], [ksi, kl]]."""
    seeds: int = pydantic.Field(default=1, ge=1, le=1000)
    """Fits per patient, from seeds `seed`, `seed + 1`, ..., trained as one program."""
    overrides: dict[_Model, dict[str, Any]] = {}
    """By model, fields of `Experiment` that are its own, such as `network`."""
    include: Annotated[tuple[dict[str, Any], ...], pydantic.Field(strict=False)] = ()
    """Further experiments, by the fields in which they differ: `{model: ode, inverse_params: [ksi, kl]}`."""
    exclude: Annotated[tuple[dict[str, Any], ...], pydantic.Field(strict=False)] = ()
    """Which of the matrix to leave out: all that match every field given, such as `{model: birnn, mode: forward}`."""
    common: dict[str, Any] = {}
    """What the experiments share. In a file these fields stand at the top level."""

    @pydantic.model_validator(mode="before")
    @classmethod
    def _gather(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        own = {name: value for name, value in values.items() if name in cls.model_fields}
        rest = {name: value for name, value in values.items() if name not in cls.model_fields}
        sets = own.get("inverse_params")
        if isinstance(sets, list | tuple) and sets and all(isinstance(x, str) for x in sets):
            own["inverse_params"] = [list(sets)]  # one set, written plainly
        if rest:
            own["common"] = {**own.get("common", {}), **rest}
        return own

    @pydantic.model_validator(mode="after")
    def _each_is_valid(self) -> "SweepConfig":
        for name, own in (("model", "models"), ("mode", "modes"), ("members", "seeds")):
            if name in self.common:
                raise ValueError(f"{name}: a sweep has {own}")
        for pattern in self.exclude:
            if unknown := [key for key in pattern if key not in ("model", "mode", "inverse_params")]:
                raise ValueError(f"exclude: {', '.join(unknown)} is not matched; there are model, mode, inverse_params")
        if not self.experiments():
            raise ValueError("exclude: nothing is left of the matrix")
        return self

    @property
    def results(self) -> str:
        """Where result folders go."""
        return self.experiments()[0].results

    def experiments(self) -> tuple["Experiment", ...]:
        """The experiments, each of which is one program; those that are the same come once.

        Raises:
            ConfigError: naming the experiment and the fields that are wrong.
        """
        cells: list[dict[str, Any]] = []
        for model in self.models:
            for mode in self.modes:
                sets = self.inverse_params if mode == "inverse" else ((),)
                cells += [{"model": model, "mode": mode, "inverse_params": symbols} for symbols in sets]
        left = [cell for cell in cells if not any(_matches(cell, pattern) for pattern in self.exclude)]
        found: list[Experiment] = []
        for cell in [*left, *({"mode": "inverse", **extra} for extra in self.include)]:
            own = self.overrides.get(cell.get("model", ""), {})
            values = _merge(_merge({**self.common, "members": self.seeds}, own), cell)
            try:
                experiment = Experiment.model_validate(values)
            except pydantic.ValidationError as e:
                what = " ".join(str(cell.get(key, "")) for key in ("model", "mode"))
                lines = [
                    f"{what}: {'.'.join(map(str, x['loc'])) or 'experiment'}: {_say(x)}" for x in _flat(e.errors())
                ]
                raise ConfigError("; ".join(lines)) from e
            if experiment not in found:
                found.append(experiment)
        return tuple(found)


def _matches(cell: Mapping[str, Any], pattern: Mapping[str, Any]) -> bool:
    return all(
        set(cell[key]) == set(value) if key == "inverse_params" else cell[key] == value
        for key, value in pattern.items()
    )


def load_sweep(path: str | Path | None, overrides: Mapping[str, Any] | None = None) -> SweepConfig:
    """The sweep of a YAML file, with overrides on top.

    Args:
        path: the file; None for the defaults.
        overrides: values that win over the file's; None values are skipped.

    Raises:
        ConfigError: listing every field that is wrong.
    """
    return _load(SweepConfig, path, overrides, "a mapping of fields such as `models: [pinn, ode]`")


class _Nested(ValueError):
    """Errors of a part that is validated on its own, to be listed with the others."""

    def __init__(self, errors: list[dict[str, Any]]) -> None:
        super().__init__("; ".join(f"{'.'.join(map(str, x['loc']))}: {_say(x)}" for x in errors))
        self.errors = errors


def _options(model: str, network: Mapping[str, Any]) -> NetworkOptions | None:
    if model not in ARCHITECTURES:
        return None
    fields = {name: value for name, value in network.items() if name != "stages"}
    # By way of JSON, where strict validation takes a list for a tuple and a mapping for a record.
    text = json.dumps(fields, default=str)
    return pydantic.TypeAdapter(ARCHITECTURES[model]).validate_json(text, strict=True)


def _stages(network: Mapping[str, Any]) -> tuple[Stage, ...] | None:
    if network.get("stages") is None:
        return None
    return tuple(config.stage() for config in _STAGES.validate_python(network["stages"]))


def load_experiment(path: str | Path | None, overrides: Mapping[str, Any] | None = None) -> Experiment:
    """The experiment of a YAML file, with overrides on top; nested ones merge.

    Args:
        path: the file; None for the defaults.
        overrides: values that win over the file's, such as those of flags; None values are skipped.

    Raises:
        ConfigError: listing every field that is wrong.
    """
    return _load(Experiment, path, overrides, "a mapping of fields such as `model: pinn`")


_Config = TypeVar("_Config", bound=_Strict)


def _load(kind: type[_Config], path: str | Path | None, overrides: Mapping[str, Any] | None, expected: str) -> _Config:
    values: dict[str, Any] = {}
    if path is not None:
        try:
            values = yaml.load(Path(path).read_text(encoding="utf-8"), _Loader) or {}
        except OSError as e:
            raise ConfigError(f"{path}: cannot be read ({e.strerror}); name a YAML file") from e
        except (yaml.YAMLError, ValueError, RecursionError) as e:
            raise ConfigError(f"{path}: is not valid YAML: {e}") from e
        if not isinstance(values, dict):
            raise ConfigError(f"{path}: must be {expected}")
    try:
        return kind.model_validate(_merge(values, overrides or {}))
    except pydantic.ValidationError as e:
        where = f"{path}: " if path is not None else ""
        top = kind.__name__.removesuffix("Config").lower()
        lines = [f"  {'.'.join(map(str, x['loc'])) or top}: {_say(x)}" for x in _flat(e.errors())]
        raise ConfigError(f"{where}the configuration is not valid\n" + "\n".join(lines)) from e


def _flat(errors: Iterable[Any]) -> Iterator[Any]:
    for error in errors:
        inner = error.get("ctx", {}).get("error")
        if isinstance(inner, _Nested):
            yield from ({**x, "loc": (*error["loc"], *x["loc"])} for x in inner.errors)
        else:
            yield error


class _Loader(yaml.SafeLoader):
    """Safe YAML in which no key stands twice and `3e-3` is a number."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.MarkedYAMLError(problem=f"{key.value} stands twice", problem_mark=key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def _say(error: Any) -> str:
    if error["type"] == "extra_forbidden" or error["msg"] == "Unexpected keyword argument":
        return "there is no such field; see `t1djax train --help`"
    said = error["msg"].removeprefix("Value error, ")
    given = error["input"]
    return said if isinstance(given, Mapping) else f"{said} (given: {given!r:.60})"


def _merge(base: Mapping[Any, Any], over: Mapping[str, Any]) -> dict[Any, Any]:
    merged = dict(base)
    for name, value in over.items():
        if isinstance(value, Mapping):
            below = merged.get(name, {})
            # What is no mapping stays, for the validation to name it.
            if isinstance(below, Mapping) and (inner := _merge(below, value)):
                merged[name] = inner
        elif value is not None:
            merged[name] = value
    return merged
