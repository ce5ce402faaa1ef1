"""A trial in closed loop as a file."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pydantic

from .._arguments import ArgumentError
from .._words import did_you_mean
from ..io import safe_name
from ..physics import physiology_named
from ..trials import (
    CGM,
    KINDS,
    MPC,
    PID,
    AbstractController,
    BasalBolus,
    Fault,
    Meals,
    Pump,
    Rules,
    TempBasal,
    check_rules,
    drawn_names,
    given_settings,
)
from ._base import Strict
from ._yaml import read_yaml, validated

CONTROLLERS: Mapping[str, type[AbstractController]] = {
    "basal_bolus": BasalBolus,
    "pid": PID,
    "temp_basal": TempBasal,
    "mpc": MPC,
}
"""Controllers that a file can name."""

Options = Mapping[str, float | int | str]


class MealConfig(Strict):
    """A meal of every day."""

    at: str = pydantic.Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")
    """When it is eaten, HH:MM."""
    carbs_g: float = pydantic.Field(gt=0)
    """Carbohydrate, g."""

    @property
    def minute(self) -> int:
        """Time of day, min."""
        hours, minutes = self.at.split(":")
        return 60 * int(hours) + int(minutes)


class TrialConfig(Strict):
    """A trial: who, how long, and which controllers.

    Example:
        >>> from t1djax.config import TrialConfig
        >>> TrialConfig(people=10, controllers={"loop": {"kind": "pid", "gain": 0.012}}).made()["loop"].gain
        0.012
    """

    physiology: str = "kanderian"
    """Whose bodies: magdelaine, kanderian, hovorka, or module:Class of your own that states a population."""
    people: int = pydantic.Field(default=100, ge=1, le=10_000_000)
    """How many are drawn of its population."""
    days: int = pydantic.Field(default=14, ge=1, le=366)
    """How long, days."""
    seed: int = pydantic.Field(default=0, ge=0, lt=2**32)
    """Draws people, meals and the sensor's errors: the same for every controller."""
    controllers: Mapping[str, Options] = pydantic.Field(default={"basal-bolus": {"kind": "basal_bolus"}}, min_length=1)
    """By name: `kind` (basal_bolus, pid, temp_basal, mpc) and its numbers."""
    meals: tuple[MealConfig, ...] = pydantic.Field(default=(), strict=False)
    """Meals at stated times; drawn by the habits if there are none."""
    meal_timing_sd_min: float = pydantic.Field(default=0.0, ge=0)
    """By how much stated meals are earlier or later, standard deviation, min."""
    meal_amount_cv: float = pydantic.Field(default=0.0, ge=0)
    """By how much stated meals are larger or smaller, standard deviation as a share."""
    faults: Mapping[str, Options] = pydantic.Field(default_factory=dict)
    """By name: `kind` (the name if not given; see `t1djax.trials.KINDS`), `begins_min`, `lasts_min`, `size`."""
    recorded: int = pydantic.Field(default=0, ge=0)
    """Of how many people, the first, the days are written as recordings with their truth."""
    settings: Mapping[str, float | Mapping[str, float]] = pydantic.Field(default_factory=dict)
    """What pumps are set to, for everybody or by person, else titrated: `basal_U_h`, `g_per_U`, `mg_dL_per_U`."""
    therapy: Options = pydantic.Field(default_factory=dict)
    """Habits of eating and counting: fields of `Therapy`."""
    cgm: Options = pydantic.Field(default_factory=dict)
    """The sensor: fields of `CGM`."""
    pump: Options = pydantic.Field(default_factory=dict)
    """The pump: fields of `Pump`."""
    margin_percent: float = pydantic.Field(default=5.0, gt=0)
    """Difference of time in range that would not matter, percentage points, for the test of equivalence."""

    @pydantic.field_validator("physiology")
    @classmethod
    def _is_there(cls, value: str) -> str:
        try:
            physiology_named(value)
        except ArgumentError as e:
            raise ValueError(e.problem) from None
        return value if ":" in value else value.lower()

    @pydantic.model_validator(mode="after")
    def _is_made(self) -> "TrialConfig":
        self.made()
        check_rules(self.rules())
        if self.settings:
            given_settings(self.settings, drawn_names(self.people))
        return self

    def made(self) -> dict[str, AbstractController]:
        """The controllers by name."""
        found = {}
        for name, options in self.controllers.items():
            if wrong := safe_name(name):
                raise ValueError(f"controllers.{name}: a file bears its name, which {wrong}")
            kind = options.get("kind", name)
            if kind not in CONTROLLERS:
                there = f"one of {', '.join(CONTROLLERS)}{did_you_mean(kind, CONTROLLERS)}"
                raise ValueError(f"controllers.{name}: kind {kind!r} is not known; {there}")
            found[name] = _record(CONTROLLERS[str(kind)], options, f"controllers.{name}")
        return found

    def rules(self) -> Rules:
        """Habits, sensor and pump."""
        meals = None
        if self.meals:
            meals = Meals.of(*((meal.minute, meal.carbs_g) for meal in self.meals), amount_cv=self.meal_amount_cv,
                             timing_sd_min=self.meal_timing_sd_min)  # fmt: skip
        therapy = type(Rules().therapy)
        return Rules(
            therapy=_record(therapy, self.therapy, "therapy"),
            meals=meals,
            cgm=_record(CGM, self.cgm, "cgm"),
            pump=_record(Pump, self.pump, "pump"),
            faults=tuple(map(_fault, self.faults, self.faults.values())),
        )


def _fault(name: str, options: Options) -> Fault:
    kind, numbers = str(options.get("kind", name)), {k: x for k, x in options.items() if k != "kind"}
    if kind not in KINDS:
        raise ValueError(
            f"faults.{name}: kind {kind!r} is not known; one of {', '.join(KINDS)}{did_you_mean(kind, KINDS)}"
        )
    if lacking := {"begins_min", "lasts_min"} - set(numbers):
        raise ValueError(f"faults.{name}: {', '.join(sorted(lacking))} missing; state them in min")
    for field, value in numbers.items():
        if field not in ("begins_min", "lasts_min", "size") or isinstance(value, str | bool):
            raise ValueError(f"faults.{name}.{field}: {value!r}; there are begins_min, lasts_min and size, all numbers")
    return Fault(kind, **{field: float(value) for field, value in numbers.items()})


def _record(kind: Any, options: Options, at: str) -> Any:
    """A record from numbers by name."""
    fields = {field.name: field.default for field in dataclasses.fields(kind)}
    numbers = {name: value for name, value in options.items() if name != "kind"}
    for name, value in numbers.items():
        if name not in fields:
            raise ValueError(
                f"{at}.{name}: there is no such field{did_you_mean(name, fields)}; there are {', '.join(fields)}"
            )
        if isinstance(value, str | bool) or isinstance(fields[name], tuple):
            raise ValueError(f"{at}.{name}: {value!r} is no number that a file can set")
    return kind(**{name: type(fields[name])(value) for name, value in numbers.items()})


def load_trial(path: str | Path | None, overrides: Mapping[str, Any] | None = None) -> TrialConfig:
    """A trial from a YAML file, with overrides on top.

    Raises:
        ConfigError: listing every field that is wrong.
    """
    values = {} if path is None else read_yaml(path, "fields of a trial, such as people: 100")
    return validated(TrialConfig, path, values, overrides)
