"""The stochastic model of each body on people drawn from the form of each body, right and wrong.

`python -m benchmarks.stochastic` draws people from the form itself (constants, effects, disturbances, a sensor's noise;
14 days at 15 min; those with 6 % of their readings at a sensor's limits or more are left out), learns from 70 % of each
record and scores forecasts on the rest: coverage of 90 % intervals and error, beside persistence; where the body is the
right one also the share of parameters inside their 90 % intervals (maximum likelihood: `horizons_min=()`), and coverage
where the constants are the true ones, with its standard error over people.
`--hupa FILES` says what linearising costs on records of HUPA-UCM: mean and standard deviation of glucose ahead, by the
extended filter beside draws of the process.
"""

import argparse
import dataclasses
import functools
import warnings
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import t1djax
from t1djax.physics import physiology_named
from t1djax.statespace import StateSpaceFit, StateSpaceOptions, fit_state_space, model_of_numbers
from t1djax.statespace._body import unit_of
from t1djax.statespace._hyper import Form, layout
from t1djax.statespace._model import build, positive, reading_row
from t1djax.statespace._person import person_of
from t1djax.statespace._search import run_filter
from t1djax.statespace._steps import stack_steps, steps_for

HORIZONS_MIN = (30.0, 60.0, 120.0)
DAYS, STEP_MIN, LEVEL = 14, 15.0, 150.0
_INSIDE = 1.6449
_DRAWS = 4000


def drawn(body: str, seed: int) -> tuple[t1djax.Patient, dict[str, float]]:
    """A person of the form of a body, and the constants and effects."""
    form, rng = Form(StateSpaceOptions(), physiology_named(body)), np.random.default_rng([7, seed])
    t = np.arange(0, DAYS * 1440, STEP_MIN)
    meals = np.concatenate([d * 1440 + np.array([450, 780, 1140]) + rng.normal(0, 40, 3) for d in range(DAYS)])
    meals = np.sort(meals[(meals > 0) & (meals < t[-1] - 10)])
    carbs, g_per_U = rng.uniform(25, 80, len(meals)), rng.uniform(8, 14)
    doses = t1djax.Doses.of(
        basal=float(rng.uniform(0.6, 1.2)),
        boluses=[(float(m), float(g / g_per_U * rng.uniform(0.7, 1.3))) for m, g in zip(meals, carbs, strict=True)],
        meals=[(float(m), float(g)) for m, g in zip(meals, carbs, strict=True)],
    )
    blank = t1djax.Patient(f"{body}{seed}", t, np.full(len(t), LEVEL), doses)
    with jax.enable_x64(True):
        steps = jax.tree.map(lambda x: x[0], stack_steps([steps_for(blank, form)]))
        person = person_of(blank, until_min=float(t[-1]))
        z = {row.symbol: float(np.clip(rng.normal(), -1.5, 1.5)) for row in form.constants}
        z |= {s: z[s] / 2 for s in ("fast", "walk")}
        h = {r.symbol: jnp.asarray(r.median * np.exp(0.6 * r.log_sd * z[r.symbol])) for r in form.constants}
        n = len(layout(form).names)
        start = jnp.asarray(rng.normal(size=n) * np.where(np.arange(n) < 1, 0.4, 0.8))
        noise = np.zeros((len(steps.time_min), n))
        count = len(np.unique(np.asarray(steps.time_min)))
        noise[:count] = rng.normal(size=(count, n))
        x = np.asarray(_path(h, person, steps, start, jnp.asarray(noise), form))
        start, at = x[0], np.searchsorted(np.asarray(steps.time_min), t)
        glucose = x[at] @ np.asarray(reading_row(layout(form))) + LEVEL + rng.normal(0, float(h["noise"]), len(t))
        effects = np.asarray(positive(jnp.asarray(start[layout(form).core :]), person, form))
    truth = {**{s: float(v) for s, v in h.items()}, **dict(zip(("p1", "q", "r"), effects.tolist(), strict=True))}
    return dataclasses.replace(blank, glucose_mg_dL=np.clip(glucose, 40, 400)), truth


@functools.partial(jax.jit, static_argnums=5)
def _path(h: Any, person: Any, steps: Any, start: jax.Array, noise: jax.Array, form: Form) -> jax.Array:
    """States drawn from the form."""
    model: Any = build(h, person, steps, form, unit_of(h, person.level_mg_dL, form))[0]

    def step(x: jax.Array, now: tuple[Any, jax.Array]) -> tuple[jax.Array, jax.Array]:
        each, w = now
        later, _, Q = model.motion.step(each, x)
        return later + _root(Q) @ w, x

    start = model.mean + jnp.linalg.cholesky(model.cov + 1e-9 * jnp.eye(len(start))) @ start
    return jax.lax.scan(step, start, (model.motion.each, noise))[1]


