"""Sensor models against their theory and an independent implementation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate

from t1djax.data import AR1Noise, BretonKovatchevNoise, NoNoise, RandomGaps, Sensor, WhiteNoise

SERIES, TIMES = 4000, 64


def errors(noise, interval_min=5.0, seed=0):
    """Errors of many short series: the moments at every sample are seen, the first included."""
    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(seed), SERIES)
        glucose = jnp.full(TIMES, 150.0)
        sample = jax.jit(jax.vmap(lambda key: noise.sample(key, glucose, interval_min=interval_min)))
        return np.asarray(sample(keys)) - 150.0


def lag_one(e):
    e = e - e.mean()
    return np.mean(e[:, 1:] * e[:, :-1]) / np.mean(e**2)


def test_no_noise_returns_glucose():
    assert np.all(errors(NoNoise()) == 0)


def test_white_noise_has_its_sd_and_no_memory():
    e = errors(WhiteNoise(10.0))
    n = e.size
    assert abs(e.mean()) < 5 * 10 / np.sqrt(n)
    assert abs(e.std() / 10 - 1) < 5 / np.sqrt(2 * n)
    assert abs(lag_one(e)) < 5 / np.sqrt(n)


@pytest.mark.parametrize("rho", [0.7, -0.5, 0.95])
def test_ar1_noise_has_its_marginal_sd_at_every_sample_and_its_correlation(rho):
    e = errors(AR1Noise(8.0, rho))
    # The variance of a variance of SERIES independent values is 2/SERIES, at each sample of the series alike.
    each = e.var(axis=0) / 64
    assert np.all(np.abs(each - 1) < 5 * np.sqrt(2 / SERIES))
    assert abs(lag_one(e) - rho) < 0.01
    lag_five = np.mean(e[:, 5:] * e[:, :-5]) / np.mean(e**2)
    assert abs(lag_five - rho**5) < 0.02


def test_ar1_noise_is_per_sample_whatever_the_interval():
    assert np.array_equal(errors(AR1Noise(8.0), 1.0), errors(AR1Noise(8.0), 15.0))


def published(rng, length):
    """The paper's recursion as written, in NumPy, after a long run-in."""
    v = rng.standard_normal(length)
    e = np.empty(length)
    e[0] = v[0]
    for n in range(1, length):
        e[n] = 0.7 * (e[n - 1] + v[n])
    return (-5.471 + 15.96 * np.sinh((e + 0.5444) / 1.6898))[1000:]


def test_published_model_has_the_moments_of_the_recursion_in_the_paper():
    ours = errors(BretonKovatchevNoise(), 15.0)
    paper = published(np.random.default_rng(1), 400_000)
    assert abs(ours.mean() - paper.mean()) < 0.15
    assert abs(ours.std() / paper.std() - 1) < 0.02
    assert abs(lag_one(ours) - lag_one(paper[None])) < 0.01
    assert np.allclose(np.quantile(ours, [0.05, 0.5, 0.95]), np.quantile(paper, [0.05, 0.5, 0.95]), atol=0.3)


@pytest.mark.parametrize("interval_min", [1.0, 5.0, 15.0])
def test_published_model_has_one_distribution_at_any_interval(interval_min):
    e = errors(BretonKovatchevNoise(), interval_min)
    sd = 0.7 / np.sqrt(1 - 0.49)
    density = lambda x: np.exp(-((x / sd) ** 2) / 2) / (sd * np.sqrt(2 * np.pi))
    error = lambda x: -5.471 + 15.96 * np.sinh((x + 0.5444) / 1.6898)
    mean = integrate.quad(lambda x: error(x) * density(x), -9, 9)[0]
    var = integrate.quad(lambda x: (error(x) - mean) ** 2 * density(x), -9, 9)[0]
    assert abs(mean - 0.7) < 0.05
    assert abs(np.sqrt(var) - 11) < 1
    assert abs(e[:, 0].mean() - mean) < 5 * np.sqrt(var / SERIES)
    assert abs(e.std() / np.sqrt(var) - 1) < 0.05
    # Undo the Johnson transform: the correlation of what drives it over 15 min is the paper's 0.7.
    driver = 1.6898 * np.arcsinh((e + 5.471) / 15.96) - 0.5444
    k = int(15 / interval_min)
    assert abs(np.mean(driver[:, k:] * driver[:, :-k]) / sd**2 - 0.7) < 0.02


def test_a_sensor_censors_what_it_cannot_report():
    glucose = jnp.asarray([-20.0, 39.9, 40.0, 120.0, 400.0, 400.5])
    key = jax.random.key(0)
    assert np.array_equal(Sensor(censor=True).sample(key, glucose), [40, 40, 40, 120, 400, 400])
    assert np.array_equal(Sensor().sample(key, glucose), glucose)


def test_dropout_loses_its_share_and_changes_nothing_else():
    glucose = jnp.full(20_000, 120.0)
    key = jax.random.key(3)
    whole = np.asarray(Sensor(WhiteNoise(5.0)).sample(key, glucose))
    some = np.asarray(Sensor(WhiteNoise(5.0), dropout=0.2).sample(key, glucose))
    lost = np.isnan(some)
    assert abs(lost.mean() - 0.2) < 5 * np.sqrt(0.2 * 0.8 / lost.size)
    assert np.array_equal(some[~lost], whole[~lost])


def test_stated_gaps_are_where_they_are_stated():
    readings = np.asarray(Sensor(interval_min=5, gaps=[(10, 10), (50, 5)]).sample(jax.random.key(0), jnp.ones(12)))
    assert np.flatnonzero(np.isnan(readings)).tolist() == [2, 3, 10]


def test_random_gaps_have_their_length_and_move_with_the_key():
    sensor = Sensor(interval_min=1, gaps=RandomGaps(1, 30))
    lost = [np.flatnonzero(np.isnan(sensor.sample(jax.random.key(s), jnp.ones(1000)))) for s in range(5)]
    assert all(len(where) == 30 and where[-1] - where[0] == 29 for where in lost)
    assert len({int(where[0]) for where in lost}) == 5


def test_samples_repeat_with_the_key_and_vmap_equals_a_loop():
    sensor = Sensor(AR1Noise(9.0), dropout=0.1)
    keys = jax.random.split(jax.random.key(1), 3)
    together = jax.vmap(sensor.sample, in_axes=(0, None))(keys, jnp.full(50, 100.0))
    for key, row in zip(keys, together, strict=True):
        np.testing.assert_allclose(sensor.sample(key, jnp.full(50, 100.0)), row, rtol=1e-5)
    assert not np.array_equal(np.asarray(together[0]), np.asarray(together[1]), equal_nan=True)


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: WhiteNoise(-1.0), "sd_mg_dL"),
        (lambda: AR1Noise(1.0, 1.0), "rho"),
        (lambda: Sensor(interval_min=0), "interval_min"),
        (lambda: Sensor(dropout=1.0), "dropout"),
        (lambda: Sensor(gaps=[(0, -5)]), "gaps"),
        (lambda: RandomGaps(-1, 5), "gaps"),
    ],
)
def test_a_wrong_option_is_named(make, word):
    with pytest.raises(ValueError, match=word):
        make()
