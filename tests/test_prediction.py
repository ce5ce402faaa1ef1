"""Fitted patients: what they keep of a fit, their file, and forecasts after the end of the record."""

import dataclasses
import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from scipy.special import ndtri

import t1djax
from t1djax import Doses, Patient
from t1djax.io import read_fitted_cohort, write_fitted_cohort
from t1djax.programs import _programs
from t1djax.records import FittedPatient

FREE = ["ksi", "kl", "Tu"]
END = 1440.0
DOSES = Doses.of(
    basal=[(0, 0.9), (1200, 0.7), (1700, 1.1)],
    # Across the end of the record, at the end, and after it.
    boluses=[(200, 4.0), (1400, 3.0, 120.0), (1600, 2.0), (1740, 1.5, 60.0)],
    meals=[(200, 40.0, 15.0), (END, 50.0, 20.0), (1600, 30.0)],
)
AHEAD = np.arange(END + 15, END + 481, 15.0)
FUTURE = pd.DataFrame(
    {
        "time_min": AHEAD,
        "basal_U_h": np.where(AHEAD < 1700, np.nan, 1.1),
        "bolus_U": 0.0,
        "bolus_duration_min": np.nan,
        "carbs_g": 0.0,
    },
    index=[f"row {i}" for i in range(len(AHEAD))],
)
FUTURE.loc[FUTURE.time_min == 1605.0, ["time_min"]] = 1600.0
FUTURE.loc[FUTURE.time_min == 1600.0, ["bolus_U", "carbs_g"]] = 2.0, 30.0
FUTURE.loc[FUTURE.time_min == 1740.0, ["bolus_U", "bolus_duration_min"]] = 1.5, 60.0
FUTURE.loc[FUTURE.time_min == 1695.0, ["time_min", "basal_U_h"]] = 1700.0, 1.1


def glucose(parameters: dict[str, float], time_min: np.ndarray) -> np.ndarray:
    """The exact solution from the start of the record, of one set of parameters."""
    with jax.enable_x64(True):
        p = t1djax.Magdelaine(**{s: parameters[s] for s in ("ksi", "kl", "kb", "Tu", "ku_Vi", "Tr", "kr_Vb")})
        inputs = DOSES.inputs(0.0, 3000.0)
        return np.asarray(t1djax.propagate(p, inputs, jnp.asarray(time_min), G0=parameters["G0"]).glucose_mg_dL)


@pytest.fixture(scope="module")
def cohort() -> t1djax.Cohort:
    """Two people whose records end in the middle of a bolus; the second has a clock."""
    rng, people = np.random.default_rng(0), []
    rows = np.arange(0.0, END + 1, 10.0)
    for name, start in (("Pat2", None), ("Pat3", dt.datetime(2026, 3, 1, 6, 30))):
        known = dict(t1djax.presets()[name].parameters)
        exact = glucose(t1djax.physics.with_derived(known), rows)
        people.append(Patient(name, rows, exact + 4 * rng.standard_normal(rows.size), DOSES, known, start))
    return t1djax.Cohort(tuple(people))


@pytest.fixture(scope="module")
def fit(cohort: t1djax.Cohort) -> t1djax.Fit:
    return t1djax.fit(
        cohort,
        model="ode",
        free=FREE,
        options=t1djax.inference.LeastSquares(starts=1),
        priors={"Tu": t1djax.LogNormal(100.0, 0.3)},
        bounds={"ksi": (50.0, 900.0)},
    )


@pytest.fixture(scope="module")
def models(fit: t1djax.Fit, cohort: t1djax.Cohort) -> dict[str, FittedPatient]:
    return {model.name: model for model in t1djax.fitted_patients(fit, cohort)}


def half_width(table: pd.DataFrame) -> np.ndarray:
    return (table.upper_mg_dL - table.lower_mg_dL).to_numpy() / 2


# What is kept of a fit


def test_standard_errors_are_those_of_the_fit(fit: t1djax.Fit, models: dict[str, FittedPatient]) -> None:
    for model in models.values():
        assert model.free == tuple(sorted(FREE))
        for i, symbol in enumerate(model.free):
            estimate = fit[model.name].estimates[symbol]
            assert model.parameters[symbol] == pytest.approx(estimate.value, rel=1e-12)
            sd = np.sqrt(model.covariance[i, i]) * estimate.value
            assert sd == pytest.approx(estimate.standard_error, rel=1e-6)


def test_errors_are_those_of_the_fit(fit: t1djax.Fit, cohort: t1djax.Cohort, models: dict[str, FittedPatient]) -> None:
    for model in models.values():
        scored = t1djax.metrics(fit[model.name], cohort[model.name])
        assert model.metrics == {key: pytest.approx(scored[key], rel=1e-9) for key in model.metrics}
        assert len(model.metrics) == 9


