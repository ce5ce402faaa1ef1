"""Trials from Python and from a file: settings that are given, what is refused, and by which name."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import TypeCheckError

import t1djax
from t1djax.physics import kanderian
from t1djax.trials import AbstractController, Action, BasalBolus, Meals, Rules, trial
from t1djax.trials._crowd import crowd_of

from .command import done, refused

KEY = jax.random.key(7)


class _Wrong(AbstractController):
    kind: str = eqx.field(static=True)

    def init(self, profile):
        return profile

    def step(self, memory, observation, key):
        rate = {"nan": jnp.nan, "negative": -1.0}.get(self.kind, 1.0) + 0.0 * observation.glucose_mg_dL
        if self.kind == "shape":
            rate = rate * jnp.ones(3)
        return (rate if self.kind == "memory" else memory), Action(rate, 0.0 * observation.glucose_mg_dL)


@pytest.mark.parametrize("kind", ["shape", "memory"])
def test_a_controller_that_keeps_no_shape_is_refused_before_any_work(kind):
    with pytest.raises(t1djax.ArgumentError) as refused:
        trial({"odd": _Wrong(kind)}, 1, days=1, key=KEY)
    assert refused.value.argument == ("controllers", "odd")


class _Draws(AbstractController):
    """Not pure: it draws from a generator of its own, or keeps what it saw."""

    how: str = eqx.field(static=True)

    def init(self, profile):
        return profile.basal_U_h

    def step(self, memory, observation, key):
        if self.how == "numpy":
            return memory, Action(memory * np.random.default_rng().uniform(), 0.0 * memory)
        if self.how == "print":
            jax.debug.print("{}", memory)
        if self.how == "branch" and observation.glucose_mg_dL > 100:
            return memory, Action(0.0 * memory, 0.0 * memory)
        if self.how == "set":
            self.seen = observation
        return memory, Action(memory, 0.0 * memory)


@pytest.mark.parametrize("how", ["numpy", "print", "branch", "set"])
def test_a_controller_that_is_not_pure_is_refused_by_name(how):
    with pytest.raises(t1djax.ArgumentError) as refused:
        trial({"odd": _Draws(how)}, 1, days=1, key=KEY)
    assert refused.value.argument == ("controllers", "odd")


@pytest.mark.parametrize(
    ("meals", "place"),
    [([], ("meals",)), ([(450, 60), (1440, 60)], ("meals", 1)), ([(450, 60), (700, 40), (460, 50)], ("meals", 2)),
     ([(450, 0)], ("meals", 0))],
)  # fmt: skip
def test_meals_that_cannot_be_eaten_are_named(meals, place):
    with pytest.raises(t1djax.ArgumentError) as refused:
        Meals.of(*meals)
    assert refused.value.argument == place


@pytest.mark.parametrize(
    ("settings", "place"),
    [({"isf": 40.0}, ("settings",)), ({"g_per_U": [10.0, 11.0]}, ("settings", "g_per_U")),
     ({"basal_U_h": {"11": 1.0}}, ("settings", "basal_U_h", "11")),
     ({"basal_U_h": {"2": -1.0}}, ("settings", "basal_U_h", "2")),
     ({"mg_dL_per_U": [40.0] * 9 + [np.nan]}, ("settings", "mg_dL_per_U", "10"))],
)  # fmt: skip
def test_settings_that_cannot_be_name_the_person(settings, place):
    with pytest.raises(t1djax.ArgumentError) as refused:
        trial({"pump": BasalBolus()}, kanderian(), days=1, key=KEY, settings=settings)
    assert refused.value.argument == place


def test_given_settings_are_those_of_the_pump_and_others_are_titrated():
    """Someone who does not rest is left out, and the others keep theirs; one setting for all, one by name."""
    people = {name: kanderian()[name] for name in ("1", "2", "3")}
    rules = Rules(therapy=t1djax.Therapy(target_mg_dL=160.0))
    settings = {"g_per_U": np.array([10.0, 11.0, 12.0]), "basal_U_h": {"3": 0.85}}
    with pytest.warns(UserWarning, match="^2 is left out"):
        given = crowd_of(people, key=KEY, physiology="kanderian", rules=rules, settings=settings)
    with pytest.warns(UserWarning, match="^2 is left out"):
        titrated = crowd_of(people, key=KEY, physiology="kanderian", rules=rules)
    mine, before = given.settled.profile, titrated.settled.profile
    np.testing.assert_array_equal(mine.g_per_U, [10.0, 12.0])
    np.testing.assert_array_equal(mine.basal_U_h, np.where(np.array(given.names) == "3", 0.85, before.basal_U_h))
    np.testing.assert_array_equal(mine.mg_dL_per_U, before.mg_dL_per_U)
    np.testing.assert_allclose(mine.daily_U, 24 * mine.basal_U_h + given.values["daily_carbs"] / mine.g_per_U)


def test_somebody_unknown_cannot_be_traced():
    with pytest.raises(t1djax.ArgumentError) as refused:
        trial({"pump": BasalBolus()}, 1, days=1, key=KEY, traced=["nobody"])
    assert refused.value.argument == ("traced",)


@pytest.mark.parametrize("kind", ["nan", "negative"])
def test_a_controller_that_asks_for_no_number_is_named_and_others_go_on(kind):
    with pytest.warns(UserWarning, match="odd"):
        found = trial({"odd": _Wrong(kind), "pump": BasalBolus()}, 2, days=1, key=KEY)
    rows = found.outcomes.set_index("controller")
    assert rows.loc["odd", "mean_mg_dL"].isna().all()
    assert rows.loc["pump", "mean_mg_dL"].notna().all()


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"controllers": {}}, "controllers"),
        ({"controllers": [BasalBolus()]}, "controllers"),
        ({"days": 1.5}, "days"),
        ({"days": 0}, "days"),
        ({"people": 0}, "people"),
        ({"people": {}}, "people"),
    ],
)
def test_nothing_to_try_is_refused(given, path):
    # Where annotations are checked at run time, a wrong type does not come so far.
    with pytest.raises((t1djax.ArgumentError, TypeCheckError)) as refused:
        trial(**({"controllers": {"pump": BasalBolus()}, "people": 1, "key": KEY} | given))
    assert getattr(refused.value, "argument", (path,)) == (path,)


def test_who_does_not_rest_is_named_and_the_others_go_on():
    with pytest.warns(UserWarning, match="^2 is left out"):
        found = trial({"pump": BasalBolus()}, {"1": kanderian()["1"], "2": kanderian()["2"]}, days=1, key=KEY,
                      rules=Rules(therapy=t1djax.Therapy(target_mg_dL=160.0)))  # fmt: skip
    assert list(found.outcomes["person"]) == ["1"]


def test_a_target_at_which_nobody_rests_is_named():
    people = {name: kanderian()[name] for name in ("2", "5")}
    rules = Rules(therapy=t1djax.Therapy(target_mg_dL=160.0))
    with pytest.warns(UserWarning, match="^2, 5 are left out"), pytest.raises(t1djax.ArgumentError) as refused:
        trial({"pump": BasalBolus()}, people, days=1, key=KEY, rules=rules)
    assert refused.value.argument == ("therapy", "target_mg_dL")


# From a file


def test_a_file_gives_a_table_a_figure_and_goes_on(tmp_path):
    file = tmp_path / "trial.yaml"
    file.write_text(
        "people: 2\ndays: 1\nrecorded: 1\ncontrollers:\n  pump: {kind: basal_bolus}\n  PID: {kind: pid, gain: 0.012}\n"
    )
    out = tmp_path / "out"
    first = done("trial", file, "--out", out, "--json").json
    assert [row["controller"] for row in first["controllers"]] == ["pump", "PID"]
    assert (out / "trial.png").stat().st_size > 10_000
    assert "equivalent" in (out / "trial.html").read_text()
    written = t1djax.read_cohort(out / "recordings-PID", truth=True)
    assert [p.name for p in written] == ["V0001"]
    assert "SI" in written.truth["V0001"].parameters
    made = (out / "outcomes-PID.csv").stat().st_mtime_ns
    (out / "outcomes-pump.csv").unlink()
    assert done("trial", file, "--out", out, "--json").json == first
    assert (out / "outcomes-PID.csv").stat().st_mtime_ns == made
    assert "days" in refused(2, "trial", file, "--out", out, "--days", "2")


@pytest.mark.parametrize(
    "text",
    ["controllers: {loop: {kind: pdi}}", "controllers: {pid: {gian: 0.1}}", "people: 0", "cgm: {lag: 3}",
     "controllers: {}", "controllers: {pid: {gain: high}}", "faults: {occlusion: {begins_min: 3}}",
     "faults: {occluded: {begins_min: 3, lasts_min: 3}}", "pump: {delay_min: 7}",
     "therapy: {missed_bolus: 2}", "cgm: {noise_sd_mg_dL: -5}", "pump: {largest_rate_U_h: -1}",
     "faults: {occlusion: {begins_min: -3, lasts_min: 3}}", "settings: {isf: 40}",
     "{people: 2, settings: {basal_U_h: {V0003: 1.0}}}", "settings: {g_per_U: 0}",
     "meals: [{at: '07:30', carbs_g: 50}, {at: '07:40', carbs_g: 50}]", "meals: [{at: '24:10', carbs_g: 50}]"],
)  # fmt: skip
def test_a_file_with_a_slip_is_refused_before_any_work(tmp_path, text):
    file = tmp_path / "trial.yaml"
    file.write_text(text)
    refused(2, "trial", file, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()
