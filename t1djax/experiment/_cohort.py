"""The patients that a configuration names."""

from collections.abc import Callable, Iterable
from pathlib import Path

import jax

from .._arguments import argument
from ..config import REFERENCE, ConfigError, Experiment
from ..data import AbstractNoise, AR1Noise, BretonKovatchevNoise, Cohort, NoNoise, WhiteNoise, reference_cohort
from ..io import DataError, Flaw, read_cohort, read_hupa, read_recording
from ..physics import presets


def read_by(configs: Iterable[Experiment]) -> list[Path]:
    """The files and folders that experiments read: data, and networks to start from."""
    named = [place for config in configs for place in (config.data, config.warm_start)]
    return [Path(place) for place in named if place not in (None, REFERENCE)]


def load_cohort(config: Experiment) -> Cohort:
    """The patients that the experiment names, with the truth of synthetic ones for scoring.

    Raises:
        DataError: listing everything wrong with the files.
        ConfigError: where a patient is not there, or an option does not go with the data.
    """
    cohort = _read(config)
    return cohort.asserting(config.known) if config.known else cohort


def _read(config: Experiment) -> Cohort:
    sensor = config.sensor
    if config.data == REFERENCE:
        names = patient_names(config.patients, reference=True)
        return reference_cohort(
            interval_min=sensor.interval_min or 1.0,
            noise=sensor_noise(sensor.noise, sensor.noise_sd_mg_dL),
            dropout=sensor.dropout,
            censor=sensor.censor,
            key=jax.random.fold_in(jax.random.key(config.seed), 0),
            names=names,
        )
    if sensor != type(sensor)():
        raise ConfigError("noise, interval, dropout and censor are for the reference cohort; a file is read as it is")
    r = config.reading
    if config.layout == "hupa" and r.carbs_unit is not None:
        person = read_hupa(
            config.data,
            carbs_unit=r.carbs_unit,
            start=r.start,
            hours=r.hours,
            info=config.info,
            keep_interpolated=r.keep_interpolated,
        )
        return Cohort((person,))
    if config.layout == "auto":
        return Cohort((read_recording(config.data, **vars(r)).patient,))
    names = patient_names(config.patients, reference=False)
    try:
        return read_cohort(config.data, patients=names, strict=config.strict, truth=True)
    except DataError as e:
        if Path(config.data).is_dir() or not Path(config.data).exists():
            raise
        what = "it is read as t1djax's own table"
        where = ", ".join(map(argument, ("columns", "glucose_unit", "day_first")))
        remedy = f"if it is of another make, add {argument('layout', 'auto')}, and {where} where that asks for them"
        raise DataError([*e.problems, Flaw(config.data, None, (), (what,), remedy)]) from None


def source_of(config: Experiment) -> str:
    """What `load_cohort` goes by: experiments with one source have the same patients."""
    fields = {"data", "patients", "layout", "reading", "info", "strict", "sensor", "known"} | (
        {"seed"} if config.data == REFERENCE else set()
    )
    return config.model_dump_json(include=fields)


def sensor_noise(kind: str, sd_mg_dL: float) -> AbstractNoise:
    """The model of sensor error by its name: none, white, ar1, breton-kovatchev."""
    models: dict[str, Callable[[], AbstractNoise]] = {
        "none": NoNoise,
        "white": lambda: WhiteNoise(sd_mg_dL),
        "ar1": lambda: AR1Noise(sd_mg_dL),
        "breton-kovatchev": BretonKovatchevNoise,
    }
    if kind not in models:
        raise ConfigError(f"unknown noise {kind!r}; there are {', '.join(models)}")
    return models[kind]()


def patient_names(text: str, *, reference: bool) -> list[str] | None:
    """Names from a list separated by commas; None for `all`.

    In the reference cohort a bare number means PatN and `Pat2-Pat11` a range. Elsewhere names are exact.

    Raises:
        ConfigError: naming the patient that the reference cohort does not have.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        raise ConfigError("patients: name at least one, or `all`")
    if parts == ["all"]:
        return None
    if not reference:
        return parts
    there = list(presets())
    names: list[str] = []
    for part in parts:
        first, dash, last = part.partition("-")
        ends = [f"Pat{x}" if x.isdigit() else x for x in ((first, last) if dash else (first,))]
        absent = [x for x in ends if x not in there]
        if absent:
            raise ConfigError(f"patients: no patient {', '.join(absent)}; the reference cohort has {', '.join(there)}")
        i, j = there.index(ends[0]), there.index(ends[-1])
        if j < i:
            raise ConfigError(f"patients: the range {part} runs backwards")
        names += there[i : j + 1]
    return list(dict.fromkeys(names))
