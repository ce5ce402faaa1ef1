"""Insulin that answers glucose: what it does to ksi, and whether the report notices."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import t1djax

from .plants import Habits, Life, live, record
from .report import Report

_NOISE_SD = 5.0
_TARGET_MG_DL = 130.0
_FADES_MIN = 120.0  # memory of the disturbance


def run(draws: int, out: Path) -> Report:
    """One row per gain of the controller and size of the disturbance."""
    report = Report("closed_loop", "Dosing that answers glucose biases ksi", out, {"draws": draws})
    report.note(
        "Pat3, 48 h, 5 min, white noise of 5 mg/dL; basal raised by `gain` U/h per mg/dL that glucose is read above "
        "130, between zero and five times the usual; an autocorrelated disturbance of glucose that fades in 2 h. "
        "ksi, kl, G0 free. "
        "`error in robust errors`: rms of the error over the robust standard error; one where intervals hold."
    )
    for disturbance in (0.0, 0.1, 0.3):
        for gain in (0.0, 0.02, 0.05):
            people = _people(draws, gain, disturbance)
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


def _people(n: int, gain: float, disturbance: float) -> list[t1djax.Patient]:
    """Lives of Pat3's body."""
    preset = t1djax.presets()["Pat3"]
    known = {s: v for s, v in preset.parameters.items() if s != "G0"}
    with jax.enable_x64(True):
        p = preset.model()
        y0 = p.steady(jnp.asarray(140.0))[0]
        habits = Habits(
            p.equilibrium_basal_U_h / 60, 12.0, gain / 60, _TARGET_MG_DL, _NOISE_SD, disturbance, _FADES_MIN
        )
        one = lambda key: live(key, p, y0, habits)
        lives: Life = jax.device_get(jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), n)))
    mine = lambda i: jax.tree.map(lambda x: x[i], lives)
    # The loop reads what the record holds.
    return [record(f"P{i}", mine(i), np.asarray(lives.error_mg_dL[i]), known)[0] for i in range(n)]
