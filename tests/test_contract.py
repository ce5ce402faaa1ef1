"""The contract that every network keeps: each architecture x mode x stage."""

import dataclasses
import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import t1djax
from t1djax.losses import losses
from t1djax.networks import AbstractFeatures
from t1djax.training import train, trainable
from t1djax.training._first_order import initial_moments

from .networks import ARCHITECTURES, KEY, cohort, first, pose, same, shapes_of_twins, twins

FAST = ("pinn", "modified_mlp_factorised", "birnn")
"""A network of each kind; the others are variants of them, or users' own."""


def architectures(*fast: str) -> pytest.MarkDecorator:
    """Every architecture, those that are not named among the slow tests."""
    marks = {name: () if name in fast else pytest.mark.slow for name in ARCHITECTURES}
    return pytest.mark.parametrize("name", [pytest.param(name, marks=mark) for name, mark in marks.items()])


every_architecture = architectures(*FAST)
every_architecture_and_mode = pytest.mark.parametrize(
    ("name", "mode"),
    [pytest.param(x, "inverse", marks=() if x in FAST else pytest.mark.slow) for x in ARCHITECTURES]
    + [pytest.param(x, "forward", marks=pytest.mark.slow) for x in ARCHITECTURES],
)
every_stage = pytest.mark.parametrize("trains", ["joint", "network", "physiology"])
GAUSS_NEWTON = t1djax.Stage(steps=4, residual_weight=(1.0, 100.0))


@functools.cache
def _untrained(name: str, mode: str = "inverse"):
    """Twins with a readout that is not zero, so that every weight has a gradient."""
    with jax.enable_x64(True):
        made, d, data = twins(pose(mode), ARCHITECTURES[name])
        noise = 0.1 * jax.random.normal(KEY, made.surrogate.readout.shape)
        return eqx.tree_at(lambda t: t.surrogate.readout, made, made.surrogate.readout + noise), d, data


def _weights(name: str) -> set[str]:
    """Paths of the leaves that are weights: everything inexact outside of features."""
    twin = first(_untrained(name)[0])
    fixed = lambda x: isinstance(x, AbstractFeatures)
    paths = jax.tree_util.tree_leaves_with_path(twin.surrogate, is_leaf=fixed)
    return {".surrogate" + jax.tree_util.keystr(path) for path, leaf in paths if not fixed(leaf)}


@every_architecture_and_mode
def test_shapes_start_and_arithmetic(name, mode):
    with jax.enable_x64(True):
        made, d, data = _untrained(name, mode)
        twin = first(made)
        ts = jnp.asarray([0.0, 0.25, 61.3, 1441.0, 2880.0])
        look = lambda twin: (twin.states(ts), twin.surrogate.basis(twin.window, ts), twin.physiology.initial_state())
        states, basis, start = jax.jit(look)(twin)
        assert twin.surrogate.readout.shape == (basis.shape[1], 3)
        assert states.shape == (5, 3)
        assert states.dtype == basis.dtype == jnp.float64
        np.testing.assert_array_equal(basis[0], np.zeros(basis.shape[1]))
        np.testing.assert_array_equal(states[0], [start.G, start.I, start.D])
        assert np.all(np.isfinite(states))
        # The same network, patient by patient.
        together = jax.jit(jax.vmap(lambda twin: twin.states(ts)))(made)
        np.testing.assert_allclose(together[0], states, rtol=1e-9, atol=1e-12)
        assert made.surrogate.readout.shape[0] == len(cohort()) == data.time_min.shape[0] == d.edges_min.shape[0]


@every_architecture
def test_time_derivatives_equal_finite_differences(name):
    with jax.enable_x64(True):
        twin = first(_untrained(name)[0])
        ts, h = jnp.asarray([13.0, 701.7, 2500.1]), 1e-3

        @jax.jit
        def both_ways(twin):
            _, slope = jax.jvp(twin.states, (ts,), (jnp.ones_like(ts),))
            # One call at all times, so that the network is compiled once.
            after, before = jnp.split(twin.states(jnp.concatenate([ts + h, ts - h])), 2)
            return slope, (after - before) / (2 * h)

        np.testing.assert_allclose(*both_ways(twin), rtol=1e-5, atol=1e-9)


