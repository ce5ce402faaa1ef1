"""Settings of a body and of a person."""

import dataclasses
import datetime as dt

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from typer.testing import CliRunner

import t1djax
from t1djax.cli import app
from t1djax.cli._exit import EXIT_FAILED_PATIENTS
from t1djax.physics import Hovorka, Kanderian, Magdelaine, kanderian, settings
from t1djax.records import NOT_TOLD, SETTINGS, PersonSettings, Setting, rounded
from t1djax.statespace import StateSpaceFit
from t1djax.statespace._bodies import weights
from t1djax.statespace._body import unit_of
from t1djax.statespace._hyper import Form, StateSpaceOptions
from t1djax.statespace._model import build
from t1djax.statespace._own_body import own_body
from t1djax.statespace._person import Person
from t1djax.statespace._settings import _by_the_rule, together
from t1djax.statespace._steps import steps_for


def test_settings_of_magdelaine_are_its_closed_forms():
    with jax.enable_x64(True):
        body = Magdelaine.from_mass(M=72, ksi=197, kl=1.94, Tu=122, ku_Vi=0.059, Tr=183, kr_Vb=0.0024)
        found = settings(body, jnp.asarray(120.0), within_min=30 * 183.0)
    fall, rise = 197 * 0.059, 1000 * 0.0024
    assert float(found.fall_per_U) == pytest.approx(fall, rel=1e-6)
    assert float(found.rise_per_g) == pytest.approx(rise, rel=1e-6)
    assert float(found.g_per_U) == pytest.approx(fall / rise, rel=1e-6)
    assert float(found.basal_U_h) == pytest.approx(60 * (1.94 - 128 / 72) / fall, rel=1e-6)


def test_a_body_in_the_form_of_the_filter_has_the_settings_of_itself():
    """Effects and drift of a known body, by hand, about two levels."""

    @jax.jit
    def both(body, level):
        h = {s: getattr(body, s) for s in Kanderian.facts.followed}
        p1, q = 1e6 * level * body.SI / body.CI, 1000 / body.VG
        somebody = Person(level, jnp.zeros(4), jnp.ones(4), jnp.zeros(3))
        mine = own_body(h, somebody, Form(StateSpaceOptions(), Kanderian), p1=p1, q=q,
                        drift_mg_dL_min=body.EGP - body.GEZI * level)  # fmt: skip
        return [settings(b, jnp.asarray(120.0)) for b in (mine, body)]

    with jax.enable_x64(True):
        for level in (120.0, 160.0):
            np.testing.assert_allclose(*both(kanderian()["3"], jnp.asarray(level)), rtol=1e-9)


class StartsAtRest(Hovorka):
    """With a second pool that is as the rest has it, whatever the insulin: what a class does that does not say more."""

    def start(self, glucose_mg_dL, insulin_U_min):
        return self.steady(glucose_mg_dL)[0]

    def steady(self, glucose_mg_dL):
        return Hovorka(**self.values()).steady(glucose_mg_dL)

    def scales(self):
        return Hovorka(**self.values()).scales()


def test_a_body_that_starts_at_rest_has_in_the_form_of_the_filter_the_rest_of_the_one_that_does_not():
    def rested(cls):
        somebody = Person(jnp.asarray(140.0), jnp.zeros(4), jnp.ones(4), jnp.zeros(3))
        body = own_body({}, somebody, Form(StateSpaceOptions(), cls), p1=jnp.asarray(40.0), q=jnp.asarray(4.0),
                        drift_mg_dL_min=jnp.asarray(0.5))  # fmt: skip
        y, basal = body.steady(jnp.asarray(120.0))
        return body.glucose(y), basal, body.rates(y, basal / 60, 0.0), body.scales()

    with jax.enable_x64(True):
        (G, basal, rates, sizes), (_, same, *_) = (
            jax.jit(rested, static_argnums=0)(c) for c in (StartsAtRest, Hovorka)
        )
    assert float(G) == pytest.approx(120.0)
    for rate, size in zip(jax.tree.leaves(rates), jax.tree.leaves(sizes), strict=True):
        assert abs(float(rate)) < 1e-9 * float(size)
    assert 0 < float(basal) == pytest.approx(float(same))


