"""The registry: versions, the gate to champion, the command line, and what a server answers."""

import contextlib
import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pandas as pd
import pytest

import t1djax
from t1djax import registry
from t1djax.programs import _programs
from t1djax.records import FittedPatient

from .command import call, done, refused

with warnings.catch_warnings():  # MLflow warns of its own type hints
    warnings.simplefilter("ignore")
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("mlflow.pyfunc.model")
pytestmark = pytest.mark.filterwarnings(  # of MLflow's own making
    "ignore:The ``noload`` loader strategy", "ignore::DeprecationWarning", "ignore::ResourceWarning"
)
GLUCOSE = ["glucose_mg_dL", "lower_mg_dL", "upper_mg_dL"]


def with_error(models: Mapping[str, FittedPatient], factor: float) -> dict[str, FittedPatient]:
    """The same models with other forecast errors."""
    better = lambda m: dict(m.metrics) | {registry.METRIC: factor * m.metrics[registry.METRIC]}
    return {name: dataclasses.replace(m, metrics=better(m)) for name, m in models.items()}


@pytest.fixture(scope="module")
def models() -> dict[str, FittedPatient]:
    cohort = t1djax.reference_cohort(
        interval_min=30, names=["Pat2", "Pat3"], noise=t1djax.WhiteNoise(5.0), key=jax.random.key(0)
    )
    fit = t1djax.fit(cohort, model="ode", free=["ksi"])
    return {model.name: model for model in t1djax.fitted_patients(fit, cohort)}


