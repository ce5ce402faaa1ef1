"""Training: the steps and their oracles, programs and traces, failures, and what the networks reach."""

import collections
import dataclasses
import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import t1djax
from t1djax.experiment import _problems
from t1djax.losses import drive, equation_residuals, losses, places, pointwise_residuals
from t1djax.programs import Spread, _programs, _sizes
from t1djax.training import _first_order, train, trainable
from t1djax.training._factored import factored_steps
from t1djax.training._fit import _build
from t1djax.training._gauss_newton import initial_damping, prepare, prepared_losses

from .networks import ARCHITECTURES, KEY, SMALL, first
from .networks import cohort as _cohort
from .networks import twins as _twins


def _pose(cohort: t1djax.Cohort, free: tuple[str, ...] = ("ksi",)) -> t1djax.problem.Problem:
    return t1djax.pose(cohort.patients, mode="inverse", free=free, key=KEY)


def column(table: pd.DataFrame, name: str) -> np.ndarray:
    return np.asarray(table[name], dtype=np.float64)


def worst(table: pd.DataFrame, name: str) -> float:
    return float(column(table, name).max())


@pytest.mark.parametrize("cell_min", [1.0, 5.0, 37.0])
def test_the_exact_solution_has_no_residual_at_any_step_length(cell_min):
    preset = t1djax.presets()["Pat3"]
    with jax.enable_x64(True):
        data = t1djax.data.series(_cohort()["Pat3"])
        body = t1djax.twin.Physiology({s: jnp.asarray(v) for s, v in preset.parameters.items()}, {})
        cells, r = round(2880 / cell_min), 1e-3

        @jax.jit
        def solution(body, data):
            d = drive(data, cells)
            exact = t1djax.propagate(body.model(), data.inputs, d.edges_min, y0=body.initial_state())
            return d, jnp.stack([exact.glucose_mg_dL, exact.insulin_U_dL, exact.digestion_mg_dL_min], axis=1)

        d, states = solution(body, data)

        @jax.jit
        def residuals(states, body, d):
            p, y0 = body.model(), body.initial_state(d.cells.inputs)
            effects = p.effects(jnp.ones(()), jnp.ones(3))
            return effects[:, None] * p.cell_residuals(states[:-1], states[1:], d.cells, y0)

        assert np.max(np.abs(residuals(states, body, d))) < 1e-10
        wrong = dataclasses.replace(body, known=body.known | {"ksi": jnp.asarray(300.0)})
        assert np.max(np.abs(residuals(states, wrong, d)[0])) > 0.05
        # A disturbance r of Tu I' + I = S moves I by r (1 - exp(-t/Tu)): the residual must give ksi r back.
        moved = np.array(states)
        moved[:, 1] += r * -np.expm1(-np.asarray(d.edges_min) / preset.parameters["Tu"])
        found = residuals(jnp.asarray(moved), body, d)[1]
        np.testing.assert_allclose(found, preset.parameters["ksi"] * r, rtol=1e-8)


@pytest.mark.slow
def test_pointwise_residuals_equal_finite_differences():
    with jax.enable_x64(True):
        twins, d, data = _twins(_pose(_cohort()))
        twins = train(twins, data, d, [t1djax.Stage(steps=2, residual_weight=(10.0, 10.0))]).twins
        ts, h = jnp.asarray([100.0, 700.5, 1441.7, 2500.0]), 1e-3

        @jax.jit
        def look(twin):
            body = twin.physiology
            at = jnp.split(twin.states(jnp.concatenate([ts - h, ts, ts + h])), 3)
            lags = t1djax.propagate(body.model(), twin.window.inputs, ts, y0=body.initial_state()).state
            data = t1djax.data.Series(ts, ts, ts > 0, ts > 0, ts > 0, ts > 0, twin.window.inputs)
            return at, body.model(), lags, pointwise_residuals(twin, data, body.trajectory(data))

        (before, G_I_D, after), p, lags, miss = jax.tree.map(np.asarray, look(jax.tree.map(lambda x: x[1], twins)))
        slope = (after - before) / (2 * h)
    np.testing.assert_allclose(miss[:, 0], slope[:, 0] + p.ksi * G_I_D[:, 1] - p.kl + p.kb - G_I_D[:, 2], atol=1e-6)
    np.testing.assert_allclose(miss[:, 1], slope[:, 1] - (lags.S - G_I_D[:, 1]) / p.Tu, atol=1e-9)
    np.testing.assert_allclose(miss[:, 2], slope[:, 2] - (lags.E - G_I_D[:, 2]) / p.Tr, atol=1e-6)


