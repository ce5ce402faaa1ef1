"""DeepXDE on JAX: its own dense network on our features, without their skip to the readout, and first-lag residuals."""

# pyright: reportMissingImports=false

import time
from typing import Any

import deepxde as dde
import jax
import jax.numpy as jnp
import numpy as np
from lags import Lags, lags
from talk import each, serve


def _second(m: Lags, t: Any) -> Any:
    """The second lag at `t`, differentiable in time."""
    i = jnp.clip(jnp.searchsorted(jnp.asarray(m.start), t, side="right") - 1, 0)
    at = lambda x: jnp.asarray(x, jnp.float32)[i]
    h = (t - at(m.start)) / m.T
    return at(m.level) + (at(m.x2) + at(m.x1) * h) * jnp.exp(-h)


class _Watch(dde.callbacks.Callback):
    """ksi against seconds of wall clock and CPU, the first steps (which compile) left out of both."""

    def __init__(self, every: int, budget_s: float) -> None:
        super().__init__()
        self.every, self.budget_s, self.course = every, budget_s, []
        self.began = self.cpu = self.compile_s = 0.0

    def on_train_begin(self) -> None:
        self.step, self.first = 0, time.perf_counter()

    def on_epoch_end(self) -> None:
        self.step += 1
        if self.step == 1:
            jax.block_until_ready(self.model.params)
            self.compile_s = time.perf_counter() - self.first
            self.began, self.cpu = time.perf_counter(), time.process_time()
        elif self.step % self.every == 0:
            ksi = float(jnp.exp(self.model.params[1][0]))
            self.course.append([time.perf_counter() - self.began, time.process_time() - self.cpu, ksi])
            self.model.stop_training = self.course[-1][0] > self.budget_s


def _fit(patient: dict[str, Any], job: dict[str, Any]) -> dict[str, Any]:
    started = time.perf_counter()
    p, seen, scales = patient["parameters"], patient["network"]["features"], patient["network"]["scales"]
    ts, fit = np.asarray(patient["time_min"]), np.asarray(patient["fit"])
    start, span, c = float(ts[0]), float(ts[-1] - ts[0]), p["kl"] - p["kb"]
    memories = [lags(patient, rate, T) for rate in ("insulin_U_min", "carbs_mg_min") for T in seen["lags_min"]]
    f, a, T, most = (jnp.asarray(seen[k]) for k in ("frequencies", "amplitudes", "lags_min", "memory_scale"))
    size = jnp.asarray([scales["G"], scales["I"], scales["D"]])

    def features(t: Any) -> Any:
        phase, h = (t - start) / span, (t - start) / T
        doses = jnp.concatenate([*(_second(m, t) for m in memories), h * jnp.exp(-h), jnp.exp(-h)], axis=1) / most
        waves = [2 * phase - 1, a * jnp.sin(jnp.pi * f * phase), a * jnp.cos(jnp.pi * f * phase)]
        return jnp.concatenate([*waves, doses], axis=1)

    def states(t: Any, y: Any) -> Any:
        # Transforms do not see free parameters in this back end: I is its distance from c / ksi, which the
        # equations add.
        return jnp.asarray([p["G0"], 0.0, 0.0]) - jnp.expm1(-(t - start) / seen["gate_min"]) * y * size

    edges = np.linspace(start, start + span, job["cells"] + 1)
    points = np.concatenate([ts[fit], edges])
    column = lambda x: jnp.asarray(x, jnp.float32)[:, None]
    S = column(lags(patient, "insulin_U_min", p["Tu"], p["ku_Vi"]).at(points)[0])
    E = column(lags(patient, "carbs_mg_min", p["Tr"], p["kr_Vb"]).at(points)[0])
    decay = column(np.exp(-(points - start) / p["Tu"]))

    def pde(t: Any, y: Any, unknowns: Any) -> list[Any]:
        ksi = jnp.exp(unknowns[0])
        dG, dI, dD = (dde.grad.jacobian(y, t, i=i, j=0)[0] for i in range(3))
        insulin, D = y[0][:, 1:2] + c / ksi, y[0][:, 2:]
        miss_I = ksi * (p["Tu"] * dI + insulin - S - c / ksi * decay)
        return [dG + ksi * insulin - c - D, miss_I, p["Tr"] * dD + D - E]

    log_ksi = dde.Variable(float(np.log(patient["start"]["ksi"])))
    net = dde.nn.FNN([2, *(len(b) for _, b in patient["network"]["layers"]), 3], "tanh", "Glorot uniform")
    net.apply_feature_transform(features)
    net.apply_output_transform(states)
    readings = dde.icbc.PointSetBC(ts[fit][:, None], np.asarray(patient["glucose_mg_dL"])[fit][:, None], component=0)
    geometry = dde.geometry.TimeDomain(start, start + span)
    data = dde.data.PDE(geometry, pde, [readings], num_domain=0, num_boundary=0, anchors=edges[:, None])
    model, weight = dde.Model(data, net), job["residual_weight"] ** 2
    model.compile(
        "adam",
        lr=job["learning_rate"],
        loss_weights=[weight, weight, weight, 1 / scales["noise"] ** 2],
        external_trainable_variables=[log_ksi],
        decay=("cosine", job["steps"], 0.0),
        verbose=0,
    )
    watch = _Watch(job["every"], job["budget_s"] / len(job["patients"]))
    model.train(iterations=job["steps"], display_every=10 * job["steps"], callbacks=[watch], verbose=0)
    glucose = np.asarray(model.predict(ts[:, None].astype(np.float32)))[:, 0]
    return {
        "ksi": float(jnp.exp(model.params[1][0])),
        "course": watch.course,
        "seconds": time.perf_counter() - started,
        "compile_s": watch.compile_s,
        "glucose_mg_dL": glucose.tolist(),
    }


if __name__ == "__main__":
    serve({"fit": lambda job: each(_fit, job)}, ("deepxde", "jax", "flax"))
