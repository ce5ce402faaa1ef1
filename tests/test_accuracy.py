"""What every network reaches on the reference cohort, from glucose alone: the targets, with room to spare.

`python -m pytest -m slow tests/test_accuracy.py -s` prints them, `python -m benchmarks accuracy` the whole table.
"""

import functools

import jax
import numpy as np
import pandas as pd
import pytest

import t1djax

SEEDS = (0, 1, 2)
SIX = ("ksi", "kl", "Tu", "Tr", "kr_Vb", "G0")
every_network = pytest.mark.parametrize("model", ["pinn", "modified_mlp", "birnn"])


def column(table: pd.DataFrame, name: str) -> np.ndarray:
    return np.asarray(table[name], dtype=np.float64)


@functools.cache
def _clean(interval: float) -> t1djax.Cohort:
    return t1djax.reference_cohort(interval_min=interval)


@functools.cache
def _noisy(seed: int, kind: str) -> t1djax.Cohort:
    key = jax.random.key(seed)
    if kind == "white":
        return t1djax.reference_cohort(interval_min=5, noise=t1djax.WhiteNoise(10.0), key=key)
    gap = t1djax.RandomGaps(1, 180.0)
    return t1djax.reference_cohort(interval_min=5, noise=t1djax.AR1Noise(10.0), dropout=0.05, gaps=gap, key=key)


@functools.cache
def _least_squares(seed: int, kind: str) -> pd.DataFrame:
    cohort = _noisy(seed, kind)
    return t1djax.summary(t1djax.fit(cohort, model="ode", free=["ksi"], seed=seed), cohort)


# Of pinn test_priors has as much.
@pytest.mark.slow
@pytest.mark.parametrize("model", ["modified_mlp", "birnn"])
def test_two_patients_without_noise(model):
    cohort = t1djax.reference_cohort(interval_min=15, names=["Pat3", "Pat8"])
    table = t1djax.summary(t1djax.fit(cohort, model=model, free=["ksi"]), cohort)
    assert float(column(table, "ksi_error_percent").max()) < 0.1
    assert float(column(table, "rmse_forecast_mg_dL").max()) < 1.0


@pytest.mark.slow
@every_network
def test_noise_free_from_three_seeds(model):
    cohort = _clean(1.0)
    ensemble = t1djax.fit_ensemble(cohort, model=model, free=["ksi"], seeds=SEEDS)
    table = pd.concat([t1djax.summary(fit, cohort) for fit in ensemble])
    worst = {c: float(column(table, c).max()) for c in ("ksi_error_percent", *_rmse("rmse"))}
    print(model, {c: round(v, 5) for c, v in worst.items()})
    assert all(fit.ok for member in ensemble for fit in member)
    assert worst["ksi_error_percent"] < 0.1
    assert worst["rmse_fit_mg_dL"] < 0.5
    assert worst["rmse_held_out_mg_dL"] < 0.5
    assert worst["rmse_forecast_mg_dL"] < 1.0


@pytest.mark.slow
@every_network
@pytest.mark.parametrize(("kind", "limit"), [("white", 1.0), ("ar1", 3.0)])
def test_noisy_readings_are_fitted_as_well_as_least_squares_on_the_equations_does(model, kind, limit):
    tables, exact = [], []
    for seed in SEEDS:
        cohort = _noisy(seed, kind)
        tables.append(t1djax.summary(t1djax.fit(cohort, model=model, free=["ksi"], seed=seed), cohort))
        exact.append(_least_squares(seed, kind))
    mine, theirs = pd.concat(tables), pd.concat(exact)
    rms = lambda table, name: float(np.sqrt(np.mean(column(table, name) ** 2)))
    ratios = {c: rms(mine, c) / rms(theirs, c) for c in ("ksi_error_percent", *_rmse("rmse_true"))}
    worst = float(column(mine, "ksi_error_percent").max())
    print(model, kind, f"worst ksi {worst:.3f} %, rms over least squares:", {k: round(v, 4) for k, v in ratios.items()})
    assert worst < limit
    assert max(ratios.values()) < 1.1
    np.testing.assert_allclose(column(mine, "ksi_se"), column(theirs, "ksi_se"), rtol=0.05)


@pytest.mark.slow
@every_network
def test_five_parameters_and_G0_at_once(model):
    cohort = _clean(5.0)
    fit = t1djax.fit(cohort, model=model, free=SIX)
    errors = [t1djax.evaluation.recovery(found, cohort.truth[found.name]) for found in fit]
    worst = {s: max(float(e[s]["error_percent"] or 0.0) for e in errors) for s in ("p1", "c", "Tu", "Tr", "kr_Vb")}
    print(model, {s: round(v, 4) for s, v in worst.items()})
    assert max(worst.values()) < 1.0


@pytest.mark.slow
@every_network
def test_forward(model):
    cohort = _clean(5.0)
    fit = t1djax.fit(cohort, model=model, mode="forward")
    for found in fit:
        truth = cohort.truth[found.name]
        for mine, true in (
            (found.states["insulin_U_dL"], truth.states["insulin_U_dL"]),
            (found.states["digestion_mg_dL_min"], truth.states["digestion_mg_dL_min"]),
        ):
            assert np.max(np.abs(mine - true)) < 0.02 * np.ptp(true)
        assert np.sqrt(np.mean((found.glucose_mg_dL - truth.glucose_mg_dL) ** 2)) < 0.5
        assert np.max(np.abs(found.residuals["residual_G_mg_dL_min"])) < 0.5


@pytest.mark.slow
@every_network
def test_fifty_virtual_patients(model):
    cohort = t1djax.virtual_population(50, key=jax.random.key(2))
    errors = column(t1djax.summary(t1djax.fit(cohort, model=model, free=["ksi"]), cohort), "ksi_error_percent")
    median, high, worst_one = np.quantile(errors, [0.5, 0.95, 1.0])
    print(f"{model} ksi error %: median {median:.2e}, 95 % {high:.2e}, worst {worst_one:.2e}")
    assert worst_one < 0.1


def _rmse(kind: str) -> list[str]:
    return [f"{kind}_{part}_mg_dL" for part in ("fit", "held_out", "forecast")]