def _with_a_prior(free, name, noise):
    """Twins whose food on board at the start carries a prior, noisy readings, their collocation."""
    twins, d, data = _twins(_pose(_cohort(), free=free), ARCHITECTURES[name])
    body = twins.physiology
    body = dataclasses.replace(
        body, free=body.free | {"E0": jnp.full(3, 0.3)}, prior={"E0": jnp.tile(jnp.asarray([-0.2, 0.5]), (3, 1))}
    )
    rng = np.random.default_rng(1)
    data = dataclasses.replace(data, glucose_mg_dL=data.glucose_mg_dL + noise * rng.normal(size=data.fit.shape))
    twins = eqx.tree_at(
        lambda t: t.scales.noise, dataclasses.replace(twins, physiology=body), jnp.full(3, noise or 1.0)
    )
    return twins, d, data


def _dense(twin, d, data, weight):
    """The unknowns (readout, then free coordinates in sorted order), all residuals, and their Jacobian by autodiff."""
    order = sorted(twin.physiology.free)
    v = jnp.concatenate([twin.surrogate.readout.ravel(), jnp.stack([twin.physiology.free[s] for s in order])])
    J, r = (np.asarray(x) for x in _slopes(v, twin, d, data, weight))
    return np.asarray(v), J, r


@jax.jit
def _slopes(v, twin, d, data, weight):
    n, m, order = jnp.sum(data.fit), d.edges_min.shape[0], sorted(twin.physiology.free)

    def residuals(v):
        w, z = v[: -len(order)].reshape(twin.surrogate.readout.shape), dict(zip(order, v[-len(order) :], strict=True))
        t = eqx.tree_at(lambda t: (t.surrogate.readout, t.physiology.free), twin, (w, z))
        size = weight * twin.scales.noise * jnp.sqrt(n / m)
        equations = size * equation_residuals(t.states(d.edges_min), t, d).ravel()
        misfit = jnp.where(data.fit, t.glucose(t.states(data.time_min)) - data.glucose_mg_dL, 0.0)
        spread = jax.lax.stop_gradient(jnp.sqrt(jnp.sum(misfit**2) / (n - len(order))))  # of the misfit before the step
        rows = jnp.concatenate([equations, misfit, t.physiology.prior_misfit(spread)])
        return rows, rows

    return jax.jacfwd(residuals, has_aux=True)(v)


def _unknowns(twin):
    free = twin.physiology.free
    return np.concatenate([np.ravel(twin.surrogate.readout), [free[s] for s in sorted(free)]])


@pytest.mark.parametrize("name", ["pinn", pytest.param("birnn", marks=pytest.mark.slow)])
@pytest.mark.parametrize("noise", [10.0, pytest.param(0.0, marks=pytest.mark.slow)])
def test_gauss_newton_step_is_that_of_the_dense_jacobian(name, noise):
    """Against a step written down with autodiff of the whole residual vector and every reading in it."""
    weight = 30.0
    with jax.enable_x64(True):
        twins, d, data = _with_a_prior(("ksi", "Tu", "G0"), name, noise)
        stage = t1djax.Stage(steps=1, residual_weight=(weight, weight))
        after = first(train(twins, data, d, [stage]).twins)
        twin, d, data = first((twins, d, data))
        v, J, r = _dense(twin, d, data, weight)
    assert not np.any(first(twins).surrogate.readout)
    A = J.T @ J
    damped = A + 1e-3 * np.diag(np.diag(A) + 1e-2 * np.mean(np.diag(A)))
    step = -np.linalg.solve(damped, J.T @ r)
    step[-4:] = np.clip(step[-4:], -0.5, 0.5)
    # The step goes by ksi I rather than I: what the readout says of insulin is then divided by the new ksi.
    step[:-4] = (step[:-4].reshape(-1, 3) * [1.0, np.exp(-step[-1]), 1.0]).ravel()
    assert np.max(np.abs(step[-4:])) > 1e-3
    np.testing.assert_allclose(_unknowns(after), v + step, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ["pinn", pytest.param("birnn", marks=pytest.mark.slow)])
