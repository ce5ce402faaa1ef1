"""The population forecaster: it learns from people, forecasts others, and sees nothing later."""

import contextlib
import dataclasses
import datetime as dt
import json
import sqlite3
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import t1djax
from t1djax.population import _files
from t1djax.population._forecast import _OWN_PENALTY_MIN
from t1djax.population._known import COLUMNS, acted, known_at
from t1djax.population._network import KNOTS_MIN, standard

from .command import done, refused
from .test_rolling import changed_after, person

QUICK = t1djax.population.PopulationOptions(width=8, members=1, steps=300, batch=256, learning_rate=1e-2)
KEY = jax.random.key(0)


def follows(name: str, seed: int, n: int = 900) -> t1djax.Patient:
    """Somebody whose glucose swings: what was before an origin says what comes, other than the reading at it."""
    rng, g = np.random.default_rng(seed), [150.0, 152.0]
    for _ in range(n):
        g.append(150 + 1.8 * (g[-1] - 150) - 0.85 * (g[-2] - 150) + rng.normal(0, 4))
    return t1djax.Patient(name, 5.0 * np.arange(len(g)), np.array(g).clip(41, 399), t1djax.Doses.of(basal=1.0))


@pytest.fixture(scope="module")
def people() -> list[t1djax.Patient]:
    return [follows(name, seed) for seed, name in enumerate(("Ada", "Ben", "Cem"))]


@pytest.fixture(scope="module")
def learnt(people) -> tuple[t1djax.population.PopulationForecaster, ...]:
    return t1djax.fit_population(people, options=QUICK, key=KEY, unseen=[["Cem"]])


@pytest.fixture(scope="module")
def shipped() -> t1djax.population.PopulationForecaster:
    return t1djax.shipped_forecaster()


def rmse(forecasts: t1djax.records.RollingForecasts) -> float:
    return float(np.sqrt(np.nanmean((forecasts.mean_mg_dL - forecasts.observed_mg_dL) ** 2)))


def test_a_person_never_seen_is_forecast_by_what_others_taught(people, learnt):
    cem, unseen = people[2], learnt[1]
    assert unseen.people == ("Ada", "Ben")
    origins = t1djax.data.rolling_origins(cem)
    found = t1djax.population_forecasts(unseen, cem, horizon_min=(30.0,), origin_min=origins, train_until_min=-1.0)
    by_rule = t1djax.baseline_forecasts(cem, "autoregression", horizon_min=(30.0,), origin_min=origins)
    held = t1djax.baseline_forecasts(cem, "persistence", horizon_min=(30.0,), origin_min=origins)
    assert rmse(found) < 0.75 * rmse(held)
    assert rmse(found) < 1.15 * rmse(by_rule)
    inside = np.abs(found.mean_mg_dL - found.observed_mg_dL) < 1.645 * found.sd_mg_dL
    assert 0.8 < inside[np.isfinite(found.observed_mg_dL)].mean() < 0.97


def test_who_is_left_out_changes_nothing(people, learnt):
    other = dataclasses.replace(people[2], glucose_mg_dL=300.0 - 0.5 * people[2].glucose_mg_dL)
    again = t1djax.fit_population([*people[:2], other], options=QUICK, key=KEY, unseen=[["Cem"]])
    for one, two in zip(jax.tree.leaves(learnt[1].networks), jax.tree.leaves(again[1].networks), strict=True):
        np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(learnt[1].scale, again[1].scale)
    np.testing.assert_array_equal(learnt[1].calibration, again[1].calibration)
    assert not np.array_equal(learnt[0].scale, again[0].scale)


def test_intervals_are_calibrated_on_people_left_out(people, learnt):
    """Cem's misses, forecast from every reading by one who never saw them, say how wide the first one's are to be."""
    every, unseen = learnt
    cem, at = people[2], KNOTS_MIN.index(30.0)
    assert (unseen.calibration == 1).all()  # nobody but Cem was left out
    found = t1djax.population_forecasts(
        unseen,
        cem,
        horizon_min=(30.0,),
        origin_min=t1djax.data.rolling_origins(cem, after_min=-1),
        train_until_min=-1.0,
    )
    far = (np.abs(found.mean_mg_dL - found.observed_mg_dL) / found.sd_mg_dL / 1.6449)[:, 0]
    for day, (start, end) in enumerate(((0.0, 0.5), (0.5, 2.0), (2.0, np.inf))):
        some = far[(found.origin_min > 1440 * start) & (found.origin_min <= 1440 * end)]
        assert every.calibration[day, at] == pytest.approx(np.nanquantile(some, 0.9), rel=0.15)
    wide = dataclasses.replace(unseen, calibration=2 * unseen.calibration)
    ask: dict[str, Any] = {"horizon_min": (30.0,), "train_until_min": -1.0}
    double = (
        t1djax.population_forecasts(wide, cem, **ask).sd_mg_dL
        / t1djax.population_forecasts(unseen, cem, **ask).sd_mg_dL
    )
    np.testing.assert_allclose(double, 2.0)