@pytest.fixture(scope="module")
def results(models: dict[str, FittedPatient], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with a fitted patient in each run."""
    root = tmp_path_factory.mktemp("registry") / "results"
    for name, model in models.items():
        t1djax.write_fitted(model, root / f"ode_inverse_{name}_ksi")
    return root


@pytest.fixture(scope="module")
def uri(results: Path) -> str:
    """A database whose tables are there: making them takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        return registry.default_uri(results)


@pytest.fixture(autouse=True)
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def future(models: Mapping[str, FittedPatient], rows: int = 12) -> pd.DataFrame:
    one = lambda m: pd.DataFrame(
        {
            "patient": m.name,
            "time_min": m.end_min + 10.0 * np.arange(1, rows + 1),
            "basal_U_h": 0.8,
            "bolus_U": [4.0] + [0.0] * (rows - 1),
            "carbs_g": [40.0] + [0.0] * (rows - 1),
        }
    )
    return pd.concat([one(m) for m in models.values()], ignore_index=True)


# Versions


def test_register_and_load(results: Path, uri: str, models: dict[str, FittedPatient]) -> None:
    version = registry.register(results, name="whole")
    assert (version.version, version.aliases, version.patients) == (1, ("challenger",), 2)
    assert (results / "mlflow.db").is_file()
    assert not Path("mlflow.db").exists()
    found = registry.load("whole", "challenger", tracking_uri=uri)
    table = future(models)
    pd.testing.assert_frame_equal(t1djax.predict(found, table), t1djax.predict(models, table), check_exact=True)
    errors = [m.metrics[registry.METRIC] for m in models.values()]
    assert version.error_mg_dL == pytest.approx(np.sqrt(np.mean(np.square(errors))))
    assert version.worst_mg_dL == max(errors)


def test_the_same_patients_are_one_version(results: Path, uri: str, models: dict[str, FittedPatient]) -> None:
    first = registry.register(results, name="same")
    assert registry.register([*sorted(results.glob("ode_*"))], name="same", tracking_uri=uri).version == first.version
    assert registry.register(with_error(models, 0.5), name="same", tracking_uri=uri).version == 2
    assert [v.aliases for v in registry.versions("same", tracking_uri=uri)] == [("challenger",), ()]


def test_mlflow_stays_as_it_was(results: Path, uri: str) -> None:
    before = dict(os.environ)
    set_before = mlflow.is_tracking_uri_set()
    registry.register(results, name="quiet")
    assert dict(os.environ) == before
    assert mlflow.is_tracking_uri_set() == set_before
    assert mlflow.active_run() is None


def test_what_cannot_be_registered(
    results: Path, uri: str, models: dict[str, FittedPatient], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(registry.RegistryError, match="Pat2"):
        registry.register([results, models["Pat2"]], name="twice", tracking_uri=uri)
    for run in ("1-s0", "2-s0"):
        t1djax.write_fitted(models["Pat2"], tmp_path / f"ode_inverse_Pat2_ksi_{run}")
    with pytest.raises(registry.RegistryError, match=r"ode_inverse_\*_ksi_2-s0"):
        registry.register(tmp_path, name="twice", tracking_uri=uri)
    failed = dataclasses.replace(models["Pat2"], outcome=t1djax.Outcome.not_converged)
    with pytest.raises(registry.RegistryError, match="Pat2"):
        registry.register(failed, name="failed", tracking_uri=uri)
    with pytest.raises(registry.RegistryError, match="a/b"):
        registry.register(results, name="a/b")
    with pytest.raises(registry.RegistryError):
        registry.versions(tracking_uri=f"sqlite:///{results / 'none.db'}")
    with pytest.raises(registry.RegistryError):
        registry.versions(tracking_uri="http://127.0.0.1:9")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(registry.RegistryError):
        registry.versions(tracking_uri=uri)


# The gate


def test_the_gate(uri: str, models: dict[str, FittedPatient]) -> None:
    add = lambda factor: registry.register(with_error(models, factor), name="gate", tracking_uri=uri).version

    def ask(version: str | int, target: float = 100.0, *, force: bool = False) -> registry.Promotion:
        return registry.promote("gate", version, target_mg_dL=target, force=force, tracking_uri=uri)

    aliases = lambda: {a: v.version for v in registry.versions("gate", tracking_uri=uri) for a in v.aliases}
    assert add(1.0) == 1
    refused = ask("challenger", 0.1)
    assert not refused.promoted
    assert "is not below the target of 0.1 mg/dL: Pat2" in refused.reason
    assert aliases() == {"challenger": 1}
    assert ask(1).promoted
    assert aliases() == {"champion": 1}
    again = ask(1)
    assert (again.promoted, again.reason) == (True, "it is the champion already; its errors are below the target")
    worse = ask("champion", 0.1)  # it keeps its place, but the gate's word is heard
    assert (worse.promoted, aliases()) == (False, {"champion": 1})
    assert worse.reason.startswith("it is the champion already; the forecast RMSE is not below the target of 0.1")

    assert add(1.1) == 2
    worse = ask(2)
    assert not worse.promoted
    assert "is not below the champion's" in worse.reason
    assert aliases() == {"champion": 1, "challenger": 2}
    assert add(0.9) == 3
    better = ask(3)
    assert (better.promoted, better.champion) == (True, 1)
    assert better.champion_error_mg_dL == pytest.approx(better.error_mg_dL / 0.9)
    assert aliases() == {"champion": 3, "former_champion": 1}

    forced = ask(2, force=True)
    assert (forced.promoted, forced.forced) == (True, True)
    assert aliases() == {"champion": 2, "former_champion": 3}
    kept = {v.version: v for v in registry.versions("gate", tracking_uri=uri)}
    assert (kept[2].decision, kept[2].reason) == ("forced", forced.reason)
    tags = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri).get_model_version("gate", "2").tags
    assert float(tags["t1djax.gate.champion_error_mg_dL"]) == pytest.approx(better.error_mg_dL)
    assert tags["t1djax.gate.champion"] == "3"


def test_errors_on_other_data_do_not_compare(uri: str, models: dict[str, FittedPatient]) -> None:
    registry.register(models, name="data", tracking_uri=uri)
    assert registry.promote("data", 1, target_mg_dL=100, tracking_uri=uri).promoted
    other = with_error(models, 0.1)
    other["Pat3"] = dataclasses.replace(other["Pat3"], data_hash="0" * 64)
    registry.register(other, name="data", tracking_uri=uri)
    refused = registry.promote("data", 2, target_mg_dL=100, tracking_uri=uri)
    assert not refused.promoted
    assert "fitted to other data (another record of Pat3), so errors do not compare" in refused.reason
    registry.register(with_error(models, 0.1)["Pat2"], name="data", tracking_uri=uri)
    assert "it has Pat3 as well" in registry.promote("data", 3, target_mg_dL=100, tracking_uri=uri).reason
    nothing = dataclasses.replace(models["Pat2"], metrics={})
    registry.register(nothing, name="data", tracking_uri=uri)
    assert "Pat2 has no forecast error" in registry.promote("data", 4, target_mg_dL=100, tracking_uri=uri).reason


# The command line


def test_command_line(results: Path, uri: str, tmp_path: Path) -> None:
    here = ("--results", results, "--json")
    made = call("registry", "register", results, "--name", "cli", "--json")
    assert (made.code, made.json["version"]) == (0, 1)
    refused = call("registry", "promote", "--name", "cli", "--target", "0.1", *here)
    assert (refused.code, refused.json["promoted"]) == (5, False)
    assert call("registry", "promote", "--name", "cli", "--target", "100", *here).json["promoted"] is True
    listed = call("registry", "list", "--name", "cli", *here).json
    assert [(v["version"], v["aliases"], v["decision"]) for v in listed] == [(1, ["champion"], "promoted")]
    loaded = call("registry", "load", "--name", "cli", "--out", tmp_path, *here)
    assert [t1djax.read_fitted(file).name for file in loaded.json] == ["Pat2", "Pat3"]
    wrong = call("registry", "load", "--name", "nobody", "--out", tmp_path, *here)
    assert (wrong.code, "there is no registered model 'nobody' in this registry; there are" in wrong.err) == (3, True)
    wrong = call("registry", "load", "--name", "cli", "--version", "challenger", "--out", tmp_path, *here)
    assert (wrong.code, "there is no alias 'challenger'; its aliases: champion" in wrong.err) == (3, True)
    for version in ("a b", "ch@mpion", ""):
        wrong = call("registry", "load", "--name", "cli", "--version", version, "--out", tmp_path, *here)
        assert (wrong.code, "is no version; give a number, or an alias" in wrong.err) == (2, True)
    for alias in ("a b", "latest", "v2"):
        wrong = call("registry", "promote", "--name", "cli", "--version", "1", "--target", "9", "--alias", alias, *here)
        assert (wrong.code, wrong.err.startswith("error: --alias: ")) == (2, True)
    assert call("registry", "promote", "--name", "cli", "--version", "champion", "--target", "0.1", *here).code == 5
    assert "champion" in call("registry", "list", "--results", results).out


def test_names_that_leave_the_folder_are_refused(uri: str, models: dict[str, FittedPatient], tmp_path: Path) -> None:
    registry.register(dataclasses.replace(models["Pat2"], name="../out"), name="climber", tracking_uri=uri)
    said = call(
        "registry", "load", "--name", "climber", "--version", "1", "--out", tmp_path / "in", "--tracking-uri", uri
    )
    assert (said.code, "a patient's name" in said.err) == (2, True)
    assert not (tmp_path / "out").exists()


# Serving


def test_pyfunc_without_a_server(uri: str, models: dict[str, FittedPatient]) -> None:
    registry.register(models, name="pyfunc", tracking_uri=uri)
    before = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None
    mlflow.set_tracking_uri(uri)
    try:
        loaded = mlflow.pyfunc.load_model("models:/pyfunc@challenger")
    finally:
        mlflow.set_tracking_uri(before)
        os.environ.pop("MLFLOW_TRACKING_URI", None)
    table = future(models)
    answer, expected = loaded.predict(table, params={"level": 0.5}), t1djax.predict(models, table, level=0.5)
    np.testing.assert_array_equal(answer[GLUCOSE], expected[GLUCOSE])
    with pytest.raises(mlflow.exceptions.MlflowException, match=r"column bolus_U: '-1\.0' is negative") as error:
        loaded.predict(table.assign(bolus_U=-1.0))
    assert error.value.get_http_status_code() == 400


def with_readings(models: Mapping[str, FittedPatient], hours: int = 30) -> pd.DataFrame:
    """Hours of readings each 15 min with a meal in them, then two hours to forecast with another meal and its bolus."""
    rng, past = np.random.default_rng(3), 4 * hours
    tables = []
    for m in models.values():
        time = m.end_min + 15.0 * np.arange(1, past + 9)
        glucose = 150 + 30 * np.sin(time / 90) + rng.normal(0, 3, len(time))
        glucose[past:] = np.nan
        there = np.isin(np.arange(len(time)), [past - 20, past])
        tables.append(pd.DataFrame({"patient": m.name, "time_min": time, "glucose_mg_dL": glucose, "basal_U_h": 0.8,
                                    "bolus_U": 1.0 * there, "carbs_g": 40.0 * there}))  # fmt: skip
    return pd.concat(tables, ignore_index=True)


def test_readings_of_a_request_are_forecast_by_what_others_taught(models: dict[str, FittedPatient]) -> None:
    """Without later doses it is the population forecaster's answer; doses to come add what the equations say."""
    table = with_readings(models)
    later = table.glucose_mg_dL.isna()
    none = table.assign(bolus_U=table.bolus_U.where(~later, 0.0), carbs_g=table.carbs_g.where(~later, 0.0))
    plain, dosed = registry.answer(models, none), registry.answer(models, table)
    assert plain.index.tolist() == table.index[later].tolist()
    for name, model in models.items():
        record = t1djax.io.frame_to_patient(none.loc[none.patient == name].drop(columns="patient"), name)
        last = record.time_min[record.valid][-1:]
        taught = t1djax.population_forecasts(
            t1djax.shipped_forecaster(), record, origin_min=last, horizon_min=[15.0 * k for k in range(1, 9)],
            train_until_min=float(last[0]),
        )  # fmt: skip
        mine, dose = plain[plain.patient == name], dosed[dosed.patient == name]
        np.testing.assert_allclose(mine.glucose_mg_dL, taught.mean_mg_dL[0], rtol=1e-9)
        half = 1.6448536269514722 * taught.sd_mg_dL[0]
        np.testing.assert_allclose(mine.upper_mg_dL - mine.glucose_mg_dL, half, rtol=1e-9)
        # The equations on from the end of the record, where these doses come as long after it.
        ahead = pd.DataFrame({"time_min": model.end_min + 15.0 * np.arange(1, 9), "basal_U_h": 0.8})
        by_rule = [
            t1djax.predict(model, ahead.assign(bolus_U=[u, *[0.0] * 7], carbs_g=[g, *[0.0] * 7])).glucose_mg_dL
            for u, g in ((1.0, 40.0), (0.0, 0.0))
        ]
        moved = dose.glucose_mg_dL.to_numpy() - mine.glucose_mg_dL.to_numpy()
        np.testing.assert_allclose(moved, by_rule[0] - by_rule[1], atol=1e-4)
        assert np.abs(moved).max() > 3
    with pytest.raises(mlflow.exceptions.MlflowException, match="after the last reading"):
        registry.answer(models, table.loc[~later])
    with pytest.raises(mlflow.exceptions.MlflowException, match="240"):
        registry.answer(models, table.assign(time_min=table.time_min + 300.0 * later))


@pytest.mark.slow
def test_with_the_own_stochastic_model_requests_get_the_blend(models: dict[str, FittedPatient], tmp_path: Path) -> None:
    """Against the blend by the fit itself; what is kept goes through a file, and a request states the doses to come."""
    table = with_readings({"Pat3": models["Pat3"]})
    table = table.assign(time_min=table.time_min - table.time_min[0])
    until = table.glucose_mg_dL.isna().to_numpy().argmax()
    record = t1djax.io.frame_to_patient(table.iloc[:until].drop(columns="patient"), "Pat3")
    options = t1djax.StateSpaceOptions(horizons_min=(), max_steps=2)
    fit = t1djax.fit_state_space([record], options=options)
    kept = t1djax.prediction.with_stochastic(models["Pat3"], fit)
    kept = t1djax.read_fitted(t1djax.write_fitted(kept, tmp_path))
    answer = registry.answer({"Pat3": kept}, table)
    whole = t1djax.io.frame_to_patient(table.drop(columns="patient"), "Pat3")
    origins, last = record.time_min, float(record.time_min[-1])
    how: dict[str, Any] = {"origin_min": origins, "horizon_min": [15.0 * k for k in range(1, 9)]}
    own = t1djax.state_space_forecasts(fit, whole, **how)
    told = t1djax.state_space_forecasts(fit, whole, future_inputs="recorded", **how)
    taught = t1djax.population_forecasts(t1djax.shipped_forecaster(), whole, train_until_min=last, **how)
    both = t1djax.population.blended_forecasts(taught, own, train_until_min=last)
    expected = both.mean_mg_dL[-1] + told.mean_mg_dL[-1] - own.mean_mg_dL[-1]
    np.testing.assert_allclose(answer.glucose_mg_dL, expected, rtol=1e-6)
    np.testing.assert_allclose(answer.upper_mg_dL - answer.glucose_mg_dL, 1.6448536 * both.sd_mg_dL[-1], rtol=1e-6)
    assert not np.allclose(answer.glucose_mg_dL, registry.answer({"Pat3": models["Pat3"]}, table).glucose_mg_dL)
    other = dataclasses.replace(models["Pat3"], body=t1djax.Kanderian)
    with pytest.raises(ValueError, match="Kanderian"):
        t1djax.prediction.with_stochastic(other, fit)


@pytest.mark.slow
def test_the_command_keeps_stochastic_models_with_the_fitted(models: dict[str, FittedPatient], tmp_path: Path) -> None:
    for name, model in models.items():
        t1djax.write_fitted(model, tmp_path / name)
    flags = ("--patients", "3", "--interval-min", "30", "--horizons", "30,60", "--keep", tmp_path)
    done("forecast", "reference", *flags)
    kept = {name: t1djax.read_fitted(tmp_path / name).stochastic for name in models}
    assert kept["Pat2"] is None  # who was not forecast
    assert (kept["Pat3"] or {})["level_mg_dL"] > 40
    assert "--keep" in refused(2, "forecast", "reference", *flags, "--model", "population")


@pytest.mark.slow
def test_serving_loads_no_training_code(uri: str, models: dict[str, FittedPatient]) -> None:
    """In a process of its own, as a server's is."""
    registry.register(models, name="bare", tracking_uri=uri)
    program = """
import json, sys
import mlflow, pandas
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model("models:/bare/1")
model.predict(pandas.DataFrame(json.loads(sys.argv[2])))
print(json.dumps(sorted(sys.modules)))
"""
    table = future({"Pat2": models["Pat2"]}, 2).to_json(orient="records")
    asked = [sys.executable, "-c", program, uri, table]
    run = subprocess.run(asked, capture_output=True, text=True, check=True)
    modules = json.loads(run.stdout.splitlines()[-1])
    assert "t1djax.prediction" in modules
    rooms = ("config", "experiment", "inference", "losses", "statespace", "training")
    assert not [name for name in modules if name.split(".")[:2] in [["t1djax", room] for room in rooms]]
    assert "optax" not in modules


def test_loading_compiles_nothing_and_answers_compile_forecasts_only(
    uri: str, models: dict[str, FittedPatient]
) -> None:
    registry.register(models, name="light", tracking_uri=uri)
    _programs.PROGRAMS.clear()
    found = registry.load("light", 1, tracking_uri=uri)
    assert not _programs.PROGRAMS
    registry.answer(found, future(found))
    makers = list(_programs.PROGRAMS)
    assert {key.one.__module__ for key in makers} == {"t1djax.prediction._predict"}


class Server(NamedTuple):
    url: str
    pid: int

    def ask(self, body: bytes | str, kind: str = "application/json") -> tuple[int, str]:
        """Status and text of an answer."""
        data = body.encode() if isinstance(body, str) else body
        request = urllib.request.Request(f"{self.url}/invocations", data=data, headers={"Content-Type": kind})
        try:
            with urllib.request.urlopen(request, timeout=240) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as e:
            return e.code, e.read().decode()

    def table(self, table: pd.DataFrame, **more: Any) -> tuple[int, str]:
        split = {"columns": list(table.columns), "data": table.to_numpy(dtype=object).tolist()}
        return self.ask(json.dumps({"dataframe_split": split, **more}))

    @property
    def memory_MiB(self) -> float:
        """Of the process with the model, the largest of the server's."""
        import psutil  # noqa: PLC0415

        root = psutil.Process(self.pid)
        return max(p.memory_info().rss for p in [root, *root.children(recursive=True)]) / 2**20


@pytest.fixture(scope="module")
def server(uri: str, models: dict[str, FittedPatient], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`mlflow models serve` of the two patients, on a free port of this machine."""
    registry.register(models, name="served", tracking_uri=uri)
    assert registry.promote("served", "challenger", target_mg_dL=100, tracking_uri=uri).promoted
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("server") / "log"
    environment = os.environ | {"MLFLOW_TRACKING_URI": uri, "MLFLOW_DISABLE_TELEMETRY": "true"}
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", "models:/served@champion",
               "--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)]  # fmt: skip
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=out, start_new_session=True)
    try:
        url = f"http://127.0.0.1:{port}"
        for _ in range(240):
            if process.poll() is not None:
                break
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/ping", timeout=2):
                yield Server(url, process.pid)
                break
            time.sleep(0.5)
        else:
            pytest.fail(f"the server does not come up: {log.read_text()[-2000:]}")
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=30)


@pytest.mark.services
def test_a_server_answers_what_the_library_says(server: Server, models: dict[str, FittedPatient]) -> None:
    table = future(models)
    for level in (0.9, 0.5):
        status, text = server.table(table, params={"level": level})
        assert status == 200
        answer, expected = pd.DataFrame(json.loads(text)["predictions"]), t1djax.predict(models, table, level=level)
        np.testing.assert_array_equal(answer[GLUCOSE], expected[GLUCOSE])
        assert answer.patient.tolist() == expected.patient.tolist()


@pytest.mark.services
def test_a_server_forecasts_from_the_readings_it_is_sent(server: Server, models: dict[str, FittedPatient]) -> None:
    table = with_readings(models)
    status, text = server.table(table.astype(object).where(table.notna(), None))
    assert status == 200
    answer = pd.DataFrame(json.loads(text)["predictions"])
    expected = t1djax.prediction.predict_from_readings(models, table)
    np.testing.assert_array_equal(answer[GLUCOSE], expected[GLUCOSE])
    higher = table.assign(glucose_mg_dL=table.glucose_mg_dL + 40)
    status, text = server.table(higher.astype(object).where(higher.notna(), None))
    moved = pd.DataFrame(json.loads(text)["predictions"]).glucose_mg_dL - answer.glucose_mg_dL
    assert status == 200
    assert moved[0] > 20


MALFORMED: dict[str, tuple[Callable[[pd.DataFrame], pd.DataFrame], str]] = {
    "no patient": (lambda t: t.drop(columns="patient"), "missing inputs ['patient']"),
    "no time": (lambda t: t.drop(columns="time_min"), "column time_min: the column is missing"),
    "no basal": (lambda t: t.drop(columns="basal_U_h"), "missing inputs ['basal_U_h']"),
    "no bolus": (lambda t: t.drop(columns="bolus_U"), "missing inputs ['bolus_U']"),
    "no carbs": (lambda t: t.drop(columns="carbs_g"), "missing inputs ['carbs_g']"),
    "text": (lambda t: t.assign(bolus_U="lots"), "Failed to convert column bolus_U"),
    "unknown patient": (lambda t: t.assign(patient="Eve"), "column patient: there is no patient 'Eve'"),
    "NaN": (lambda t: t.assign(carbs_g=np.nan), "column carbs_g: the cell is empty"),
    "negative": (lambda t: t.assign(bolus_U=-1.0), "column bolus_U: '-1.0' is negative"),
    "unordered": (lambda t: t.iloc[::-1], "column time_min: "),
    "before the end": (lambda t: t.assign(time_min=t.time_min - 1000), "column time_min: "),
    "empty": (lambda t: t.iloc[:0], "it has no row"),
}


@pytest.mark.services
@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_requests_are_the_callers_fault(case: str, server: Server, models: dict[str, FittedPatient]) -> None:
    change, message = MALFORMED[case]
    status, text = server.table(change(future(models)))
    assert 400 <= status < 500
    assert message in json.loads(text)["message"]


@pytest.mark.services
def test_many_ask_at_once(server: Server, models: dict[str, FittedPatient]) -> None:
    table = future(models)
    expected = t1djax.predict(models, table)[GLUCOSE].to_numpy()
    same: list[bool] = []

    def ask() -> None:
        for _ in range(5):
            status, text = server.table(table)
            answer = pd.DataFrame(json.loads(text)["predictions"])[GLUCOSE].to_numpy()
            same.append(status == 200 and np.array_equal(answer, expected))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert same == [True] * 40


ROW = '{"patient":"Pat2","time_min":%d,"basal_U_h":0.8,"bolus_U":0,"carbs_g":0}'
HUGE: dict[str, Callable[[], str]] = {
    "a million rows": lambda: '{"dataframe_records":[' + ",".join(ROW % (3000 + i) for i in range(10**6)) + "]}",
    "100 MB of nothing": lambda: " " * (100 * 2**20),
    "100 MB of text": lambda: '{"dataframe_records":["' + "y" * (100 * 2**20) + '"]}',
    "100 MB of numbers": lambda: '{"inputs":[' + "1," * (50 * 2**20) + "1]}",
}


@pytest.mark.services
@pytest.mark.parametrize("case", HUGE)
def test_huge_requests_leave_the_server_up(case: str, server: Server, models: dict[str, FittedPatient]) -> None:
    status, text = server.ask(HUGE[case]())
    assert 400 <= status < 500
    if case == "a million rows":
        assert f"the table has 1000000 rows; send {registry.MOST_ROWS} at the most" in text
    # Measured 1.3 GiB after a list of 52 million numbers; the rows of the library itself are a few MB.
    assert server.memory_MiB < 2048
    table = future(models)
    status, text = server.table(table)
    answer = pd.DataFrame(json.loads(text)["predictions"])
    np.testing.assert_array_equal(answer[GLUCOSE], t1djax.predict(models, table)[GLUCOSE])