def test_one_patient_is_the_same_alone(
    fit: t1djax.Fit, cohort: t1djax.Cohort, models: dict[str, FittedPatient]
) -> None:
    alone = t1djax.prediction.fitted_patient(fit, cohort["Pat3"])
    np.testing.assert_allclose(alone.covariance, models["Pat3"].covariance, rtol=1e-9)
    assert alone.state == {s: pytest.approx(x, rel=1e-12) for s, x in models["Pat3"].state.items()}
    assert alone.start == dt.datetime(2026, 3, 1, 6, 30)


def test_other_rows_than_the_fit_are_refused(fit: t1djax.Fit, cohort: t1djax.Cohort) -> None:
    short = dataclasses.replace(
        cohort["Pat2"], time_min=cohort["Pat2"].time_min[:-1], glucose_mg_dL=cohort["Pat2"].glucose_mg_dL[:-1]
    )
    with pytest.raises(ValueError, match="Pat2"):
        t1djax.fitted_patients(fit, [short, cohort["Pat3"]])
    with pytest.raises(ValueError, match="Pat2"):
        t1djax.fitted_patients(fit, [cohort["Pat3"]])


def test_a_fit_keeps_its_records(fit: t1djax.Fit, cohort: t1djax.Cohort, models: dict[str, FittedPatient]) -> None:
    assert [one.patient for one in fit] == list(cohort)
    for mine in t1djax.fitted_patients(fit):
        theirs = models[mine.name]
        assert (mine.state, mine.metrics, mine.data_hash) == (theirs.state, theirs.metrics, theirs.data_hash)


@pytest.mark.parametrize(("ok", "outcome"), [(True, "converged"), (False, "not_converged")])
def test_files_of_earlier_versions_say_whether_all_was_well(
    ok: bool, outcome: str, models: dict[str, FittedPatient], tmp_path: Path
) -> None:
    file = t1djax.write_fitted(models["Pat2"], tmp_path)
    content = damaged(json.loads(file.read_text()), "outcome", None) | {"ok": ok, "message": "in other words"}
    file.write_text(json.dumps(content))
    assert t1djax.read_fitted(file).outcome is t1djax.Outcome[outcome]


def test_no_reading_is_in_the_file(cohort: t1djax.Cohort, models: dict[str, FittedPatient], tmp_path: Path) -> None:
    text = t1djax.write_fitted(models["Pat2"], tmp_path).read_text()
    readings = cohort["Pat2"].glucose_mg_dL
    assert not [x for x in readings if repr(float(x)) in text]


def test_the_hash_is_of_the_data(cohort: t1djax.Cohort) -> None:
    patient = cohort["Pat2"]
    renamed = dataclasses.replace(patient, name="Ada", known={})
    assert t1djax.data.data_hash(renamed) == t1djax.data.data_hash(patient)
    nudged = patient.glucose_mg_dL.copy()
    nudged[-1] = np.nextafter(nudged[-1], 0)
    assert t1djax.data.data_hash(dataclasses.replace(patient, glucose_mg_dL=nudged)) != t1djax.data.data_hash(patient)
    more = dataclasses.replace(patient.doses, bolus_U=patient.doses.bolus_U + 1)
    assert t1djax.data.data_hash(dataclasses.replace(patient, doses=more)) != t1djax.data.data_hash(patient)


# Forecasts


def test_forecast_goes_on_where_the_record_ends(models: dict[str, FittedPatient]) -> None:
    """One exact solution from the start of the record, with all doses in it, is the oracle."""
    for model in models.values():
        found = t1djax.predict(model, FUTURE)
        exact = glucose(dict(model.parameters), FUTURE.time_min.to_numpy())
        np.testing.assert_allclose(found.glucose_mg_dL, exact, rtol=0, atol=1e-8)
        assert found.index.equals(FUTURE.index)


def test_forecast_agrees_with_a_fit_on_the_longer_record(cohort: t1djax.Cohort) -> None:
    """Forward, with every parameter known: the fit of a record that goes on sees the same future."""
    patient = cohort["Pat2"]
    model = t1djax.prediction.fitted_patient(t1djax.fit([patient], model="ode", mode="forward"), patient)
    rows = np.concatenate([patient.time_min, FUTURE.time_min])
    longer = dataclasses.replace(
        patient, time_min=rows, glucose_mg_dL=np.concatenate([patient.glucose_mg_dL, np.full(len(FUTURE), np.nan)])
    )
    ahead = t1djax.fit([longer], model="ode", mode="forward")["Pat2"].glucose_mg_dL[len(patient.time_min) :]
    found = t1djax.predict(model, FUTURE)
    np.testing.assert_allclose(found.glucose_mg_dL, ahead, atol=1e-8)
    # Nothing is free: what is left is the noise of a reading.
    np.testing.assert_allclose(half_width(found), ndtri(0.95) * model.noise_sd_mg_dL)