@functools.cache
def _leaves_with_gradient(name: str, mode: str) -> set[str]:
    """Paths of the leaves of a joint stage at which the loss has a gradient that is not zero."""
    with jax.enable_x64(True):
        twin, d, data = (first(x) for x in _untrained(name, mode))
        moving, still = eqx.partition(twin, trainable(twin, "joint"))

        def loss(moving, d, data):
            terms = losses(eqx.combine(moving, still), data, d)
            return terms.data + 100 * jnp.sum(terms.equations)

        gradient = jax.jit(jax.grad(loss))(moving, d, data)
    leaves = jax.tree_util.tree_leaves_with_path(gradient)
    return {jax.tree_util.keystr(path) for path, leaf in leaves if np.any(leaf)}


@every_architecture_and_mode
@every_stage
def test_gradients_are_where_they_belong_and_absent_elsewhere(name, mode, trains):
    twin = first(_untrained(name, mode)[0])
    moving = jax.tree_util.tree_leaves_with_path(eqx.filter(twin, trainable(twin, trains)))
    free = {".physiology.free['ksi']"} if mode == "inverse" else set()
    expected = {"joint": _weights(name) | free, "network": _weights(name), "physiology": free}[trains]
    assert {jax.tree_util.keystr(path) for path, _ in moving} == expected
    assert expected <= _leaves_with_gradient(name, mode)  # none that moves is dead


@pytest.mark.parametrize(
    ("name", "optimizer"),
    [pytest.param(x, "gauss_newton", marks=() if x == "pinn" else pytest.mark.slow) for x in ARCHITECTURES]
    + [pytest.param(x, "adam", marks=() if x == "pinn" else pytest.mark.slow) for x in (*FAST, "flax_nnx")],
)
@every_stage
def test_what_a_stage_does_not_train_does_not_move(name, trains, optimizer):
    with jax.enable_x64(True):
        before, d, data = _untrained(name)
        stage = t1djax.Stage(trains=trains, steps=2, optimizer=optimizer, residual_weight=(10.0, 10.0))
        after = train(before, data, d, [stage]).twins
    leaves = zip(jax.tree_util.tree_leaves_with_path(before), jax.tree.leaves(after), strict=True)
    moved = {jax.tree_util.keystr(path) for (path, old), new in leaves if not np.array_equal(old, new)}
    network = {".surrogate.readout"} if optimizer == "gauss_newton" else _weights(name)
    free = {".physiology.free['ksi']"}
    assert moved == {"joint": network | free, "network": network, "physiology": free}[trains]


@every_architecture
def test_frozen_leaves_have_no_moments(name):
    with jax.enable_x64(True):
        twin = first(_untrained(name)[0])
        stages = [t1djax.Stage(trains="physiology", steps=1, optimizer="adam")]
        stages += [t1djax.Stage(trains="network", steps=1, optimizer="adam")]
        for stage, count in zip(stages, (1, len(_weights(name))), strict=True):
            state = initial_moments(twin, stage).optimiser
            moments = [leaf for leaf in jax.tree.leaves(state) if leaf.dtype == jnp.float64]
            assert len(moments) == 2 * count


@functools.cache
def _fit(name: str) -> t1djax.Fit:
    return t1djax.fit(cohort(), options=ARCHITECTURES[name], stages=[GAUSS_NEWTON])


@architectures("flax_nnx")
def test_a_fit_improves_and_its_networks_survive_a_round_trip(name, tmp_path):
    fit, options = _fit(name), ARCHITECTURES[name]
    assert fit.model == options.model
    assert fit.history.losses["data"][-1].max() < fit.history.losses["data"][0].min()
    assert fit.twins is not None
    folder = t1djax.save_twins(fit, tmp_path / "twins")
    saved = t1djax.load_twins(folder, options=options if name.startswith("flax") else None)
    assert (saved.names, saved.options) == (fit.problem.names, options)
    assert jax.tree.structure(saved.twins) == jax.tree.structure(fit.twins)
    assert same(saved.twins, fit.twins)


