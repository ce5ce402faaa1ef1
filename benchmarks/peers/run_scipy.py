"""SciPy: `solve_ivp`, `least_squares` on it, and a plain Euler loop in NumPy."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy.integrate import solve_ivp
from scipy.optimize import least_squares
from talk import rates, serve

Slopes = Callable[[float, np.ndarray], list[float]]


class Body(NamedTuple):
    """A physiology in plain Python, independent of the library's."""

    start: Callable[[dict[str, float], float], list[float]]
    """The state at the start, of parameters with `G0` (mg/dL) and the basal rate (U/min)."""
    slopes: Callable[[dict[str, float], float, float], Slopes]
    """Rates of the state under insulin (U/min) and carbohydrate (mg/min)."""
    glucose: Callable[[dict[str, float]], float] = lambda p: 1.0
    """What the first state is multiplied by for mg/dL."""


def _magdelaine(p: dict[str, float], u: float, r: float) -> Slopes:
    ksi, c, Tu, Tr, S, E = p["ksi"], p["kl"] - p["kb"], p["Tu"], p["Tr"], p["ku_Vi"] * u, p["kr_Vb"] * r
    return lambda _, y: [
        -ksi * y[2] + c + y[4], (S - y[1]) / Tu, (y[1] - y[2]) / Tu, (E - y[3]) / Tr, (y[3] - y[4]) / Tr
    ]  # fmt: skip


def _rest(p: dict[str, float], _: float) -> list[float]:
    I = (p["kl"] - p["kb"]) / p["ksi"]
    return [p["G0"], I, I, 0.0, 0.0]


def _kanderian(p: dict[str, float], u: float, r: float) -> Slopes:
    tau1, tau2, tauM, p2, SI, GEZI, EGP = (p[s] for s in ("tau1", "tau2", "tauM", "p2", "SI", "GEZI", "EGP"))
    level, meal = 1e6 * u / p["CI"], r / p["VG"]
    return lambda _, y: [
        -(GEZI + y[3]) * y[0] + EGP + y[5], (level - y[1]) / tau1, (y[1] - y[2]) / tau2, p2 * (SI * y[2] - y[3]),
        (meal - y[4]) / tauM, (y[4] - y[5]) / tauM,
    ]  # fmt: skip


def _kanderian_start(p: dict[str, float], u: float) -> list[float]:
    I = 1e6 * u / p["CI"]
    return [p["G0"], I, I, p["SI"] * I, 0.0, 0.0]


def _hovorka(p: dict[str, float], u: float, r: float) -> Slopes:
    V, F01, EGP0, k12, tI, tG = (
        p["VG"] * p["M"],
        p["F01"] * p["M"],
        p["EGP0"] * p["M"],
        p["k12"],
        p["tau_I"],
        p["tau_G"],
    )
    insulin, meal, VI, ke = 1000 * u, p["AG"] * r / 180.16, p["VI"] * p["M"], p["ke"]
    ka, SI = [p[f"ka{i}"] for i in (1, 2, 3)], [p[f"SI{i}"] for i in (1, 2, 3)]

    def slope(_: float, y: np.ndarray) -> list[float]:
        Q1, Q2, S1, S2, I, x1, x2, x3, D1, D2 = y.tolist()
        G = Q1 / V
        lost = F01 * min(1.0, G / 4.5) + 0.003 * max(G - 9.0, 0.0) * V
        return [
            -lost - x1 * Q1 + k12 * Q2 + D2 / tG + EGP0 * max(1 - x3, 0.0), x1 * Q1 - (k12 + x2) * Q2,
            insulin - S1 / tI, (S1 - S2) / tI, S2 / (tI * VI) - ke * I,
            *(ka[i] * (SI[i] * I - x) for i, x in enumerate((x1, x2, x3))), meal - D1 / tG, (D1 - D2) / tG,
        ]  # fmt: skip

    return slope


def _hovorka_start(p: dict[str, float], u: float) -> list[float]:
    Q1, S, I = p["G0"] / 18.016 * p["VG"] * p["M"], 1000 * u * p["tau_I"], 1000 * u / (p["ke"] * p["VI"] * p["M"])
    x1, x2, x3 = (p[f"SI{i}"] * I for i in (1, 2, 3))
    return [Q1, x1 * Q1 / (p["k12"] + x2), S, S, I, x1, x2, x3, 0.0, 0.0]


BODIES = {
    "magdelaine": Body(_rest, _magdelaine),
    "kanderian": Body(_kanderian_start, _kanderian),
    "hovorka": Body(_hovorka_start, _hovorka, lambda p: 18.016 / (p["VG"] * p["M"])),
}


