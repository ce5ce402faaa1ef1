"""From a configuration to results: read, pose, fit, score, write."""

import dataclasses
import datetime as dt
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax

from .config import REFERENCE, ConfigError, Experiment
from .data import (
    AbstractNoise,
    AR1Noise,
    BretonKovatchevNoise,
    Cohort,
    NoNoise,
    Patient,
    WhiteNoise,
    reference_cohort,
)
from .evaluation import doubts, metrics, recovery, summary
from .inference import LeastSquares, fit_ode
from .io import read_cohort, read_hupa, read_recording, write_results
from .networks import ARCHITECTURES, NetworkOptions
from .physics import presets
from .plotting import save_figures
from .problem import LogNormal, Mode, Problem, pose
from .records import Ensemble, Fit
from .training import Progress, Stage, fit_members

if TYPE_CHECKING:
    import pandas as pd


def fit(
    cohort: Cohort | Sequence[Patient],
    *,
    model: str | None = None,
    mode: Mode = "inverse",
    free: Iterable[str] = (),
    seed: int = 0,
    assume_population: bool = False,
    estimate_initial_state: bool = False,
    priors: Mapping[str, LogNormal] = {},
    bounds: Mapping[str, tuple[float, float]] = {},
    noise_sd_mg_dL: float | None = None,
    options: NetworkOptions | LeastSquares | None = None,
    stages: Sequence[Stage] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Fit:
    """Fit every patient of a cohort at once.

    Args:
        cohort: the patients. A cohort's truth is not looked at.
        model: `pinn` (if not given), `modified_mlp` or `birnn`, the physics-informed networks; `ode`, least squares on
            the equations; `flax` with `FlaxOptions`, or the name of options of your own.
        mode: `forward`, all parameters known, or `inverse`.
        free: what to estimate in inverse mode, by symbol; ksi if not given.
        seed: sets starts and initial weights.
        assume_population: take parameters that nobody stated from the population.
        estimate_initial_state: estimate insulin and food on board at the start of the window.
        priors: what is believed of free parameters, by symbol.
        bounds: lower and upper bounds of free parameters, in their units, by symbol.
        noise_sd_mg_dL: standard deviation of the readings' noise, mg/dL; estimated if not given.
        options: the network's options, such as `BIRNNOptions`, or `LeastSquares`; they decide the model if it is not
            named.
        stages: the curriculum of the network; the default one if not given.
        on_progress: called after each chunk of training steps.

    Returns:
        The fit: estimates, states, history.

    Raises:
        ValueError: where the model is not known, a parameter is neither stated nor free, or a prior or a bound makes
            no sense.
        UnidentifiableError: where glucose cannot tell the free parameters apart.

    Example:
        >>> import t1djax
        >>> cohort = t1djax.reference_cohort(interval_min=15, names=["Pat2"])
        >>> found = t1djax.fit(cohort, model="ode", free=["ksi"])["Pat2"].estimates["ksi"]
        >>> round(found.value, 3)
        197.0
    """
    return fit_ensemble(
        cohort,
        seeds=(seed,),
        model=model,
        mode=mode,
        free=free,
        assume_population=assume_population,
        estimate_initial_state=estimate_initial_state,
        priors=priors,
        bounds=bounds,
        noise_sd_mg_dL=noise_sd_mg_dL,
        options=options,
        stages=stages,
        on_progress=on_progress,
    ).members[0]


def fit_ensemble(
    cohort: Cohort | Sequence[Patient],
    *,
    seeds: Sequence[int],
    model: str | None = None,
    mode: Mode = "inverse",
    free: Iterable[str] = (),
    assume_population: bool = False,
    estimate_initial_state: bool = False,
    priors: Mapping[str, LogNormal] = {},
    bounds: Mapping[str, tuple[float, float]] = {},
    noise_sd_mg_dL: float | None = None,
    options: NetworkOptions | LeastSquares | None = None,
    stages: Sequence[Stage] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Ensemble:
    """Fit every patient of a cohort from several seeds at once: seeds times patients train as one program.

    Args:
        cohort: the patients.
        seeds: one per member, all different; each sets its own starts and initial weights.
        model: as for `fit`, like the rest.
        mode: forward or inverse.
        free: what to estimate.
        assume_population: take parameters that nobody stated from the population.
        estimate_initial_state: estimate insulin and food on board at the start of the window.
        priors: what is believed of free parameters.
        bounds: bounds of free parameters.
        noise_sd_mg_dL: the readings' noise, mg/dL.
        options: the network's options, or `LeastSquares`.
        stages: the curriculum.
        on_progress: called after each chunk of training steps.

    Returns:
        The members, each what `fit` gives for its seed; `spread` compares them.

    Example:
        >>> import t1djax
        >>> cohort = t1djax.reference_cohort(interval_min=30, names=["Pat2", "Pat3"])
        >>> ensemble = t1djax.fit_ensemble(cohort, seeds=[0, 1, 2], model="ode")
        >>> t1djax.spread(ensemble)["ksi_sd"].max() < 1e-6
        np.True_
    """
    if isinstance(cohort, Patient):
        raise ValueError("give a cohort or a list of patients: fit([patient])")
    patients = tuple(cohort)
    seeds = tuple(seeds)
    if not seeds or len(set(seeds)) < len(seeds) or not all(0 <= seed < 2**32 for seed in seeds):
        raise ValueError("seeds: name at least one, each once, from 0 to 4294967295")
    named = (free,) if isinstance(free, str) else tuple(free)
    named = named or (("ksi",) if mode == "inverse" else ())
    pose_one = lambda seed: pose(
        patients,
        mode=mode,
        free=named,
        key=jax.random.fold_in(jax.random.key(seed), 1),
        assume_population=assume_population,
        estimate_initial_state=estimate_initial_state,
        priors=priors,
        bounds=bounds,
        noise_sd_mg_dL=noise_sd_mg_dL,
    )
    problems = [pose_one(seed) for seed in seeds]
    return Ensemble(seeds, _fit(patients, problems, seeds, _model(model, options), options, stages, on_progress))


def _model(model: str | None, options: NetworkOptions | LeastSquares | None) -> str:
    """The model that name and options agree on."""
    stated = "ode" if isinstance(options, LeastSquares) else None if options is None else options.model
    if model is None:
        return stated or "pinn"
    if stated is not None and model != stated:
        raise ValueError(f"model {model} and {type(options).__name__} do not go together; leave one of them out")
    if stated is None and model == "flax":
        raise ValueError("model flax needs its module: options=FlaxOptions(module=...)")
    if stated is None and model != "ode" and model not in ARCHITECTURES:
        known = ", ".join([*ARCHITECTURES, "ode"])
        raise ValueError(f"unknown model {model!r}; there are {known}, and any other that comes with its options")
    return model


def _fit(
    patients: Sequence[Patient],
    problems: Sequence[Problem],
    seeds: Sequence[int],
    model: str,
    options: NetworkOptions | LeastSquares | None,
    stages: Sequence[Stage] | None,
    on_progress: Callable[[Progress], None] | None,
) -> tuple[Fit, ...]:
    keys = [jax.random.fold_in(jax.random.key(seed), 2) for seed in seeds]
    if model == "ode":
        assert options is None or isinstance(options, LeastSquares)
        if stages is not None:
            raise ValueError("model ode has no stages; leave them out, or name a network")
        return tuple(fit_ode(patients, p, key=key, options=options) for p, key in zip(problems, keys, strict=True))
    assert not isinstance(options, LeastSquares)
    options = ARCHITECTURES[model]() if options is None else options
    return fit_members(patients, problems, keys=keys, options=options, stages=stages, on_progress=on_progress)


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """A finished run."""

    ensemble: Ensemble
    """The fits of the cohort, one per seed."""
    table: "pd.DataFrame"
    """One row per seed and patient: `seed`, then the columns of `summary`."""
    folders: tuple[Path, ...]
    """The result folders, one per seed and patient."""

    @property
    def fit(self) -> Fit:
        """The fit of the first seed."""
        return self.ensemble.members[0]


def run(
    config: Experiment,
    *,
    on_problem: Callable[[Cohort, Problem], None] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    figures: bool = True,
) -> Run:
    """Run an experiment: read the cohort, fit it, score it, write a folder per patient.

    Args:
        config: the experiment.
        on_problem: called once everything is known to be in order, before the fit.
        on_progress: called after each chunk of training steps.
        figures: whether to draw figures into the result folders.

    Returns:
        The run.

    Raises:
        DataError: listing everything wrong with the files.
        ValueError: where the question cannot be posed.
        OSError: where results cannot be written; nothing is lost of what was written before.
    """
    started = dt.datetime.now().astimezone()
    cohort = load_cohort(config)
    seeds = tuple(range(config.seed, config.seed + config.members))
    problems = [
        pose(
            cohort.patients,
            mode=config.mode,
            free=config.free,
            key=jax.random.fold_in(jax.random.key(seed), 1),
            assume_population=config.assume_population,
            estimate_initial_state=config.estimate_initial_state,
            priors={symbol: prior.belief() for symbol, prior in config.priors.items()},
            bounds=config.bounds,
            noise_sd_mg_dL=config.noise_sd_mg_dL,
        )
        for seed in seeds
    ]
    root = Path(config.results)
    _prepare(root)
    if on_problem is not None:
        on_problem(cohort, problems[0])
    options = config.options()
    stages = None if options is None else config.stages(problems[0].start)
    fits = _fit(cohort.patients, problems, seeds, config.model, options, stages, on_progress)
    folders: list[Path] = []
    for seed, fitted in zip(seeds, fits, strict=True):
        folders += write_results(
            root,
            fitted,
            cohort,
            recovered={f.name: recovery(f, cohort.truth.get(f.name)) for f in fitted},
            scores={f.name: metrics(f, cohort[f.name], cohort.truth.get(f.name)) for f in fitted},
            doubts={f.name: doubts(f, cohort[f.name]) for f in fitted},
            config=_resolved(config, options, stages),
            seed=seed,
            started=started,
            draw=save_figures if figures else None,
        )
    return Run(Ensemble(seeds, fits), _table(seeds, fits, cohort), tuple(folders))


def _table(seeds: Sequence[int], fits: Sequence[Fit], cohort: Cohort) -> "pd.DataFrame":
    import pandas as pd  # noqa: PLC0415 - costs half a second at import

    tables = [summary(fitted, cohort) for fitted in fits]
    for seed, table in zip(seeds, tables, strict=True):
        table.insert(0, "seed", seed)
    return pd.concat(tables, ignore_index=True)


def _prepare(root: Path) -> None:
    """Find out before the fit, not after it, whether results can be written."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root):
            pass
    except OSError as e:
        raise OSError(f"results cannot be written to {root} ({e.strerror or e}); name another folder") from e


def _resolved(config: Experiment, options: NetworkOptions | None, stages: Sequence[Stage] | None) -> dict[str, Any]:
    """The configuration with nothing left to a default that may change: `train --config` runs it again."""
    resolved = config.model_dump(mode="json")
    resolved["inverse_params"] = list(config.free)
    if options is not None and stages is not None:
        resolved["network"] = dataclasses.asdict(options)
        resolved["network"]["stages"] = [dataclasses.asdict(stage) for stage in stages]
    return resolved


def load_cohort(config: Experiment) -> Cohort:
    """The patients that the experiment names, with the truth of synthetic ones for scoring.

    Raises:
        DataError: listing everything wrong with the files.
        ConfigError: where a patient is not there, or an option does not go with the data.
    """
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
    if config.layout == "hupa" and (h := config.hupa).carbs_unit is not None:
        person = read_hupa(config.data, carbs_unit=h.carbs_unit, start=h.start, hours=h.hours, info=h.info)
        return Cohort((person,))
    if config.layout == "auto":
        h = config.hupa
        return Cohort((read_recording(config.data, carbs_unit=h.carbs_unit, start=h.start, hours=h.hours).patient,))
    names = patient_names(config.patients, reference=False)
    return read_cohort(config.data, patients=names, strict=config.strict, truth=True)


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