def test_a_training_goes_on_where_it_was(people, learnt, tmp_path):
    file = tmp_path / "training"

    stopped: list[t1djax.population.Course] = []

    class Stopped(Exception): ...

    def stop(course: t1djax.population.Course) -> None:
        stopped.append(course)
        if course.step < course.of:
            raise Stopped

    ask: dict[str, Any] = {"options": QUICK, "key": KEY, "unseen": [["Cem"]], "checkpoint": file}
    with pytest.raises(Stopped):
        t1djax.fit_population(people, **ask, on_chunk=stop)
    seen: list[t1djax.population.Course] = []
    again = t1djax.fit_population(people, **ask, on_chunk=seen.append)
    assert [course.step for course in seen] == [250, 300]
    assert seen[0] == stopped[0]  # from the disk
    for one, two in zip(jax.tree.leaves(learnt[0].networks), jax.tree.leaves(again[0].networks), strict=True):
        np.testing.assert_array_equal(one, two)
    with pytest.raises(ValueError, match="options"):
        t1djax.fit_population(people[:2], options=QUICK, key=KEY, checkpoint=file)


def test_a_removal_takes_what_learnt_from_the_person(people, learnt, tmp_path):
    """Forecasters and unfinished training as a whole; what others taught alone, and the package's own, stay."""
    t1djax.write_cohort(t1djax.Cohort(tuple(people)), tmp_path / "data")
    models = tmp_path / "models"
    models.mkdir()
    for file, forecaster in zip(("all.json", "others.json"), learnt, strict=True):
        t1djax.population.write_population(forecaster, models / file)
    (models / "shipped.json").write_bytes(_files._SHIPPED.read_bytes())

    def stop(course: t1djax.population.Course) -> None:
        raise InterruptedError

    ask: dict[str, Any] = {"options": QUICK, "key": KEY, "unseen": [["Cem"]]}
    with pytest.raises(InterruptedError):
        t1djax.fit_population(people, **ask, checkpoint=models / "more.json.training", on_chunk=stop)
    before = {path.name: path.read_bytes() for path in models.iterdir()}
    done = t1djax.forget("Cem", data=tmp_path / "data", also=models)
    assert done.complete, done.remains
    left = {path.name: path.read_bytes() for path in models.iterdir()}
    assert left == {name: before[name] for name in ("others.json", "shipped.json")}
    with pytest.raises(t1djax.config.MissingPathError):
        t1djax.forget("Subject 1", also=models, names_only=True)
    (models / "notes.json").write_text('{"about": "t1djax.population", "people": ["Ada"]}')
    assert [Path(one.where).name for one in t1djax.forget("Ada", also=models, names_only=True).remains] == [
        "notes.json"
    ]


def test_what_is_asked_wrongly_is_refused(people, shipped):
    with pytest.raises(ValueError):
        t1djax.fit_population(people[:1], options=QUICK, key=KEY)
    with pytest.raises(ValueError, match="Dee"):
        t1djax.fit_population(people, options=QUICK, key=KEY, unseen=[["Dee"]])
    with pytest.raises(ValueError, match="240"):
        t1djax.population_forecasts(shipped, people[0], horizon_min=(300.0,))
    with pytest.raises(ValueError, match="Ada"):
        t1djax.population_forecasts(shipped, people[0], origin_min=np.array([7.0]), train_until_min=0.0)