@pytest.mark.parametrize("name", ["pinn", pytest.param("birnn", marks=pytest.mark.slow)])
def test_a_cohort_equals_its_patients_one_by_one(name):
    together = _fit(name)["Pat3"]
    alone = t1djax.fit(cohort().select(["Pat3"]), options=ARCHITECTURES[name], stages=[GAUSS_NEWTON])["Pat3"]
    np.testing.assert_allclose(alone.glucose_mg_dL, together.glucose_mg_dL, atol=1e-3)
    assert alone.estimates["ksi"].initial == together.estimates["ksi"].initial
    assert alone.estimates["ksi"].value == pytest.approx(together.estimates["ksi"].value, rel=1e-6)


@architectures(*ARCHITECTURES)
def test_float32_is_kept(name):
    made, d, data = shapes_of_twins(pose(), dataclasses.replace(ARCHITECTURES[name], precision="float32"))
    numbers = [x for x in jax.tree.leaves((made, d, data)) if jnp.issubdtype(x.dtype, jnp.inexact)]
    states = jax.eval_shape(jax.vmap(lambda twin: twin.states(jnp.asarray([0.0, 100.0]))), made)
    assert {x.dtype for x in [*numbers, states]} == {jnp.dtype("float32")}


@architectures("pinn")
def test_forecast_honesty(name):
    """Truth, and readings that are held out or come after the forecast start, change not a byte."""
    seen = cohort()
    a, b = _fit(name), t1djax.fit(_tampered(seen), options=ARCHITECTURES[name], stages=[GAUSS_NEWTON])
    _bit_for_bit(a, b)


@pytest.mark.parametrize("name", ["pinn", pytest.param("birnn", marks=pytest.mark.slow)])
def test_forecast_honesty_of_first_order_training(name):
    fit = functools.partial(t1djax.fit, options=ARCHITECTURES[name])
    stages = [t1djax.Stage(steps=2, optimizer="adam", residual_weight=(10.0, 100.0))]
    _bit_for_bit(fit(cohort(), stages=stages), fit(_tampered(cohort()), stages=stages))


def _tampered(seen: t1djax.Cohort) -> t1djax.Cohort:
    unseen = [~p.masks.fit for p in seen]
    return t1djax.Cohort(
        tuple(
            dataclasses.replace(p, glucose_mg_dL=np.where(u, p.glucose_mg_dL * 0.5 + 99.0, p.glucose_mg_dL))
            for p, u in zip(seen, unseen, strict=True)
        ),
        {
            name: t1djax.Truth(
                {s: 2 * v for s, v in t.parameters.items()},
                t.glucose_mg_dL + 7,
                {column: -values for column, values in t.states.items()},
            )
            for name, t in seen.truth.items()
        },
    )


def _bit_for_bit(a: t1djax.Fit, b: t1djax.Fit) -> None:
    assert same(a.twins, b.twins)  # weights, estimates, scales
    for x, y in zip(a, b, strict=True):
        assert x.estimates == y.estimates
        ours, theirs = ({"G": p.glucose_mg_dL, **p.states, **p.residuals} for p in (x, y))
        assert {name: v.tobytes() for name, v in ours.items()} == {name: v.tobytes() for name, v in theirs.items()}


@pytest.mark.parametrize("name", ["pinn", pytest.param("modified_mlp", marks=pytest.mark.slow)])
def test_members_of_an_ensemble_are_the_fits_of_their_seeds(name):
    fit = functools.partial(t1djax.fit, cohort(), options=ARCHITECTURES[name], stages=[GAUSS_NEWTON])
    ensemble = t1djax.fit_ensemble(cohort(), seeds=(3, 1), options=ARCHITECTURES[name], stages=[GAUSS_NEWTON])
    for seed, member in zip((3, 1), ensemble, strict=True):
        for a, b in zip(member, fit(seed=seed), strict=True):
            assert a.estimates["ksi"].initial == b.estimates["ksi"].initial
            assert a.estimates["ksi"].value == pytest.approx(b.estimates["ksi"].value, rel=1e-9)
            np.testing.assert_allclose(a.glucose_mg_dL, b.glucose_mg_dL, atol=1e-6)
        assert member.history.values["ksi"].shape == (3, 3)
    table = t1djax.evaluation.spread(ensemble)
    values = np.array([[f.estimates["ksi"].value for f in member] for member in ensemble])
    np.testing.assert_allclose(table["ksi_sd"], values.std(axis=0, ddof=1))
    np.testing.assert_allclose(table["ksi"], values.mean(axis=0))
    assert np.all(table["ksi_sd"] < table["ksi_start_sd"])
