"""Replays of people whose fourth day is lived again with other doses, by bodies that are theirs and that are not.

Kanderian's and Hovorka's drawn people live four days in open loop: three meals a day, carbohydrate counted with 15 %
error, a sensitivity that changes from day to day and over the day, a disturbance that nobody records, a sensor with
autocorrelated noise. Three days are learnt from; on the fourth, two boluses change or basal rates do, all else alike.
`python -m benchmarks.replay --people 20` prints the root mean square error of the predicted change, its truth, the
share inside the 90 % interval; `--loop` lets a loop answer glucose; `--size` changes boluses by 10 to 100 %.
`--real FILES` says of real records what constants of the first half leave unexplained in the second.
"""

import argparse
import dataclasses
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

import t1djax
from t1djax.data import Therapy, titrate
from t1djax.physics import AbstractPhysiology, Doses, Hovorka, Kanderian, runge_kutta_step
from t1djax.statespace import LOOKED_BACK, AbstractAnswer, Dose, Seen, fit_state_space, replay

H = 5.0
DAYS, LEARNT = 5, 4320.0
STEPS = int(DAYS * 1440 / H)
AFTER_MIN = (60, 120, 240, 360)
_PARTS = 4  # of a step, for the equations
_TARGET = 120.0


class Day(NamedTuple):
    """What is given at each step, and what nobody sees."""

    basal_U_min: Any
    bolus_U: Any
    carbs_g: Any
    disturbance: Any
    sensitivity: Any
    error: Any


def lived(body: AbstractPhysiology, day: Day, gain: Array) -> tuple[Array, Array]:
    """Glucose at each step, mg/dL, and the basal rate that a loop of this gain made of the schedule, U/min."""
    sensitivity = body.facts.sensitivity
    y0 = body.start(jnp.asarray(_TARGET), day.basal_U_min[0])

    def step(y: Any, now: Day) -> tuple[Any, tuple[Array, Array]]:
        G = body.glucose(y)
        basal = jnp.maximum(now.basal_U_min + gain * (G + now.error - _TARGET), 0.0)
        mine = dataclasses.replace(body, **{sensitivity: getattr(body, sensitivity) * now.sensitivity})
        reads = jax.grad(mine.glucose)(y)
        size = sum(jnp.sum(x**2) for x in jax.tree.leaves(reads))
        pushed = lambda y, u, r: jax.tree.map(lambda f, x: f + now.disturbance * x / size, mine.rates(y, u, r), reads)
        doses = (basal + now.bolus_U / H, 1000.0 * now.carbs_g / H)
        for _ in range(_PARTS):
            y = runge_kutta_step(pushed, y, jnp.asarray(H / _PARTS), *doses)
        return y, (G, basal)

    return jax.lax.scan(step, y0, day)[1]


class Loop(AbstractAnswer):
    """The loop of these people, as what answers a replay."""

    gain: Any

    def init(self) -> Array:
        """Nothing."""
        return jnp.zeros(())

    def step(self, memory: Array, seen: Seen) -> tuple[Array, Dose]:
        """A rate by glucose."""
        nothing = jnp.zeros(())
        return memory, Dose(self.gain * (seen.glucose_mg_dL - _TARGET), nothing, nothing)


