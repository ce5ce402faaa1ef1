"""DeepXDE on PyTorch: our network and points, and one of three ways to write the residuals."""

# pyright: reportMissingImports=false

import time
from typing import Any

import deepxde as dde
import numpy as np
import torch
from lags import Lags, lags, mean_rates
from talk import serve


class _Net(dde.nn.pytorch.NN):
    """Hidden tanh layers whose inputs skip to the readout, times a gate that is zero at the start."""

    def __init__(self, weights: list[tuple[list, list]], size: int) -> None:
        super().__init__()
        self.hidden = torch.nn.ModuleList()
        for W, b in weights:
            layer = torch.nn.Linear(len(W), len(b))
            with torch.no_grad():
                layer.weight.copy_(torch.tensor(W).T)
                layer.bias.copy_(torch.tensor(b))
            self.hidden.append(layer)
        self.readout = torch.nn.Linear(size + len(weights[-1][1]), 3)
        torch.nn.init.zeros_(self.readout.weight)
        torch.nn.init.zeros_(self.readout.bias)

    def forward(self, inputs: Any) -> Any:
        columns = inputs if self._input_transform is None else self._input_transform(inputs)
        gate, x = columns[:, :1], columns[:, 1:]
        h = x
        for layer in self.hidden:
            h = torch.tanh(layer(h))
        return self._output_transform(inputs, gate * self.readout(torch.cat([h, x], dim=1)))


class _Features:
    """The gate and the features of time, as our network sees them, differentiable in time."""

    def __init__(self, patient: dict[str, Any], seen: dict[str, Any]) -> None:
        self.seen, self.start = seen, patient["time_min"][0]
        self.span = patient["time_min"][-1] - self.start
        doses = ("insulin_U_min", "carbs_mg_min")
        self.memories = [lags(patient, rate, T) for rate in doses for T in seen["lags_min"]]

    def __call__(self, t: Any) -> Any:
        tensor = lambda x: torch.tensor(x, dtype=torch.float32)
        phase = (t - self.start) / self.span
        angle = torch.pi * phase * tensor(self.seen["frequencies"])
        a = tensor(self.seen["amplitudes"])
        h = (t - self.start) / tensor(self.seen["lags_min"])
        columns = [*(_second(m, t) for m in self.memories), h * torch.exp(-h), torch.exp(-h)]
        memories = torch.cat(columns, dim=1) / tensor(self.seen["memory_scale"])
        gate = -torch.expm1(-(t - self.start) / self.seen["gate_min"])
        return torch.cat([gate, 2 * phase - 1, a * torch.sin(angle), a * torch.cos(angle), memories], dim=1)


def _second(m: Lags, t: Any) -> Any:
    """The second lag at `t`, differentiable in time."""
    tensor = lambda x: torch.tensor(x, dtype=torch.float32)
    i = torch.clamp(torch.bucketize(t.detach(), tensor(m.start), right=True) - 1, min=0)
    h = (t - tensor(m.start)[i]) / m.T
    return tensor(m.level)[i] + (tensor(m.x2)[i] + tensor(m.x1)[i] * h) * torch.exp(-h)


class _Watch(dde.callbacks.Callback):
    """ksi against seconds of wall clock and CPU."""

    def __init__(self, log_ksi: Any, every: int, budget_s: float) -> None:
        super().__init__()
        self.log_ksi, self.every, self.budget_s, self.course = log_ksi, every, budget_s, []

    def on_train_begin(self) -> None:
        self.began, self.cpu, self.step = time.perf_counter(), time.process_time(), 0

    def on_epoch_end(self) -> None:
        self.step += 1
        if self.step % self.every == 0:
            ksi = float(torch.exp(self.log_ksi.detach()))
            self.course.append([time.perf_counter() - self.began, time.process_time() - self.cpu, ksi])
            self.model.stop_training = self.course[-1][0] > self.budget_s


def fit(job: dict[str, Any]) -> dict[str, Any]:
    """ksi of every patient, one after the other.

    `residuals` is `cells`, `first_lag` or `second_order`; `threads` are those of PyTorch.
    """
    dde.config.set_default_float("float32")
    torch.set_num_threads(job["threads"])
    found = [_fit(patient, job) for patient in job["patients"]]
    keys = ("ksi", "course", "seconds", "first_loss", "glucose_mg_dL")
    ksi, courses, seconds, losses, glucose = ([f[k] for f in found] for k in keys)
    told = {"ksi": ksi, "courses": courses, "seconds": seconds, "first_loss": losses, "glucose_mg_dL": glucose}
    return told | {"every": job["every"]}