def test_a_blend_takes_the_better_one_and_covers_what_it_says():
    """Readings are drawn: one method errs by 30 mg/dL, the other by 3."""
    rng, n, end = np.random.default_rng(0), 4000, 5.0 * 3000
    origins, truth = 5.0 * np.arange(n), rng.normal(150, 40, n)
    say = lambda method, error: t1djax.records.RollingForecasts(
        "Ada", method, "none", origins, np.array([30.0]), (truth + rng.normal(0, error, n))[:, None],
        np.full((n, 1), 10.0), truth[:, None],
    )  # fmt: skip
    poor, good = say("population", 30.0), say("stochastic", 3.0)
    blend = t1djax.population.blended_forecasts(poor, good, train_until_min=end)
    later = origins > end
    days, own = 3000 * 5 / 1440, 30.0**2 / (30.0**2 + 3.0**2)
    w = (days * own + 7 * 0.4) / (days + 7)
    np.testing.assert_allclose(blend.mean_mg_dL, poor.mean_mg_dL + w * (good.mean_mg_dL - poor.mean_mg_dL), atol=1.0)
    inside = (np.abs(blend.mean_mg_dL - blend.observed_mg_dL) < 1.645 * blend.sd_mg_dL)[later]
    assert 0.86 < inside.mean() < 0.94
    changed = dataclasses.replace(poor, observed_mg_dL=np.where(later[:, None], 0.0, poor.observed_mg_dL))
    again = t1djax.population.blended_forecasts(changed, good, train_until_min=end)
    np.testing.assert_array_equal(again.mean_mg_dL, blend.mean_mg_dL)  # what is read later teaches nothing
    np.testing.assert_array_equal(again.sd_mg_dL, blend.sd_mg_dL)
    with pytest.raises(ValueError):
        t1djax.population.blended_forecasts(poor, good.after(end), train_until_min=end)
    # What is announced moves the blend by as much as it moves the person's own model, within what a sensor reads.
    shift = np.linspace(-9, 9, n)[:, None]
    moved = dataclasses.replace(good, mean_mg_dL=good.mean_mg_dL + shift, future_inputs="announced")
    told = t1djax.population.blended_forecasts(poor, good, train_until_min=end, announced=moved)
    np.testing.assert_allclose(told.mean_mg_dL, (blend.mean_mg_dL + shift).clip(40, 400), atol=1e-9)
    assert told.future_inputs == "announced"
    with pytest.raises(ValueError):
        t1djax.population.blended_forecasts(poor, good, train_until_min=end, announced=moved.after(end))


def readings_and_basal(patient: t1djax.Patient, folder: Path) -> Path:
    """A file of the first readings."""
    rows = [f"{t:g},{g:.0f},0.8" for t, g in zip(patient.time_min[:500], patient.glucose_mg_dL, strict=False)]
    file = folder / "Ada.csv"
    file.write_text("time_min,glucose_mg_dL,basal_U_h\n" + "\n".join(rows) + "\n")
    return file


def test_the_command_forecasts_at_once_and_blends(people, tmp_path):
    file, table = readings_and_basal(people[0], tmp_path), {}
    for model in ("population", "blend"):
        folder = tmp_path / model
        out = done("forecast", file, "--model", model, "--horizons", "30", "--out", folder, "--metabonet", "--json").out
        table[model] = {row["method"]: row["rmse_mg_dL"] for row in json.loads(out)["scores"]}
        wide, long = (np.genfromtxt(folder / f"{name}.csv", delimiter=",", names=True, dtype=None, encoding="utf-8")
                      for name in ("metabonet", "forecasts"))  # fmt: skip
        assert wide.dtype.names == ("id", "date", "pred_30")
        np.testing.assert_array_equal(wide["pred_30"], long[long["method"] == model]["mean_mg_dL"])
    assert next(iter(table["population"])) == "population"
    assert {"blend", "stochastic", "population", "autoregression"} <= set(table["blend"])
    assert table["blend"]["population"] == pytest.approx(table["population"]["population"], rel=1e-6)
    assert table["blend"]["blend"] < table["blend"]["persistence"]
    assert "another --model" in refused(2, "forecast", file, "--future-inputs", "announced", "--model", "population")


@pytest.mark.slow
@pytest.mark.slow
def test_the_command_says_what_a_unit_and_20_g_do(people, tmp_path):
    file = readings_and_basal(people[0], tmp_path)
    told = done("forecast", file, "--horizons", "30", "--future-inputs", "announced", "--json").out
    row = json.loads(told)["scores"][0]
    assert (row["method"], row["future_inputs"]) == ("blend", "announced")
    assert row["unit_falls_percent"] == row["carbs_20_g_rises_percent"] == 100


