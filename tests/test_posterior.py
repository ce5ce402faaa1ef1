"""The posterior against densities on a grid and dense covariances; its diagnostics against known chains."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import ArrayLike
from scipy import stats

import t1djax
from t1djax import LogNormal, pose, sample_posterior
from t1djax.inference import HMC, NUTS, fit_ode, posterior_glucose
from t1djax.inference._chains import trust
from t1djax.inference._posterior import Target
from t1djax.plotting import plot_draws, plot_forest
from t1djax.question import population_belief
from t1djax.records import Posterior

KEY = jax.random.key(0)
SD = 12.0
BOUNDS, PRIOR = (150.0, 205.0), LogNormal(172.0, 0.03)


@pytest.fixture(scope="module")
def people() -> tuple[t1djax.Patient, ...]:
    """The first five hours of two patients: ksi is uncertain by tens of percent."""
    cohort = t1djax.reference_cohort(
        interval_min=15, noise=t1djax.WhiteNoise(SD), key=jax.random.key(5), names=["Pat8", "Pat6"]
    )
    keep = lambda p: p.time_min <= 480
    cut = lambda p: dataclasses.replace(p, time_min=p.time_min[keep(p)], glucose_mg_dL=p.glucose_mg_dL[keep(p)])
    return tuple(cut(p) for p in cohort)


@pytest.fixture(scope="module")
def problem(people) -> t1djax.problem.Problem:
    return pose(
        people,
        mode="inverse",
        free=["ksi", "G0"],
        key=KEY,
        priors={"G0": PRIOR},
        bounds={"ksi": BOUNDS},
        noise_sd_mg_dL=SD,
    )


@pytest.fixture(scope="module")
def posterior(people, problem) -> Posterior:
    return sample_posterior(people, problem, key=KEY, chains=4, draws=400, warmup=150)


def glucose(patient: t1djax.Patient, ksi: ArrayLike, G0: ArrayLike) -> jax.Array:
    k = patient.known
    body = t1djax.Magdelaine(
        ksi=jnp.asarray(ksi), kl=k["kl"], kb=k["kb"], Tu=k["Tu"], ku_Vi=k["ku_Vi"], Tr=k["Tr"], kr_Vb=k["kr_Vb"]
    )
    inputs = patient.doses.inputs(float(patient.time_min[0]), float(patient.time_min[-1]))
    return t1djax.propagate(body, inputs, jnp.asarray(patient.time_min), G0=jnp.asarray(G0)).glucose_mg_dL


def test_draws_follow_the_density_on_a_grid(people, posterior) -> None:
    """Likelihood, a prior, and bounds that cut: all of them, against the density itself, flat in log ksi."""
    patient = people[0]
    where = patient.masks.fit
    x = np.linspace(np.log(BOUNDS[0]), np.log(BOUNDS[1]), 161)
    g = np.linspace(np.log(145.0), np.log(200.0), 161)
    with jax.enable_x64(True):
        run = jax.jit(jax.vmap(lambda x, g: glucose(patient, jnp.exp(x), jnp.exp(g))))
        pairs = np.stack(np.meshgrid(x, g, indexing="ij"), axis=-1).reshape(-1, 2)
        G = np.asarray(run(jnp.asarray(pairs[:, 0]), jnp.asarray(pairs[:, 1])))
    log_p = stats.norm.logpdf(G[:, where], patient.glucose_mg_dL[where], SD).sum(axis=1)
    log_p += stats.norm.logpdf(pairs[:, 1], np.log(PRIOR.median), PRIOR.sd_log)
    p = np.exp(log_p - log_p.max()).reshape(161, 161)
    found = posterior["Pat8"]
    assert found.ok, found.message
    for symbol, grid, mass in (("ksi", x, p.sum(axis=1)), ("G0", g, p.sum(axis=0))):
        cdf = (np.cumsum(mass) - mass / 2) / mass.sum()
        draws = np.log(found.draws[symbol])
        for q in (0.05, 0.25, 0.5, 0.75, 0.95):
            # Four standard errors of a share, at the effective sample size.
            error = 4 * np.sqrt(q * (1 - q) / found.ess_tail[symbol])
            assert np.mean(draws <= np.interp(q, cdf, grid)) == pytest.approx(q, abs=error)
    assert found.draws["ksi"].min() > BOUNDS[0]
    assert found.draws["ksi"].max() < BOUNDS[1]
    # The bounds do cut: a good share of the draws is near one of them.
    near = (found.draws["ksi"] > 0.97 * BOUNDS[1]) | (found.draws["ksi"] < 1.03 * BOUNDS[0])
    assert np.mean(near) > 0.1
    np.testing.assert_allclose(found.draws["p1"], found.draws["ksi"] * patient.known["ku_Vi"])
    assert "c" not in found.draws  # it is known


def test_a_hopeless_patient_leaves_the_others_alone(people, problem, posterior) -> None:
    broken = {**problem.known, "ku_Vi": np.array([problem.known["ku_Vi"][0], 1e308])}
    worse = dataclasses.replace(problem, known=broken)
    found = sample_posterior(people, worse, key=KEY, chains=4, draws=400, warmup=150)
    assert [p.ok for p in found] == [True, False]
    assert found["Pat6"].message
    np.testing.assert_array_equal(found["Pat8"].draws["ksi"], posterior["Pat8"].draws["ksi"])


def test_intervals_and_table(posterior) -> None:
    patient = posterior["Pat6"]
    low, high = patient.interval("ksi", 0.8)
    inside = (patient.draws["ksi"] >= low) & (patient.draws["ksi"] <= high)
    assert np.mean(inside) == pytest.approx(0.8, abs=1e-3)
    table = posterior.table(0.8).set_index(["patient", "symbol"])
    assert table.loc[("Pat6", "ksi"), "low"] == low
    assert table.loc[("Pat6", "ksi"), "mean"] == pytest.approx(patient.draws["ksi"].mean())
    with pytest.raises(KeyError, match="Tu"):
        patient.interval("Tu")
    with pytest.raises(ValueError):
        patient.interval("ksi", 90)
    with pytest.raises(KeyError, match="Pat9"):
        posterior["Pat9"]


def test_glucose_of_draws_is_the_exact_solution(people, posterior) -> None:
    one = dataclasses.replace(
        posterior,
        patients=tuple(
            dataclasses.replace(p, draws={s: x[:1, :1] for s, x in p.draws.items()}) for p in posterior.patients
        ),
    )
    found = posterior_glucose(one, people, key=KEY, draws=3)
    draw = {s: float(x[0, 0]) for s, x in posterior["Pat6"].draws.items()}
    with jax.enable_x64(True):
        exact = np.asarray(glucose(people[1], draw["ksi"], draw["G0"]))
    np.testing.assert_allclose(found["Pat6"], np.stack([exact] * 3), rtol=1e-9)
    with pytest.raises(ValueError):
        posterior_glucose(one, people[:1], key=KEY)


@pytest.mark.parametrize("noise", ["white", "ar1"])
def test_density_is_that_of_a_dense_covariance(people, noise) -> None:
    """Noise level and correlation time are drawn along: their density, against a multivariate normal one."""
    patient = dataclasses.replace(people[0], glucose_mg_dL=people[0].glucose_mg_dL.copy())
    patient.glucose_mg_dL[[3, 4, 11]] = np.nan
    problem = pose([patient], mode="inverse", free=["ksi", "G0"], key=KEY)
    where = patient.masks.fit
    t, y = patient.time_min[where], patient.glucose_mg_dL[where]
    points = [(np.log(165.0), np.log(200.0), np.log(8.0)), (np.log(180.0), np.log(190.0), np.log(15.0))]
    ours, theirs = [], []
    with jax.enable_x64(True):
        body = jax.tree.map(lambda x: x[0], problem.physiology())
        target = Target(body, t1djax.data.series(patient), noise)
        for point, tau in zip(points, (10.0, 40.0), strict=True):
            x = jnp.asarray([*point, np.log(tau)][: 3 + (noise == "ar1")])
            ours.append(float(target.log_density(x)))
            mean = np.asarray(glucose(patient, float(np.exp(point[1])), float(np.exp(point[0]))))[where]
            rho = np.exp(-np.abs(t[:, None] - t) / tau) if noise == "ar1" else np.eye(len(t))
            log_p = stats.multivariate_normal.logpdf(y, mean, (0.1 + np.exp(point[2])) ** 2 * rho)
            log_p += stats.norm.logpdf(point[2], np.log(10), 2)
            theirs.append(log_p + (stats.norm.logpdf(np.log(tau), np.log(15)) if noise == "ar1" else 0.0))
    assert ours[0] - ours[1] == pytest.approx(theirs[0] - theirs[1], rel=1e-9)


def test_diagnostics_of_known_chains() -> None:
    rng = np.random.default_rng(0)
    white = rng.normal(size=(4, 1000))
    slow = np.zeros((4, 1000))
    for i in range(1, 1000):
        slow[:, i] = 0.9 * slow[:, i - 1] + np.sqrt(1 - 0.81) * rng.normal(size=4)
    apart = white + np.arange(4)[:, None]
    found = jax.jit(trust)(jnp.asarray(np.stack([white, slow, apart]), jnp.float32))
    assert found.r_hat[0] < 1.01
    assert found.r_hat[2] > 1.3
    assert found.ess_bulk[0] == pytest.approx(4000, rel=0.15)
    assert found.ess_bulk[1] == pytest.approx(4000 * 0.1 / 1.9, rel=0.3)
    assert found.ess_bulk[2] < 20


def test_what_makes_no_sense_is_refused(people, problem) -> None:
    known = [dataclasses.replace(p, known={**p.known, "G0": 150.0}) for p in people]
    with pytest.raises(ValueError):
        sample_posterior(known, pose(known, mode="forward", key=KEY), key=KEY)
    with pytest.raises(ValueError):
        sample_posterior(people[::-1], problem, key=KEY)
    with pytest.raises(ValueError):
        sample_posterior(people, problem, key=KEY, draws=1)


def test_figures_show_chains_pairs_and_intervals(posterior) -> None:
    figure = plot_draws(posterior["Pat8"])
    texts = " ".join(ax.get_title(loc="left") + ax.get_ylabel() for ax in figure.axes)
    assert "ksi, mg/U/min" in texts
    assert "correlation" in texts
    forest = plot_forest(posterior, "ksi", level=0.8).axes[0]
    lines = [x for x in (np.asarray(line.get_xdata()) for line in forest.lines) if x.size == 2]
    np.testing.assert_allclose(lines[1], posterior["Pat6"].interval("ksi", 0.8))


@pytest.mark.slow
def test_samplers_agree_and_noise_is_found() -> None:
    people = tuple(
        t1djax.reference_cohort(
            interval_min=15, noise=t1djax.WhiteNoise(SD), key=jax.random.key(5), names=["Pat2", "Pat3"]
        )
    )
    problem = pose(people, mode="inverse", free=["ksi", "Tu"], key=KEY)
    fit = fit_ode(people, problem, key=KEY)
    one, other = (
        sample_posterior(people, problem, key=KEY, draws=2000, sampler=sampler, fit=fit) for sampler in (HMC(), NUTS())
    )
    for a, b in zip(one, other, strict=True):
        for symbol in a.draws:
            sd = a.draws[symbol].std()
            assert b.draws[symbol].mean() == pytest.approx(a.draws[symbol].mean(), abs=0.15 * sd)
            assert b.draws[symbol].std() == pytest.approx(sd, rel=0.15)
        low, high = a.interval("noise_sd_mg_dL", 0.99)
        assert low < SD < high


def test_a_posterior_that_nothing_bounds_is_called_improper_with_the_prior_that_would(people):
    """Two hours of readings say where glucose began, and bound no insulin sensitivity."""
    patient = people[0]
    part = patient.time_min <= patient.time_min[0] + 120
    short = dataclasses.replace(patient, time_min=patient.time_min[part], glucose_mg_dL=patient.glucose_mg_dL[part])
    problem = pose((short,), mode="inverse", free=["ksi"], key=KEY, noise_sd_mg_dL=SD)
    found = sample_posterior((short,), problem, key=KEY, chains=2, draws=200, warmup=100)["Pat8"]
    assert found.outcome is t1djax.Outcome.improper
    assert found.unbounded == {"ksi": population_belief("ksi")}
    assert "LogNormal" in found.message
