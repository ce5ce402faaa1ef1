"""SciPy: `solve_ivp`, `least_squares` on it, and a plain Euler loop in NumPy."""

import time
from typing import Any

import numpy as np
from scipy.integrate import solve_ivp
from scipy.optimize import least_squares
from talk import rates, serve


def _solve(p: dict[str, float], patient: dict[str, Any], method: str, rtol: float, atol: float) -> np.ndarray:
    """Glucose (mg/dL) at the patient's times: a call per interval of constant input, so that no step crosses a dose."""
    ts = np.asarray(patient["time_min"])
    ksi, c, Tu, ku, Tr, kr = p["ksi"], p["kl"] - p["kb"], p["Tu"], p["ku_Vi"], p["Tr"], p["kr_Vb"]
    y = np.array([p["G0"], c / ksi, c / ksi, 0.0, 0.0])
    glucose = np.full(len(ts), p["G0"])
    for start, end, u, r in rates(patient):
        S, E = ku * u, kr * r

        def slope(_: float, y: np.ndarray, S: float = S, E: float = E) -> list[float]:
            return [-ksi * y[2] + c + y[4], (S - y[1]) / Tu, (y[1] - y[2]) / Tu, (E - y[3]) / Tr, (y[3] - y[4]) / Tr]

        inside = (ts > start) & (ts <= end)
        at = ts[inside]
        stops = at if at.size and at[-1] == end else np.append(at, end)
        found = solve_ivp(slope, (start, end), y, method=method, t_eval=stops, rtol=rtol, atol=atol)
        glucose[inside] = found.y[0, : at.size]
        y = found.y[:, -1]
    return glucose


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
    """What is free of every patient (ksi, and G0 where it starts too) from the fit readings, one after the other."""
    courses, found, seconds = [], [], []
    for patient in job["patients"]:
        p, fit, free = patient["parameters"], np.asarray(patient["fit"]), sorted(patient["start"])
        readings = np.asarray(patient["glucose_mg_dL"])[fit]
        course: list[list[float]] = []
        began, cpu = time.perf_counter(), time.process_time()
        values = lambda z, free=free: {symbol: float(np.exp(x)) for symbol, x in zip(free, z, strict=True)}

        def miss(z: np.ndarray) -> np.ndarray:
            now = values(z)  # noqa: B023 - called at once, like what follows
            course.append([time.perf_counter() - began, time.process_time() - cpu, now["ksi"]])  # noqa: B023
            glucose = _solve(p | now, patient, job["method"], job["rtol"], job["atol"])  # noqa: B023
            return glucose[fit] - readings  # noqa: B023

        ended = values(least_squares(miss, [np.log(patient["start"][symbol]) for symbol in free]).x)
        seconds.append(time.perf_counter() - began)
        found.append(ended["ksi"])
        courses.append([*course, [seconds[-1], time.process_time() - cpu, found[-1]]])
    return {"ksi": found, "seconds": seconds, "courses": courses}


if __name__ == "__main__":
    serve({"simulate": simulate, "fit": fit}, ("numpy", "scipy"))
