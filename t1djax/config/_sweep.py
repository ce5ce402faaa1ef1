"""A matrix of experiments as a strict, frozen record."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import pydantic

from ..problem import Mode
from ._base import ConfigError, Strict, flat, merge, say
from ._experiment import Experiment, Model
from ._yaml import load

Names = Annotated[tuple[str, ...], pydantic.Field(strict=False)]


class SweepConfig(Strict):
    """A matrix of experiments: models by modes by sets of parameters, on the same patients and seeds.

    What the experiments share stands beside the matrix, by the names of `Experiment`'s fields: `data`, `patients`,
    `sensor`, `priors`, `results`, and so on.

    Example:
        >>> from t1djax.config import SweepConfig
        >>> sweep = SweepConfig(models=("pinn", "ode"), modes=("forward", "inverse"), seeds=3)
        >>> [(e.model, e.mode) for e in sweep.experiments()]
        [('pinn', 'forward'), ('pinn', 'inverse'), ('ode', 'forward'), ('ode', 'inverse')]
    """

    models: Annotated[tuple[Model, ...], pydantic.Field(strict=False, min_length=1)] = (
        "pinn",
        "modified_mlp",
        "birnn",
        "ode",
    )
    """Which models."""
    modes: Annotated[tuple[Mode, ...], pydantic.Field(strict=False, min_length=1)] = ("inverse",)
    """Which modes."""
    inverse_params: Annotated[tuple[Names, ...], pydantic.Field(strict=False, min_length=1)] = (("ksi",),)
    """Sets of parameters to estimate in inverse mode, such as [[ksi], [ksi, kl]]."""
    seeds: int = pydantic.Field(default=1, ge=1, le=1000)
    """Fits per patient, from seeds `seed`, `seed + 1`, ..., trained as one program."""
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

    def experiments(self) -> tuple[Experiment, ...]:
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
            values = merge(merge({**self.common, "members": self.seeds}, own), cell)
            try:
                experiment = Experiment.model_validate(values)
            except pydantic.ValidationError as e:
                what = " ".join(str(cell.get(key, "")) for key in ("model", "mode"))
                lines = [f"{what}: {'.'.join(map(str, x['loc'])) or 'experiment'}: {say(x)}" for x in flat(e.errors())]
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
    return load(SweepConfig, path, overrides, "a mapping of fields such as `models: [pinn, ode]`")