def _solve(p: dict[str, float], patient: dict[str, Any], method: str, rtol: float, atol: float) -> np.ndarray:
    """Glucose (mg/dL) at the patient's times: a call per interval of constant input, so that no step crosses a dose."""
    ts, body = np.asarray(patient["time_min"]), BODIES[patient["body"]]
    y = np.array(body.start(p, patient["basal_U_min"]))
    first = np.full(len(ts), y[0])
    for start, end, u, r in rates(patient):
        inside = (ts > start) & (ts <= end)
        at = ts[inside]
        stops = at if at.size and at[-1] == end else np.append(at, end)
        found = solve_ivp(body.slopes(p, u, r), (start, end), y, method=method, t_eval=stops, rtol=rtol, atol=atol)
        first[inside] = found.y[0, : at.size]
        y = found.y[:, -1]
    return body.glucose(p) * first


def simulate(job: dict[str, Any]) -> dict[str, Any]:
    """Glucose of every patient, one after the other; `seconds` per repetition."""
    seconds, glucose = [], []
    for _ in range(job["repeat"]):
        began = time.perf_counter()
        if job["method"] == "euler":
            glucose = [_euler(p["parameters"], p, job["step_min"]) for p in job["patients"]]
        else:
            tolerance = job["rtol"], job["atol"]
            glucose = [_solve(p["parameters"], p, job["method"], *tolerance) for p in job["patients"]]
        seconds.append(time.perf_counter() - began)
    return {"seconds": seconds, "glucose_mg_dL": [g.tolist() for g in glucose]}


def _euler(p: dict[str, float], patient: dict[str, Any], h: float) -> np.ndarray:
    """Glucose at the patient's times (mg/dL), by steps of `h` min; a step takes the doses that fall into it, whole."""
    ts = np.asarray(patient["time_min"])
    steps = round((ts[-1] - ts[0]) / h)
    edges = ts[0] + h * np.arange(steps + 1)
    u, r = np.zeros(steps), np.zeros(steps)
    for start, end, insulin, carbs in rates(patient):
        share = np.clip(np.minimum(edges[1:], end) - np.maximum(edges[:-1], start), 0, None) / h
        u, r = u + insulin * share, r + carbs * share
    ksi, c, Tu, ku, Tr, kr = p["ksi"], p["kl"] - p["kb"], p["Tu"], p["ku_Vi"], p["Tr"], p["kr_Vb"]
    G, S, I, E, D = p["G0"], c / ksi, c / ksi, 0.0, 0.0
    course = np.empty(steps + 1)
    course[0] = G
    for k in range(steps):
        dG, dS, dI = -ksi * I + c + D, (ku * u[k] - S) / Tu, (S - I) / Tu
        dE, dD = (kr * r[k] - E) / Tr, (E - D) / Tr
        G, S, I, E, D = G + h * dG, S + h * dS, I + h * dI, E + h * dE, D + h * dD
        course[k + 1] = G
    return np.interp(ts, edges, course)


def fit(job: dict[str, Any]) -> dict[str, Any]:
    """What is free of every patient (what starts) from the fit readings, one after the other; courses of ksi."""
    courses, found, seconds = [], [], []
    for patient in job["patients"]:
        p, fit, free = patient["parameters"], np.asarray(patient["fit"]), sorted(patient["start"])
        readings = np.asarray(patient["glucose_mg_dL"])[fit]
        course: list[list[float | None]] = []
        began, cpu = time.perf_counter(), time.process_time()
        values = lambda z, free=free: {symbol: float(np.exp(x)) for symbol, x in zip(free, z, strict=True)}

        def miss(z: np.ndarray) -> np.ndarray:
            now = values(z)  # noqa: B023 - called at once, like what follows
            course.append([time.perf_counter() - began, time.process_time() - cpu, now.get("ksi")])  # noqa: B023
            glucose = _solve(p | now, patient, job["method"], job["rtol"], job["atol"])  # noqa: B023
            return glucose[fit] - readings  # noqa: B023

        start = [np.log(patient["start"][symbol]) for symbol in free]
        ended = values(least_squares(miss, start, **job.get("options", {})).x)
        seconds.append(time.perf_counter() - began)
        found.append(ended)
        courses.append([*course, [seconds[-1], time.process_time() - cpu, ended.get("ksi")]])
    return {"found": found, "seconds": seconds, "courses": courses}


if __name__ == "__main__":
    serve({"simulate": simulate, "fit": fit}, ("numpy", "scipy"))
