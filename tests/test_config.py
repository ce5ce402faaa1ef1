"""The configuration: strict, complete in its errors, and the same from a file, from flags, and from a result."""

import dataclasses
import json
from pathlib import Path
from typing import Any, get_args, get_type_hints

import jax.numpy as jnp
import pydantic
import pytest
import yaml

import t1djax
from t1djax.config import ConfigError, Experiment, load_experiment, with_defaults
from t1djax.io import ReadOptions
from t1djax.question import Question, QuestionFields
from t1djax.training import Optimizer, Stage, default_stages


@pytest.fixture
def yaml_file(tmp_path: Path) -> Any:
    def write(text: str | bytes) -> Path:
        path = tmp_path / "run.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def wrong(path: Path | None, overrides: dict[str, Any] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        load_experiment(path, overrides)
    message = str(caught.value)
    if path is not None:
        assert message.startswith(f"{path}: ")
    return message


def test_defaults_are_those_of_the_documentation():
    e = load_experiment(None)
    assert (e.model, e.question.mode, e.data, e.patients, e.seed, e.results) == (
        "pinn",
        "inverse",
        "reference",
        "all",
        0,
        "results",
    )
    assert (e.sensor.noise, e.sensor.noise_sd_mg_dL, e.sensor.interval_min) == ("none", 10.0, None)
    assert e.question.free == ("ksi",)
    assert e.options() == t1djax.PINNOptions()
    assert e.stages(["ksi"]) == default_stages("inverse", ["ksi"])


def test_an_empty_file_is_the_defaults(yaml_file):
    assert load_experiment(yaml_file("")) == load_experiment(yaml_file("# nothing\n")) == Experiment()


