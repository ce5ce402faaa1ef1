"""One experiment as a strict, frozen record: from YAML, from flags, or both."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import pydantic

from .._arguments import ArgumentError, argument
from .._words import did_you_mean
from ..io import ReadOptions
from ..networks import ARCHITECTURES, NetworkOptions
from ..question import Question, symbols
from ..training import Stage, default_stages
from ._base import ConfigError, Nested, Strict, built, moved
from ._yaml import read_yaml, validated

REFERENCE = "reference"
"""The name under which the packaged cohort goes."""

Model = Literal["pinn", "modified_mlp", "birnn", "ode"]

SWEEPS_OWN = frozenset({"models", "modes", "seeds", "overrides", "include", "exclude"})
"""Fields that only a sweep has."""


class SensorConfig(Strict):
    """The sensor that reads a simulated cohort."""

    noise: Literal["none", "white", "ar1", "breton-kovatchev"] = "none"
    """Error of a simulated sensor: none, white (each its own), ar1 (with memory), breton-kovatchev."""
    noise_sd_mg_dL: float = pydantic.Field(default=10.0, ge=0)
    """Its standard deviation, mg/dL (white, ar1)."""
    interval_min: float | None = pydantic.Field(default=None, ge=0.1, le=1440)
    """Minutes between simulated readings, up to a day; left out, 1 for the reference and 5 for virtual patients."""
    dropout: float = pydantic.Field(default=0.0, ge=0, lt=1)
    """Share of readings lost at random."""
    censor: bool = False
    """Report readings within 40 to 400 mg/dL, as devices do."""


_OF_LAYOUT: Mapping[str, tuple[str, ...]] = {"table": (), "hupa": ("carbs_unit", "start", "hours", "keep_interpolated")}
"""Fields of `ReadOptions` that a layout has; `auto` has all."""

BESIDE: Mapping[str, str] = {
    {"free": "inverse_params"}.get(field.name, field.name): field.name for field in dataclasses.fields(Question)
}
"""Fields of the question by the names under which a file has them, beside those of `Experiment`."""


class Experiment(Strict):
    """Everything that determines a run.

    Example:
        >>> from t1djax import Experiment, Question
        >>> experiment = Experiment(model="ode", question=Question(free=["ksi"]))
        >>> experiment == Experiment.model_validate({"model": "ode", "inverse_params": ["ksi"]})  # as a file has it
        True
    """

    model: Model = "pinn"
    """pinn, modified_mlp or birnn (physics-informed networks), or ode (least squares on the equations)."""
    question: Question = Question()
    """What is asked of the patients. A file has its fields beside the others, `free` by the name `inverse_params`."""
    data: str = pydantic.Field(default=REFERENCE, min_length=1)
    """Folder of a cohort, file of a patient, or `reference`."""
    patients: str = "all"
    """all, or names: A,B; for the reference also 3,5 or Pat2-Pat11."""
    seed: int = pydantic.Field(default=0, ge=0, lt=2**32)
    """Sets noise, starts and weights."""
    members: int = pydantic.Field(default=1, ge=1, le=1000)
    """Fits per patient, from so many seeds, in one program: `seed`, `seed + 1` and so on, on the same readings."""
    results: str = pydantic.Field(default="results", min_length=1)
    """Folder for results."""
    sensor: SensorConfig = SensorConfig()
    """The sensor, for the reference cohort."""
    layout: Literal["table", "hupa", "auto"] = "table"
    """Layout of the data: table, hupa (HUPA-UCM), or auto: by content."""
    reading: ReadOptions = ReadOptions()
    """How to read the latter two."""
    info: str | None = None
    """Layout hupa: patients_info.csv, for the body mass."""
    strict: bool = False
    """Refuse readings below 40 mg/dL."""
    known: dict[str, float] = pydantic.Field(default_factory=dict)
    """What is known of everybody, by symbol, in the units of its parameters. {M: 72} is a body mass of 72 kg. It stands
    in place of what the data state, and is for data of one's own: the reference cohort states all of it."""
    warm_start: str | None = pydantic.Field(default=None, min_length=1)
    """Start from earlier results of the same patients and model: a result, or a folder with one per patient. The fit
    starts from its estimates and networks."""
    network: dict[str, Any] = pydantic.Field(default_factory=dict)
    """Fields of the architecture's options (`PINNOptions`, `ModifiedMLPOptions`, `BIRNNOptions`), and `stages`, a list
    of stages with the fields of `Stage`; not used by `ode`."""

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Names that a file may state."""
        return (*BESIDE, *(name for name in cls.model_fields if name != "question"))

    @pydantic.model_validator(mode="before")
    @classmethod
    def _gather(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        values = moved(values)
        if not values.keys() & BESIDE.keys():
            return values
        rest = {name: value for name, value in values.items() if name not in BESIDE}
        entries = rest.get("question", {})
        entries = dict(vars(entries) if isinstance(entries, Question) else entries)
        entries |= {BESIDE[name]: value for name, value in values.items() if name in BESIDE}
        return rest | {"question": entries}

    @pydantic.field_validator("question", mode="before")
    @classmethod
    def _checked_question(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        try:
            free = value.get("free")
            return built(Question, {**value, "free": symbols(free)} if isinstance(free, str) else value)
        except ArgumentError as e:
            raise Nested([_wrong(("inverse_params",), e.problem)], beside=True) from None
        except Nested as e:
            by_field = {field: name for name, field in BESIDE.items()}
            place = lambda loc: (by_field.get(loc[0], loc[0]), *loc[1:]) if loc else ()
            raise Nested(({**x, "loc": place(x["loc"])} for x in e.errors), beside=True) from None

    @pydantic.field_validator("reading", mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        return built(ReadOptions, value) if isinstance(value, Mapping) else value

    @pydantic.model_serializer(mode="wrap")
    def _beside(self, dump: Callable[[Any], Any]) -> dict[str, Any]:
        plain = dump(self)
        entries = plain.pop("question", {})
        return plain | {name: entries[field] for name, field in BESIDE.items() if field in entries}

    @pydantic.field_validator("data", "results", "info", "warm_start")
    @classmethod
    def _path(cls, value: str | None) -> str | None:
        if value is not None and "\0" in value:
            raise ValueError(f"{value!r} holds a NUL, which no path can; take it out")
        return value

    @pydantic.field_validator("network")
    @classmethod
    def _buildable(cls, value: dict[str, Any], info: Any) -> dict[str, Any]:
        if (model := info.data.get("model")) is not None:
            errors = []
            for at, build in (((), lambda: _options(model, value)), (("stages",), lambda: _stages(value))):
                try:
                    build()
                except Nested as e:
                    errors += [{**x, "loc": (*at, *x["loc"])} for x in e.errors]
            for x in errors:
                if x["type"] == "unexpected_keyword_argument" and len(x["loc"]) == 1:
                    fields = [f.name for f in dataclasses.fields(ARCHITECTURES[model])]
                    x["msg"] = f"there is no such field of {model}; there are {', '.join(fields)} and stages"
            if value.get("stages") is not None and not value["stages"] and not errors:
                errors.append(_wrong(("stages",), "name at least one stage, or leave them out"))
            if errors:
                raise Nested(errors)
        return value

    @pydantic.field_validator("patients", mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        if isinstance(value, str):
            return value
        raise ValueError('write a text: all, or names separated by commas, such as "2,3"')

    @pydantic.field_validator("known")
    @classmethod
    def _asserted(cls, value: dict[str, float], info: Any) -> dict[str, float]:
        there = info.data["question"].body.parameters if "question" in info.data else value
        if unknown := [symbol for symbol in value if symbol not in there]:
            near, one_of = did_you_mean(unknown[0], there), ", ".join(there)
            raise ValueError(f"unknown parameter {', '.join(unknown)}{near}; one of {one_of}")
        return value

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> "Experiment":
        if self.seed + self.members > 2**32:
            raise ValueError("seed + members must stay below 4294967296")
        if self.warm_start is not None and self.members > 1:
            raise ValueError(
                "a warm start gives every member the same start: leave "
                f"{argument('members')} out, or {argument('warm_start')}"
            )
        if not isinstance(self.question.physiology, str):
            what = "a class cannot stand in a file: write module:Class"
            raise Nested([_wrong(("physiology",), what)])
        wrong = both_ways(self.known, self.question.free)
        if self.known and self.data == REFERENCE:
            wrong = "is for files, not for the reference"
        if wrong:  # a sweep says what its experiments share once, by the name of the field
            raise Nested([_wrong(("known",), wrong)])
        if self.layout == "hupa" and self.reading.carbs_unit in (None, "g/min"):
            raise ValueError(
                f"layout hupa needs the unit of its carbohydrate ({argument('carbs_unit')}): g, exchange, or none"
            )
        stated = {name for name, value in vars(self.reading).items() if value != getattr(ReadOptions(), name)}
        fits = [layout for layout in ("auto", "hupa") if stated <= {*_OF_LAYOUT.get(layout, stated)}]
        if not stated <= {*_OF_LAYOUT.get(self.layout, stated)}:
            stated_there = ", ".join(argument(name) for name in vars(self.reading) if name in stated)
            raise ValueError(f"{stated_there}: for a file of another make; add {argument('layout', *fits)}")
        if self.layout != "table" and self.strict:
            raise ValueError(f"strict goes with t1djax's own tables: leave it, or layout={self.layout}, out")
        if self.layout != "hupa" and self.info is not None:
            raise ValueError("info goes with layout hupa")
        if self.layout != "table" and self.data == REFERENCE:
            raise ValueError(f"layout {self.layout} reads a file: name it as data")
        if self.layout != "table" and self.patients != "all":
            raise ValueError(f"layout {self.layout} reads one person's file: leave patients out")
        return self

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
        given, question = _stages(self.network), self.question
        if given is not None:
            return given
        warm, priors = self.warm_start is not None, bool(question.priors)
        return default_stages(question.mode, free, self.options(), warm=warm, priors=priors)


def _wrong(at: tuple[str, ...], what: str) -> dict[str, Any]:
    return {"type": "value_error", "loc": at, "msg": what, "input": {}}


def both_ways(known: Iterable[str], free: Iterable[str]) -> str:
    """What is wrong where parameters are stated and to be estimated at once; empty where none is.

    Example:
        >>> from t1djax.config import both_ways
        >>> both_ways({"M": 72.0}, ("ksi",))
        ''
    """
    stated = set(known)
    if not (both := [symbol for symbol in free if symbol in stated]):
        return ""
    return (
        f"{', '.join(both)} is to be estimated too: a parameter is known or estimated; "
        f"give what you believe of an estimated one with {argument('priors')}"
    )


def _options(model: str, network: Mapping[str, Any]) -> NetworkOptions | None:
    if model not in ARCHITECTURES:
        return None
    fields = {name: value for name, value in network.items() if name != "stages"}
    return built(ARCHITECTURES[model], fields)


def _stages(network: Mapping[str, Any]) -> tuple[Stage, ...] | None:
    given = network.get("stages")
    return None if given is None else built(tuple[Stage, ...], given)


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