@pytest.mark.parametrize("noise", [10.0, pytest.param(0.0, marks=pytest.mark.slow)])
def test_factored_step_is_that_of_the_dense_jacobian(name, noise):
    """Without time constants: the readout eliminated, hardly damped, the rest damped in the sizes of what is left."""
    weight = 30.0
    with jax.enable_x64(True):
        twins, d, data = _with_a_prior(("ksi", "kr_Vb", "G0"), name, noise)
        stage = t1djax.Stage(steps=1, residual_weight=(weight, weight))
        trained = train(twins, data, d, [stage])
        after = first(trained.twins)
        twin, d, data = first((twins, d, data))
        v, J, r = _dense(twin, d, data, weight)
        basis = np.asarray(twin.surrogate.basis(twin.window, d.edges_min))
    w, z = slice(None, -4), slice(-4, None)  # E0, G0, kr_Vb, ksi
    A, g = J.T @ J, J.T @ r
    W = A[w, w] + 100 * np.finfo(float).eps * np.diag(np.diag(A[w, w]) + 1e-2 * np.mean(np.diag(A[w, w])))
    schur = A[z, z] - A[z, w] @ np.linalg.solve(W, A[w, z])
    dz = -np.linalg.solve(schur + 1e-3 * np.diag(np.diag(schur)), g[z] - A[z, w] @ np.linalg.solve(W, g[w]))
    assert np.max(np.abs(dz)) > 1e-3
    dz = np.clip(dz, -0.5, 0.5)
    dw = -np.linalg.solve(W, g[w] + A[w, z] @ dz)
    dw = (dw.reshape(-1, 3) * [1.0, np.exp(-dz[-1]), 1.0]).ravel()
    found = _unknowns(after)
    np.testing.assert_allclose(found[z], v[z] + dz, rtol=1e-5)
    # Of the readout what it says: its own numbers may stray where nothing depends on them.
    said, expected = (basis @ x.reshape(-1, 3) for x in (found[w], v[w] + dw))
    np.testing.assert_allclose(said, expected, rtol=1e-4, atol=float(1e-4 * np.max(np.abs(expected))))


@pytest.mark.parametrize(
    ("free", "stages"),
    [
        (("ksi", "kr_Vb", "G0"), [t1djax.Stage(steps=1, residual_weight=(30.0, 30.0))]),
        (("ksi", "Tu", "G0"), [t1djax.Stage(steps=1, residual_weight=(1.0, 30.0))]),
        (
            ("ksi", "Tu", "G0"),
            [t1djax.Stage(steps=3, optimizer="adam", learning_rate=0.03, residual_weight=(1.0, 30.0))],
        ),
    ],
    ids=["factored", "gauss_newton", "adam"],
)
def test_what_is_said_of_the_estimates_is_said_where_they_are(free, stages):
    """Information and gradient, network eliminated, against the dense Jacobian at the trained twin."""
    with jax.enable_x64(True):
        twins, d, data = _with_a_prior(free, "pinn", 10.0)
        trained = train(twins, data, d, stages)
        start, twin, d, data = first((twins, trained.twins, d, data))
        v, J, r = _dense(twin, d, data, 30.0)
    assert np.max(np.abs(v[-4:] - _unknowns(start)[-4:])) > 0.02
    W = J[:, :-4].T @ J[:, :-4]
    W += 100 * np.finfo(float).eps * np.diag(np.diag(W) + 1e-2 * np.mean(np.diag(W)))
    apart = J[:, -4:] - J[:, :-4] @ np.linalg.solve(W, J[:, :-4].T @ J[:, -4:])
    schur, gradient = J[:, -4:].T @ apart, apart.T @ r
    schur[0, 0] -= J[-1, -4] ** 2  # the prior's
    found = first(trained.reduced)
    np.testing.assert_allclose(found.information, schur, rtol=1e-4, atol=float(1e-6 * np.max(schur)))
    np.testing.assert_allclose(found.gradient, gradient, rtol=1e-4, atol=float(1e-6 * np.max(np.abs(gradient))))


@pytest.mark.slow
def test_one_factor_serves_whatever_ksi_becomes():
    """Two steps by one factor are two steps by a factor each, up to its damping, though ksi has moved in between."""
    with jax.enable_x64(True):
        twins, d, data = first(_with_a_prior(("ksi", "kl", "G0"), "pinn", 10.0))
        go = jax.jit(factored_steps)
        args = (prepare(twins, data, d), d, jnp.asarray(1000.0))
        steps = lambda twin, state, n: go(twin, state, *args, jnp.asarray(n), jnp.asarray(True))[:2]
        both, end = steps(twins, initial_damping(twins), 2)
        one, state = steps(twins, initial_damping(twins), 1)
        assert abs(float(one.physiology.free["ksi"] - twins.physiology.free["ksi"])) > 0.02
        again, end_again = steps(one, state, 1)
        before, after, apart = (np.asarray(twin.states(d.edges_min)) for twin in (one, both, again))
    np.testing.assert_allclose(*(_unknowns(twin)[-4:] for twin in (both, again)), rtol=1e-4)
    assert np.max(np.abs(after - before)[:, 0]) > 1.0
    assert np.all(np.max(np.abs(after - apart), axis=0) < 1e-4 * np.ptp(apart, axis=0))  # insulin goes by ksi
    assert end.damping == end_again.damping


