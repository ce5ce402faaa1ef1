"""One experiment as a strict, frozen record: from YAML, from flags, or both."""

import dataclasses
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic

from ..io import BasalUnit, GlucoseUnit, check_mapping
from ..networks import ARCHITECTURES, NetworkOptions
from ..physics import INITIAL_STATES, PARAMETERS
from ..problem import LogNormal, Mode
from ..training import Stage, default_stages
from ._base import ConfigError, Nested, Strict
from ._stage import STAGES
from ._yaml import read_yaml, validated

REFERENCE = "reference"
"""The name under which the packaged cohort goes."""

Model = Literal["pinn", "modified_mlp", "birnn", "ode"]

SWEEPS_OWN = frozenset({"models", "modes", "seeds", "overrides", "include", "exclude"})
"""Fields that only a sweep has."""


class SensorConfig(Strict):
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


class HupaConfig(Strict):
    """How to read a file of the HUPA-UCM dataset."""

    carbs_unit: Literal["g", "exchange", "none"] | None = None
    """Unit of its carbohydrate column. It differs from person to person, so it must be said."""
    start: str | None = None
    """First time to keep, ISO 8601 local."""
    hours: float | None = pydantic.Field(default=None, gt=0)
    """Length of the window, h."""
    info: str | None = None
    """`patients_info.csv`, for the body mass."""


class ReadingConfig(Strict):
    """How to read a file that is known by its content, or whose columns are named; see `t1djax.read_recording`."""

    glucose_unit: GlucoseUnit | None = None
    """Unit of glucose; left out, what the file states or its values tell."""
    basal_unit: BasalUnit | None = None
    """Unit of basal rates; left out, what the file states."""
    time_zone: str | None = None
    """IANA name of the zone of local times."""
    day_first: bool | None = None
    """Whether dates are written day before month, where the file does not tell."""
    columns: dict[str, str] = pydantic.Field(default_factory=dict)
    """Of a table of another make, which column is which: {time: Zeit, glucose: Glukose}."""

    @pydantic.field_validator("columns")
    @classmethod
    def _own_names(cls, value: dict[str, str]) -> dict[str, str]:
        try:
            check_mapping(value)
        except ValueError as e:
            raise ValueError(str(e).removeprefix("columns: ")) from None
        return value


class PriorConfig(Strict):
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


class Experiment(Strict):
    """Everything that determines a run.

    Example:
        >>> from t1djax.config import Experiment
        >>> Experiment(model="ode", mode="inverse", inverse_params=("ksi",)).patients
        'all'
    """

    model: Model = "pinn"
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
    reading: ReadingConfig = ReadingConfig()
    """How else to read a file of layout `auto`."""
    strict: bool = False
    """Whether readings below 40 mg/dL are an error."""
    known: dict[str, float] = pydantic.Field(default_factory=dict)
    """What is known of everybody, by symbol, in the units of `PARAMETERS`: {M: 72} is a body mass of 72 kg. It stands
    in place of what the data state, and is for data of one's own: the reference cohort states all of it."""
    assume_population: bool = False
    """Take parameters that nobody stated from the population."""
    estimate_initial_state: bool = False
    """Estimate insulin and food on board at the start."""
    priors: dict[str, PriorConfig] = pydantic.Field(default_factory=dict)
    """What is believed of some of the parameters to estimate, by symbol."""
    bounds: dict[str, _Bounds] = pydantic.Field(default_factory=dict)
    """Lower and upper bounds of some of them, in their units, by symbol."""
    noise_sd_mg_dL: float | None = pydantic.Field(default=None, gt=0)
    """Standard deviation of the readings' noise, mg/dL; left out, it is estimated."""
    warm_start: str | None = pydantic.Field(default=None, min_length=1)
    """A result folder, or a folder with one result per patient of the same model: the fit starts from its estimates and
    networks."""
    network: dict[str, Any] = pydantic.Field(default_factory=dict)
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
                raise Nested(errors)
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
        if twice := [symbol for symbol in dict.fromkeys(value) if value.count(symbol) > 1]:
            raise ValueError(f"{', '.join(twice)} stands twice; name each parameter once")
        return value

    @pydantic.field_validator("patients", mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        if isinstance(value, str):
            return value
        raise ValueError('write a text: all, or names separated by commas, such as "2,3"')

    @pydantic.field_validator("known")
    @classmethod
    def _asserted(cls, value: dict[str, float]) -> dict[str, float]:
        if unknown := [symbol for symbol in value if symbol not in PARAMETERS]:
            raise ValueError(f"unknown parameter {', '.join(unknown)}; one of {', '.join(PARAMETERS)}")
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
        wrong = both_ways(self.known, self.free)
        if self.known and self.data == REFERENCE:
            wrong = "is for files, not for the reference"
        if wrong:  # a sweep says what its experiments share once, by the name of the field
            raise Nested([{"type": "value_error", "loc": ("known",), "msg": wrong, "input": {}}])
        if self.layout == "hupa" and self.hupa.carbs_unit is None:
            raise ValueError("layout hupa needs the unit of its carbohydrate (carbs_unit): g, exchange, or none")
        if self.layout == "table" and self.hupa != HupaConfig():
            raise ValueError("carbs_unit, start, hours and info go with layout hupa")
        if self.layout != "auto" and self.reading != ReadingConfig():
            said = ", ".join(self.reading.model_dump(exclude_defaults=True))
            raise ValueError(f"{said} go with a file of another make: add layout=auto")
        if self.layout != "table" and self.strict:
            raise ValueError(f"strict goes with t1djax's own tables: leave it, or layout={self.layout}, out")
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
        """The curriculum: the one given, or the default one for what is `free`.

        Args:
            free: symbols of what is estimated, `G0` included; used where no curriculum was given.

        Returns:
            The stages in order; model `ode` has no use for them.
        """
        given = _stages(self.network)
        return (
            default_stages(self.mode, free, self.options(), warm=self.warm_start is not None, priors=bool(self.priors))
            if given is None
            else given
        )


def both_ways(
    known: Iterable[str], free: Iterable[str], names: tuple[str, str, str] = ("known", "inverse_params", "priors")
) -> str:
    """What is wrong where parameters are stated and to be estimated at once; empty where none is.

    Args:
        known: symbols that are stated.
        free: symbols to estimate.
        names: what states them, what names those to estimate, and what takes beliefs of these.

    Example:
        >>> from t1djax.config import both_ways
        >>> both_ways({"M": 72.0}, ("ksi",))
        ''
    """
    stated = set(known)
    if not (both := [symbol for symbol in free if symbol in stated]):
        return ""
    return (
        f"{names[0]} and {names[1]} both name {', '.join(both)}: a parameter is known or estimated; "
        f"give what you believe of an estimated one with {names[2]}"
    )


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
    return tuple(config.stage() for config in STAGES.validate_python(network["stages"]))


def load_experiment(path: str | Path | None, overrides: Mapping[str, Any] | None = None) -> Experiment:
    """The experiment of a YAML file, with overrides on top; nested ones merge.

    Args:
        path: the file; None for the defaults.
        overrides: values that win over the file's, such as those of flags; None values are skipped.

    Returns:
        The experiment, checked.

    Raises:
        ConfigError: listing every field that is wrong.
    """
    values = read_yaml(path, "a mapping of fields such as `model: pinn`") if path is not None else {}
    if path is not None and values.keys() & SWEEPS_OWN:
        raise ConfigError(f"{path}: is the file of a sweep, for load_sweep or `t1djax sweep --config {path}`")
    return validated(Experiment, path, values, overrides)
