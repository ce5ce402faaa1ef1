"""jinns: our network and points, residuals of the first lags at the points, derivatives by JAX."""

# pyright: reportMissingImports=false

import time
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jinns
import numpy as np
import optax
from jinns.data import DataGeneratorObservations, DataGeneratorODE
from jinns.loss import ODE, LossODE, LossWeightsODE
from jinns.nn import PINN
from jinns.parameters import DerivativeKeysODE, Params
from lags import Lags, lags
from talk import each, serve


class _Net(eqx.Module):
    """Hidden tanh layers whose inputs skip to the readout, times a gate that is zero at the start."""

    layers: list[tuple[jax.Array, jax.Array]]
    readout: jax.Array

    def __call__(self, columns: jax.Array) -> jax.Array:
        gate, x = columns[0], columns[1:]
        h = x
        for W, b in self.layers:
            h = jnp.tanh(h @ W + b)
        return gate * (jnp.concatenate([h, x, jnp.ones(1)]) @ self.readout)


def _at(m: Lags, t: jax.Array, second: bool) -> jax.Array:
    """The first or the second lag at `t`."""
    i = jnp.clip(jnp.searchsorted(jnp.asarray(m.start), t, side="right") - 1, 0)
    level, x1, x2 = (jnp.asarray(x, jnp.float32)[i] for x in (m.level, m.x1, m.x2))
    h = (t - jnp.asarray(m.start, jnp.float32)[i]) / m.T
    return level + ((x2 + x1 * h) if second else x1) * jnp.exp(-h)


def _fit(patient: dict[str, Any], job: dict[str, Any]) -> dict[str, Any]:
    p, seen, scales = patient["parameters"], patient["network"]["features"], patient["network"]["scales"]
    ts, fit = np.asarray(patient["time_min"]), np.asarray(patient["fit"])
    start, span, c = float(ts[0]), float(ts[-1] - ts[0]), p["kl"] - p["kb"]
    memories = [lags(patient, rate, T) for rate in ("insulin_U_min", "carbs_mg_min") for T in seen["lags_min"]]
    insulin, meals = (
        lags(patient, "insulin_U_min", p["Tu"], p["ku_Vi"]),
        lags(patient, "carbs_mg_min", p["Tr"], p["kr_Vb"]),
    )
    f, a, T = (jnp.asarray(seen[k], jnp.float32) for k in ("frequencies", "amplitudes", "lags_min"))

    def features(t: jax.Array, _: Any) -> jax.Array:
        phase, h = (t[0] - start) / span, (t[0] - start) / T
        doses = jnp.stack([_at(m, t[0], True) for m in memories])
        columns = jnp.concatenate([doses, h * jnp.exp(-h), jnp.exp(-h)]) / jnp.asarray(
            seen["memory_scale"], jnp.float32
        )
        gate = -jnp.expm1(-(t[0] - start) / seen["gate_min"])
        waves = [a * jnp.sin(jnp.pi * f * phase), a * jnp.cos(jnp.pi * f * phase)]
        return jnp.concatenate([jnp.stack([gate, 2 * phase - 1]), *waves, columns])

    def states(_: Any, y: jax.Array, params: Any) -> jax.Array:
        begin = jnp.stack([jnp.float32(p["G0"]), c * jnp.exp(-params.eq_params.log_ksi[0]), jnp.float32(0)])
        return begin + y * jnp.asarray([scales["G"], scales["I"], scales["D"]], jnp.float32)

    class Equations(ODE):
        def equation(self, t: jax.Array, u: Any, params: Any) -> jax.Array:
            ksi = jnp.exp(params.eq_params.log_ksi[0])
            (_, I, D), (dG, dI, dD) = jax.jvp(lambda t: u(t, params), (t,), (jnp.ones_like(t),))
            S = _at(insulin, t[0], False) + c / ksi * jnp.exp(-(t[0] - start) / p["Tu"])
            E = _at(meals, t[0], False)
            return jnp.stack([dG + ksi * I - c - D, ksi * (p["Tu"] * dI + I - S), p["Tr"] * dD + D - E])

    layers = [(jnp.asarray(W, jnp.float32), jnp.asarray(b, jnp.float32)) for W, b in patient["network"]["layers"]]
    size = 1 + 2 * len(f) + 4 * len(T) + layers[-1][1].size + 1
    u = PINN(
        eq_type="ODE",
        eqx_network=_Net(layers, jnp.zeros((size, 3))),
        input_transform=features,
        output_transform=states,
    )
    params = Params(nn_params=u.init_params, eq_params={"log_ksi": jnp.log(jnp.asarray([patient["start"]["ksi"]]))})
    loss = LossODE(
        u=u,
        dynamic_loss=Equations(Tmax=1),
        initial_condition=None,
        loss_weights=LossWeightsODE(dyn_loss=job["residual_weight"] ** 2, observations=1 / scales["noise"] ** 2),
        obs_slice=jnp.s_[0:1],
        derivative_keys=DerivativeKeysODE.from_str(dyn_loss="both", observations="both", params=params),
        params=params,
    )
    key = jax.random.key(0)
    points = DataGeneratorODE(key=key, nt=job["cells"] + 1, tmin=start, tmax=start + span, method="grid")
    readings = DataGeneratorObservations(
        key=key,
        observed_pinn_in=jnp.asarray(ts[fit], jnp.float32)[:, None],
        observed_values=jnp.asarray(np.asarray(patient["glucose_mg_dL"])[fit], jnp.float32)[:, None],
    )
    tracked = Params(nn_params=None, eq_params={"log_ksi": True})
    optimiser = optax.adam(optax.cosine_decay_schedule(job["learning_rate"], job["steps"]))
    solve = lambda n: jinns.solve(
        n_iter=n,
        init_params=params,
        data=points,
        obs_data=readings,
        loss=loss,
        optimizer=optimiser,
        tracked_params=tracked,
        verbose=False,
    )
    # Each call compiles its loop; a call of one step tells how long that takes.
    began = time.perf_counter()
    jax.block_until_ready(solve(1)[0])
    compile_s = time.perf_counter() - began
    began, cpu = time.perf_counter(), time.process_time()
    result = solve(job["steps"])
    jax.block_until_ready(result[0])
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    course = np.exp(np.asarray(result[6].eq_params.log_ksi)[:, 0])
    run_s = max(seconds - compile_s, 0.1 * seconds)
    at = range(job["every"], len(course) + 1, job["every"])
    final = result[0]
    glucose = jax.vmap(lambda t: u(t[None], final)[0])(jnp.asarray(ts, jnp.float32))
    return {
        "ksi": float(np.exp(np.asarray(final.eq_params.log_ksi)[0])),
        "course": [
            [run_s * n / job["steps"], cpu * run_s / seconds * n / job["steps"], float(course[n - 1])] for n in at
        ],
        "seconds": seconds,
        "compile_s": compile_s,
        "glucose_mg_dL": np.asarray(glucose).tolist(),
    }


if __name__ == "__main__":
    serve({"fit": lambda job: each(_fit, job)}, ("jinns", "jax"))