def test_a_whole_file(yaml_file):
    path = yaml_file(
        "model: pinn\nmode: inverse\ninverse_params: [ksi, G0]\nseed: 3\n"
        "sensor: {noise: ar1, noise_sd_mg_dL: 5, interval_min: 5, dropout: 0.1, censor: true}\n"
        "network:\n  width: 32\n  stages:\n"
        "  - {steps: 100, optimizer: adam, learning_rate: 3e-3, schedule: constant, trains: network}\n"
        "  - {steps: 4, residual_weight: [1, 1e4]}\n"
    )
    e = load_experiment(path)
    assert e.question.free == ("ksi", "G0")
    assert (e.sensor.noise, e.sensor.noise_sd_mg_dL, e.sensor.dropout) == ("ar1", 5.0, 0.1)
    assert e.options() == t1djax.PINNOptions(width=32)
    assert e.stages(["ksi", "G0"]) == (
        t1djax.Stage(trains="network", steps=100, optimizer="adam", learning_rate=3e-3, schedule="constant"),
        t1djax.Stage(steps=4, residual_weight=(1.0, 1e4)),
    )
    # What a result keeps can be run again.
    assert Experiment.model_validate(json.loads(e.model_dump_json())) == e


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("modle: ode", "modle: there is no such field"),
        ("model: lstm", "model: "),
        ("mode: both", "mode: "),
        ("seed: x", "seed: "),
        ("seed: 1.5", "seed: "),
        ("seed: true", "seed: "),
        ("seed: '5'", "seed: "),
        ("seed: -1", "seed: "),
        ("seed: 4294967296", "seed: "),
        ("seed: .nan", "seed: "),
        ("data: 2026-01-01", "data: "),
        ("data: ''", "data: "),
        ("results: ''", "results: "),
        ("patients: 3", "patients: write a text"),
        ("patients: [2, 3]", "patients: write a text"),
        ("inverse_params: [ksi, ksi]", "inverse_params: ksi stands twice"),
        ("inverse_params: 5", "inverse_params: must be a list"),
        ("sensr: {}", "sensr: there is no such field: did you mean sensor?"),
        ("strict: 'yes'", "strict: "),
        ("assume_population: 1", "assume_population: "),
        ("inverse_params: [1, 2]", "inverse_params.0: "),
        ("inverse_params: foo, ksi", "inverse_params: unknown parameter foo"),
        ("inverse_params: ' , '", "inverse_params: name at least one"),
        ("sensor: 5", "sensor: "),
        ("sensor: [white]", "sensor: "),
        ("sensor:", "sensor: "),
        ("sensor: {nois: white}", "sensor.nois: there is no such field"),
        ("sensor: {noise: pink}", "sensor.noise: "),
        ("sensor: {noise_sd_mg_dL: .inf}", "sensor.noise_sd_mg_dL: "),
        ("sensor: {interval_min: 0}", "sensor.interval_min: "),
        ("sensor: {interval_min: .nan}", "sensor.interval_min: "),
        ("sensor: {dropout: 1}", "sensor.dropout: "),
        ("sensor: {censor: 'no'}", "sensor.censor: "),
        ("layout: csv", "layout: "),
        ("reading: {hours: -1}", "reading.hours: "),
        ("reading: {start: soon}", "reading.start: "),
        ("reading: {time_zone: Europe/Nowhere}", "reading.time_zone: "),
        ("reading: {columns: {tme: Zeit}}", "reading.columns: "),
        ("hupa: {hours: -1}", "reading.hours: "),
        ("network: {width: 0}", "network: width"),
        ("network: {widht: 8}", "network.widht: there is no such field"),
        ("network: {time: {octave: 8}}", "network.time.octave: there is no such field"),
        ("network: {time: {lags_min: [0]}}", "network.time: "),
        ("model: birnn\nnetwork: {width: 8}", "network.width: there is no such field"),
        ("model: birnn\nnetwork: {cell: lstm}", "network.cell: "),
        ("network: {stages: [{steps: 2, causal: -1, optimizer: adam}]}", "network.stages.0.causal: "),
        ("network: {stages: [{steps: 2, balance: ntk}]}", "network.stages.0.balance: "),
        ("members: 0", "members: "),
        ("network: {width: 16.5}", "network.width: "),
        ("network: {cell_min: .inf}", "network.cell_min: "),
        ("network: {stages: []}", "network.stages: "),
        ("network: {stages: [{step: 3}]}", "network.stages.0.step: "),
        ("network: {stages: [{steps: 2}, {steps: 0}]}", "network.stages.1.steps: "),
        ("network: {stages: [{steps: 2, optimizer: nope}]}", "network.stages.0.optimizer: "),
        ("network: {stages: [{steps: 2, optimizer: global_norm}]}", "network.stages.0.optimizer: "),
        ("network: {stages: [{steps: 2, residual_weight: [0, 1]}]}", "network.stages.0.residual_weight: "),
        ("network: {stages: [{steps: 2, residual_weight: [1]}]}", "network.stages.0.residual_weight"),
        ("network: {stages: [{steps: 2, learning_rate: 0}]}", "network.stages.0.learning_rate: "),
    ],
)
def test_each_wrong_field_is_named(yaml_file, text, names):
    path = yaml_file(text)
    assert f"\n  {names}" in wrong(path)
    # Flags that say nothing hide nothing.
    silent = {"seed": None, "sensor": {"noise": None, "interval_min": None}, "reading": {"hours": None}}
    assert f"\n  {names}" in wrong(path, silent)


def test_every_error_is_listed_at_once(yaml_file):
    message = wrong(yaml_file("modle: ode\nseed: x\nsensor: {nois: 1}\nnetwork: {stages: [{steps: 0}]}"))
    for name in ("modle", "seed", "sensor.nois", "network.stages.0.steps"):
        assert f"\n  {name}: " in message


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("model: [", "is not valid YAML"),
        ("model: ode\nmodel: pinn\n", "model stands twice"),
        ("sensor: {noise: none, noise: white}", "noise stands twice"),
        (b"\xff\xfe\x00", "is not valid YAML"),
        ("seed: 2026-99-99", "is not valid YAML"),
        ("[" * 5000, "is not valid YAML"),
        ("a: !!python/object/apply:os.getcwd []", "is not valid YAML"),
        ("? [a]\n: 1", "is not valid YAML"),
        ("- a", "must be a mapping"),
        ("5", "must be a mapping"),
        ("1: ode", "1: "),
    ],
)
def test_a_file_that_is_no_configuration(yaml_file, text, says):
    assert says in wrong(yaml_file(text))


def test_a_file_that_is_not_there(tmp_path):
    assert "there is no such file" in wrong(tmp_path / "nowhere.yaml")
    assert "cannot be read" in wrong(tmp_path)