@pytest.mark.slow
def test_each_factored_step_is_noted_with_its_losses():
    with jax.enable_x64(True):
        twins, d, data = _twins(_pose(_cohort(), ("ksi", "G0")))
        stage = t1djax.Stage(steps=2, residual_weight=(10.0, 10.0))
        two, three = (train(twins, data, d, [dataclasses.replace(stage, steps=n)]) for n in (2, 3))
        said = [jax.jit(jax.vmap(losses))(x, data, d) for x in (twins, two.twins, three.twins)]
    np.testing.assert_array_equal(three.history.step, [0, 1, 2, 3])
    for i, name in enumerate(("data", "G", "I", "D")):
        found = three.history.losses[name]
        terms = [jnp.column_stack([x.data, x.equations])[:, i] for x in said]
        np.testing.assert_allclose(found[[0, 2, 3]], terms, rtol=1e-3, atol=1e-9)
        np.testing.assert_allclose(found[:3], two.history.losses[name], rtol=1e-3, atol=1e-9)
    for symbol in ("ksi", "G0"):
        np.testing.assert_allclose(three.history.values[symbol][2], two.twins.physiology.estimates()[symbol], rtol=1e-9)
    assert len(set(np.ravel(three.history.values["ksi"]))) == 12


@pytest.mark.parametrize(("interval", "cell_min", "between"), [(30.0, 10.0, 0), (30.0, 37.0, 80), (5.0, 5.0, 0)])
def test_readings_on_edges_are_not_looked_at_twice(interval, cell_min, between):
    """The network is evaluated at the edges and between them, and the losses are those of evaluating it at each row."""
    with jax.enable_x64(True):
        patients = t1djax.reference_cohort(interval_min=interval, names=["Pat2", "Pat3"]).patients
        # One reading off its place, and one that is fitted no more.
        moved = patients[1].time_min.copy()
        moved[5] += 0.5
        patients = (patients[0], dataclasses.replace(patients[1], time_min=moved))
        data, cells = t1djax.data.stack(patients), round(2880 / cell_min)
        where = places(data, cells)
        assert where.between_min.shape == (2, between or 16)
        apart = places(t1djax.data.stack(patients[:1]), cells, whole=patients)
        assert apart.between_min.shape[1] == where.between_min.shape[1]
        assert places(t1djax.data.stack(patients[:1]), cells).between_min.shape == (1, between)

        @jax.jit
        def seen(data, where):
            d = drive(data, cells, where)
            edges, rows = d.parts(jnp.sin(d.points_min / 100))
            return edges - jnp.sin(d.edges_min / 100), jnp.where(data.fit, rows - jnp.sin(data.time_min / 100), 0.0)

        for part in jax.vmap(seen)(data, where):
            assert np.max(np.abs(part)) < 1e-12


def test_prepared_losses_are_those_of_the_network():
    with jax.enable_x64(True):
        twins, d, data = _twins(_pose(_cohort()))
        twins = train(twins, data, d, [t1djax.Stage(steps=2, residual_weight=(10.0, 10.0))]).twins
        twin, data, d = first((twins, data, d))
        slow, quick = jax.jit(lambda: (losses(twin, data, d), prepared_losses(twin, prepare(twin, data, d), d)))()
    for name in ("data", "equations"):
        np.testing.assert_allclose(getattr(quick, name), getattr(slow, name), rtol=1e-3)  # of small numbers


def test_one_program_per_kind_of_stage_and_no_recompilation():
    cohort, other = _cohort(), t1djax.reference_cohort(interval_min=30, names=["Pat5", "Pat7", "Pat9"])
    fit = functools.partial(t1djax.fit, cohort, options=SMALL)
    stage = t1djax.Stage(steps=4, residual_weight=(10.0, 100.0))
    level = dataclasses.replace(stage, residual_weight=(10.0, 10.0))  # by one factorisation
    fit(stages=[stage, level])
    fit(stages=[stage])  # what readings say at the end, where no factorisation has told it
    made_by = lambda k: k.one.__module__
    of_training = lambda: {k for k in _programs.PROGRAMS if made_by(k).startswith(("t1djax.training", "t1djax.losses"))}
    programs = of_training()
    assert programs
    fit(stages=[stage, dataclasses.replace(stage, steps=10), dataclasses.replace(stage, trains="physiology", steps=6)])
    fit(stages=[stage, dataclasses.replace(level, steps=11, residual_weight=(30.0, 30.0))], seed=7)
    fit(stages=[dataclasses.replace(level, steps=3), dataclasses.replace(level, trains="network", steps=1)])
    t1djax.fit(other, options=SMALL, stages=[stage, level])
    assert of_training() == programs
    adam = t1djax.Stage(steps=50, optimizer="adam", learning_rate=2.5e-3)  # no other test's
    fit(stages=[adam])
    with_adam = of_training()
    # The moments, the chunk, and the losses of a network that moves; another test may have met some of them.
    assert 0 < len(with_adam - programs) <= 3
    fit(stages=[dataclasses.replace(adam, residual_weight=(1.0, 30.0))], seed=3)
    assert of_training() == with_adam


