"""The identifiability report against finite differences, dense algebra and every known symmetry of the model."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import t1djax
from t1djax.inference import quick_verdict
from t1djax.inference._feedback import insulin_follows_glucose
from t1djax.inference._information import WHITE, coloured, noise_correlations
from t1djax.inference._trust import widening

from .command import done

FREE = ("G0", "kl", "ksi")


@pytest.fixture(scope="module")
def pat3() -> t1djax.Patient:
    return t1djax.reference_cohort(interval_min=15, names=["Pat3"])["Pat3"]


def _slopes(patient: t1djax.Patient, symbols: tuple[str, ...]) -> np.ndarray:
    """Sensitivities of glucose at the fit readings by the logarithms, by central differences."""
    fit = patient.masks.fit
    inputs_ = patient.doses.inputs(float(patient.time_min[0]), float(patient.time_min[-1]))
    names = ("ksi", "kl", "kb", "Tu", "ku_Vi", "Tr", "kr_Vb")

    def glucose(symbol: str, by: float) -> np.ndarray:
        v = dict(patient.known)
        v[symbol] *= np.exp(by)
        p = t1djax.Magdelaine(**{n: v[n] for n in names})
        return np.asarray(t1djax.propagate(p, inputs_, jnp.asarray(patient.time_min), G0=v["G0"]).glucose_mg_dL)[fit]

    return np.stack([(glucose(s, 1e-5) - glucose(s, -1e-5)) / 2e-5 for s in symbols], axis=1)


def test_bounds_correlations_and_condition_equal_finite_differences(pat3):
    with jax.enable_x64(True):
        J = _slopes(pat3, FREE)
    covariance = 100.0 * np.linalg.inv(J.T @ J)
    found = t1djax.preflight([pat3], free=["ksi", "kl", "G0"], what_if=False)["Pat3"]
    assert tuple(found.parameters) == FREE
    assert found.rank == 3
    np.testing.assert_allclose(
        [d.bound_percent for d in found.parameters.values()], 100 * np.sqrt(np.diagonal(covariance)), rtol=1e-4
    )
    spread = np.sqrt(np.diagonal(covariance))
    np.testing.assert_allclose(found.correlation, covariance / np.outer(spread, spread), atol=1e-4)
    assert found.condition == pytest.approx(np.linalg.cond(J) ** 2, rel=1e-3)
    # c = kl - kb is known much worse than kl: its slope by log kl is kl/c.
    c = pat3.known["kl"] - pat3.known["kb"]
    assert found.derived["c"].bound_percent == pytest.approx(
        found.parameters["kl"].bound_percent * pat3.known["kl"] / c, rel=1e-6
    )


@pytest.mark.parametrize(
    ("free", "words", "open_", "known"),
    [
        (["ksi", "ku_Vi"], "ksi and ku_Vi move together: only ksi*ku_Vi is determined", {"ksi", "ku_Vi"}, "p1"),
        (["kl", "kb"], "kl and kb move together: only kl - kb is determined", {"kl", "kb"}, "c"),
        (["kl", "M"], "kl and M move together: only kl - 128/M is determined", {"kl", "M"}, "c"),
        (["kb", "M"], "M leaves no trace in glucose", {"M"}, "c"),
    ],
)
def test_exact_symmetries_are_named(pat3, free, words, open_, known):
    found = t1djax.preflight([pat3], free=free, what_if=False)["Pat3"]
    assert found.rank == 1
    assert np.isinf(found.condition)
    assert found.directions[0].structural
    assert words in found.directions[0].words
    assert {s for s, d in found.parameters.items() if np.isinf(d.bound_percent)} == open_
    assert all(found.parameters[s].verdict == "not determined" for s in open_)
    assert found.derived[known].bound_percent < 1
    with pytest.raises(t1djax.UnidentifiableError):
        t1djax.fit([pat3], model="ode", free=free)


def test_both_symmetries_at_once(pat3):
    found = t1djax.preflight([pat3], free=["ksi", "ku_Vi", "kl", "kb", "G0"], what_if=False)["Pat3"]
    assert found.rank == 3
    assert [d.determined for d in found.directions if d.structural] == ["ksi*ku_Vi", "kl - kb"]
    pair = t1djax.preflight([pat3], free=["ksi", "kl", "G0"], what_if=False)["Pat3"]
    assert found.derived["p1"].bound_percent == pytest.approx(pair.parameters["ksi"].bound_percent, rel=1e-5)
    assert found.parameters["G0"].bound_percent == pytest.approx(pair.parameters["G0"].bound_percent, rel=1e-5)


def test_a_known_insulin_at_the_start_breaks_the_symmetry_and_a_free_one_joins_it(pat3):
    # Where I0 and S0 are free they move along: ksi I0 and ksi S0 stay.
    found = t1djax.preflight(
        [pat3], free=["ksi", "ku_Vi"], values={"S0": 1e-3, "I0": 1e-3}, estimate_initial_state=True, what_if=False
    )["Pat3"]
    assert "ksi*ku_Vi, ksi*I0, ksi*S0" in found.directions[0].words
    assert found.rank == len(found.parameters) - 1


def test_parameters_without_their_input_leave_no_trace_until_a_meal(pat3):
    fasting = dataclasses.replace(pat3, doses=t1djax.Doses.of(basal=1.0))
    found = t1djax.preflight([fasting], free=["Tr", "kr_Vb"])["Pat3"]
    assert found.rank == 0
    assert [d.words.split(":")[0] for d in found.directions] == [
        f"{s} leaves no trace in glucose" for s in ("Tr", "kr_Vb")
    ]
    meal = found.what_if[0]
    assert "meal" in meal.change
    assert all(np.isinf(before) and after < 20 for before, after in meal.percent.values())
    again = found.what_if[1]
    assert all(np.isinf(after) for _, after in again.percent.values())
    bare = dataclasses.replace(pat3, doses=t1djax.Doses.of(meals=[(60, 50)]))
    found = t1djax.preflight([bare], free=["ksi"], what_if=False)["Pat3"]
    assert found.rank == 0
    assert "no insulin is given" in found.parameters["ksi"].reason


def test_a_bolus_proportional_to_every_meal_hides_the_parameters_until_a_meal_without_one(pat3):
    meals = [(480, 60), (780, 80), (1140, 70), (1920, 60), (2220, 80), (2580, 70)]
    tied = t1djax.Doses.of(basal=float(pat3.doses.basal_U_h[0]), boluses=[(t, g / 9.3) for t, g in meals], meals=meals)
    free = ["ksi", "kl", "Tu", "Tr", "kr_Vb", "G0"]
    both = [pat3, dataclasses.replace(pat3, name="tied", doses=tied)]
    report = t1djax.preflight(both, free=free)
    assert report["tied"].rank == 6  # in theory
    assert report["tied"].derived["p1"].bound_percent > 3 * report["Pat3"].derived["p1"].bound_percent
    assert any({"ksi", "kr_Vb"} <= set(d.undetermined) and not d.structural for d in report["tied"].directions)
    before, after = report["tied"].what_if[0].percent["ksi"]
    assert after < 0.7 * before
    # The fit readings are four fifths of all, early ones: 1.3 to 1.5 times the bounds on all of 5-min readings.
    ratio = report["Pat3"].derived["p1"].bound_percent / np.sqrt(3) / 2.6
    assert 1.0 < ratio < 1.6


def test_coloured_information_equals_the_dense_product():
    rng = np.random.default_rng(0)
    t = np.sort(rng.uniform(0, 500, 40))
    J = rng.normal(size=(40, 3))
    patient = t1djax.Patient("A", t, np.full(40, 100.0), t1djax.Doses.of())
    with jax.enable_x64(True):
        found = coloured(jnp.asarray(J), t1djax.data.series(patient), jnp.asarray([0.4, 0.05]))
    R = 0.4 * np.exp(-0.05 * np.abs(t[:, None] - t[None])) + 0.6 * np.eye(40)
    np.testing.assert_allclose(found, J.T @ R @ J, rtol=1e-12)


def test_memory_of_white_and_autocorrelated_residuals():
    rng = np.random.default_rng(1)
    t, e = np.arange(2000) * 5.0, rng.normal(size=2000)
    assert noise_correlations([(t, e)])[0].correlation == 0.0
    red = np.zeros(2000)
    for i in range(1, 2000):
        red[i] = 0.7 * red[i - 1] + e[i]
    (found,) = noise_correlations([(t, red)])
    assert found.correlation == pytest.approx(0.7, abs=0.05)
    assert found.share == pytest.approx(1.0, abs=0.1)
    assert np.exp(-5 * found.decay_per_min) == pytest.approx(0.7, abs=0.07)
    # A slow drift under white noise of three times its variance: the next reading is no guide, later ones are.
    slow = np.zeros(2000)
    for i in range(1, 2000):
        slow[i] = 0.98 * slow[i - 1] + np.sqrt(1 - 0.98**2) * e[i]
    (found,) = noise_correlations([(t, slow + np.sqrt(3) * rng.normal(size=2000))])
    assert found.share == pytest.approx(0.25, abs=0.1)
    assert 100 < 1 / found.decay_per_min < 600


def test_memories_of_a_cohort_are_those_of_each():
    """Together where they have as many readings, on one grid or with holes, with and without noise."""
    rng, left = np.random.default_rng(2), []
    for i in range(40):
        n = (5, 60, 60, 200)[i % 4]
        t = np.cumsum(rng.choice([5.0, 5.0, 5.0, 90.0], n)) if i % 3 else 5.0 * np.arange(n)
        left.append((t, (1e-9 if i == 7 else 10.0) * rng.normal(size=n).cumsum()))
    left[9][1][3] = np.nan
    together = noise_correlations(left)
    np.testing.assert_allclose(together, [noise_correlations([one])[0] for one in left], rtol=1e-12)
    assert len({m.share for m in together}) > 10
    assert {together[i] for i in (0, 7, 9)} == {WHITE}


@pytest.mark.parametrize(("rms_mg_dL", "remembers"), [(1e-3, False), (0.09, False), (0.11, True), (10.0, True)])
def test_only_what_a_sensor_may_leave_remembers(rms_mg_dL, remembers):
    """What a network leaves of readings without noise is smooth, and no reason to widen an error."""
    t = 5.0 * np.arange(300)
    smooth = np.sin(t / 200)
    (found,) = noise_correlations([(t, rms_mg_dL * smooth / np.sqrt(np.mean(smooth**2)))])
    assert (found != WHITE) == remembers
    assert (widening(t, found, 1) > 2) == remembers


def test_errors_without_noise_are_not_widened_and_with_it_they_are():
    one = t1djax.reference_cohort(interval_min=15, names=["Pat3"])["Pat3"]
    drift = np.sin(one.time_min / 150)
    fits = {}
    for size in (0.02, 2.0):
        near = dataclasses.replace(one, glucose_mg_dL=one.glucose_mg_dL + size * drift)
        fits[size] = t1djax.fit([near], model="ode", free=["ksi"])["Pat3"].estimates["ksi"]
    assert not fits[0.02].widened
    assert fits[2.0].widened
    # The same shape: the white errors go by its size alone.
    assert fits[2.0].white_error == pytest.approx(100 * fits[0.02].white_error, rel=0.02)
    assert fits[2.0].standard_error > 2 * fits[2.0].white_error


@pytest.fixture(scope="module")
def noisy() -> tuple[t1djax.Cohort, t1djax.Fit]:
    """One reference patient under forty draws of autocorrelated noise, and the fit."""
    one = t1djax.reference_cohort(interval_min=15, names=["Pat3"])["Pat3"]
    rng, red = np.random.default_rng(5), np.zeros((60, len(one.time_min)))
    red[:, 0] = rng.normal(size=60)
    for i in range(1, red.shape[1]):
        red[:, i] = 0.7 * red[:, i - 1] + np.sqrt(1 - 0.49) * rng.normal(size=60)
    draws = [
        dataclasses.replace(one, name=f"P{i}", glucose_mg_dL=one.glucose_mg_dL + 10 * e) for i, e in enumerate(red)
    ]
    cohort = t1djax.Cohort(tuple(draws))
    return cohort, t1djax.fit(cohort, model="ode", free=["ksi", "G0"])


def test_robust_intervals_hold_where_noise_remembers_and_white_ones_do_not(noisy):
    cohort, fit = noisy
    report = t1djax.identify(fit, cohort, what_if=False)
    z = np.array([np.log(p.parameters["ksi"].value / 274.0) for p in report])
    white = np.array([p.parameters["ksi"].error_percent for p in report]) / 100
    robust = np.array([p.parameters["ksi"].robust_percent for p in report]) / 100
    assert np.std(z) / np.median(white) > 1.7
    assert 0.75 < np.std(z) / np.median(robust) < 1.3
    first = report["P0"]
    assert first.inflation == pytest.approx(robust[0] / white[0], rel=0.2)
    assert any("autocorrelated" in w for w in first.warnings)
    # The fit itself states the white error, and the wider one: never much smaller than the robust one, nor much larger.
    e = fit["P0"].estimates["ksi"]
    assert e.white_error is not None
    assert white[0] == pytest.approx(e.white_error / e.value, rel=1e-6)
    stated = np.array([f.estimates["ksi"].standard_error / f.estimates["ksi"].value for f in fit])
    assert np.all((stated > 0.98 * robust) & (stated < 1.25 * robust))
    assert quick_verdict(fit) == report.verdict
    assert len(report.table()) == 3 * 60


def test_priors_and_bounds_that_rule_are_named(pat3):
    cohort = [dataclasses.replace(pat3, glucose_mg_dL=pat3.glucose_mg_dL + 5 * np.sin(np.arange(193.0)))]
    fit = t1djax.fit(
        cohort,
        model="ode",
        free=["ksi", "ku_Vi", "Tu"],
        priors={"ku_Vi": t1djax.LogNormal(0.062, 0.05)},
        bounds={"Tu": (100.0, 144.0)},
    )
    found = t1djax.identify(fit, cohort, what_if=False)["Pat3"]
    assert found.parameters["ku_Vi"].verdict == "set by the prior"
    assert "ksi*ku_Vi" in found.parameters["ksi"].reason
    assert found.parameters["ku_Vi"].error_percent == pytest.approx(5.0, rel=0.01)
    assert found.parameters["Tu"].verdict == "at its bound"
    assert found.parameters["Tu"].interval[0] >= 100.0


def test_insulin_that_follows_glucose_is_noticed():
    rng, n = np.random.default_rng(2), 500
    t, e = np.arange(n) * 5.0, rng.normal(0, 10, n)
    answer = [(float(a), 0.02 * float(b)) for a, b in zip(t, e, strict=True) if b > 0]
    blind = [(float(a), 0.02 * float(b)) for a, b in zip(t, rng.permutation(e), strict=True) if b > 0]
    for boluses, follows in ((answer, True), (blind, False)):
        patient = t1djax.Patient("A", t, 120 + e, t1djax.Doses.of(basal=1.0, boluses=boluses))
        assert bool(insulin_follows_glucose(patient, t, e)) == follows


@pytest.mark.slow
def test_command_line(pat3, tmp_path):
    rng = np.random.default_rng(3)
    noise = rng.normal(0, 8, len(pat3.time_min))
    known = {k: v for k, v in pat3.known.items() if k != "G0"}
    t1djax.write_cohort(
        t1djax.Cohort((dataclasses.replace(pat3, glucose_mg_dL=pat3.glucose_mg_dL + noise, known=known),)),
        tmp_path / "data",
    )
    out = tmp_path / "out"
    shown = done("identify", tmp_path / "data", "--free", "ksi", "--profile", "--out", out).out
    assert "determined" in shown
    assert "profile of Pat3: ksi" in shown
    assert {p.name for p in out.iterdir()} == {
        "identification.csv", "identification.json", "profile_ksi.csv", "Pat3.png", "Pat3_fit.png",
        "Pat3_profiles.png",
    }  # fmt: skip
    report = done("identify", tmp_path / "data", "--free", "ksi,ku_Vi", "--preflight", "--json").json
    assert report["patients"][0]["rank"] == 2