@pytest.mark.parametrize("name", get_args(Optimizer)[1:])
def test_every_optimiser_on_offer_makes_a_step_downhill(name):
    optimiser = Stage(steps=10, optimizer=name, learning_rate=0.01).transformation()
    x = jnp.ones(3)
    square = lambda x: jnp.sum(x**2)
    update, _ = optimiser.update(2 * x, optimiser.init(x), x, value=square(x), grad=2 * x, value_fn=square)
    assert bool(jnp.all(jnp.asarray(update) < 0))


def test_numbers_with_exponents_are_numbers(yaml_file):
    text = "network: {stages: [{steps: 1, learning_rate: %s}]}"
    for written, value in (("3e-3", 3e-3), ("1E2", 100.0), ("2.5e+1", 25.0), (".5e1", 5.0), ("1", 1.0)):
        stages = load_experiment(yaml_file(text % written)).stages(["ksi"])
        assert stages[0].learning_rate == value


def test_overrides_win_and_nested_ones_merge(yaml_file):
    path = yaml_file("seed: 1\nmodel: ode\nsensor: {noise: white, noise_sd_mg_dL: 3}")
    e = load_experiment(path, {"seed": 2, "model": None, "sensor": {"interval_min": 5.0, "noise": None}})
    assert (e.seed, e.model) == (2, "ode")
    assert (e.sensor.noise, e.sensor.noise_sd_mg_dL, e.sensor.interval_min) == ("white", 3.0, 5.0)
    assert load_experiment(path, {"seed": 0, "strict": False}).seed == 0  # zero and false are values


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"mode": "forward", "inverse_params": "ksi"}, "inverse_params: forward mode"),
        ({"layout": "hupa", "data": "x.csv"}, "(carbs_unit)"),
        ({"reading": {"hours": 48.0}}, "layout="),
        ({"layout": "hupa", "data": "x.csv", "reading": {"carbs_unit": "g", "device": "a"}}, "device: "),
        ({"layout": "hupa", "reading": {"carbs_unit": "g"}}, "reads a file"),
        ({"layout": "hupa", "data": "x.csv", "patients": "A", "reading": {"carbs_unit": "g"}}, "leave patients out"),
    ],
)
def test_fields_that_contradict(values, says):
    message = wrong(None, values)
    assert says in message
    assert "{" not in message  # the remedy, not a dump of the whole input


def test_options_of_reading_may_stand_where_they_stood(yaml_file):
    was = "data: x.csv\nlayout: hupa\nhupa: {carbs_unit: g, hours: 48.0, info: people.csv}\nreading: {columns: {}}"
    today = Experiment(data="x.csv", layout="hupa", reading=ReadOptions(carbs_unit="g", hours=48.0), info="people.csv")
    assert load_experiment(yaml_file(was)) == today
    assert load_experiment(yaml_file(was), {"reading": {"hours": 6.0}}).reading.hours == 6.0
    stored = yaml.safe_load(was) | {"hupa": {"carbs_unit": "g", "hours": 48.0, "start": None, "info": "people.csv"}}
    assert with_defaults(stored, Experiment) == today.model_dump(mode="json")
    assert Experiment.model_validate(today.model_dump()) == today


def test_free_parameters_follow_the_mode():
    assert Question(mode="forward").free == ()
    assert Question(free="ksi").free == Question().free == ("ksi",)
    assert load_experiment(None, {"inverse_params": "ksi, Tu,"}).question.free == ("ksi", "Tu")


def test_a_question_is_told_from_a_file_by_its_fields_or_whole():
    asked = Question(free=["ksi", "kl"], priors={"kl": t1djax.LogNormal(1.9, 0.1)}, bounds={"ksi": (50, 600)})
    whole = Experiment(question=asked)
    stated = {"inverse_params": ["ksi", "kl"], "priors": {"kl": {"median": 1.9, "sd_log": 0.1}}}
    assert Experiment.model_validate(stated | {"bounds": {"ksi": [50, 600]}}) == whole
    assert "question" not in whole.model_dump()
    assert Experiment.model_validate(whole.model_dump()) == whole
    over = Experiment.model_validate({"question": asked, "noise_sd_mg_dL": 5.0})
    assert over.question == dataclasses.replace(asked, noise_sd_mg_dL=5.0)


def test_keywords_of_a_call_are_the_fields_of_a_question():
    assert get_type_hints(QuestionFields) == {
        f.name: get_type_hints(Question)[f.name] for f in dataclasses.fields(Question)
    }


def test_an_experiment_does_not_change():
    with pytest.raises(pydantic.ValidationError):
        Experiment().seed = 3