def test_each_step_is_traced_once_whatever_the_number_of_patients(monkeypatch):
    from t1djax.training import _train  # noqa: PLC0415

    traces = []
    step = _train.gauss_newton_step
    monkeypatch.setattr(_train, "gauss_newton_step", lambda *args: (traces.append(1), step(*args))[1])
    others = [item for item in _programs.PROGRAMS.items() if item[0].one is not _train.gauss_newton_steps]
    monkeypatch.setattr(_programs, "PROGRAMS", collections.OrderedDict(others))
    t1djax.fit(_cohort(), options=SMALL, stages=[t1djax.Stage(steps=8, residual_weight=(10.0, 100.0))])
    assert len(traces) == 1


@pytest.mark.parametrize("rows", [1, 3, 8, 10, 11])
def test_blocks_are_the_function_of_each_patient_whatever_their_number(rows):
    """With and without a remainder, and with arrays of no size among arguments and results."""
    x, nothing = jnp.arange(rows * 6.0).reshape(rows, 6), jnp.zeros((rows, 0))
    keys = jax.random.split(KEY, rows)
    one = lambda x, key, nothing: (jnp.sum(x) * jax.random.uniform(key), nothing)
    spread = Spread(block=4)
    sums, none = jax.jit(spread.over_patients(one))(x, keys, nothing)
    expected = [float(one(x[i], keys[i], nothing[i])[0]) for i in range(rows)]
    np.testing.assert_allclose(sums, expected, rtol=1e-6)
    assert none.shape == (rows, 0)


@pytest.mark.parametrize("rows", [1, 2, 5, 8])
def test_threads_share_patients_and_give_them_back_in_order(monkeypatch, rows):
    """Numbers, keys and arrays of no size; in single and double precision, which every thread sets for itself."""
    monkeypatch.setattr(_sizes, "cores", lambda: 3)
    spread = Spread(block=4).on_threads(rows)
    assert spread.threads == {1: 1, 2: 2, 5: 3, 8: 3}[rows]
    for wide in (False, True):
        with jax.enable_x64(wide):
            x, nothing, keys = (
                jnp.arange(rows * 6.0).reshape(rows, 6),
                jnp.zeros((rows, 0)),
                jax.random.split(KEY, rows),
            )
            shares = [spread.split(part) for part in (x, keys, nothing)]
            found, _ = spread.call(_draw, *shares, shared=(np.asarray(2.0, x.dtype),))
            sums, none = found.joined()
            expected = [2.0 * float(jnp.sum(x[i]) * jax.random.uniform(keys[i])) for i in range(rows)]
            np.testing.assert_allclose(sums, expected, rtol=1e-6)
            assert sums.dtype == x.dtype
            assert none.shape == (rows, 0)
            assert found.member(0).joined().shape == (rows,)


def _draw(x: Any, key: Any, nothing: Any, by: Any) -> Any:
    return by * jnp.sum(x) * jax.random.uniform(key), nothing


def test_what_a_thread_cannot_do_is_an_error_of_the_call(monkeypatch):
    monkeypatch.setattr(_sizes, "cores", lambda: 2)
    spread = Spread().on_threads(4)
    good = spread.split(jnp.ones((4, 2)))
    bad = dataclasses.replace(good, each=(good.each[0], np.ones((3, 2), np.float32)))
    with pytest.raises(TypeError):
        spread.call(jnp.sum, bad)


@pytest.mark.slow
def test_as_many_threads_as_there_are_cores_give_what_one_gives(monkeypatch):
    cohort = t1djax.reference_cohort(interval_min=60)
    fits = {}
    for cores in (1, 3):
        monkeypatch.setattr(_sizes, "cores", lambda cores=cores: cores)
        fits[cores] = t1djax.fit(cohort, options=SMALL)
    for a, b in zip(fits[1], fits[3], strict=True):
        assert b.estimates["ksi"].value == pytest.approx(a.estimates["ksi"].value, rel=1e-6)
        np.testing.assert_allclose(b.glucose_mg_dL, a.glucose_mg_dL, rtol=1e-4)
    one, other = (fits[cores].twins.surrogate.readout for cores in (1, 3))
    assert isinstance(other, jax.Array)
    assert (other.shape, other.dtype) == (one.shape, one.dtype) == (one.shape, jnp.float64)


@pytest.mark.slow
def test_forward_fit_of_more_patients_than_a_block():
    cohort = t1djax.reference_cohort(interval_min=60)
    fit = t1djax.fit(cohort, mode="forward", options=SMALL, stages=[t1djax.Stage(steps=2)])
    alone = t1djax.fit(cohort.patients[9:], mode="forward", options=SMALL, stages=[t1djax.Stage(steps=2)])
    np.testing.assert_allclose(fit.patients[9].glucose_mg_dL, alone.patients[0].glucose_mg_dL, rtol=1e-5)