def test_no_need_is_below_zero(found):
    draws = {**found.draws, "basal": np.repeat(np.linspace(-0.5, 0.7, 256)[:, None], 5, axis=1)}
    low = dataclasses.replace(found, draws=draws).setting("basal")
    assert (low.low, low.knowledge) == (0.0, NOT_TOLD)
    assert low.high == pytest.approx(0.64)


@pytest.fixture(scope="module")
def patient() -> t1djax.Patient:
    cohort = t1djax.reference_cohort(
        interval_min=15, names=["Pat3"], noise=t1djax.WhiteNoise(5.0), key=jax.random.key(0)
    )
    return dataclasses.replace(cohort["Pat3"], start=dt.datetime(2025, 3, 2, 6, 0))


@pytest.fixture(scope="module")
def found(patient) -> PersonSettings:
    return t1djax.person_settings([patient], physiology="magdelaine", parts=4, key=jax.random.key(0))[0]


@pytest.fixture(scope="module")
def fit(patient) -> StateSpaceFit:
    options = t1djax.StateSpaceOptions(horizons_min=())
    return t1djax.fit_state_space([patient], options=options, train_until_min=np.inf)


def test_a_printed_fit_shows_what_was_found_of_each_person(fit):
    text = str(fit)
    assert {"p1", "q", *fit.patients[0].constants} <= set(text.split())
    assert max(map(len, text.splitlines())) <= 80


def test_errors_of_effects_carry_those_of_the_constants(fit, patient):
    """The slope by which they do, against differences of filters under other constants."""
    one = fit.patients[0]
    n = len(one.constants)
    C, across, whole = one.joint.cov[:n, :n], one.joint.cov[n:, :n], one.joint.cov[n:, n:]
    J = across @ np.linalg.inv(C)
    i = n - 1  # the sensor's noise, whose logarithm has a spread of 0.7
    inside = np.tanh(one.joint.mean[i] / 2)
    ends, alone = [], None
    for step in (0.0, 0.01, -0.01):
        e = one.constants["noise"]
        moved = e._replace(value=e.value * np.exp(step * 0.7 * (1 - inside**2)))
        other = dataclasses.replace(
            fit, patients=(dataclasses.replace(one, constants={**one.constants, "noise": moved}),)
        )
        states = t1djax.smoothed_states(other, patient)
        ends.append(states.mean["p1"][-1])
        alone = states.sd["p1"][-1] if step == 0.0 else alone
    at = whole.shape[0] - 3
    assert J[at, i] == pytest.approx((ends[1] - ends[2]) / 0.02, rel=1e-2)
    error = one.effects["p1"].standard_error
    assert error is not None
    assert alone is not None
    assert error**2 == pytest.approx(alone**2 + J[at] @ C @ J[at], rel=1e-6)


def test_settings_of_a_person_hold_the_truth_and_name_what_is_not_told(found):
    table = found.table()
    assert list(table["part"]) == ["whole day", "0-6 h", "6-12 h", "12-18 h", "18-24 h"]
    body = t1djax.reference_cohort(interval_min=15, names=["Pat3"]).truth["Pat3"].parameters
    ratio = body["ksi"] * body["ku_Vi"] / (1000 * body["kr_Vb"])
    cr = found.setting("cr", level=0.99)
    assert cr.low < ratio < cr.high
    assert cr.prior_share < 0.5
    assert found.informative[0].meals == sum(seen.meals for seen in found.informative[1:])
    assert all(0 <= found.setting(w, k).prior_share <= 1 for w in SETTINGS for k in (None, 0, 3))