def test_interval_is_the_spread_of_parameters_and_noise(models: dict[str, FittedPatient]) -> None:
    """Draws of the parameters, each solved from the start of the record; small ones, so that the delta method holds."""
    model = models["Pat2"]
    small = dataclasses.replace(model, covariance=1e-4 * model.covariance, noise_sd_mg_dL=0.0)
    rng = np.random.default_rng(1)
    draws = np.exp(rng.multivariate_normal(np.zeros(3), small.covariance, 3000, method="cholesky"))
    times = FUTURE.time_min.to_numpy()[::8]
    with jax.enable_x64(True):
        base = {s: jnp.asarray(x) for s, x in model.parameters.items()}

        def one(factor: jax.Array) -> jax.Array:
            v = base | {s: base[s] * factor[i] for i, s in enumerate(model.free)}
            p = t1djax.Magdelaine(**{s: v[s] for s in ("ksi", "kl", "kb", "Tu", "ku_Vi", "Tr", "kr_Vb")})
            return t1djax.propagate(p, DOSES.inputs(0.0, 3000.0), jnp.asarray(times), G0=v["G0"]).glucose_mg_dL

        spread = np.asarray(jax.vmap(one)(jnp.asarray(draws))).std(axis=0)
    found = half_width(t1djax.predict(small, FUTURE, level=0.9))[::8] / ndtri(0.95)
    np.testing.assert_allclose(found, spread, rtol=0.06)
    with_noise = half_width(t1djax.predict(dataclasses.replace(small, noise_sd_mg_dL=4.0), FUTURE, level=0.5))
    np.testing.assert_allclose(with_noise[::8], ndtri(0.75) * np.hypot(found, 4.0), rtol=1e-6)


def test_cohort_in_one_table(models: dict[str, FittedPatient]) -> None:
    each = {name: t1djax.predict(model, FUTURE) for name, model in models.items()}
    both = pd.concat([FUTURE.assign(patient=name) for name in ("Pat3", "Pat2")])
    mixed = both.sample(frac=1, random_state=0).sort_values("time_min", kind="stable")
    found = t1djax.predict(models, mixed)
    assert set(found.columns) == {"patient", "time_min", "glucose_mg_dL", "lower_mg_dL", "upper_mg_dL"}
    for name, alone in each.items():
        pd.testing.assert_frame_equal(found.loc[found.patient == name].drop(columns="patient"), alone, rtol=1e-12)


def test_clock_times_are_times_of_the_record(models: dict[str, FittedPatient]) -> None:
    model = models["Pat3"]
    assert model.start is not None
    stamps = [(model.start + dt.timedelta(minutes=m)).isoformat() for m in FUTURE.time_min]
    found = t1djax.predict(model, FUTURE.drop(columns="time_min").assign(time=stamps))
    np.testing.assert_allclose(found.upper_mg_dL, t1djax.predict(model, FUTURE).upper_mg_dL, rtol=1e-12)
    with pytest.raises(t1djax.DataError, match=r"column time:.*time_min"):
        t1djax.predict(models["Pat2"], FUTURE.drop(columns="time_min").assign(time=stamps))


def test_tables_of_many_lengths_share_a_program(models: dict[str, FittedPatient]) -> None:
    t1djax.predict(models["Pat2"], FUTURE.iloc[:2])
    before = len(_programs.PROGRAMS)
    for rows in (1, 3, 9, 16):
        t1djax.predict(models["Pat2"], FUTURE.iloc[:rows])
    assert len(_programs.PROGRAMS) == before