@pytest.mark.slow
def test_more_patients_than_a_block_give_the_same_as_fewer():
    cohort = _cohort()
    many = [dataclasses.replace(p, name=f"{p.name}-{i}") for i in range(12) for p in cohort]
    options = dataclasses.replace(SMALL, depth=0)  # no random layers: copies of a patient are the same problem
    start = {"ksi": np.full(36, 210.0)}
    problem = dataclasses.replace(t1djax.pose(many, mode="inverse", free=["ksi"], key=KEY), start=start)
    fit = t1djax.training.fit_network(many, problem, key=KEY, options=options)
    values = np.array([f.estimates["ksi"].value for f in fit]).reshape(12, 3)
    np.testing.assert_allclose(values, values[:1].repeat(12, axis=0), rtol=1e-8)


@pytest.mark.slow
def test_a_cohort_beyond_memory_trains_in_parts_by_one_program(monkeypatch):
    cohort, told = _cohort(), []
    stages = [t1djax.Stage(steps=4, residual_weight=(1.0, 10.0)), t1djax.Stage(steps=2)]
    ask = functools.partial(t1djax.fit_ensemble, cohort, seeds=[3, 4], options=SMALL, stages=stages)
    whole = ask()
    monkeypatch.setattr(_problems, "_PART", 4)
    monkeypatch.setattr(_problems, "rows_that_fit", lambda *_: 5)  # two patients by two seeds, then one and nobody
    _programs.PROGRAMS.clear()
    parts = ask(on_progress=told.append)
    built = [key for key in _programs.PROGRAMS if key.one is _build]
    assert len(built) == 1
    assert [(p.step, p.patients) for p in told] == [(n, 4 if n <= 6 else 2) for n in (2, 4, 5, 6, 8, 10, 11, 12)]
    assert {p.total_steps for p in told} == {12}
    assert all(len(p.loss) == len(p.values["ksi"]) == p.patients for p in told)
    assert told[-1].seconds_left == 0
    for one, other in zip(whole.members, parts.members, strict=True):
        assert [p.name for p in other] == list(cohort.names)
        for a, b in zip(one, other, strict=True):
            np.testing.assert_allclose(b.glucose_mg_dL, a.glucose_mg_dL, rtol=1e-4)  # rounding, after few steps
            assert b.estimates["ksi"].value == pytest.approx(a.estimates["ksi"].value, rel=1e-5)
        np.testing.assert_allclose(other.history.values["ksi"], one.history.values["ksi"], rtol=1e-5)
        assert other.twins is not None
        assert one.twins is not None
        assert other.twins.surrogate.readout.shape == one.twins.surrogate.readout.shape


def test_a_hopeless_patient_leaves_the_others_alone():
    cohort = _cohort()
    problem = _pose(cohort)
    alone = t1djax.training.fit_network(cohort.patients, problem, key=KEY, options=SMALL)
    broken = {**problem.known, "kr_Vb": np.where(np.arange(3) == 1, 1e308, problem.known["kr_Vb"])}
    fit = t1djax.training.fit_network(
        cohort.patients, dataclasses.replace(problem, known=broken), key=KEY, options=SMALL
    )
    assert [f.ok for f in fit] == [True, False, True]
    assert fit["Pat3"].message
    for name in ("Pat2", "Pat4"):
        assert fit[name].estimates == alone[name].estimates
        np.testing.assert_array_equal(fit[name].glucose_mg_dL, alone[name].glucose_mg_dL)


def test_seed_sets_start_and_weights_and_nothing_else_does():
    cohort = _cohort()
    stages = [t1djax.Stage(steps=2, residual_weight=(10.0, 10.0))]
    fits = [t1djax.fit(cohort, options=SMALL, stages=stages, seed=seed) for seed in (1, 1, 2)]
    networks: list[Any] = [fit.twins.surrogate for fit in fits if fit.twins is not None]
    hidden = [np.asarray(network.layers[0].weight).tobytes() for network in networks]
    assert hidden[0] == hidden[1] != hidden[2]  # drawn, and not moved by these stages
    a, b, c = (fit["Pat3"] for fit in fits)
    assert a.estimates == b.estimates
    assert a.estimates["ksi"].initial != c.estimates["ksi"].initial
    assert a.glucose_mg_dL.tobytes() == b.glucose_mg_dL.tobytes() != c.glucose_mg_dL.tobytes()


def test_progress_is_told_after_each_chunk_or_step():
    told: list[t1djax.training.Progress] = []
    stages = [t1djax.Stage(steps=4, residual_weight=(1.0, 10.0)), t1djax.Stage(steps=2, trains="network")]
    fit = t1djax.fit(_cohort(), options=SMALL, stages=stages, on_progress=told.append)
    assert [(p.stage, p.step, p.total_steps) for p in told] == [(1, 2, 6), (1, 4, 6), (2, 5, 6), (2, 6, 6)]
    assert told[-1].seconds_left == 0
    np.testing.assert_array_equal(fit.history.step, [0, 2, 4, 5, 6])
    assert fit.history.values["ksi"].shape == (5, 3)
    assert set(fit.history.losses) == {"data", "G", "I", "D"}