@pytest.mark.parametrize(
    ("setting", "knowledge"),
    [
        (Setting(30.0, 25.0, 36.0, 0.1), "known"),
        (Setting(30.0, 21.0, 45.0, 0.1), "roughly known"),
        (Setting(30.0, 14.0, 64.0, 0.1), NOT_TOLD),
        (Setting(30.0, 25.0, 36.0, 0.6), NOT_TOLD),
        (Setting(0.3, -0.1, 0.6, 0.1), NOT_TOLD),
    ],
)
def test_what_is_wide_or_the_priors_is_not_told(setting, knowledge):
    assert setting.knowledge == knowledge


def test_a_record_says_why_it_does_not_tell(found):
    assert found.informative[0].corrections == 0
    assert found.reasons
    assert found.help


def test_bodies_count_by_what_they_forecast_of_the_next_reading(fit):
    one = fit.patients[0]
    worse = dataclasses.replace(one, log_likelihood=one.log_likelihood - 20)
    failed = dataclasses.replace(one, outcome=t1djax.Outcome.not_converged)
    shares = weights([one, worse, failed])
    assert shares.sum() == pytest.approx(1)
    assert shares[1] / shares[0] == pytest.approx(np.exp(-2))
    assert shares[2] == 0
    assert weights([failed, failed]).tolist() == [0.5, 0.5]