def test_nothing_after_an_origin_is_used(shipped):
    ada = dataclasses.replace(person(), start=dt.datetime(2025, 3, 1, 7, 20))
    end, origins = t1djax.data.training_end(ada), t1djax.data.rolling_origins(ada)
    whole = t1djax.population_forecasts(shipped, ada)
    for origin in origins[[3, 40]]:
        ask: dict[str, Any] = {"origin_min": origins[origins <= origin], "train_until_min": end}
        other = t1djax.population_forecasts(shipped, changed_after(ada, origin), **ask)
        n = len(other.origin_min)
        np.testing.assert_array_equal(other.mean_mg_dL, whole.mean_mg_dL[:n])
        np.testing.assert_array_equal(other.sd_mg_dL, whole.sd_mg_dL[:n])
        assert np.isfinite(other.mean_mg_dL).all()


def test_a_record_of_readings_alone_is_forecast(shipped):
    ada = person()
    alone = dataclasses.replace(ada, doses=t1djax.Doses.of(basal=0.0))
    known = known_at(alone, t1djax.data.rolling_origins(alone)).columns
    lacking = {name.partition("_")[0] for name, column in zip(COLUMNS, known.T, strict=True) if np.isnan(column).all()}
    assert {"bolus", "basal", "carbs", "sin", "usual"} <= lacking
    found = t1djax.population_forecasts(shipped, alone)
    assert np.isfinite(found.mean_mg_dL).all()
    assert rmse(found) < rmse(t1djax.baseline_forecasts(alone, "persistence"))


def test_own_days_are_a_ridge_regression_of_the_misses(shipped):
    """Against the normal equations by NumPy."""
    ada = person(days=4.0)
    end = t1djax.data.training_end(ada)
    origins, own = t1djax.data.rolling_origins(ada), ada.time_min[ada.valid & (ada.time_min <= end)]
    with_own = t1djax.population_forecasts(shipped, ada, horizon_min=(30.0,))
    fresh = lambda at: t1djax.population_forecasts(
        shipped, ada, horizon_min=(30.0,), origin_min=at, train_until_min=float(own[0]) - 1
    )
    known = known_at(ada, np.concatenate([own, origins]))
    with jax.enable_x64(True):
        z = np.asarray(standard(jnp.asarray(known.columns), jnp.asarray(shipped.scale, jnp.float64))[0])
    target = t1djax.data.readings_ahead(ada, own, (30.0,))[:, 0]
    use = np.isfinite(target) & (own + 30 <= end)
    miss = ((target - fresh(own).mean_mg_dL[:, 0]) / known.spread_mg_dL[: len(own)])[use]
    x = z[: len(own)][use]
    w = np.linalg.solve(15 * x.T @ x + _OWN_PENALTY_MIN * np.eye(x.shape[1]), 15 * x.T @ miss)
    wanted = fresh(origins).mean_mg_dL[:, 0] + known.spread_mg_dL[len(own) :] * (z[len(own) :] @ w)
    np.testing.assert_allclose(with_own.mean_mg_dL[:, 0], wanted, rtol=0.01)
    assert np.abs(with_own.mean_mg_dL - fresh(origins).mean_mg_dL).max() > 1.0


def test_a_dose_acts_as_two_lags_say():
    from scipy.integrate import solve_ivp  # noqa: PLC0415

    lag = 55.0
    rates = lambda t, y: [-y[0] / lag, (y[0] - y[1]) / lag, y[1] / lag]
    ends = solve_ivp(rates, (0, 200), [1.0, 0.0, 0.0], t_eval=[0, 30, 90, 200], rtol=1e-10, atol=1e-12).y[2]
    np.testing.assert_allclose(acted(np.array([0.0, 30.0, 90.0, 200.0]), lag), ends, atol=1e-8)


def test_forecasters_are_kept_as_numbers(learnt, tmp_path):
    file = t1djax.population.write_population(learnt[0], tmp_path / "own.json")
    again = t1djax.read_population(file)
    assert again.people == learnt[0].people
    for one, two in zip(jax.tree.leaves(learnt[0].networks), jax.tree.leaves(again.networks), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-6)
    (tmp_path / "other.json").write_text(json.dumps({"format": "something else"}))
    with pytest.raises(ValueError, match=r"other\.json"):
        t1djax.read_population(tmp_path / "other.json")


