"""Equations of one's own: solved against closed forms, fitted against SciPy."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

import t1djax


def cleared(p: jax.Array, y: jax.Array, u: jax.Array, r: jax.Array) -> jax.Array:
    """One compartment, `y' = u - p y`."""
    return u - p * y


def test_bolus_in_one_compartment_is_the_closed_form() -> None:
    """2 U over the minute from 30: `1 - exp(-p t)` on top of the decay of what was there."""
    ts = np.array([0.0, 29.9, 30.5, 31.0, 45.0, 200.0])
    with jax.enable_x64(True):
        inputs = t1djax.Doses.of(boluses=[(30, 2.0)]).inputs(0, 200)
        found = t1djax.physics.solve(cleared, jnp.asarray(0.05), inputs, jnp.asarray(ts), y0=jnp.asarray(1.0))
    p, after = 0.05, np.clip(ts - 30, 0, 1)
    given = 2 / p * -np.expm1(-p * after) * np.exp(-p * np.clip(ts - 31, 0, None))
    assert bool(found.ok)
    np.testing.assert_allclose(found.state, np.exp(-p * ts) + given, rtol=1e-6, atol=1e-7)


def test_model_of_the_package_is_one_of_them() -> None:
    preset = t1djax.presets()["Pat3"]
    with jax.enable_x64(True):
        p, inputs, ts = preset.model(), preset.doses.inputs(0, 600), jnp.arange(0.0, 601.0, 60.0)
        y0 = t1djax.physics.steady_state(p, 125.0)
        own = t1djax.physics.solve(t1djax.physics.rates, p, inputs, ts, y0=y0)
        exact = t1djax.propagate(p, inputs, ts, y0=y0)
    assert isinstance(own.state, t1djax.physics.State)
    np.testing.assert_allclose(own.state.G, exact.state.G, atol=1e-3)


@pytest.mark.parametrize("start_min", [0.0, 1e6])
def test_thirty_days_in_single_precision(start_min: float) -> None:
    """Against the closed form in double precision: jumps, short doses and late minutes cost less than 0.5 mg/dL."""
    preset, rng = t1djax.presets()["Pat2"], np.random.default_rng(0)
    meals = start_min + (np.array([480.0, 1080.0]) + 1440 * np.arange(30)[:, None] + rng.uniform(0, 60, (30, 2)))
    doses = t1djax.Doses.of(
        basal=0.3, boluses=[(t - 3, 4.3, 0.7) for t in meals.ravel()], meals=[(t, 50, 15) for t in meals.ravel()]
    )
    end = start_min + 30 * 1440
    ts = np.linspace(start_min, end, 61)
    with jax.enable_x64(True):
        exact = t1djax.propagate(preset.model(), doses.inputs(start_min, end), jnp.asarray(ts)).glucose_mg_dL
    inputs = doses.inputs(start_min, end)
    for solve in (t1djax.propagate, t1djax.simulate):
        found = solve(preset.model(), inputs, jnp.asarray(ts))
        assert found.glucose_mg_dL.dtype == jnp.float32
        assert bool(found.ok)
        np.testing.assert_allclose(found.glucose_mg_dL, exact, atol=0.5, rtol=0)


def test_one_that_blows_up_says_so_and_spoils_no_other() -> None:
    def grows(p: jax.Array, y: jax.Array, u: jax.Array, r: jax.Array) -> jax.Array:
        return p * y**2

    inputs = t1djax.Doses.of(basal=0.0).inputs(0, 60)
    ts = jnp.array([0.0, 60.0])
    one = lambda p: t1djax.physics.solve(grows, p, inputs, ts, y0=jnp.asarray(1.0), max_steps=200)
    found = jax.vmap(one)(jnp.array([1.0, -0.1]))  # the first is infinite after a minute
    assert found.ok.tolist() == [False, True]
    assert float(found.state[1, -1]) == pytest.approx(1 / 7, rel=1e-3)


def test_fixed_steps_are_refused() -> None:
    inputs = t1djax.Doses.of(basal=0.0).inputs(0, 60)
    with pytest.raises(ValueError, match="adaptive"):
        t1djax.physics.solve(
            cleared, 0.1, inputs, jnp.array([60.0]), y0=jnp.asarray(1.0), stepsize_controller=diffrax.ConstantStepSize()
        )


def test_least_squares_is_that_of_scipy_for_each_of_a_cohort() -> None:
    t = np.linspace(0, 4, 30)
    rng = np.random.default_rng(0)
    readings = np.stack([2 * np.exp(-a * t) + 0.05 * rng.standard_normal(30) for a in (0.5, 1.2)])
    with jax.enable_x64(True):
        curve = lambda z: jnp.exp(z[0] - jnp.exp(z[1]) * jnp.asarray(t))
        fit = lambda y: t1djax.inference.least_squares(lambda z: curve(z) - y, jnp.zeros(2))
        found = jax.jit(jax.vmap(fit))(jnp.asarray(readings))
    assert found.converged.all()
    for i, y in enumerate(readings):
        peer = scipy.optimize.least_squares(
            lambda z, y=y: np.exp(z[0] - np.exp(z[1]) * t) - y, np.zeros(2), xtol=1e-12, ftol=1e-12
        )
        np.testing.assert_allclose(found.z[i], peer.x, rtol=1e-6)
        np.testing.assert_allclose(found.squares[i], 2 * peer.cost, rtol=1e-8)
        np.testing.assert_allclose(found.jacobian[i], peer.jac, atol=1e-5)


def test_the_same_equations_are_traced_once() -> None:
    traced = []

    def counted(p: jax.Array, y: jax.Array, u: jax.Array, r: jax.Array) -> jax.Array:
        traced.append(0)
        return u - p * y

    ts = jnp.array([0.0, 60.0])
    for p in (0.05, 0.1):
        inputs = t1djax.Doses.of(basal=p).inputs(0, 60)
        t1djax.physics.solve(counted, jnp.asarray(p), inputs, ts, y0=jnp.asarray(1.0))
        once, traced = traced, []
    assert once == []