def _root(Q: jax.Array) -> jax.Array:
    values, vectors = jnp.linalg.eigh(Q)
    return vectors * jnp.sqrt(jnp.maximum(values, 0))


def people_of(body: str, n: int) -> list[tuple[t1djax.Patient, dict[str, float]]]:
    """So many people whose readings lie within a sensor's limits, nearly all."""
    kept, seed = [], 0
    while len(kept) < n and seed < 8 * n:
        patient, truth = drawn(body, seed)
        seed += 1
        if np.mean((patient.glucose_mg_dL <= 40) | (patient.glucose_mg_dL >= 400)) < 0.06:
            kept.append((patient, truth))
    return kept


def inside(fit: StateSpaceFit, truth: dict[str, dict[str, float]]) -> str:
    """How many parameters lie inside their 90 % intervals: normal for effects of a linear body, else log-normal."""
    hits = []
    for p in fit:
        for symbol, e in {**p.constants, **p.effects}.items():
            if symbol == "c" or e.standard_error is None:
                continue
            normal = p.form.exact and symbol in p.effects
            level = 1.0 if p.form.exact or symbol != "p1" else float(p.person.level_mg_dL) / LEVEL
            true = truth[p.name][symbol] * level
            miss = e.value - true if normal else e.value * np.log(e.value / true)
            hits.append(abs(miss) < _INSIDE * e.standard_error)
    return f"{sum(hits)} of {len(hits)}"


def known(body: str, people: list[tuple[t1djax.Patient, dict[str, float]]]) -> None:
    """Print the share inside 90 % intervals where the constants are the true ones: of forecasts that know no later
    dose, of those of them without a meal before the horizon, and of forecasts that know all doses."""
    shares = []
    for patient, truth in people:
        with jax.enable_x64(True):
            person = person_of(patient, until_min=float(patient.time_min[-1]))
        numbers = {**truth, "level_mg_dL": LEVEL}
        for i, name in enumerate(("c", "p1", "q", "r")):
            numbers[f"prior_{name}"] = float(person.effect_mean[i])
            numbers[f"prior_{name}_sd"] = float(person.effect_sd[i])
        until = 0.7 * float(patient.time_min[-1])
        fit = model_of_numbers(patient.name, numbers, physiology_named(body), train_until_min=until)
        each = [
            t1djax.state_space_forecasts(fit, patient, horizon_min=HORIZONS_MIN, future_inputs=future)
            for future in ("none", "recorded")
        ]
        meals, origin = np.append(patient.doses.meal_time_min, np.inf), each[0].origin_min
        quiet = meals[np.searchsorted(meals, origin, side="right")][:, None] - origin[:, None] > np.asarray(
            HORIZONS_MIN
        )
        for x, kept in ((each[0], True), (each[0], quiet), (each[1], True)):
            z = (x.observed_mg_dL - x.mean_mg_dL) / x.sd_mg_dL
            counts = np.where(kept & np.isfinite(z), np.abs(z) < _INSIDE, np.nan)
            shares.append(100 * np.nanmean(counts, axis=0))
    every = np.reshape(shares, (-1, 3, len(HORIZONS_MIN)))
    for words, x in zip(
        ("no later dose known", "and no meal to come", "all doses known"), every.swapaxes(0, 1), strict=True
    ):
        error = np.std(x, axis=0, ddof=1) / np.sqrt(len(x))
        print(body, "true constants", words, *(np.round(y, 1).tolist() for y in (np.mean(x, axis=0), error)), sep=" | ")


def coverage(models: list[str], bodies: list[str], n: int) -> None:
    """Print the table."""
    print("people | model | inside 90 % at 30, 60, 120 min | error, mg/dL | persistence | parameters inside")
    for body in bodies:
        people = people_of(body, n)
        some, truth = [p for p, _ in people], {p.name: t for p, t in people}
        known(body, people)
        for model in models:
            fit = fit_state_space(some, physiology=model)
            z, square, still = [], [], []
            for p in some:
                found = t1djax.state_space_forecasts(fit, p, horizon_min=HORIZONS_MIN)
                end = fit[p.name].train_until_min
                same = t1djax.baseline_forecasts(p, "persistence", horizon_min=HORIZONS_MIN, train_until_min=end)
                miss = found.observed_mg_dL - found.mean_mg_dL
                z.append(miss / found.sd_mg_dL)
                square.append(np.nanmean(miss**2, axis=0))
                still.append(np.nanmean((same.observed_mg_dL - same.mean_mg_dL) ** 2, axis=0))
            every = np.concatenate(z)
            held = 100 * np.nansum(np.abs(every) < _INSIDE, axis=0) / np.sum(np.isfinite(every), axis=0)
            own = ""
            if model == body:
                options = StateSpaceOptions(horizons_min=())
                own = inside(fit_state_space(some, physiology=model, options=options), truth)
            numbers = (np.round(x, 1).tolist() for x in (held, *(np.sqrt(np.mean(y, axis=0)) for y in (square, still))))
            print(body, model, *numbers, own, sep=" | ", flush=True)