def test_draws_of_bodies_are_taken_together_by_what_they_count(found):
    low = dataclasses.replace(found, draws={w: 0.5 * x for w, x in found.draws.items()}, bodies={"Other": 1.0})
    both = together([found, low], np.array([0.75, 0.25]))
    assert both.bodies == {"Magdelaine": 0.75, "Other": 0.25}
    n = len(found.changes)
    np.testing.assert_array_equal(both.draws["cr"][n // 4 * 3 :], low.draws["cr"][: n // 4])
    one, other, all_of = (p.setting("cr") for p in (found, low, both))
    assert other.low < all_of.low < one.low
    assert other.value < all_of.value < one.value
    assert all_of.prior_share > one.prior_share


def test_draws_of_no_rest_tell_nothing(found):
    nothing = dataclasses.replace(found, draws={w: np.full_like(x, np.nan) for w, x in found.draws.items()})
    assert {nothing.setting(w).knowledge for w in SETTINGS} == {NOT_TOLD}
    assert NOT_TOLD in nothing.verdict()


def test_a_basal_need_is_about_half_of_the_daily_insulin():
    """Weights of draws against the product of two normal distributions of logarithms."""
    rule, estimate, sd = 24 / 48, 0.9, 0.5
    basal = estimate * np.exp(sd * norm.ppf((np.arange(2000) + 0.5) / 2000))
    kept = np.log(basal[_by_the_rule(basal, 24.0)])
    weights = np.array([sd**-2, 0.35**-2])
    assert kept.mean() == pytest.approx(weights @ np.log([estimate, rule]) / weights.sum(), abs=0.01)
    assert kept.std() == pytest.approx(weights.sum() ** -0.5, rel=0.02)
    some = _by_the_rule(np.array([-0.2, 0.4, np.nan, 0.6]), 24.0)
    assert set(some) == {1, 3}
    assert _by_the_rule(np.array([-0.2, 0.0]), 24.0).tolist() == [0, 1]
    far = 0.01 * np.exp(0.7 * norm.ppf((np.arange(256) + 0.5) / 256))  # a fiftieth of the rule
    assert len(set(_by_the_rule(far, 24.0))) > 25


@pytest.mark.slow
def test_days_before_the_first_basal_rate_are_left_out(patient, found):
    late = dataclasses.replace(patient.doses, basal_time_min=patient.doses.basal_time_min + 720.0)
    stated = dataclasses.replace(patient, doses=late)
    (other,) = t1djax.person_settings([stated], physiology="magdelaine", parts=4, key=jax.random.key(0))
    assert other.days_without_basal == pytest.approx((720 - patient.time_min[0]) / 1440)
    assert other.readings == np.sum(patient.valid & (patient.time_min >= 720))
    assert found.days_without_basal == 0


def _from_basal_at(patient, name, time_min):
    doses = dataclasses.replace(patient.doses, basal_time_min=np.array([time_min]),
                                basal_U_h=patient.doses.basal_U_h[:1])  # fmt: skip
    return dataclasses.replace(patient, name=name, doses=doses)


@pytest.mark.slow
def test_others_do_not_mind_whoever_has_no_clock_or_too_few_readings(patient, found):
    """None, and nineteen, after the first basal rate."""
    timeless = dataclasses.replace(patient, start=None, name="Ben")
    none, few = (
        _from_basal_at(patient, *x) for x in (("Cleo", patient.time_min[-1] + 5), ("Ada", patient.time_min[-19]))
    )
    four = t1djax.person_settings(
        [none, timeless, few, patient], physiology="magdelaine", parts=4, key=jax.random.key(0)
    )
    assert [p.name for p in four] == ["Cleo", "Ben", "Ada", "Pat3"]
    assert len(four[1].table()) == 1
    assert four[3].setting("cr", 2) == found.setting("cr", 2)
    assert {p.outcome for p in (four[0], four[2])} == {t1djax.Outcome.too_short}
    assert (four[0].readings, four[2].readings) == (0, 19)
    assert {four[0].setting(w, k).knowledge for w in SETTINGS for k in (None, 3)} == {NOT_TOLD}


def test_command_line_says_who_has_too_few_readings(tmp_path):
    columns = {
        "time_min": 5.0 * np.arange(19),
        "glucose_mg_dL": 120.0,
        "basal_U_h": 1.0,
        "bolus_U": 0.0,
        "carbs_g": 0.0,
    }
    pd.DataFrame(columns).to_csv(tmp_path / "Ada.csv", index=False)
    done = CliRunner().invoke(app, ["settings", str(tmp_path / "Ada.csv"), "--out", str(tmp_path / "out")])
    assert done.exit_code == EXIT_FAILED_PATIENTS, done.output
    assert f"Ada: {t1djax.Outcome.too_short.value}" in " ".join(done.stderr.split())
    assert (tmp_path / "out" / "Ada.png").exists()


def test_command_line(patient, found, tmp_path):
    t1djax.write_cohort(t1djax.Cohort((patient,)), tmp_path / "data")
    out = tmp_path / "out"
    command = ["settings", str(tmp_path / "data"), "--physiology", "magdelaine", "--parts", "4"]
    page = CliRunner().invoke(app, [*command, "--out", str(out)])
    assert page.exit_code == 0, page.output
    assert {p.name for p in out.iterdir()} == {"settings.csv", "settings.html", "Pat3.png"}
    table = pd.read_csv(out / "settings.csv")
    assert len(table) == 5
    assert table["cr_g_per_U"].to_numpy()[0] == pytest.approx(found.setting("cr").value, rel=1e-3)
    assert max(map(len, page.stdout.splitlines())) <= 120
    assert "not a medical device" in page.stdout


def test_doubt_of_the_body_is_not_the_priors_share(found):
    without = dataclasses.replace(found, doubts={}).setting("isf")
    whole = found.setting("isf")
    assert (whole.value, whole.low) == (without.value, without.low)
    assert whole.prior_share < without.prior_share


def test_a_part_of_the_day_is_not_told_where_the_day_is_not(found):
    """A part has a rhythm of its own in the prior, so that its share alone is less, as of basal need in a loop."""
    e = np.random.default_rng(0).normal(size=(2, 256, 1))
    mine, prior = np.exp(0.1 * np.repeat(e[0], 5, axis=1)), np.exp(0.12 * np.repeat(e[1], 5, axis=1))
    prior[:, 1:] = prior[:, 1:] ** 5
    person = dataclasses.replace(found, draws={**found.draws, "cr": mine}, prior_draws={**found.draws, "cr": prior})
    day, part = (dataclasses.replace(person, doubts={}).setting("cr", k) for k in (None, 2))
    assert day.prior_share == part.prior_share > 0.5
    assert (day.low, day.high) == (part.low, part.high)
    assert day.knowledge == part.knowledge == NOT_TOLD


def test_another_unit_of_glucose(found):
    other = found.in_unit("mmol/L")
    assert other.setting("isf", 1).high == pytest.approx(found.setting("isf", 1).high / 18.016)
    assert other.rules["isf"] == pytest.approx(found.rules["isf"] / 18.016)
    assert other.setting("cr") == found.setting("cr")
    assert {"isf_mmol_L_per_U", "cr_g_per_U"} <= set(other.table().columns)
    assert "mmol/L per U" in other.plot().axes[0].get_ylabel()


def test_the_figure_has_three_panels_over_the_clock(found):
    axes = found.plot().axes
    assert [ax.get_xlim() for ax in axes] == [(0, 24)] * 3


def test_a_report_holds_them(patient, found, tmp_path):
    page = t1djax.write_report([patient], tmp_path / "report.html", settings=[found]).read_text(encoding="utf-8")
    assert "carbohydrate ratio, g per U" in page
    assert f"{rounded(found.setting('cr').value)} (" in page


def test_a_meal_that_is_doubted_adds_what_its_share_would_do_to_glucose():
    """Variance of glucose with and without, against the response of two lags; nothing returns glucose here."""
    meal = t1djax.Doses.of(basal=0.0, boluses=[], meals=[(60.0, 50.0)])
    patient = t1djax.Patient("Ada", 15.0 * np.arange(30), np.full(30, 120.0), meal)
    somebody = Person(
        jnp.asarray(120.0), jnp.asarray([0.0, 30.0, 4.0, 10.0]), jnp.asarray([0.5, 9.0, 1.0, 7.0]), jnp.zeros(3)
    )
    found = []
    with jax.enable_x64(True):
        for doubt in (0.0, 0.3):
            form = Form(StateSpaceOptions(reversion=False, meal_doubt=doubt), Magdelaine)
            h = {row.symbol: jnp.asarray(row.median) for row in form.constants}
            steps = steps_for(patient, form)

            @jax.jit
            def built(h, steps, form=form):
                model, _ = build(h, somebody, steps, form, unit_of(h, somebody.level_mg_dL, form))
                return model.cov, model.matrices()

            (P, each), variance = jax.device_get(built(h, steps)), []
            for F, Q in zip(*each, strict=True):
                variance.append(P[0, 0])
                P = F @ P @ F.T + Q
            found.append(np.asarray(variance))
    since = np.maximum(np.asarray(steps.time_min) - 61.0, 0.0) / float(h["Tr"])
    response = 0.3 * 4.0 * 50.0 * (1 - (1 + since) * np.exp(-since))
    late = since > 0.3
    np.testing.assert_allclose((found[1] - found[0])[late], response[late] ** 2, rtol=1e-6)


def test_a_first_rate_that_answers_a_reading_is_not_what_was_given_before():
    """A loop's: twenty times the day's mean for 5 min leaves on board what that dose alone does."""
    time = 5.0 * np.arange(400)
    even = t1djax.Doses.of(basal=1.0, boluses=[], meals=[])
    rates = np.array([20.0, 1.0])
    burst = dataclasses.replace(even, basal_time_min=np.array([0.0, 5.0]), basal_U_h=rates)
    form, found = Form(StateSpaceOptions(reversion=False), Magdelaine), []
    somebody = Person(
        jnp.asarray(120.0), jnp.asarray([0.0, 30.0, 4.0, 10.0]), jnp.asarray([0.5, 9.0, 1.0, 7.0]), jnp.zeros(3)
    )
    with jax.enable_x64(True):
        h = {row.symbol: jnp.asarray(row.median) for row in form.constants}
        for doses in (even, burst):
            steps = steps_for(t1djax.Patient("Ada", time, np.full(400, 120.0), doses), form)
            built = jax.jit(lambda steps: build(h, somebody, steps, form, unit_of(h, somebody.level_mg_dL, form))[1])
            found.append(np.asarray(built(steps))[:, 0])
    apart = found[1] / found[0][:1] - 1
    assert np.abs(apart[0]).max() < 0.1
    assert np.abs(apart[-1]).max() < 0.1
    assert (found[1] >= found[0] * 0.999).all()