def a_day(rng: np.random.Generator, basal_U_min: float, g_per_U: float) -> tuple[Day, np.ndarray]:
    """A person's days, and the carbohydrate as counted."""
    basal, bolus, carbs, stated = np.full(STEPS, basal_U_min), np.zeros(STEPS), np.zeros(STEPS), np.zeros(STEPS)
    for day in range(DAYS):
        for minute, grams in ((450, 45.0), (750, 60.0), (1140, 70.0)):
            at = int((1440 * day + minute + 25 * rng.standard_normal()) / H)
            eaten = grams * (1 + 0.2 * np.clip(rng.standard_normal(), -2, 2))
            counted = eaten * (1 + 0.15 * np.clip(rng.standard_normal(), -2, 2))
            carbs[at], stated[at] = eaten, counted
            bolus[at + int(rng.integers(-1, 3))] = round(counted / g_per_U, 1)
    ar = lambda minutes, sd: _autoregression(rng, np.exp(-H / minutes), sd)
    clock = 2 * np.pi * H * np.arange(STEPS) / 1440
    daily = np.repeat(rng.standard_normal(DAYS), STEPS // DAYS)
    sensitivity = np.exp(0.12 * daily + 0.12 * np.sin(clock + rng.uniform(0, 2 * np.pi)))
    return Day(basal, bolus, carbs, ar(90.0, 0.35), sensitivity, ar(15.0, 5.0)), stated


def _autoregression(rng: np.random.Generator, rho: float, sd: float) -> np.ndarray:
    x = np.empty(STEPS)
    x[0] = rng.standard_normal()
    for i in range(1, STEPS):
        x[i] = rho * x[i - 1] + np.sqrt(1 - rho**2) * rng.standard_normal()
    return sd * x


def scenarios(day: Day, sizes: bool) -> dict[str, tuple[int, Day]]:
    """Other days by name, and the step of their first change: on the fourth day, a bolus or basal rates."""
    found: dict[str, tuple[int, Day]] = {}
    meals = [int(i) for i in np.flatnonzero(day.bolus_U) if LEARNT <= H * i < LEARNT + 1440][:2]
    factors = [f for x in (0.1, 0.2, 0.5, 1.0) for f in (1 - x, 1 + x)] if sizes else [0.8, 1.2, 0.5]
    for number, at in enumerate(meals):
        for factor in factors:
            bolus = day.bolus_U.copy()
            bolus[at] *= factor
            found[f"{number} bolus {100 * factor - 100:+.0f} %"] = at, day._replace(bolus_U=bolus)
        if not sizes:
            bolus = day.bolus_U.copy()
            bolus[at - 3], bolus[at] = bolus[at], 0.0
            found[f"{number} bolus 15 min earlier"] = at - 3, day._replace(bolus_U=bolus)
    if not sizes:
        at = int(LEARNT / H) + 36
        for factor in (0.8, 1.2):
            basal = day.basal_U_min.copy()
            basal[at : at + 72] *= factor
            found[f"basal {100 * factor - 100:+.0f} %"] = at, day._replace(basal_U_min=basal)
    return found


def doses_of(day: Day, basal_U_min: np.ndarray, stated: np.ndarray) -> Doses:
    """What is on record of a day."""
    t = H * np.arange(STEPS)
    change = np.flatnonzero(np.diff(basal_U_min, prepend=-1.0) != 0)
    return Doses.of(
        basal=[(t[i], 60.0 * basal_U_min[i]) for i in change],
        boluses=[(t[i], day.bolus_U[i], H) for i in np.flatnonzero(day.bolus_U)],
        meals=[(t[i], stated[i], 10.0) for i in np.flatnonzero(stated)],
    )


def measure(truth: type[AbstractPhysiology], models: list[str], n: int, *, gain: float, sizes: bool,
            answer: bool, seed: int, **doubt: Any) -> dict[tuple[str, int], np.ndarray]:  # fmt: skip
    """Rows of error of the change (mg/dL), whether it is inside, and the truth; by kind of change and time after it."""
    drawn = t1djax.virtual_population(n, key=jax.random.key(seed), physiology=truth, days=1)
    rng = np.random.default_rng(seed)
    go: Callable[..., Any] = jax.jit(lived)
    people, lives = [], {}
    with jax.enable_x64(True):
        for name in drawn.names:
            body = truth.of({s: drawn.truth[name].parameters[s] for s in truth.parameters})
            known = titrate(body, jnp.asarray(Therapy().target_mg_dL))
            day, stated = a_day(rng, float(known.basal_U_h) / 60, float(known.per_U / known.per_g))
            strength = gain * float(known.basal_U_h) / 60
            G, basal = (np.asarray(x) for x in go(body, day, strength))
            t = H * np.arange(STEPS)
            keep = t <= LEARNT + 1440
            patient = t1djax.Patient(
                name, t[keep], np.clip(np.round(G + day.error), 40, 400)[keep], doses_of(day, basal, stated)
            )
            others = {}
            for kind, (at, other) in scenarios(day, sizes).items():
                G_other = np.asarray(go(body, other, strength)[0])
                # The loop's own answer is not among the doses that are changed: they are what a person changes.
                scheduled = np.maximum(basal + other.basal_U_min - day.basal_U_min, 0.0)
                others[kind] = at, doses_of(other, scheduled, stated), G_other - G
            people.append(patient)
            lives[name] = (others, strength)
    fits = [fit_state_space(people, physiology=model, options=LOOKED_BACK, train_until_min=LEARNT) for model in models]
    found: dict[tuple[str, int], list[tuple[float, float, float]]] = {}
    for patient in people:
        others, strength = lives[patient.name]
        answers = (Loop(strength),) if answer else ()
        doses = {kind: other for kind, (_, other, _) in others.items()}
        mine = [fit[patient.name] for fit in fits]
        for r in replay(mine, patient, doses, key=jax.random.key(1), answers=answers, **doubt):
            at, _, truth_mg_dL = others[r.scenario]
            middle, low, high = r.interval()
            for minutes in AFTER_MIN:
                step = at + int(minutes / H)
                i = int(np.argmin(np.abs(r.time_min - H * step)))
                true = float(truth_mg_dL[int(r.time_min[i] / H)])
                row = (float(middle[i]) - true, float(low[i] <= true <= high[i]), true)
                for kind in ("all", r.scenario.lstrip("01 ")):
                    found.setdefault((kind, minutes), []).append(row)
    return {key: np.asarray(rows) for key, rows in found.items()}


def unexplained(file: Path, models: list[str]) -> str:
    """A row on a real person: how glucose moves in an hour, and how much of it no model of the first half explains.

    Both as root mean squares over the second half, mg/dL in an hour: of the change of glucose, which persistence leaves
    unexplained, and of what the smoothed disturbances add.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", t1djax.DataWarning)
        patient = t1djax.read_recording(file).patient
    half = float(patient.time_min[0] + patient.time_min[-1]) / 2
    cells = []
    for model in models:
        fit = fit_state_space([patient], physiology=model, options=LOOKED_BACK, train_until_min=half)
        states = t1djax.smoothed_states(fit, patient)
        after = states.time_min > half
        t, flow = states.time_min[after], (states.mean["fast"] + states.mean["slow"])[after]
        added = np.concatenate([[0.0], np.cumsum(flow[:-1] * np.diff(t))])
        start = patient.time_min[patient.valid & (patient.time_min > half) & (patient.time_min + 60 < t[-1])]
        moved = _hours(start, patient.time_min[patient.valid], patient.glucose_mg_dL[patient.valid])
        left = _hours(start, t, added)
        cells.append(f"{moved:.1f} | {left:.1f} | {left / moved:.2f}")
    return f"{patient.name} | " + " | ".join(cells)


def _hours(start: np.ndarray, time_min: np.ndarray, x: np.ndarray) -> float:
    """Root mean square change of a course over the hour from each start."""
    return float(np.sqrt(np.mean((np.interp(start + 60, time_min, x) - np.interp(start, time_min, x)) ** 2)))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=6)
    parser.add_argument("--truth", default="kanderian,hovorka")
    parser.add_argument("--models", default="kanderian+hovorka+magdelaine")
    parser.add_argument("--loop", action="store_true")
    parser.add_argument("--answer", action="store_true", help="tell the replay of the loop")
    parser.add_argument("--size", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--trust", type=float)
    parser.add_argument("--timing-min", type=float)
    parser.add_argument("--real", nargs="+", type=Path, help="records of people")
    args = parser.parse_args()
    if args.real:
        models = args.models.replace("+", ",").split(",")
        print("person | " + " | ".join(f"{m}: moves | unexplained | share" for m in dict.fromkeys(models)))
        for file in args.real:
            print(unexplained(file, list(dict.fromkeys(models))), flush=True)
        return
    doubt = {k: v for k, v in (("trust", args.trust), ("timing_min", args.timing_min)) if v is not None}
    print("truth | models | change | min | error rms | truth rms | inside 90 % | predicted/true | n")
    for name in args.truth.split(","):
        for models in args.models.split(","):
            rows = measure({"kanderian": Kanderian, "hovorka": Hovorka}[name], models.split("+"), args.people,
                           gain=0.004 if args.loop else 0.0, sizes=args.size, answer=args.answer, seed=args.seed,
                           **doubt)  # fmt: skip
            for (kind, minutes), x in sorted(rows.items(), key=lambda row: (row[0][0], row[0][1])):
                if kind == "all" or args.size:
                    rms = lambda y: np.sqrt(np.mean(y**2))
                    slope = np.sum((x[:, 0] + x[:, 2]) * x[:, 2]) / np.sum(x[:, 2] ** 2)
                    print(f"{name} | {models} | {kind} | {minutes} | {rms(x[:, 0]):.1f} | {rms(x[:, 2]):.1f} | "
                          f"{100 * x[:, 1].mean():.0f} | {slope:.2f} | {len(x)}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
