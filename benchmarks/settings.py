"""Settings of a person from the whole record: simulated people whose settings are known, and halves of real records.

`python -m benchmarks.settings` lets people of Kanderian's and Hovorka's bodies live for 14 days, half of
them on a pump with a fixed basal rate and half in a closed loop, with a dawn effect, meals counted with an error of 15
to 30 %, a fifth of the snacks not on record, and sensor noise; then asks `person_settings`.
`python -m benchmarks.settings --real FOLDER` asks the halves of each record in a folder.
"""

import argparse
import dataclasses
import datetime as dt
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import t1djax
from t1djax.data import STEP_MIN, STEPS_PER_DAY, Therapy, draw_people, plan_day
from t1djax.physics import AbstractPhysiology, Hovorka, HovorkaState, Kanderian, KanderianState, settings, state
from t1djax.records import NOT_TOLD, SETTINGS, PersonSettings
from t1djax.statespace import BODIES
from t1djax.trials import CGM, PID, BasalBolus, Rules, TempBasal
from t1djax.trials._life import live_in_loop, profile_of

_MINUTES = 1440.0
SENSITIVITIES = {Kanderian: ("SI",), Hovorka: ("SI1", "SI2", "SI3")}
OUTPUT = {Kanderian: "EGP", Hovorka: "EGP0"}
CONTROLLERS = {"pump": BasalBolus(), "loop": PID(), "hybrid": TempBasal()}


class KanderianAtClock(KanderianState):
    """A state, and the time of day at which it is."""

    minute: Any = state("min")


class HovorkaAtClock(HovorkaState):
    """A state, and the time of day at which it is."""

    minute: Any = state("min")