def _fit(patient: dict[str, Any], job: dict[str, Any]) -> dict[str, Any]:
    began = time.perf_counter()
    torch.manual_seed(0)
    p, scales = patient["parameters"], patient["network"]["scales"]
    ts, fit = np.asarray(patient["time_min"]), np.asarray(patient["fit"])
    edges = np.linspace(ts[0], ts[-1], job["cells"] + 1)
    seen = patient["network"]["features"]
    features = _Features(patient, seen)
    c, G0 = p["kl"] - p["kb"], p["G0"]
    log_ksi = dde.Variable(float(np.log(patient["start"]["ksi"])))
    size = torch.tensor([scales["G"], scales["I"], scales["D"]])

    def states(x: Any, y: Any) -> Any:
        start = torch.stack([torch.tensor(G0), c / torch.exp(log_ksi), torch.tensor(0.0)])
        return start + y * size

    column = lambda t: torch.tensor(np.asarray(t)[:, None], dtype=torch.float32)
    cells = job["residuals"] == "cells"
    # Where no derivative in time is taken, features are computed once and are the network's inputs.
    points = (lambda t: features(column(t)).numpy()) if cells else (lambda t: np.asarray(t)[:, None])
    net = _Net(patient["network"]["layers"], 1 + 2 * len(seen["frequencies"]) + 4 * len(seen["lags_min"]))
    if not cells:
        net.apply_feature_transform(features)
    net.apply_output_transform(states)
    readings = dde.icbc.PointSetBC(points(ts[fit]), np.asarray(patient["glucose_mg_dL"])[fit][:, None], component=0)
    make = {"cells": _cells, "first_lag": _first_lag, "second_order": _second_order}[job["residuals"]]
    pde = make(patient, p, edges, int(fit.sum()), log_ksi)
    anchors = points(edges)
    geometry = dde.geometry.TimeDomain(ts[0], ts[-1])
    if cells:
        geometry = dde.geometry.Hypercube(anchors.min(axis=0) - 1, anchors.max(axis=0) + 1)
    data = dde.data.PDE(geometry, pde, [readings], num_domain=0, num_boundary=0, anchors=anchors)
    model = dde.Model(data, net)
    weight = job["residual_weight"] ** 2
    decay = ("lambda", lambda step: 0.5 * (1 + np.cos(np.pi * min(step / job["steps"], 1))))
    model.compile(
        "adam",
        lr=job["learning_rate"],
        loss_weights=[weight, weight, weight, 1 / scales["noise"] ** 2],
        external_trainable_variables=[log_ksi],
        decay=decay,
        verbose=0,
    )
    watch = _Watch(log_ksi, job["every"], job["budget_s"] / len(job["patients"]))
    history, _ = model.train(iterations=job["steps"], display_every=10 * job["steps"], callbacks=[watch], verbose=0)
    glucose = model.predict(points(ts).astype(np.float32))[:, 0]
    seconds = time.perf_counter() - began
    return {
        "ksi": float(torch.exp(log_ksi.detach())),
        "course": watch.course,
        "seconds": seconds,
        "first_loss": float(np.sum(history.loss_train[0])),
        "glucose_mg_dL": glucose.tolist(),
    }


