"""Partial pooling against dense Gaussian algebra, and against what each person's data say alone."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import t1djax
from t1djax import fit_hierarchy, pose
from t1djax.inference import HMC, fit_ode
from t1djax.inference._hierarchy import _log_density_of_spread, _mean_given_spread, _Quadratic, _reduce, _Reduced

KEY = jax.random.key(1)


def test_marginal_density_is_that_of_dense_algebra() -> None:
    """Patients and the population's mean integrated out, against one large normal distribution."""
    rng = np.random.default_rng(3)
    n, k, index = 4, 3, (0, 2)
    roots = rng.normal(size=(n, k, k + 2))
    A = roots @ roots.transpose(0, 2, 1)
    x_hat = rng.normal(size=(n, k))
    h = np.einsum("nij,nj->ni", A, x_hat)
    V = np.linalg.inv(A)[:, index][:, :, index]  # what is not pooled has a flat prior: it drops out
    seen = x_hat[:, index]

    def dense(log_sd: np.ndarray) -> tuple[float, np.ndarray]:
        C = V + np.diag(np.exp(2 * log_sd))
        W = np.linalg.inv(C)
        mean = np.linalg.solve(W.sum(axis=0), np.einsum("nij,nj->i", W, seen))
        log_p = sum(stats.multivariate_normal.logpdf(y, mean, c) for y, c in zip(seen, C, strict=True))
        log_p -= 0.5 * np.linalg.slogdet(W.sum(axis=0))[1]  # the mean, flat
        return log_p + stats.norm.logpdf(log_sd, np.log(0.2), 1.0).sum(), mean

    with jax.enable_x64(True):
        q = _Quadratic(jnp.asarray(h), jnp.asarray(A))
        each = jax.jit(jax.vmap(lambda q: _reduce(q, index)))(q)
        assert isinstance(each, _Reduced)
        points = np.array([[-1.0, 0.3], [0.5, -2.0]])
        density, mean_given = jax.jit(_log_density_of_spread), jax.jit(_mean_given_spread)
        ours = [float(density(each, jnp.asarray(p))) for p in points]
        W, b, _ = mean_given(each, jnp.asarray(points[0]))
        mean = np.linalg.solve(np.asarray(W), np.asarray(b))
    theirs = [dense(p) for p in points]
    assert ours[0] - ours[1] == pytest.approx(theirs[0][0] - theirs[1][0], rel=1e-9)
    np.testing.assert_allclose(mean, theirs[0][1], rtol=1e-9)


@pytest.fixture(scope="module")
def cohort() -> t1djax.Cohort:
    return t1djax.virtual_population(9, key=jax.random.key(4), interval_min=15, noise=t1djax.WhiteNoise(10.0))


@pytest.fixture(scope="module")
def people(cohort) -> list[t1djax.Patient]:
    """Three of nine have four hours."""
    cut = []
    for i, p in enumerate(cohort):
        keep = (p.time_min >= 360) & (p.time_min <= 600) if i % 3 == 0 else p.time_min < 1440
        cut.append(dataclasses.replace(p, time_min=p.time_min[keep], glucose_mg_dL=p.glucose_mg_dL[keep]))
    return cut


@pytest.mark.slow
def test_who_has_little_borrows_and_who_has_much_does_not(cohort, people) -> None:
    problem = pose(people, mode="inverse", free=["ksi", "Tu"], key=KEY)
    alone = fit_ode(people, problem, key=KEY)
    found = fit_hierarchy(people, problem, key=KEY)
    assert found.pooled == ("ksi", "Tu")
    assert all(p.ok for p in found)
    assert max(found.r_hat.values()) < 1.05
    truth = lambda name, symbol: cohort.truth[name].parameters[symbol]
    apart, together = [], []
    for i, (a, b) in enumerate(zip(alone, found, strict=True)):
        for symbol in found.pooled:
            estimate, draws = a.estimates[symbol], b.draws[symbol]
            assert estimate.standard_error is not None
            true = truth(a.name, symbol)
            if i % 3:
                assert np.median(draws) == pytest.approx(estimate.value, abs=0.7 * estimate.standard_error)
                assert draws.std() <= 1.1 * estimate.standard_error
            else:
                apart.append(np.log(estimate.value / true))
                together.append(np.log(np.median(draws) / true))
                assert b.borrowed[symbol] > 0.2
            low, high = b.interval(symbol, 0.999)
            assert low < true < high
    assert np.mean(np.square(together)) < 0.7 * np.mean(np.square(apart))
    # The population: its median, against the people's truth, within the interval that it states.
    for symbol in found.pooled:
        logs = np.log([truth(p.name, symbol) for p in people])
        draws = np.log(found.median[symbol])
        assert abs(draws.mean() - logs.mean()) < 3 * draws.std()
        assert draws.std() == pytest.approx(np.median(found.sd_log[symbol]) / 3, rel=0.5)
    table = found.table().set_index(["patient", "symbol"])
    assert table.loc[("V0001", "ksi"), "borrowed"] == found["V0001"].borrowed["ksi"]
    population = found.population(0.5).set_index("symbol")
    assert population.loc["ksi", "median_low"] == pytest.approx(np.quantile(found.median["ksi"], 0.25))


def test_what_makes_no_sense_is_refused(people) -> None:
    problem = pose(people, mode="inverse", free=["ksi"], key=KEY)
    with pytest.raises(ValueError):
        fit_hierarchy(people[1:], problem, key=KEY)
    with pytest.raises(ValueError, match="Tu"):
        fit_hierarchy(people, problem, key=KEY, pooled=["Tu"])
    held = pose(people, mode="inverse", free=["ksi"], key=KEY, bounds={"ksi": (100.0, 400.0)})
    with pytest.raises(ValueError, match="ksi"):
        fit_hierarchy(people, held, key=KEY)
    with pytest.raises(ValueError):
        fit_hierarchy(people[:2], pose(people[:2], mode="inverse", free=["ksi"], key=KEY), key=KEY)


@pytest.mark.slow
def test_joint_draws_agree_with_laplace(people) -> None:
    problem = pose(people, mode="inverse", free=["ksi"], key=KEY)
    fast = fit_hierarchy(people, problem, key=KEY)
    other = fit_hierarchy(people, problem, key=KEY, joint=HMC(8), draws=500)
    assert max(other.r_hat.values()) < 1.05
    assert np.median(other.sd_log["ksi"]) == pytest.approx(np.median(fast.sd_log["ksi"]), rel=0.15)
    for a, b in zip(fast, other, strict=True):
        sd = a.draws["ksi"].std()
        assert b.draws["ksi"].mean() == pytest.approx(a.draws["ksi"].mean(), abs=0.3 * sd)
        assert b.draws["ksi"].std() == pytest.approx(sd, rel=0.3)
