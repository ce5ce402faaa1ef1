"""Replays: against the linear response written down, the body's own counterfactual, and what is refused."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import t1djax
from t1djax.physics import Doses, Hovorka, Kanderian, kanderian
from t1djax.plotting import plot_replay
from t1djax.statespace import LOOKED_BACK, AbstractAnswer, Dose, RescueCarbs, factor, other_doses, replaced_doses
from t1djax.statespace._again import explained, lived_again
from t1djax.statespace._body import unit_of
from t1djax.statespace._filter import draw_paths, kalman_filter
from t1djax.statespace._fit import _stack
from t1djax.statespace._hyper import Form, layout
from t1djax.statespace._model import build, prior
from t1djax.statespace._search import constants
from t1djax.trials import PID, BasalBolus, LoopAnswer, profile_by_rules, trial

from .command import done, refused

KEY = jax.random.key(3)
PLAIN = t1djax.StateSpaceOptions(horizons_min=(), max_steps=8, daily_rhythm=0, slow_disturbance=False,
                                 unannounced_meals=False)  # fmt: skip


def test_a_table_replaces_the_doses_of_its_times():
    patient = t1djax.reference_cohort(interval_min=60, names=["Pat2"])["Pat2"]
    d = patient.doses
    span: dict[str, Any] = {"from_min": 300.0, "to_min": 900.0}
    other = replaced_doses(patient, basal=[(300.0, 2.0), (600.0, 0.5)], boluses=[(400.0, 1.5)], **span)
    inside = (d.bolus_time_min >= 300) & (d.bolus_time_min <= 900)
    assert other.bolus_U.sum() == pytest.approx(d.bolus_U[~inside].sum() + 1.5)
    assert other.carbs_g.sum() == d.carbs_g[(d.meal_time_min < 300) | (d.meal_time_min > 900)].sum()
    rate = lambda x, t: x.basal_U_h[np.searchsorted(x.basal_time_min, t, side="right") - 1]
    assert [rate(other, t) for t in (299, 300, 599, 600, 899)] == [rate(d, 299), 2.0, 2.0, 0.5, 0.5]
    assert rate(other, 901) == rate(d, 901)
    with pytest.raises(t1djax.ArgumentError) as outside:
        replaced_doses(patient, boluses=[(901.0, 1.0)], **span)
    assert outside.value.argument == ("boluses",)


@pytest.fixture(scope="module")
def fitted():
    """A person of Kanderian's body, three days, and the stochastic model of Magdelaine's."""
    patient = t1djax.reference_cohort(interval_min=15, names=["Pat3"], noise=t1djax.WhiteNoise(5.0), key=KEY)["Pat3"]
    return patient, t1djax.fit_state_space([patient], options=PLAIN, train_until_min=2880.0)["Pat3"]


def test_the_change_of_a_linear_body_is_its_response_to_the_difference_of_doses(fitted):
    """`D' = -k D - p1 (lagged difference)`, by small Euler steps; every draw of effects scales one course."""
    patient, person = fitted
    sure = dataclasses.replace(person, joint=person.joint._replace(cov=0.0 * person.joint.cov))
    more = other_doses(patient, bolus=1.5, from_min=1200.0)
    found = t1djax.replay(sure, patient, more, key=KEY, trust=0.0, timing_min=0.0)[0]
    Tu, k = person.constants["Tu"].value, person.constants["k"].value
    dt, t = 0.05, float(found.time_min[0]) - 1440.0
    end, first, second, D, course = float(found.time_min[-1]), 0.0, 0.0, 0.0, {}
    extra = [(a, b - c, d) for a, b, c, d in zip(more.bolus_time_min, more.bolus_U, patient.doses.bolus_U,
                                                 more.bolus_duration_min, strict=True) if b != c]  # fmt: skip
    while t <= end + dt:
        course[round(t / dt)] = D
        u = sum(U / minutes for at, U, minutes in extra if at <= t < at + minutes)
        first, second, D = (first + dt * (u - first) / Tu, second + dt * (first - second) / Tu,
                            D + dt * (-k * D - second))  # fmt: skip
        t += dt
    course = np.array([course[round(x / dt)] for x in found.time_min])
    late = np.abs(course) > 0.05 * np.abs(course).max()
    effect = found.change_mg_dL[:, late] / course[late]
    np.testing.assert_allclose(effect, effect.mean(1, keepdims=True) + np.zeros(late.sum()), rtol=0.01)
    p1 = person.effects["p1"]
    assert effect.mean() == pytest.approx(p1.value, abs=3 * p1.standard_error / np.sqrt(len(effect)) + 0.02 * p1.value)
    assert effect.mean(1).std() == pytest.approx(p1.standard_error, rel=0.35)


def test_recorded_doses_give_back_the_record_and_are_refused_as_a_scenario(fitted):
    patient, person = fitted
    with pytest.raises(t1djax.ArgumentError) as same:
        t1djax.replay(person, patient, patient.doses, key=KEY)
    assert same.value.argument == ("doses", "other doses")
    late = other_doses(patient, bolus=0.5, from_min=1800.0)
    found = t1djax.replay(person, patient, late, key=KEY)[0]
    changed = patient.doses.bolus_time_min[patient.doses.bolus_time_min >= 1800.0][0]
    assert found.time_min[0] >= changed
    before = found.time_min <= changed + 1e-6
    np.testing.assert_allclose(np.median(found.change_mg_dL[:, before], axis=0), 0.0, atol=0.3)
    table = found.table()
    np.testing.assert_allclose(table["replayed_mg_dL"] - table["change_mg_dL"], table["recorded_mg_dL"])


def test_less_insulin_raises_glucose_and_ranges_follow(fitted):
    patient, person = fitted
    scenarios = {f"{x:g}": other_doses(patient, bolus=x, basal=x, from_min=1440.0) for x in (0.8, 1.2)}
    low, high = t1djax.replay(person, patient, scenarios, key=KEY)
    assert (low.scenario, high.scenario) == ("0.8", "1.2")
    assert np.median(low.change_mg_dL[:, -1]) > 0 > np.median(high.change_mg_dL[:, -1])
    ranges = low.in_ranges()
    assert ranges["recorded_percent"].to_numpy().sum() == pytest.approx(100)
    assert np.all(ranges["low"].to_numpy() <= ranges["replayed_percent"].to_numpy())
    figure = plot_replay(low, patient)
    assert len(figure.axes) == 4
    line = figure.axes[3].lines[1]
    assert np.all(np.isfinite(line.get_ydata()))
    seen = np.abs(np.arange(len(low.time_min)) - 20) > 4  # two hours without readings
    gap = dataclasses.replace(low, time_min=low.time_min[seen], recorded_mg_dL=low.recorded_mg_dL[seen],
                              change_mg_dL=low.change_mg_dL[:, seen])  # fmt: skip
    line = plot_replay(gap, patient).axes[3].lines[1]
    assert np.sum(np.isnan(line.get_ydata())) == 1


@pytest.mark.slow
def test_a_right_body_gives_the_counterfactual_of_its_equations():
    """Truth: the same equations run again with a smaller bolus. No sensor noise, no disturbance."""
    found = trial({"pump": BasalBolus()}, {"7": kanderian()["7"]}, days=3, key=KEY, traced=1)
    cohort = found.traces["pump"]
    patient = cohort["7"]
    options = t1djax.StateSpaceOptions(horizons_min=(), max_steps=15)
    person = t1djax.fit_state_space([patient], physiology="kanderian", options=options, train_until_min=4320.0)["7"]
    fewer = other_doses(patient, bolus=0.7, from_min=3000.0, to_min=3400.0)
    replayed = t1djax.replay(person, patient, fewer, key=KEY)[0]
    with jax.enable_x64(True):
        body, ts = Kanderian.of(dict(patient.known)), jnp.asarray(patient.time_min)
        basal = jnp.asarray(patient.doses.basal_U_h[0] / 60)
        first = jnp.asarray(cohort.truth["7"].glucose_mg_dL[0])
        G = [body.solution(d.inputs(0.0, float(ts[-1])), ts, body.start(first, basal)).glucose_mg_dL
             for d in (patient.doses, fewer)]  # fmt: skip
    true = np.interp(replayed.time_min, patient.time_min, np.asarray(G[1] - G[0]))
    middle, low, high = replayed.interval()
    assert np.abs(true).max() > 15
    assert np.sqrt(np.mean((middle - true) ** 2)) < 0.35 * np.sqrt(np.mean(true**2))
    assert np.mean((low - 1 <= true) & (true <= high + 1)) > 0.8


@pytest.mark.slow
@pytest.mark.parametrize("body", [Kanderian, Hovorka])
def test_a_record_lived_again_is_the_filters_own_steps_under_other_doses(body):
    """What no step explains is kept: `x'[i+1] = step(x'[i], other doses) + x[i+1] - step(x[i], doses)`."""
    patient = t1djax.reference_cohort(interval_min=15, names=["Pat2"], noise=t1djax.WhiteNoise(5.0), key=KEY)["Pat2"]
    form = Form(LOOKED_BACK._replace(sensor_lag=True), body)
    with jax.enable_x64(True):
        data = _stack([patient], [1440.0], form)
        person, steps = jax.tree.map(lambda x: x[0], (data.person, data.steps))
        z, n = 0.3 * jnp.ones(len(form.constants)), len(steps.time_min) - 1
        more = steps.rates[:-1, :2] * jnp.asarray([0.7, -0.4])
        other = dataclasses.replace(steps, rates=steps.rates.at[:-1, :2].add(more))

        def both(z):
            kept = jax.tree.map(lambda x: x[None], explained(z, jax.random.key_data(KEY), steps, person, jnp.asarray(0),
                                                             form, 2, n))  # fmt: skip
            doubt = (jnp.ones((1, 2)), jnp.zeros((1, 2)))
            found = lived_again(more, None, kept, doubt, steps.time_min, steps.time_min, (), form)[0]
            h = constants(z, form)
            before, after = (build(h, person, s, form, unit_of(h, person.level_mg_dL, form))[0] for s in (steps, other))
            last = jnp.sum(steps.dt_min[steps.interval] > 0)
            noise = jax.random.normal(KEY, (n + 1, 2, len(before.mean)))[jnp.minimum(jnp.arange(n + 1), last)]
            x = draw_paths(before, kalman_filter(before), noise)
            row = lambda i: jax.tree.map(lambda rows: rows[i], (before.motion.each, after.motion.each))

            def walk(x):
                def go(now, i):
                    old, new = row(i)
                    now = after.motion.step(new, now)[0] + x[i + 1] - before.motion.step(old, x[i])[0]
                    return now, now

                _, later = jax.lax.scan(go, x[0], jnp.arange(n))
                return (jnp.concatenate([x[:1], later]) - x) @ before.read

            return found, jax.vmap(walk)(x), last

        found, walks, last = jax.device_get(jax.jit(both)(z))
    assert np.abs(walks).max() > 30
    np.testing.assert_allclose(found[:, :last], walks[:, :last], atol=1e-8)


@pytest.mark.parametrize("text", ["-120%", "a bit", "-0.2", "", "0%", "80%"])
def test_a_change_of_what_is_refused(text):
    with pytest.raises(t1djax.ArgumentError) as wrong:
        factor(text, "bolus")
    assert wrong.value.argument == ("bolus",)


def test_hours_of_the_day_cut_the_basal_schedule():
    times = np.arange(0.0, 2881.0, 60.0)
    patient = t1djax.Patient("Ada", times, np.full(49, 120.0), Doses.of(basal=1.0, boluses=[(100, 2.0), (800, 2.0)]))
    found = other_doses(patient, basal=1.5, bolus=0.5, between_h=(22, 2), from_min=100.0)
    total = lambda a, b: float(found.inputs(a, b).delivered(jnp.asarray([a, b]))[0][-1])
    np.testing.assert_allclose(found.bolus_U, [1.0, 2.0])
    assert total(120.0, 1320.0) == pytest.approx(20.0 + 2.0, rel=1e-4)
    assert total(1320.0, 1560.0) == pytest.approx(6.0, rel=1e-4)


WORDS = ("replay", "reference", "--patients", "3", "--interval-min", "60", "--from", "1440", "--physiology")


@pytest.mark.slow
@pytest.mark.parametrize("physiology", ["magdelaine", "kanderian"])
def test_a_table_of_doses_that_a_loop_and_rescue_carbohydrate_answer(physiology, tmp_path):
    table = tmp_path / "other.csv"
    table.write_text("time,bolus_U,carbs_g\n1450,3,\n1460,,40\n2000,2,\n")
    told = done(*WORDS, physiology, "--rescue=20", "--doses", table, "--loop", "pid", "--json").json[0]
    assert told["scenario"] == "other.csv"
    assert set(told["answered"]) == {"insulin_U", "carbs_g"}


def test_command_line(tmp_path):
    words = (*WORDS, "magdelaine")
    told = done(*words, "--bolus=-20%", "--out", tmp_path / "r", "--json").json[0]
    assert told["patient"] == "Pat3"
    assert told["readings"][-1]["change_mg_dL"] > 0
    assert (tmp_path / "r" / "Pat3.png").stat().st_size > 10_000
    assert "--bolus" in refused(2, "replay", "reference")
    table = tmp_path / "other.csv"
    table.write_text("time,bolus_U\n1450,-3\n")
    assert "row 2" in refused(2, *words, "--doses", table)
    table.write_text("time,insulin\n1450,3\n")
    assert "insulin" in refused(2, *words, "--doses", table)
    refused(2, *words, "--doses", table, "--bolus=-20%")
    refused(2, "replay", "reference", "--bolus=-20%", "--loop", "mine")
    refused(2, "replay", "reference", "--bolus=-20%,-30%", "--meals=0.8,0.9")
    refused(2, "replay", "reference", "--bolus", "much")
    assert "+20%" in refused(2, "replay", "reference", "--bolus", "20")
    refused(2, "replay", "reference", "--bolus=-20%", "--between", "6-30")
    refused(2, "replay", "reference", "--bolus-earlier=-5000")
    for nothing in (["--meals=1.0"], ["--basal=+10%", "--from", "900000"]):  # before anything is learnt
        assert "fitting" not in refused(2, "replay", "reference", *nothing)


def test_a_loop_and_rescue_carbohydrate_answer_the_changed_glucose(fitted):
    """Against plain loops over the reported course of one draw; unchanged glucose gets the recorded doses."""
    patient, person = fitted
    sure = dataclasses.replace(person, joint=person.joint._replace(cov=0.0 * person.joint.cov))
    run = lambda doses, *answers: t1djax.replay(
        sure, patient, doses, key=KEY, answers=answers, trust=0.0, timing_min=0.0, draws=16
    )[0]
    less = other_doses(patient, bolus=0.5, from_min=1200.0, to_min=1900.0)
    profile = profile_by_rules(patient)
    loop = run(less, LoopAnswer(PID(), profile))
    alone = run(less)
    assert alone.answered is None
    assert loop.answered is not None
    peak = np.argmax(np.median(alone.change_mg_dL, 0))
    assert np.all(loop.answered[:, 0] > 0)
    assert np.median(loop.change_mg_dL[:, peak:], 0).max() < np.median(alone.change_mg_dL[:, peak:], 0).max()
    more = other_doses(patient, bolus=2.5, from_min=1200.0, to_min=1900.0)
    low, rescued = run(more), run(more, RescueCarbs(grams=20.0))
    replayed = low.recorded_mg_dL + low.change_mg_dL
    assert np.any(replayed < 70)
    assert rescued.answered is not None
    assert np.all(np.isclose(rescued.answered[:, 1] % 20.0, 0, atol=1e-6) | np.isclose(rescued.answered[:, 1] % 20, 20))
    assert np.all(rescued.answered[:, 1][np.any(replayed < 60, axis=1)] >= 20)
    assert np.all(rescued.change_mg_dL >= low.change_mg_dL - 1e-3)  # of the same draws


def test_what_a_loop_adds_follows_from_both_glucoses(fitted):
    """The rule that gives a fixed rate per mg/dL is linear: what it adds is that rate times the change."""
    patient, person = fitted

    class Proportional(AbstractAnswer):
        def init(self):
            return jnp.zeros(())

        def step(self, memory, seen):
            return memory, Dose(1e-5 * seen.glucose_mg_dL, jnp.zeros(()), jnp.zeros(()))

    less = other_doses(patient, bolus=0.5, from_min=1200.0, to_min=1900.0)
    found = t1djax.replay(person, patient, less, key=KEY, answers=Proportional(), trust=0.0, timing_min=0.0)[0]
    held = np.diff(found.time_min, append=found.time_min[-1])
    assert found.answered is not None
    np.testing.assert_allclose(found.answered[:, 0], 1e-5 * found.change_mg_dL @ held, rtol=0.02)


def test_a_record_looked_back_on_says_what_covers_its_meals():
    """Prior of a unit's effect: 1700/39 mg/dL by the daily dose, 4.5 x 10 by 10 g to a unit; their geometric mean. The
    drift balances the effects, so that it varies with them."""
    t = np.arange(0.0, 2880.0 + 1, 15.0)
    meals = np.arange(480.0, 2880.0, 480.0)
    doses = Doses.of(basal=1.0, boluses=[(m - 10, 5.0) for m in meals], meals=[(m, 50.0) for m in meals])
    patient = t1djax.Patient("Ada", t, np.full(len(t), 140.0), doses)
    daily = 24 + 5 * len(meals) / 2
    form = Form(LOOKED_BACK)
    with jax.enable_x64(True):
        data = _stack([patient], [np.inf], form)
        person, steps = jax.tree.map(lambda x: x[0], (data.person, data.steps))
        np.testing.assert_allclose(person.effect_mean[1], np.sqrt(1700 / daily * 45), rtol=2e-3)
        assert not np.any(steps.rates[:, 2])  # a bolus ten minutes before its meal stands for no other meal

        def spread(z):
            h = constants(z, form)
            return prior(h, unit_of(h, person.level_mg_dL, form), person, steps, form)[1]

        cov = jax.jit(spread)(jnp.zeros(len(form.constants)))
    where = layout(form)
    c, effects = where.at("c"), slice(where.core, None)
    sd, toward = np.asarray(person.effect_sd), np.asarray(person.usual) * [1, -1, -1]
    np.testing.assert_allclose(cov[c, effects], sd[1:] ** 2 * toward)
    np.testing.assert_allclose(cov[c, c], sd[0] ** 2 + np.sum((sd[1:] * toward) ** 2))
