"""numpyro: NUTS on the ODE, which diffrax solves; log ksi is free under a wide prior, the noise is known."""

# pyright: reportMissingImports=false

import time
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
from numpyro.distributions import Normal
from numpyro.infer import MCMC, NUTS, init_to_value
from talk import serve


def fit(job: dict[str, Any]) -> dict[str, Any]:
    """Posterior mean of ksi of every patient, one after the other, until the budget is spent."""
    numpyro.enable_x64()
    began, found, seconds = time.perf_counter(), [], []
    for patient in job["patients"]:
        if time.perf_counter() - began > job["budget_s"]:
            break
        started = time.perf_counter()
        model = _model(patient, job["noise"])
        start = {"log_ksi": jnp.log(patient["start"]["ksi"])}
        chain = MCMC(
            NUTS(model, init_strategy=init_to_value(values=start), forward_mode_differentiation=True),
            num_warmup=job.get("warmup", 100),
            num_samples=job.get("samples", 100),
            progress_bar=False,
        )
        chain.run(jax.random.key(0))
        found.append(float(np.exp(np.mean(np.asarray(chain.get_samples()["log_ksi"])))))
        seconds.append(time.perf_counter() - started)
    full = len(found) == len(job["patients"])
    status = "ok" if full else f"stopped at its budget ({len(found)} of {len(job['patients'])} patients)"
    return {"ksi": found, "seconds": seconds, "compile_s": None, "status": status}


def _model(patient: dict[str, Any], noise: float) -> Any:
    p, fit = patient["parameters"], np.asarray(patient["fit"])
    ts, readings = jnp.asarray(patient["time_min"]), jnp.asarray(np.asarray(patient["glucose_mg_dL"])[fit])
    breaks, u, r = (jnp.asarray(patient[k]) for k in ("break_min", "insulin_U_min", "carbs_mg_min"))
    c, Tu, Tr = p["kl"] - p["kb"], p["Tu"], p["Tr"]

    def slope(t: Any, y: Any, ksi: Any) -> Any:
        i = jnp.clip(jnp.searchsorted(breaks, t, side="right") - 1, 0)
        S, E = p["ku_Vi"] * u[i], p["kr_Vb"] * r[i]
        G = -ksi * y[2] + c + y[4]
        return jnp.stack([G, (S - y[1]) / Tu, (y[1] - y[2]) / Tu, (E - y[3]) / Tr, (y[3] - y[4]) / Tr])

    inside = breaks[(np.asarray(breaks) > float(ts[0])) & (np.asarray(breaks) < float(ts[-1]))]
    steps = diffrax.ClipStepSizeController(diffrax.PIDController(rtol=1e-6, atol=1e-6), jump_ts=inside)

    def model() -> None:
        ksi = jnp.exp(numpyro.sample("log_ksi", Normal(jnp.log(250.0), 1.0)))
        y0 = jnp.stack([jnp.asarray(p["G0"]), c / ksi, c / ksi, 0.0 * ksi, 0.0 * ksi])
        found = diffrax.diffeqsolve(
            diffrax.ODETerm(slope),
            diffrax.Tsit5(),
            ts[0],
            ts[-1],
            None,
            y0,
            args=ksi,
            saveat=diffrax.SaveAt(ts=ts[fit]),
            stepsize_controller=steps,
            adjoint=diffrax.DirectAdjoint(),
            max_steps=4096,
            throw=False,  # far from the readings the solver may give up: the sample is then refused
        )
        assert found.ys is not None
        numpyro.sample("readings", Normal(found.ys[:, 0], noise), obs=readings)

    return model


if __name__ == "__main__":
    serve({"fit": fit}, ("numpyro", "diffrax", "jax"))