@pytest.mark.slow
def test_weighing_the_terms():
    """Balanced by gradients, every term pulls alike; causal weights fall where earlier cells are not met."""
    with jax.enable_x64(True):
        twins, d, data = _twins(_pose(_cohort()))
        twins = eqx.tree_at(lambda t: t.surrogate.readout, twins, twins.surrogate.readout + 0.1)
        twin, data, d = first((twins, data, d))
        moving, still = eqx.partition(twin, trainable(twin, "joint"))
        parts = lambda moving: _first_order._parts(eqx.combine(moving, still), data, d)
        names = ("data", "G", "I", "D")
        each = lambda terms: {"data": terms.data} | dict(zip(names[1:], terms.equations, strict=True))

        @jax.jit
        def weigh(moving):
            by = lambda name: jax.jacrev(lambda moving: each(parts(moving))[name])(moving)
            return (
                each(parts(moving)),
                {name: by(name) for name in names},
                each(_first_order._balance("gradient_norm", parts, moving)),
                each(_first_order._balance("ntk", parts, moving)),
            )

        miss, jacobians, factor, kernel = weigh(moving)
        equations = jnp.stack([miss[name] for name in names[1:]])
        waits = jax.jit(lambda equations: _first_order._wait(equations, 5.0))(equations)
        miss, jacobians, waits = jax.tree.map(np.asarray, (miss, jacobians, waits))
    of = lambda terms, name: np.asarray(terms[name])
    # By every residual's row over every weight: the gradient of a sum of squares, and the trace of the kernel.
    rows = {
        name: [np.reshape(x, (of(miss, name).size, -1)) for x in jax.tree.leaves(jacobians[name])] for name in names
    }
    pull = lambda name: np.concatenate([2 * of(miss, name) @ x for x in rows[name]])
    norms = {name: float(np.linalg.norm(pull(name))) for name in names}
    pulls = [float(of(factor, name)) * norms[name] for name in names]
    np.testing.assert_allclose(pulls, sum(norms.values()), rtol=1e-6)

    exact = {name: sum(float(np.sum(x**2)) for x in rows[name]) for name in names}
    for name in names:  # four random signs estimate a trace to some tens of percent
        assert 0.3 < float(of(kernel, name)) * exact[name] / sum(exact.values()) < 3.0

    share = waits[0] / miss["G"]
    assert share[0] == 1.0
    assert np.all(np.diff(share) <= 0)
    total = float(sum(np.sum(miss[name][:-1] ** 2) for name in names[1:]))
    assert share[-1] == pytest.approx(np.exp(-2.5 * total), rel=1e-9)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"optimizer": "lbfgs", "steps": 30}, marks=pytest.mark.slow),
        pytest.param({"optimizer": "adam", "steps": 150, "balance": "gradient_norm"}, marks=pytest.mark.slow),
        pytest.param({"optimizer": "adam", "steps": 150, "balance": "ntk"}, marks=pytest.mark.slow),
        {"optimizer": "adam", "steps": 150, "causal": 1.0, "clip_norm": 1.0},
    ],
    ids=["lbfgs", "gradient_norm", "ntk", "causal"],
)
def test_every_way_of_training_lowers_the_misfit(options):
    fit = t1djax.fit(_cohort(), options=SMALL, stages=[t1djax.Stage(residual_weight=(3.0, 3.0), **options)])
    assert np.all(fit.history.losses["data"][-1] < 0.8 * fit.history.losses["data"][0])


def test_a_second_order_stage_after_a_first_order_one_sees_the_new_basis():
    cohort = _cohort()
    second = t1djax.Stage(steps=8, residual_weight=(1.0, 100.0))
    first_ = t1djax.Stage(steps=50, optimizer="adam", learning_rate=0.02, residual_weight=(30.0, 30.0))
    gaps = [t1djax.fit(cohort, options=SMALL, stages=s)["Pat2"].gap_mg_dL for s in ([second], [second, first_, second])]
    assert gaps[1] < 2 * gaps[0]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"stages": []}, "at least one"),
        ({"mode": "Inverse"}, "mode must be"),
        ({"model": "flax"}, "FlaxOptions"),
        ({"model": "lstm"}, "there are pinn"),
        ({"model": "ode", "stages": [t1djax.Stage()]}, "no stages"),
        ({"model": "ode", "options": SMALL}, "do not go together"),
        ({"seed": 2**32}, "seeds"),
    ],
)
def test_a_fit_that_makes_no_sense_is_refused(options, match):
    with pytest.raises((ValueError, TypeError), match=match if options != {"mode": "Inverse"} else "(?i)inverse"):
        t1djax.fit(_cohort(), **options)