@pytest.mark.filterwarnings("ignore::t1djax.DataWarning")
def test_no_training_window_can_be_read_back(shipped, shared: Path):
    """The numbers are fewer than the readings; no row of weights is like a window of theirs more than of others'."""
    numbers = sum(np.size(x) for x in jax.tree.leaves(shipped.networks))
    data, hupa = shared / "data", "hupa_ucm/HUPA0022P.csv"
    people = [t1djax.read_recording(data / "azt1d" / f"Subject {k}.csv").patient for k in (2, 5)]
    people.append(t1djax.io.read_hupa(data / hupa, carbs_unit="g"))
    others = [t1djax.read_recording(data / "carelink" / "carelink_veo754_12d.csv", carbs_unit="exchange").patient]
    assert {p.name for p in people} <= set(shipped.people)
    assert numbers < 0.2 * 12 * min(p.valid.sum() for p in people[:2])

    def likeness(patient: t1djax.Patient) -> float:
        g = patient.glucose_mg_dL[patient.valid]
        rows = np.concatenate([np.asarray(x, float).reshape(-1, x.shape[-1]) for x in jax.tree.leaves(shipped.networks)
                               if x.shape[-1] == len(KNOTS_MIN)])  # fmt: skip
        windows = np.lib.stride_tricks.sliding_window_view(g, len(KNOTS_MIN))[:1200]
        unit = lambda x: (x - x.mean(1, keepdims=True)) / (x.std(1, keepdims=True) + 1e-9) / np.sqrt(x.shape[1])
        return float(np.quantile((unit(rows) @ unit(windows).T).max(axis=1), 0.9))

    assert max(map(likeness, people)) < max(map(likeness, others)) + 0.03


def tables(people, tmp_path) -> list[Path]:
    """The readings of people as files, without meals."""
    for patient in people:
        rows = [f"{t:g},{g:.0f},0.8" for t, g in zip(patient.time_min, patient.glucose_mg_dL, strict=True)]
        file = tmp_path / f"{patient.name}.csv"
        file.write_text("time_min,glucose_mg_dL,basal_U_h\n" + "\n".join(rows) + "\n")
    return sorted(tmp_path.glob("*.csv"))


def test_the_command_learns_from_people_and_judges_itself_unseen(people, tmp_path):
    files, own = tables(people, tmp_path), tmp_path / "own.json"
    out = done("population", "train", *files, "--out", own, "--steps", "20", "--folds", "2", "--json").json
    assert t1djax.read_population(own).people == ("Ada", "Ben", "Cem") == tuple(out["people"])
    assert {row["patient"] for row in out["scores"]} == {"Ada", "Ben", "Cem"}
    assert [path.name for path in tmp_path.glob("own*")] == ["own.json"]  # nothing is left of the training
    assert "--overwrite" in refused(2, "population", "train", *files, "--out", own)
    assert "two or more" in refused(2, "population", "train", files[0], "--out", tmp_path / "one.json")
    found = done("forecast", files[0], "--model", "population", "--population", own, "--horizons", "30", "--json").json
    assert found["scores"][0]["method"] == "population"


@pytest.mark.slow
def test_the_command_is_tracked_though_the_server_was_away(people, tmp_path):
    pytest.importorskip("mlflow")
    files, own, database = tables(people, tmp_path), tmp_path / "own.json", tmp_path / "runs.db"
    command = ["population", "train", *files, "--out", own, "--steps", "20", "--folds", "2", "--json"]
    first = done(*command, "--tracking-uri", "http://127.0.0.1:9")
    assert own.is_file()
    assert "--overwrite" in first.err
    assert (tmp_path / "own.json.training").is_file()
    out = done(*command, "--overwrite", "--tracking-uri", f"sqlite:///{database}").json  # from what was trained
    with contextlib.closing(sqlite3.connect(database)) as db:
        assert dict(db.execute("select key, value from params"))["steps"] == "20"
        logged = dict(db.execute("select key, value from metrics"))
        assert db.execute("select status from runs").fetchall() == [("FINISHED",)]
    errors = [row["rmse_mg_dL"] for row in out["scores"] if (row["method"], row["horizon_min"]) == ("population", 30)]
    assert logged["unseen_population/rmse_mg_dL_30_min"] == pytest.approx(np.mean(errors))
    assert logged["loss"] > 0
    assert [path.name for path in tmp_path.glob("own*")] == ["own.json"]
    # Its run goes with anybody whom it learnt from.
    t1djax.forget("Cem", also=tmp_path, tracking_uri=f"sqlite:///{database}", names_only=True)
    with contextlib.closing(sqlite3.connect(database)) as db:
        assert db.execute("select run_uuid from runs union select run_uuid from tags").fetchall() == []
    assert list(tmp_path.rglob("own.json")) == []