class WithDawn(AbstractPhysiology):
    """A body whose liver gives more, and whose insulin does less, about six in the morning."""

    body: AbstractPhysiology
    more: jax.Array
    less: jax.Array

    @property
    def clocked(self) -> Any:
        """States with the time."""
        return KanderianAtClock if isinstance(self.body, Kanderian) else HovorkaAtClock

    def _with(self, y: Any, minute: Any) -> Any:
        return self.clocked(**{f.name: getattr(y, f.name) for f in dataclasses.fields(y)}, minute=minute)

    def at(self, minute: Any) -> AbstractPhysiology:
        """The body at a time of day."""
        bump = jnp.exp(-(((minute % _MINUTES - 360.0) / 120.0) ** 2) / 2)
        return self.scaled(1 + self.more * bump, 1 - self.less * bump)

    def scaled(self, output: Any, sensitivity: Any) -> AbstractPhysiology:
        """The body with these factors."""
        cls = type(self.body)
        values = self.body.values()
        values[OUTPUT[cls]] = values[OUTPUT[cls]] * output
        return cls.of(values | {s: values[s] * sensitivity for s in SENSITIVITIES[cls]})

    def in_part(self, part: int | None, parts: int) -> AbstractPhysiology:
        """The body with the means of a part of the day, or of all of it."""
        whole = jnp.arange(0.0, _MINUTES, 5.0)
        minute = whole if part is None else whole[(whole // (_MINUTES / parts)) == part]
        bump = jnp.exp(-(((minute - 360.0) / 120.0) ** 2) / 2)
        return self.scaled(jnp.mean(1 + self.more * bump), jnp.exp(jnp.mean(jnp.log(1 - self.less * bump))))

    def rates(self, y: Any, insulin_U_min: Any, carbs_mg_min: Any) -> Any:
        """Those of the body at this time of day."""
        return self._with(self.at(y.minute).rates(y, insulin_U_min, carbs_mg_min), jnp.ones_like(y.minute))

    def glucose(self, y: Any) -> Any:
        """Of the body."""
        return self.body.glucose(y)

    def steady(self, glucose_mg_dL: Any) -> Any:
        """Of the mean day."""
        y, basal = self.in_part(None, 1).steady(glucose_mg_dL)
        return self._with(y, jnp.zeros_like(glucose_mg_dL)), basal

    def start(self, glucose_mg_dL: Any, insulin_U_min: Any) -> Any:
        """At midnight."""
        return self._with(self.in_part(None, 1).start(glucose_mg_dL, insulin_U_min), jnp.zeros_like(glucose_mg_dL))

    def scales(self) -> Any:
        """Of the body."""
        return self._with(self.body.scales(), jnp.asarray(1.0))


def _life(values: Any, traits: Any, key: Any, cls: Any, days: int, controller: Any) -> Any:
    more, less, cv = traits
    person = WITH_DAWN[cls](cls.of(values), more, less)
    rules = Rules(therapy=eqx.tree_at(lambda t: t.counting_cv, Therapy(), cv), cgm=CGM())
    _, trace = live_in_loop(controller, person, values["G0"], values["daily_carbs"], key, rules, days=days, traced=True)
    settings_key, day_key, _, _ = jax.random.split(key, 4)
    _, lead = profile_of(person, values["daily_carbs"], settings_key, rules.therapy)
    plan = lambda day: plan_day(jax.random.fold_in(day_key, day), values["daily_carbs"], lead, rules.therapy)
    return trace, jax.vmap(lambda day: jax.vmap(plan(day).at)(jnp.arange(STEPS_PER_DAY)))(jnp.arange(days))


class KanderianWithDawn(WithDawn):
    """Of Kanderian's."""

    States = KanderianAtClock
    facts = Kanderian.facts


class HovorkaWithDawn(WithDawn):
    """Of Hovorka's."""

    States = HovorkaAtClock
    facts = Hovorka.facts


WITH_DAWN = {Kanderian: KanderianWithDawn, Hovorka: HovorkaWithDawn}


def simulate(
    cls: type[AbstractPhysiology], kind: str, n: int, *, days: int, seed: int
) -> list[tuple[t1djax.Patient, WithDawn]]:
    """People and their records."""
    rng = np.random.default_rng([seed, cls is Hovorka, kind == "loop"])
    found: list[tuple[t1djax.Patient, WithDawn]] = []
    with jax.enable_x64(True):
        drawn = draw_people(cls, n, key=jax.random.key(seed + 1000 * (kind == "loop")))
        traits = np.stack([rng.uniform(0.1, 0.4, n), rng.uniform(0.0, 0.3, n), rng.uniform(0.15, 0.3, n)])
        keys = jax.random.split(jax.random.key(seed), n)
        values = {s: jnp.asarray(x) for s, x in drawn.values.items()}
        run = jax.jit(jax.vmap(lambda v, t, k: _life(v, tuple(t), k, cls, days, CONTROLLERS[kind])))
        trace, plan = jax.device_get(run(values, jnp.asarray(traits.T), keys))
        for i in range(n):
            one = lambda tree, i=i: jax.tree.map(lambda x: x[i], tree)
            body = WITH_DAWN[cls](cls.of(one(values)), jnp.asarray(traits[0, i]), jnp.asarray(traits[1, i]))
            name = f"{cls.__name__}-{kind}-{i:02d}"
            found.append((_patient(name, one(trace), one(plan), traits[2, i], rng), body))
    return found


def _patient(name: str, trace: Any, plan: Any, cv: float, rng: np.random.Generator) -> t1djax.Patient:
    """What is on record: readings, what the pump gave, and carbohydrate as it was counted."""
    at = STEP_MIN * np.arange(len(trace.glucose_mg_dL), dtype=float)
    counted, main = plan.counted_g.reshape(-1), plan.main.reshape(-1)
    eaten = np.flatnonzero(trace.carbs_g)
    planned = plan.carbs_g.reshape(-1) > 0
    meals = []
    for i in eaten:
        near = np.arange(max(0, i - 6), min(len(counted), i + 10))
        near = near[counted[near] > 0]
        if not planned[i]:  # against a low
            stated = trace.carbs_g[i] if rng.random() > 0.2 else 0.0
        elif len(near):
            stated = counted[near[np.argmin(np.abs(near - i))]]
        else:
            stated = trace.carbs_g[i] * max(0.2, 1 + cv * rng.normal())
            stated = stated if main[i] or rng.random() > 0.2 else 0.0
        if stated > 0:
            meals.append((at[i], float(np.round(stated)), float(trace.meal_min[i])))
    change = np.flatnonzero(np.diff(trace.basal_U_h, prepend=np.nan) != 0)
    bolus = np.flatnonzero(trace.bolus_U)
    when, grams, lasts = (np.asarray(x, float) for x in zip(*meals, strict=True))
    doses = t1djax.physics.Doses(at[change], trace.basal_U_h[change], at[bolus], trace.bolus_U[bolus],
                                 np.full(len(bolus), float(STEP_MIN)), when, grams, lasts)  # fmt: skip
    return t1djax.Patient(name, at, np.round(trace.reading_mg_dL), doses, start=dt.datetime(2025, 3, 3))


_SETTINGS = jax.jit(settings)


def truth_of(body: WithDawn, parts: int, at_mg_dL: float = 120.0) -> dict[str, np.ndarray]:
    """Settings of the whole day and each part, by small experiments on the true body."""
    with jax.enable_x64(True):
        each = [_SETTINGS(body.in_part(k, parts), jnp.asarray(at_mg_dL)) for k in (None, *range(parts))]
    pick = {"isf": "fall_per_U", "cr": "g_per_U", "basal": "basal_U_h"}
    return {w: np.array([float(getattr(s, name)) for s in each]) for w, name in pick.items()}


def people(
    bodies: list[str],
    each: int,
    *,
    kinds: list[str],
    days: int,
    parts: int,
    physiology: str,
    seed: int,
    interval_min: int,
) -> list[dict[str, Any]]:
    """What is found of people whose settings are known: a row of numbers for each of them."""
    rows = []
    for cls in (cls for cls in (Kanderian, Hovorka) if cls.__name__.lower() in bodies):
        for kind in kinds:
            began = time.process_time()
            living = simulate(cls, kind, each, days=days, seed=seed)
            lived = time.process_time() - began
            records = [_thinned(p, interval_min) for p, _ in living]
            found = t1djax.person_settings(records, physiology=physiology, parts=parts, key=jax.random.key(seed))
            print(f"{cls.__name__}, {kind}: {lived:.0f} CPU-s to live, {time.process_time() - began - lived:.0f} CPU-s "
                  f"to learn, {sum(f.ok for f in found)} of {each} converged", flush=True)  # fmt: skip
            print(*(f.bodies_in_words for f in found), sep="; ", flush=True)
            pairs = zip(found, living, strict=True)
            rows += [_row(f"{cls.__name__} {kind}", f, truth_of(b, parts)) for f, (_, b) in pairs]
    return rows


def _row(group: str, f: PersonSettings, truth: dict[str, np.ndarray]) -> dict[str, Any]:
    """Numbers of a person: of the whole day, then of its parts."""
    row: dict[str, Any] = {"group": group, "person": f.name, "bodies": dict(f.bodies)}
    for w in SETTINGS:
        each = [f.setting(w, k) for k in (None, *range(len(f.starts_h)))]
        row[w] = {
            "low": [s.low for s in each], "value": [s.value for s in each], "high": [s.high for s in each],
            "truth": truth[w].tolist(), "rule": f.rules[w], "prior": [s.prior_share for s in each],
            "told": [s.knowledge != NOT_TOLD for s in each],
        }  # fmt: skip
    return row


def _thinned(p: t1djax.Patient, interval_min: int) -> t1djax.Patient:
    """The first reading of each interval."""
    time, glucose = p.time_min[p.valid], p.glucose_mg_dL[p.valid]
    first = np.unique(time // interval_min, return_index=True)[1]
    return dataclasses.replace(p, time_min=time[first], glucose_mg_dL=glucose[first])


def _score(name: str, rows: list[dict[str, Any]]) -> None:
    """Coverage and errors of some people."""
    for w in SETTINGS:
        low, value, high, truth = (np.array([r[w][k] for r in rows], float) for k in ("low", "value", "high", "truth"))
        inside = (low <= truth) & (truth <= high)
        e, blocks = (np.log(np.where(v > 0, v, np.nan) / t) for v, t in zip(
            (value[:, 0], value[:, 1:]), (truth[:, 0], truth[:, 1:]), strict=True))  # fmt: skip
        rule = np.log([r[w]["rule"] for r in rows] / truth[:, 0])
        told = np.array([r[w]["told"] for r in rows])
        percent = lambda x: f"{100 * np.mean(x):3.0f} %" if np.size(x) else "  - "
        error = lambda x: 100 * np.nanmedian(np.abs(np.expm1(x))) if np.size(x) else np.nan
        print(
            f"  {name:18} {len(rows):2} {w:5} inside {percent(inside[:, 0])}, parts {percent(inside[:, 1:])}, "
            f"median error {error(e):3.0f} %, parts {error(blocks):3.0f} %, "
            f"bias {100 * np.expm1(np.nanmedian(e)):+3.0f} %, "
            f"better than the rule {percent(np.abs(e) < np.abs(rule))}, "
            f"ends {np.nanmedian(np.sqrt(high[:, 0] / low[:, 0])):.2f}, told {percent(told[:, 0])}, "
            f"parts {percent(told[:, 1:])}", flush=True,
        )  # fmt: skip


def real(
    folder: Path,
    *,
    physiology: str,
    parts: int,
    interval_min: int,
    carbs_unit: Any,
    names: Sequence[str],
    at_once: int = 3,
) -> None:
    """The first half of each record of a folder, from its first basal rate on, against the second."""
    read = []
    for file in sorted(f for name in names for f in folder.glob(f"*{name}*.csv" if name else "*.csv")):
        try:
            p = t1djax.read_recording(file, carbs_unit=carbs_unit).patient
            early = p.time_min < p.doses.basal_time_min[0]
            read.append(
                _thinned(dataclasses.replace(p, glucose_mg_dL=np.where(early, np.nan, p.glucose_mg_dL)), interval_min)
            )
        except t1djax.DataError as e:
            print(f"{file.name} is left out: {str(e)[:100]}")
    middles = {p.name: float(np.mean(p.time_min[p.valid][[0, -1]])) for p in read}
    later = lambda p: np.where(p.time_min > middles[p.name], p.glucose_mg_dL, np.nan)
    earlier = lambda p: np.where(p.time_min <= middles[p.name], p.glucose_mg_dL, np.nan)
    halves: list[list[PersonSettings]] = [[], []]
    for i in range(0, len(read), at_once):
        for k, half in enumerate((earlier, later)):
            some = [dataclasses.replace(p, glucose_mg_dL=half(p)) for p in read[i : i + at_once]]
            began = time.process_time()
            # What is wrong of a body is wrong of both halves.
            halves[k] += t1djax.person_settings(
                some, physiology=physiology, parts=parts, wrong_body=0.0, key=jax.random.key(k)
            )
            print(*halves[k][-len(some) :], f"{time.process_time() - began:.0f} CPU-s", sep="\n", flush=True)
    for w in SETTINGS:
        both = [(a.setting(w), b.setting(w)) for a, b in zip(*halves, strict=True)]
        good = [(a, b) for a, b in both if a.value > 0 and b.value > 0]
        x = np.log([[a.value, b.value] for a, b in good])
        n = len(x)
        between = 2 * np.sum((x.mean(axis=1) - x.mean()) ** 2) / (n - 1)
        within = np.sum((x[:, 0] - x[:, 1]) ** 2) / (2 * n)
        inside = np.mean([b.low <= a.value <= b.high for a, b in both] + [a.low <= b.value <= a.high for a, b in both])
        rules = np.log([h.rules[w] for h, (a, b) in zip(halves[0], both, strict=True) if a.value > 0 and b.value > 0])
        ranks = np.corrcoef(np.argsort(np.argsort(x.mean(axis=1))), np.argsort(np.argsort(rules)))[0, 1]
        icc = (between - within) / (between + within)
        print(f"{w}: {n} of {len(both)} people, ICC of the logarithm {icc:.2f}, one half "
              f"inside the other's 90 % interval {100 * inside:.0f} %, rank correlation with the rule {ranks:.2f}",
              flush=True)  # fmt: skip


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--each", type=int, default=5, help="people of each body and therapy")
    parser.add_argument("--people", default="kanderian,hovorka", help="bodies of the people")
    parser.add_argument("--kinds", default=",".join(CONTROLLERS))
    parser.add_argument("--days", type=int, default=14)
    parser.add_argument("--parts", type=int, default=6)
    parser.add_argument("--physiology", default=BODIES)
    parser.add_argument("--interval", type=int, default=5)
    parser.add_argument("--seed", type=int, nargs="*", default=[0], help="none makes the table alone")
    parser.add_argument("--rows", type=Path, default=Path("settings.jsonl"), help="file to which people are added")
    parser.add_argument("--real", type=Path)
    parser.add_argument("--carbs-unit")
    parser.add_argument("--names", help="of the real people, part of the file's name, with commas between them")
    args = parser.parse_args()
    if args.real:
        real(args.real, physiology=args.physiology, parts=args.parts, interval_min=args.interval,
             carbs_unit=args.carbs_unit, names=(args.names or "").split(","))  # fmt: skip
        return
    for seed in args.seed:
        rows = people(args.people.split(","), args.each, kinds=args.kinds.split(","), days=args.days, parts=args.parts,
                      physiology=args.physiology, seed=seed, interval_min=args.interval)  # fmt: skip
        with args.rows.open("a") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
    rows = [json.loads(line) for line in args.rows.read_text().splitlines()]
    groups = sorted({r["group"] for r in rows})
    for some in (*groups, *args.kinds.split(","), ""):
        _score(some or "all", [r for r in rows if some in r["group"]])


if __name__ == "__main__":
    main()
