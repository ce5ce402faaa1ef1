"""ReplayBG: its own model, identified by its MAP method on the same readings, doses and body mass. It has no ksi."""

# pyright: reportMissingImports=false

import os
import tempfile
import time
from typing import Any

import numpy as np
from talk import rates, serve

STEP_MIN = 5
CLOCK = "2000-01-01 20:00"
"""Minute zero. A job has no clock; this makes the reference cohort's meals after 24, 37 and 41 h dinner, breakfast and
lunch, which the package needs to be told."""
SMALL_G = 20.0
"""Carbohydrates up to here are a treatment of low glucose, not a meal."""
STARTS = 16
"""Of its search: as many as the package takes for the start of its chains. For a MAP alone it takes 128."""


class _LateError(Exception):
    """The budget is spent."""


def fit(job: dict[str, Any]) -> dict[str, Any]:
    """One patient after the other, as far as the budget goes; what it writes goes into a folder that is deleted."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["NUMBA_CACHE_DIR"] = folder  # before the package is imported: it keeps compiled code beside itself
        return _fit(job, folder)


def _fit(job: dict[str, Any], folder: str) -> dict[str, Any]:
    from py_replay_bg import py_replay_bg as package  # noqa: PLC0415
    from py_replay_bg.sensors import CGM  # noqa: PLC0415
    from py_replay_bg.twinning import map as search  # noqa: PLC0415

    class Exact(CGM):
        """A sensor without error: the glucose that the package compares with readings."""

        def connect_new_cgm(self, connected_at: int = 0) -> None:
            super().connect_new_cgm(connected_at)
            self.max_lifetime, self.ts = 10, STEP_MIN

        def measure(self, ig: float, past_ig: Any, t: float) -> float:
            return ig

    class Fewer(search.MAP):
        """Its search with another number of starts."""

        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self.n_rerun = job.get("starts", STARTS)

    def in_time(*args: Any, of: Any = search.run_map) -> Any:
        if time.perf_counter() - began > job["budget_s"]:
            raise _LateError
        return of(*args)

    package.MAP, search.run_map = Fewer, in_time
    twins = package.ReplayBG(save_folder=folder, blueprint="multi-meal", yts=STEP_MIN, plot_mode=False, verbose=False)
    began = time.perf_counter()
    _compile(package, twins, job["patients"][0])
    compile_s = time.perf_counter() - began
    began = time.perf_counter()
    seconds, glucose, inside = [], [], []
    for patient in job["patients"]:
        told = {"data": _table(patient), "bw": _mass_kg(patient), "save_name": "twin", "twinning_method": "map"}
        started = time.perf_counter()
        try:
            twins.twin(**told)
        except _LateError:
            break
        seconds.append(time.perf_counter() - started)
        found = twins.replay(**told, sensor_cgm=Exact)["cgm"]["median"]
        missed = (found - np.asarray(patient["glucose_mg_dL"]))[np.asarray(patient["fit"])]
        glucose.append(found.tolist())
        inside.append(float(np.sqrt(np.mean(missed**2))))
    done, asked = len(seconds), len(job["patients"])
    status = "ok, another model" if done == asked else f"stopped at its budget ({done} of {asked} patients)"
    answer = {"ksi": [], "seconds": seconds, "compile_s": compile_s, "status": status}
    return answer | {"glucose_mg_dL": glucose, "inside_mg_dL": inside, "starts": job.get("starts", STARTS)}


def _compile(package: Any, twins: Any, patient: dict[str, Any]) -> None:
    """One look at the objective, so that the first patient is timed without the compiler."""
    data, about = _table(patient), {"environment": twins.environment, "twinning_method": "map", "is_twin": True}
    model = package.T1DModelMultiMeal(data=data, bw=_mass_kg(patient), **about)
    known = package.ReplayBGData(data=data, model=model, environment=twins.environment)
    model.neg_log_posterior(model.start_guess, known)


def _mass_kg(patient: dict[str, Any]) -> float:
    p = patient["parameters"]
    return float(p["M"] if "M" in p else 128.0 / p["kb"])


def _table(patient: dict[str, Any]) -> Any:
    """Rows of 5 min as the package wants them: insulin U/min, carbohydrates g/min; later readings are not told."""
    import pandas as pd  # noqa: PLC0415

    ts, fit = np.asarray(patient["time_min"]), np.asarray(patient["fit"])
    if not np.allclose(np.diff(ts), STEP_MIN):
        raise ValueError(f"ReplayBG needs readings every {STEP_MIN} min")
    edges = np.append(ts, ts[-1] + STEP_MIN)
    basal, bolus, carbs = np.zeros(len(ts)), np.zeros(len(ts)), np.zeros(len(ts))
    level = 0.0
    for start, end, insulin, grams in rates(patient):
        share = np.clip(np.minimum(edges[1:], end) - np.maximum(edges[:-1], start), 0, None) / STEP_MIN
        brief = end - start <= STEP_MIN and insulin > level
        level = level if brief else insulin
        basal, bolus, carbs = basal + level * share, bolus + (insulin - level) * share, carbs + grams / 1000 * share
    basal[-1] = level  # after the last reading
    clock = pd.DatetimeIndex(np.datetime64(CLOCK, "m") + ts.astype(np.int64))
    labels = [
        "" if g == 0 else "H" if g * STEP_MIN <= SMALL_G else "B" if 4 <= h < 11 else "L" if 11 <= h < 17 else "D"
        for g, h in zip(carbs, clock.hour, strict=True)
    ]
    return pd.DataFrame(
        {
            "t": clock,
            "glucose": np.where(fit, np.asarray(patient["glucose_mg_dL"]), np.nan),
            "cho": carbs,
            "cho_label": labels,
            "bolus": bolus,
            "bolus_label": "",
            "basal": basal,
        }
    )


if __name__ == "__main__":
    serve({"fit": fit}, ("py_replay_bg", "numba"))
