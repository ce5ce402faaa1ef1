"""Insulin that answers glucose: what it does to ksi, and whether the report notices."""

from pathlib import Path

import numpy as np

import t1djax

from .report import Report

_STEP_MIN, _SENSOR_MIN = 1.0, 5.0
_FORGETS_MIN = 120.0  # memory of the disturbance


def run(draws: int, out: Path) -> Report:
    """One row per gain of the controller and size of the disturbance."""
    report = Report("closed_loop", "Dosing that answers glucose biases ksi", out, {"draws": draws})
    report.note(
        "Pat3, 48 h, 5 min, white noise of 5 mg/dL; basal raised by `gain` U/h per mg/dL that the reading is above "
        "130 and never below zero; an Ornstein-Uhlenbeck disturbance on G' that remembers for 2 h. ksi, kl and G0 "
        "estimated. "
        "Pat3, 48 h, 5 min, white noise of 5 mg/dL; basal raised by `gain` U/h per mg/dL that the reading is above 130 "
        "and never below zero; an Ornstein-Uhlenbeck disturbance on G' that remembers for 2 h. ksi, kl, G0 free. "
        "`error in robust errors`: rms of the error over the robust standard error; one where intervals hold."
    )
    for disturbance in (0.0, 0.1, 0.3):
        for gain in (0.0, 0.02, 0.05):
            people = [_person(i, gain, disturbance) for i in range(draws)]
            fit = t1djax.fit(people, model="ode", free=["ksi", "kl", "G0"])
            found = t1djax.identify(fit, people, what_if=False)
            true = t1djax.presets()["Pat3"].parameters["ksi"]
            error = np.array([p.parameters["ksi"].value / true - 1 for p in found])
            robust = np.array([p.parameters["ksi"].robust_percent / 100 for p in found])
            warned = [any("insulin follows" in w for w in p.warnings) for p in found]
            report.add(
                {
                    "disturbance sd, mg/dL/min": disturbance,
                    "gain, U/h per mg/dL": gain,
                    "ksi bias, %": 100 * float(error.mean()),
                    "ksi sd, %": 100 * float(error.std()),
                    "robust error, %": 100 * float(np.median(robust)),
                    "error in robust errors": float(np.sqrt(np.mean((error / robust) ** 2))),
                    "warned, share": float(np.mean(warned)),
                }
            )
    return report


def _person(seed: int, gain: float, disturbance: float) -> t1djax.Patient:
    """One person of Pat3's physiology, by Euler steps of a minute with the controller in the loop."""
    rng = np.random.default_rng(seed)
    preset = t1djax.presets()["Pat3"]
    p = preset.parameters
    usual = 60 * (p["kl"] - p["kb"]) / (p["ksi"] * p["ku_Vi"])
    meals = [(float(t + rng.integers(-60, 60)), float(g)) for t, g in
             ((480, 45), (780, 70), (1140, 60), (1920, 45), (2220, 70), (2580, 60))]  # fmt: skip
    boluses = [(t + float(rng.integers(-10, 20)), g / 12 * float(rng.uniform(0.7, 1.1))) for t, g in meals]
    G, S, E, D, w = 140.0, (p["kl"] - p["kb"]) / p["ksi"], 0.0, 0.0, 0.0
    insulin, minutes = S, int(preset.end_min / _STEP_MIN)
    basal, times, readings, rate = [], [], [], usual
    for i in range(minutes + 1):
        t = i * _STEP_MIN
        if t % _SENSOR_MIN == 0:
            times.append(t)
            readings.append(G + rng.normal(0, 5))
            rate = max(usual + gain * (readings[-1] - 130), 0.0)
            basal.append((t, rate))
        u = rate / 60 + sum(x for a, x in boluses if a <= t < a + 1)
        r = 1000 * sum(x for a, x in meals if a <= t < a + 1)
        w += -w / _FORGETS_MIN + disturbance * np.sqrt(2 / _FORGETS_MIN) * rng.normal()
        G += -p["ksi"] * insulin + p["kl"] - p["kb"] + D + w
        S, insulin = S + (p["ku_Vi"] * u - S) / p["Tu"], insulin + (S - insulin) / p["Tu"]
        E, D = E + (p["kr_Vb"] * r - E) / p["Tr"], D + (E - D) / p["Tr"]
    doses = t1djax.Doses.of(basal=basal, boluses=boluses, meals=meals)
    known = {s: v for s, v in p.items() if s != "G0"}
    return t1djax.Patient(f"P{seed}", np.array(times), np.array(readings), doses, known)
