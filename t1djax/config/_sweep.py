"""A matrix of experiments as a strict, frozen record."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import pydantic

from .._arguments import ArgumentError
from .._words import did_you_mean
from ..physics import physiology_named
from ..question import Mode
from ._base import ConfigError, Nested, Strict, flat, merge, say
from ._experiment import SWEEPS_OWN, Experiment, Model
from ._matrix import (
    Cell,
    Wrong,
    cells_of,
    completed,
    without,
    wrong_includes,
    wrong_overrides,
    wrong_patterns,
    wrong_sets,
)
from ._yaml import read_yaml, validated

Names = Annotated[tuple[str, ...], pydantic.Field(strict=False)]


class SweepConfig(Strict):
    """A matrix of experiments: models by modes by sets of parameters, on the same patients and seeds.

    What the experiments share stands beside the matrix, by the names of `Experiment`'s fields: `data`, `patients`,
    `sensor`, `priors`, `results`, and so on.

    Example:
        >>> from t1djax.config import SweepConfig
        >>> sweep = SweepConfig(models=("pinn", "ode"), modes=("forward", "inverse"), seeds=3)
        >>> [(e.model, e.question.mode) for e in sweep.experiments()]
        [('pinn', 'forward'), ('pinn', 'inverse'), ('ode', 'forward'), ('ode', 'inverse')]
    """

    models: Annotated[tuple[Model, ...], pydantic.Field(strict=False, min_length=1)] = (
        "pinn",
        "modified_mlp",
        "birnn",
        "ode",
    )
    """Of pinn, modified_mlp, birnn (networks) and ode (least squares)."""
    modes: Annotated[tuple[Mode, ...], pydantic.Field(strict=False, min_length=1)] = ("inverse",)
    """Of forward (parameters known) and inverse (estimate some)."""
    inverse_params: Annotated[tuple[Names, ...], pydantic.Field(strict=False, min_length=1)] = (("ksi",),)
    """A set of parameters to estimate in inverse mode; repeat it for more sets. In a file [[ksi], [ksi, kl]]."""
    seeds: int = pydantic.Field(default=1, ge=1, le=1000)
    """Fits per patient, in one program: seeds `seed`, `seed + 1` and so on."""
    overrides: dict[Model, dict[str, Any]] = pydantic.Field(default_factory=dict)
    """By model, fields of `Experiment` that are its own, such as `network`."""
    include: Annotated[tuple[dict[str, Any], ...], pydantic.Field(strict=False)] = ()
    """Further experiments, by the fields in which they differ: `{model: ode, inverse_params: [ksi, kl]}`."""
    exclude: Annotated[tuple[dict[str, Any], ...], pydantic.Field(strict=False)] = ()
    """Which of the matrix to leave out: all that match every field given, such as `{model: birnn, mode: forward}`."""
    common: dict[str, Any] = pydantic.Field(default_factory=dict)
    """What the experiments share. In a file these fields stand at the top level."""

    @pydantic.model_validator(mode="before")
    @classmethod
    def _gather(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        own = {name: value for name, value in values.items() if name in cls.model_fields}
        rest = {name: value for name, value in values.items() if name not in cls.model_fields}
        if isinstance(named := rest.get("physiology"), str):
            with contextlib.suppress(ArgumentError):  # each experiment says what is wrong with it
                own.setdefault("inverse_params", physiology_named(named).facts.sensitivity)
        for name in ("models", "modes", "inverse_params"):
            if isinstance(own.get(name), str):
                own[name] = [part.strip() for part in own[name].split(",") if part.strip()]
        sets = own.get("inverse_params")
        if isinstance(sets, list | tuple) and sets and all(isinstance(x, str) for x in sets):
            own["inverse_params"] = [list(sets)]  # one set, written plainly
        elif isinstance(sets, list | tuple):
            own["inverse_params"] = [[x] if isinstance(x, str) else x for x in sets]
        if rest and isinstance(own.get("common", {}), Mapping):
            own["common"] = {**own.get("common", {}), **rest}
        return own

    @pydantic.model_validator(mode="after")
    def _each_is_valid(self, info: Any) -> "SweepConfig":
        narrowed = bool(info.context and info.context.get("narrowed"))
        cells, more = self._matrix(), self._included()
        wrong = [
            *_wrong_common(self.common),
            *wrong_sets(self.inverse_params),
            *wrong_patterns(self.exclude, cells, narrowed=narrowed),
            *wrong_includes(more, self.inverse_params),
            *wrong_overrides(self.overrides, [*cells, *more], narrowed=narrowed),
        ]
        if not wrong and not without(cells, self.exclude) and not more:
            wrong.append((("exclude",), "nothing is left of the matrix"))
        if wrong:
            raise Nested([{"type": "value_error", "loc": at, "msg": problem, "input": {}} for at, problem in wrong])
        self.experiments()
        return self

    @property
    def results(self) -> str:
        """Where result folders go."""
        return self.experiments()[0].results

    def _matrix(self) -> list[Cell]:
        return cells_of(self.models, self.modes, self.inverse_params)

    def _included(self) -> list[Cell]:
        return completed(self.include, self.models, self.modes, self.inverse_params)

    def experiments(self) -> tuple[Experiment, ...]:
        """The experiments, each of which is one program; those that are the same come once.

        Raises:
            ConfigError: naming the experiment and the fields that are wrong.
        """
        found: list[Experiment] = []
        wrong: list[str] = []
        for cell in [*without(self._matrix(), self.exclude), *self._included()]:
            own = self.overrides.get(cell["model"], {})
            values = merge(merge({**self.common, "members": self.seeds}, own), cell)
            try:
                experiment = Experiment.model_validate(values)
            except pydantic.ValidationError as e:
                what = f"{cell['model']} {cell['mode']}: "
                for x in flat(e.errors()):
                    shared = bool(x["loc"]) and x["loc"][0] in self.common.keys() - own.keys() - cell.keys()
                    at = ".".join(map(str, x["loc"])) or "experiment"
                    # What all experiments share is wrong once; a network fits some models only.
                    wrong.append(f"{'' if shared and x['loc'][0] != 'network' else what}{at}: {say(x, Experiment)}")
                continue
            if experiment not in found:
                found.append(experiment)
        if wrong:
            raise ConfigError("\n  ".join(dict.fromkeys(wrong)))
        return tuple(found)


def _wrong_common(common: Mapping[str, Any]) -> Iterator[Wrong]:
    for name in common:
        if name in ("model", "mode", "members"):
            yield (name,), f"a sweep has {'seeds' if name == 'members' else f'{name}s'}"
        elif name not in Experiment.names():
            yield (str(name),), f"there is no such field{did_you_mean(name, [*_OWN, *Experiment.names()])}"


_OWN = tuple(name for name in SweepConfig.model_fields if name != "common")


def load_sweep(path: str | Path | None, overrides: Mapping[str, Any] | None = None) -> SweepConfig:
    """The sweep of a YAML file, with overrides on top.

    Args:
        path: the file; None for the defaults.
        overrides: values that win over the file's; None values are skipped.

    Returns:
        The sweep, checked.

    Raises:
        ConfigError: listing every field that is wrong.
    """
    values = read_yaml(path, "a mapping of fields such as `models: [pinn, ode]`") if path is not None else {}
    if path is not None and not values:
        raise ConfigError(f"{path}: is empty; state what to run, such as `models: [pinn, ode]`")
    if len(values.keys() & {"model", "mode", "members"}) > 1 and not values.keys() & SWEEPS_OWN:
        raise ConfigError(
            f"{path}: is the file of one experiment, for load_experiment or `t1djax train --config {path}`"
        )
    narrowed = any((overrides or {}).get(name) is not None for name in ("models", "modes", "inverse_params"))
    return validated(SweepConfig, path, values, overrides, context={"narrowed": narrowed})