def linearising(files: list[Path], model: str) -> None:
    """Print how far the extended filter's forecasts are from draws of the process, in standard deviations."""
    rows = []
    for file in files:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", t1djax.DataWarning)
            patient = t1djax.io.read_hupa(file, carbs_unit="g")
        rows += _of_record(patient, model)
    each = np.abs(np.asarray(rows))
    for j, minutes in enumerate(HORIZONS_MIN):
        words = [f"{np.median(x):.3f} (worst {np.max(x):.3f})" for x in each[:, j].T]
        print(
            f"{model} | {minutes:g} min | mean {words[0]} | sd {words[1]} | ends {words[2]} | n {len(each)}", flush=True
        )


def _of_record(patient: t1djax.Patient, model: str) -> list[np.ndarray]:
    kept = patient.time_min <= 4 * 1440
    patient = dataclasses.replace(
        patient, time_min=patient.time_min[kept], glucose_mg_dL=patient.glucose_mg_dL[kept]
    )  # fmt: skip
    person = fit_state_space([patient], physiology=model, train_until_min=np.inf).patients[0]
    form = person.form
    with jax.enable_x64(True):
        steps, h = steps_for(patient, form), {s: jnp.asarray(e.value) for s, e in person.constants.items()}
        unit = unit_of(h, person.person.level_mg_dL, form)
        known: Any = jax.jit(
            lambda h: (
                build(h, person.person, steps, form, unit)[0],
                run_filter(h, person.person, steps, form, unit, np.zeros(0))[0],
            )
        )(h)
        (built, filtered), time = known, np.asarray(steps.time_min)
        origins = [int(np.searchsorted(time, t)) for t in np.linspace(1500, time[-1] - 150, 8)]
        length = max(int(np.searchsorted(time, time[i] + HORIZONS_MIN[-1]) - i) for i in origins)

        @jax.jit
        def walk(i: Any, key: Any) -> Any:
            each = jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, i, length), built.motion.each)
            mean, cov = filtered.mean[i], filtered.cov[i]

            def expected(now: Any, row: Any) -> Any:
                m, P = now
                m, F, Q = built.motion.step(row, m)
                P = F @ P @ F.T + Q
                return (m, P), (built.read @ m, built.read @ P @ built.read)

            def moved(x: jax.Array, row: Any, w: jax.Array) -> jax.Array:
                x, _, Q = built.motion.step(row, x)
                return x + _root(Q) @ w

            def process(x: jax.Array, now: Any) -> Any:
                row, key = now
                x = jax.vmap(moved, in_axes=(0, None, 0))(x, row, jax.random.normal(key, x.shape))
                y = x @ built.read
                return x, (jnp.mean(y), jnp.std(y), jnp.quantile(y, jnp.asarray([0.05, 0.95])))

            start, keys = jax.random.split(key)
            x = mean + jax.random.normal(start, (_DRAWS, len(mean))) @ _root(cov).T
            _, ours = jax.lax.scan(expected, (mean, cov), each)
            return ours, jax.lax.scan(process, x, (each, jax.random.split(keys, length)))[1]

        rows = []
        for i in origins:
            (m, var), (mean, sd, ends) = jax.tree.map(np.asarray, walk(i, jax.random.key(i)))
            at = [int(np.searchsorted(time, time[i] + minutes)) - i - 1 for minutes in HORIZONS_MIN]
            m, s, mean, sd, ends = m[at], np.sqrt(var[at]), mean[at], sd[at], ends[at]
            off = np.max(np.abs(np.stack([m - _INSIDE * s, m + _INSIDE * s], axis=-1) - ends), axis=-1)
            rows.append(np.stack([(m - mean) / sd, s / sd - 1, off / sd], axis=-1))
    return rows


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=6)
    parser.add_argument("--truth", default="magdelaine,kanderian,hovorka")
    parser.add_argument("--models", default="magdelaine,kanderian,hovorka")
    parser.add_argument("--hupa", nargs="+", type=Path)
    args = parser.parse_args()
    if args.hupa:
        for model in args.models.split(","):
            if model != "magdelaine":
                linearising(args.hupa, model)
        return
    coverage(args.models.split(","), args.truth.split(","), args.people)


if __name__ == "__main__":
    main()