WRONG: dict[str, tuple[Callable[[pd.DataFrame], pd.DataFrame], str]] = {
    "no bolus": (lambda t: t.drop(columns="bolus_U"), "column bolus_U: the column is missing"),
    "no time": (lambda t: t.drop(columns="time_min"), "column time_min: the column is missing; add it, or time"),
    "two times": (lambda t: t.assign(time="2026-03-02T07:00"), "column time_min: there is time as well"),
    "text": (lambda t: t.assign(carbs_g="lots"), r"row 0, .*column carbs_g: 'lots' is not a number"),
    "lost dose": (lambda t: t.assign(bolus_U=np.nan), r"row 0, .*column bolus_U: the cell is empty"),
    "negative": (lambda t: t.assign(bolus_U=-1.0), "column bolus_U: '-1.0' is negative"),
    "infinite": (lambda t: t.assign(basal_U_h=np.inf), "column basal_U_h: 'inf' is not a finite number"),
    "in mg": (lambda t: t.assign(carbs_g=40_000.0), "column carbs_g: '40000.0' is more than 1000"),
    "backwards": (lambda t: t.iloc[::-1], "column time_min: .* is not after the row before"),
    "before the end": (lambda t: t.assign(time_min=t.time_min - 15), "'1440.0' is not after the end of the record"),
    "no rows": (lambda t: t.iloc[:0], "it has no row"),
    "another patient": (lambda t: t.assign(patient="Eve"), "row row 0, column patient: 'Eve' is not the patient"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_tables_are_refused_by_row_and_column(case: str, models: dict[str, FittedPatient]) -> None:
    change, message = WRONG[case]
    with pytest.raises(t1djax.DataError, match=message):
        t1djax.predict(models["Pat2"], change(FUTURE))


def test_a_cohort_needs_to_know_whom(models: dict[str, FittedPatient]) -> None:
    with pytest.raises(t1djax.DataError, match=r"column patient:.*Pat2, Pat3"):
        t1djax.predict(models, FUTURE)
    with pytest.raises(t1djax.DataError, match=r"column patient:.*Eve"):
        t1djax.predict(models, FUTURE.assign(patient="Eve"))


def test_a_failed_fit_predicts_nothing(models: dict[str, FittedPatient]) -> None:
    failed = dataclasses.replace(models["Pat2"], covariance=np.full((3, 3), np.nan), outcome=t1djax.Outcome.not_finite)
    with pytest.raises(ValueError, match="Pat2"):
        t1djax.predict(failed, FUTURE)


# Files


def test_a_file_predicts_what_the_model_did(models: dict[str, FittedPatient], tmp_path: Path) -> None:
    for name, model in models.items():
        again = t1djax.read_fitted(t1djax.write_fitted(model, tmp_path / name).parent)
        pd.testing.assert_frame_equal(t1djax.predict(again, FUTURE), t1djax.predict(model, FUTURE), check_exact=True)
        assert again.start == model.start
        assert again.data_hash == model.data_hash
    assert [file.parent.name for file in t1djax.io.find_fitted([tmp_path])] == ["Pat2", "Pat3"]
    write_fitted_cohort(models.values(), tmp_path / "all.json")
    assert list(read_fitted_cohort(tmp_path / "all.json")) == ["Pat2", "Pat3"]


def damaged(content: dict, key: str, value: object) -> dict:
    return {k: value if k == key else v for k, v in content.items() if k != key or value is not None}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("format", "other", "does not describe a fitted patient"),
        ("format_version", 2, "has format version 2, this t1djax reads 1; update t1djax"),
        ("covariance", None, "lacks covariance"),
        ("covariance", [[1.0]], r"is damaged \(an array has the shape \(1, 1\)"),
        ("covariance", "x", "is damaged"),
        ("parameters", {"ksi": 200.0}, r"is damaged \(parameters lacks kl"),
        ("parameters", [1], "is damaged"),
        ("state", {"G": "high"}, "is damaged"),
        ("under_way", {}, "is damaged"),
        ("start", "yesterday", "is damaged"),
        ("free", [1, 2, 3], "is damaged"),
        ("ok", 1, "is damaged"),
        ("outcome", "fine", "is damaged"),
    ],
)
def test_damaged_files_are_named(
    key: str, value: object, message: str, models: dict[str, FittedPatient], tmp_path: Path
) -> None:
    file = t1djax.write_fitted(models["Pat2"], tmp_path)
    file.write_text(json.dumps(damaged(json.loads(file.read_text()), key, value)))
    with pytest.raises(t1djax.io.ResultError, match=message) as error:
        t1djax.read_fitted(file)
    assert str(file) in str(error.value)


def test_truncated_and_missing_files_are_named(models: dict[str, FittedPatient], tmp_path: Path) -> None:
    file = t1djax.write_fitted(models["Pat2"], tmp_path)
    file.write_text(file.read_text()[:500])
    with pytest.raises(t1djax.io.ResultError, match=r"model\.json"):
        t1djax.read_fitted(tmp_path)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(t1djax.io.ResultError):
        t1djax.io.find_fitted([empty])
    with pytest.raises(t1djax.io.ResultError):
        t1djax.io.find_fitted([tmp_path / "nowhere"])