def test_long_windows_are_warned_about():
    person = [dataclasses.replace(p, time_min=2.5 * p.time_min) for p in _cohort()]
    with pytest.raises(UserWarning, match=r"5\.0 days is longer"):  # an error here, so that nothing is compiled
        t1djax.fit(person, options=SMALL, stages=[t1djax.Stage(steps=2)])


def test_noise_is_read_off_the_readings():
    level_of_each, level_of = jax.jit(jax.vmap(t1djax.data.noise_level)), jax.jit(t1djax.data.noise_level)
    for sd in (3.0, 10.0):
        cohort = t1djax.reference_cohort(interval_min=5, noise=t1djax.WhiteNoise(sd), dropout=0.05, key=KEY)
        found = level_of_each(t1djax.data.stack(cohort.patients))
        np.testing.assert_allclose(np.mean(found), sd, rtol=0.1)
    assert np.max(level_of_each(t1djax.data.stack(_cohort(5.0, 10).patients))) < 0.5
    # Jitter of the clock, rows without readings, and every fourth reading missing change little.
    regular, put = t1djax.data.series(cohort.patients[1]), jax.device_put
    level = float(level_of(regular))
    jitter = put(0.05 * np.random.default_rng(0).normal(size=regular.time_min.shape).astype(np.float32))
    thin = put(np.asarray(regular.fit) & (np.arange(regular.fit.shape[0]) % 4 != 3))
    double = lambda x: put(np.repeat(x, 2))
    between = put(np.repeat(regular.fit, 2) & (np.arange(2 * regular.fit.shape[0]) % 2 == 0))
    nothing = put(np.zeros(between.shape, bool))
    others = [
        dataclasses.replace(regular, time_min=regular.time_min + jitter),
        dataclasses.replace(regular, fit=thin),
        t1djax.data.Series(
            double(regular.time_min), double(regular.glucose_mg_dL), between, between, nothing, nothing, regular.inputs
        ),
    ]
    assert [float(level_of(x)) for x in others] == pytest.approx([level] * 3, rel=0.15)
    data = t1djax.data.stack(_cohort().patients)
    few = dataclasses.replace(data, fit=data.fit & (jnp.arange(data.fit.shape[1]) % 3 == 0))
    assert np.all(np.abs(np.asarray(level_of_each(few)) - 10.0) < 1e-9)  # too sparse to tell


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"steps": 0}, "steps"),
        ({"trains": "everything"}, "trains"),
        ({"optimizer": "sgdd"}, "sgdd"),
        ({"residual_weight": (0.0, 1.0)}, "residual_weight"),
        ({"residual_weight": (1.0, float("inf"))}, "residual_weight"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"learning_rate": -1.0}, "learning_rate"),
        ({"schedule": "linear"}, "schedule"),
        ({"balance": "ntk"}, "optax"),
        ({"optimizer": "adam", "balance": "fair"}, "balance"),
        ({"optimizer": "adam", "causal": -1.0}, "causal"),
        ({"optimizer": "adam", "clip_norm": 0.0}, "clip_norm"),
    ],
)
def test_a_stage_that_makes_no_sense_is_refused(options, match):
    with pytest.raises((ValueError, TypeError), match=match):  # TypeError: the tests check annotations too
        t1djax.Stage(**options)


@pytest.mark.slow
def test_first_order_training_in_float32_moves_every_weight_and_works():
    cohort = t1djax.reference_cohort(interval_min=15, names=["Pat2", "Pat3"])
    stage = t1djax.Stage(steps=1500, optimizer="adam", residual_weight=(30.0, 300.0))
    options = t1djax.PINNOptions(width=64, precision="float32", cell_min=10.0)
    fit = t1djax.fit(cohort, free=["ksi"], options=options, stages=[stage])
    table = t1djax.summary(fit, cohort)
    assert worst(table, "ksi_error_percent") < 2.0
    assert worst(table, "rmse_forecast_mg_dL") < 10.0
    assert np.all(np.isfinite(column(table, "ksi_se")))


def test_convergence_is_the_distance_from_where_the_readings_want_an_estimate():
    """A prime number of steps by an optimiser that has hardly begun, in two calls of one program."""
    adam = t1djax.Stage(steps=53, optimizer="adam", learning_rate=1.2e-3, residual_weight=(100.0, 100.0))
    level = t1djax.Stage(steps=3, residual_weight=(100.0, 100.0))
    far, near = (t1djax.fit(_cohort(), options=SMALL, stages=[stage]) for stage in (adam, level))
    np.testing.assert_array_equal(far.history.step, [0, 27, 53])
    value, wanted = (np.array([p.estimates["ksi"].value for p in fit]) for fit in (far, near))
    away = np.abs(wanted / value - 1) > 0.05
    assert 0 < np.sum(away) < 3
    np.testing.assert_array_equal([p.ok for p in far], ~away)
    assert all(p.ok for p in near)