def _cells(patient: dict[str, Any], p: dict[str, float], edges: np.ndarray, before: int, log_ksi: Any) -> Any:
    """The residuals of our `losses`: the exact step over each cell. What does not depend on ksi is computed once."""
    tensor = lambda x: torch.tensor(x, dtype=torch.float32)
    width, c = np.diff(edges), p["kl"] - p["kb"]
    S, I = lags(patient, "insulin_U_min", p["Tu"], p["ku_Vi"]).at(edges)
    E, D = lags(patient, "carbs_mg_min", p["Tr"], p["kr_Vb"]).at(edges)
    h = (edges - edges[0]) / p["Tu"]
    u, r = mean_rates(patient, "insulin_U_min", edges), mean_rates(patient, "carbs_mg_min", edges)
    S_dose = tensor(p["ku_Vi"] * u - p["Tu"] * np.diff(S) / width)
    S_start = tensor(-p["Tu"] * np.diff(np.exp(-h)) / width)
    E_mean = tensor(p["kr_Vb"] * r - p["Tr"] * np.diff(E) / width)
    I_dose, I_start, D_dose, w = tensor(I), tensor((1 + h) * np.exp(-h)), tensor(D), tensor(width)
    a_I, a_D = tensor(np.exp(-width / p["Tu"])), tensor(np.exp(-width / p["Tr"]))
    whole = np.sqrt((len(width) + 1) / len(width))  # the mean runs over edges, one more than cells

    def pde(x: Any, y: Any) -> list[Any]:
        ksi = torch.exp(log_ksi)
        eq = c / ksi
        G, I, D = y[before:].T
        slope_G, slope_I, slope_D = ((s[1:] - s[:-1]) / w for s in (G, I, D))
        balance = slope_G + ksi * (S_dose + eq * S_start - p["Tu"] * slope_I) - c - (E_mean - p["Tr"] * slope_D)
        e, d = I - (I_dose + eq * I_start), D - D_dose
        miss_I = ksi * (e[1:] - a_I * e[:-1]) / (1 - a_I)
        miss_D = (d[1:] - a_D * d[:-1]) / (1 - a_D)
        nothing = torch.zeros(before + 1)
        return [torch.cat([nothing, whole * r])[:, None] for r in (balance, miss_I, miss_D)]

    return pde


def _first_lag(patient: dict[str, Any], p: dict[str, float], edges: np.ndarray, before: int, log_ksi: Any) -> Any:
    """`Tu I' + I = S` and `Tr D' + D = E` at the edges, derivatives by DeepXDE, first lags from the doses."""
    tensor = lambda x: torch.tensor(x, dtype=torch.float32)[:, None]
    ahead = np.zeros(before)
    c = p["kl"] - p["kb"]
    S = tensor(np.append(ahead, lags(patient, "insulin_U_min", p["Tu"], p["ku_Vi"]).at(edges)[0]))
    E = tensor(np.append(ahead, lags(patient, "carbs_mg_min", p["Tr"], p["kr_Vb"]).at(edges)[0]))
    S_start = tensor(np.append(ahead, np.exp(-(edges - edges[0]) / p["Tu"])))

    def pde(t: Any, y: Any) -> list[Any]:
        ksi = torch.exp(log_ksi)
        dG, dI, dD = (dde.grad.jacobian(y, t, i=i, j=0) for i in range(3))
        balance = dG + ksi * y[:, 1:2] - c - y[:, 2:]
        miss_I = ksi * (p["Tu"] * dI + y[:, 1:2] - S - c / ksi * S_start)
        return [balance, miss_I, p["Tr"] * dD + y[:, 2:] - E]

    return pde


def _second_order(patient: dict[str, Any], p: dict[str, float], edges: np.ndarray, before: int, log_ksi: Any) -> Any:
    """The equations as the paper writes them, second derivatives by DeepXDE; each dose spread over its cell."""
    tensor = lambda x: torch.tensor(x, dtype=torch.float32)[:, None]
    c, ahead = p["kl"] - p["kb"], np.zeros(before)
    mean = lambda rate: np.append(mean_rates(patient, rate, edges), patient[rate][-1])
    u = tensor(np.append(ahead, p["ku_Vi"] * mean("insulin_U_min")))
    r = tensor(np.append(ahead, p["kr_Vb"] * mean("carbs_mg_min")))

    def pde(t: Any, y: Any) -> list[Any]:
        ksi = torch.exp(log_ksi)
        dG, dI, dD = (dde.grad.jacobian(y, t, i=i, j=0) for i in range(3))
        ddI, ddD = (dde.grad.hessian(y, t, component=i, i=0, j=0) for i in (1, 2))
        balance = dG + ksi * y[:, 1:2] - c - y[:, 2:]
        miss_I = ksi * (p["Tu"] ** 2 * ddI + 2 * p["Tu"] * dI + y[:, 1:2] - u)
        return [balance, miss_I, p["Tr"] ** 2 * ddD + 2 * p["Tr"] * dD + y[:, 2:] - r]

    return pde


if __name__ == "__main__":
    serve({"fit": fit}, ("deepxde", "torch", "numpy"))
