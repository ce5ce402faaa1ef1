"""How much sensitivity changes from day to day: recovered on records drawn from the model."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import t1djax
from t1djax.statespace._body import unit_of
from t1djax.statespace._hyper import Form
from t1djax.statespace._model import build
from t1djax.statespace._person import person_of
from t1djax.statespace._records import root
from t1djax.statespace._steps import steps_for

DAYS, CHANGES = 14, (0.0, 0.12, 0.12)
OPTIONS = t1djax.StateSpaceOptions(horizons_min=(), daily_rhythm=0, slow_disturbance=False, sensitivity_walk=True)


@pytest.fixture(scope="module")
def records() -> list[t1djax.Patient]:
    """Weeks of three meals a day, their boluses and corrections, with an effect of insulin that walks."""
    rng, form = np.random.default_rng(0), Form(OPTIONS)
    at = np.add.outer(1440.0 * np.arange(DAYS), [450.0, 750.0, 1140.0]).ravel() + 5 * rng.integers(-8, 9, 3 * DAYS)
    eaten = rng.uniform(30, 90, len(at))
    corrections = 1440.0 * np.arange(DAYS) + 5 * rng.integers(180, 200, DAYS)
    boluses = [*zip(at, eaten / 10, strict=True), *zip(corrections, rng.uniform(1, 4, DAYS), strict=True)]
    doses = t1djax.Doses.of(basal=1.0, boluses=sorted(boluses), meals=list(zip(at, eaten, strict=True)))
    time = 15.0 * np.arange(96 * DAYS)
    blank = t1djax.Patient("Ada", time, np.full(len(time), 150.0), doses)
    found = []
    with jax.enable_x64(True):
        person, steps = person_of(blank, until_min=np.inf), steps_for(blank, form)
        h = {row.symbol: jnp.asarray(row.median) for row in form.constants} | {"fast": jnp.asarray(0.2)}

        @jax.jit
        def built(change):
            unit = unit_of(h, person.level_mg_dL, form)
            model, _ = build(h | {"change": change}, person, steps, form, unit)
            return model.mean, model.read, *model.matrices()

        interval, valid = np.asarray(steps.interval), np.asarray(steps.valid)
        for i, change in enumerate(CHANGES):
            x, read, F, Q = jax.device_get(built(jnp.asarray(change)))
            roots, states = {k: root(q) for k, q in dict(zip(interval, Q, strict=True)).items()}, []
            for f, k in zip(F, interval, strict=True):
                states.append(x)
                x = f @ x + roots[k] @ rng.normal(size=len(x))
            glucose = (150 + np.stack(states) @ read)[valid] + rng.normal(0, 3, len(time))
            found.append(t1djax.Patient(f"P{i}", time, glucose, doses))
    return found


@pytest.mark.slow
def test_the_change_from_day_to_day_is_recovered(records):
    fit = t1djax.fit_state_space(records, options=OPTIONS, train_until_min=np.inf)
    assert all(p.ok for p in fit)
    found = [fit[p.name].constants["change"] for p in records]
    size = np.array([e.value for e in found])
    error = np.array([e.standard_error for e in found], float)
    away = np.log(size[1:] / CHANGES[1]) / (error[1:] / size[1:])
    assert np.sqrt(np.mean(away**2)) < 1.5
    assert size[0] < 0.5 * np.min(size[1:])
