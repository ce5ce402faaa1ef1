"""The matrix of a sweep: from YAML, from flags; its plan, its table, and a small sweep from the command line."""

import json
from pathlib import Path

import pandas as pd
import pytest

import t1djax
import t1djax.plotting
from t1djax.config import ConfigError, Experiment, SweepConfig, load_experiment, load_sweep
from t1djax.config._experiment import SWEEPS_OWN
from t1djax.evaluation import comparison, results_table
from t1djax.experiment._cohort import source_of

from .command import TWO, done, refused

MATRIX = """
models: [pinn, birnn, ode]
modes: [forward, inverse]
inverse_params: [[ksi], [ksi, kl]]
seeds: 2
patients: 2,3
sensor: {noise: white, interval_min: 30}
priors: {}
overrides:
  pinn: {network: {width: 16, depth: 1}}
  ode: {noise_sd_mg_dL: 10}
exclude:
  - {model: birnn, mode: forward}
  - {inverse_params: [kl, ksi], model: birnn}
include:
  - {model: ode, inverse_params: [ksi, Tu]}
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "sweep.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def cells(config: SweepConfig) -> list[tuple[str, str, str]]:
    return [(e.model, e.question.mode, "+".join(e.question.free)) for e in config.experiments()]


def test_the_matrix(tmp_path):
    config = load_sweep(written(tmp_path, MATRIX))
    assert cells(config) == [
        ("pinn", "forward", ""),
        ("pinn", "inverse", "ksi"),
        ("pinn", "inverse", "ksi+kl"),
        ("birnn", "inverse", "ksi"),
        ("ode", "forward", ""),
        ("ode", "inverse", "ksi"),
        ("ode", "inverse", "ksi+kl"),
        ("ode", "inverse", "ksi+Tu"),
    ]
    by_model = {e.model: e for e in config.experiments()}
    assert by_model["pinn"].network == {"width": 16, "depth": 1}
    assert by_model["birnn"].network == {}
    assert by_model["ode"].question.noise_sd_mg_dL == 10
    assert by_model["birnn"].question.noise_sd_mg_dL is None
    assert all(e.members == 2 and e.patients == "2,3" for e in config.experiments())
    assert all(e.sensor.noise == "white" for e in config.experiments())


def test_flags_win_and_what_is_the_same_comes_once(tmp_path):
    config = load_sweep(written(tmp_path, MATRIX), {"models": ["ode"], "modes": ["inverse"], "seed": 7})
    assert cells(config) == [("ode", "inverse", "ksi"), ("ode", "inverse", "ksi+kl"), ("ode", "inverse", "ksi+Tu")]
    assert {e.seed for e in config.experiments()} == {7}
    assert cells(SweepConfig(models=("ode", "ode"), modes=("forward", "forward"))) == [("ode", "forward", "")]
    plain = load_sweep(written(tmp_path, "models: [ode]\ninverse_params: [ksi, kl]\n"))
    assert cells(plain) == [("ode", "inverse", "ksi+kl")]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("models: [pin]", "models.0"),
        ("modes: [backward]", "modes.0"),
        ("models: []", "models"),
        ("seeds: 0", "seeds"),
        ("modell: ode", "modell"),
        ("model: ode", "model: a sweep has models"),
        ("mode: forward", "mode: a sweep has modes"),
        ("members: 3", "members: a sweep has seeds"),
        ("inverse_params: [[xi]]", "inverse_params"),
        ("sensor: {noise: pink}", "sensor.noise"),
        ("overrides: {pinn: {network: {wide: 3}}}", "pinn inverse: network.wide"),
        ("overrides: {pin: {}}", "overrides.pin"),
        ("include: [{model: ode, mode: forward, inverse_params: [ksi]}]", "inverse_params: forward mode"),
        ("exclude: [{patients: 3}]", "exclude: patients is not matched"),
        ("exclude: [{mode: inverse}]", "exclude: nothing is left"),
        ("models: [ode]\nmodels: [pinn]", "models stands twice"),
        ("overrides: {ode: {results: elsewhere}}", "overrides.ode.results: is the same for all models"),
        ("overrides: {ode: {patients: '2'}}", "overrides.ode.patients: is the same for all models"),
        ("overrides: {ode: {seed: 7}}", "overrides.ode.seed: is the same for all models"),
        ("overrides: {ode: {inverse_params: [kl]}}", "overrides.ode.inverse_params: is of the matrix; use inverse_par"),
        ("overrides: {ode: {mode: forward}}", "overrides.ode.mode: is of the matrix; use modes"),
        ("overrides: {ode: {members: 2}}", "overrides.ode.members: is of the matrix; use seeds"),
        ("overrides: {ode: {network: {width: 8}}}", "overrides.ode.network: ode has no network"),
        ("overrides: {pinn: {netwrk: {}}}", "overrides.pinn.netwrk: there is no such field: did you mean network?"),
        ("models: [ode]\noverrides: {pinn: {network: {width: 8}}}", "overrides.pinn: pinn is not in the matrix (ode)"),
        ("include: [{model: ode, results: other}]", "include.0.results: a sweep has one results folder"),
        ("include: [{model: ode, noise: 1}]", "include.0.noise: there is no such field"),
        ("include: [{model: [ode]}]", "include.0.model: must be one of pinn, modified_mlp, birnn, ode"),
        ("include: [{inverse_params: [kl]}]", "include.0: name its model; the matrix has several"),
        ("include: [{model: ode, network: {width: 8}}]", "include.0.network: ode has no network"),
        ("include: [{model: ode, mode: 3}]", "ode 3: mode: must be 'forward' or 'inverse'"),
        ("inverse_params: [[ksi], [kl]]\ninclude: [{model: ode, seed: 1}]", "include.0: name its inverse_params"),
        ("inverse_params: [[ksi, ksi], [ksi]]", "inverse_params.0: ksi stands twice"),
        ("inverse_params: [[ksi, kl], [kl, ksi]]", "inverse_params.1: kl+ksi is ksi+kl once more"),
        ("inverse_params: [[]]", "inverse_params.0: name at least one"),
        ("exclude: [{inverse_params: null}]", "exclude.0.inverse_params: there is no None"),
        ("exclude: [{inverse_params: xi}]", "exclude.0.inverse_params: there is no xi"),
        ("exclude: [{model: od}]", "exclude.0.model: there is no od"),
        ("exclude: [{}]", "exclude.0: is empty"),
        ("models: [pinn]\nexclude: [{model: ode}]", "exclude.0: matches nothing of the matrix (model: ode)"),
        ("exclude: [{model: ode, mode: forward}]", "exclude.0: matches nothing"),
        ("exclude: [{inverse_params: kl}]", "exclude.0: matches nothing of the matrix (inverse_params: kl)"),
        ("models: [null]", "models.0: must be 'pinn', 'modified_mlp', 'birnn' or 'ode' (given: nothing)"),
        ("models: []", "models: is empty; name at least one"),
        ("models: 5", "models: must be a list, such as [a, b] (given: 5)"),
        ("patients: [2, 3]", 'patients: write a text: all, or names separated by commas, such as "2,3"'),
        ("exclud: [{model: ode}]", "exclud: there is no such field: did you mean exclude?"),
        ("sensors: {noise: white}", "sensors: there is no such field: did you mean sensor?"),
        ("sensor: {nois: white}", "sensor.nois: there is no such field: did you mean noise?"),
        ("sensor: white", "sensor: must be fields with values"),
        ("", "is empty"),
        ("# a remark", "is empty"),
        (
            "model: ode\nmode: inverse\nmembers: 1\nseed: 0",
            "one experiment, for load_experiment or `t1djax train --config",
        ),
    ],
)
def test_errors_name_the_field(text, named, tmp_path):
    with pytest.raises(ConfigError) as error:
        load_sweep(written(tmp_path, text))
    said = str(error.value)
    assert named in said
    assert not any(word in said for word in ("Input should", "tuple", "dictionary", "Traceback"))
    if text.startswith(("sensor: {n", "models: [null")):
        assert len(said.splitlines()) == 2  # said once, not for each model


def test_a_list_of_one_may_be_its_one_text(tmp_path):
    plain = load_sweep(written(tmp_path, "models: ode\nmodes: inverse\ninverse_params: ksi\n"))
    assert cells(plain) == [("ode", "inverse", "ksi")]
    assert cells(load_sweep(written(tmp_path, "models: ode, birnn\n"))) == [
        ("ode", "inverse", "ksi"),
        ("birnn", "inverse", "ksi"),
    ]
    matrix = "modes: [forward, inverse]\ninverse_params: [[ksi], [ksi, kl]]\nmodels: [pinn, ode]\n"
    some = load_sweep(written(tmp_path, matrix + "exclude: [{model: [pinn], inverse_params: 'kl, ksi'}]"))
    assert ("pinn", "inverse", "ksi+kl") not in cells(some)
    assert len(cells(some)) == 5
    none = load_sweep(written(tmp_path, matrix + "exclude: [{model: [pinn, ode], inverse_params: ksi}]"))
    assert [symbols for _, _, symbols in cells(none)] == ["", "ksi+kl", "", "ksi+kl"]


def test_an_include_takes_what_the_matrix_leaves_no_choice_about(tmp_path):
    text = "models: [ode]\ninverse_params: [ksi, kl]\noverrides: {ode: {noise_sd_mg_dL: 7}}\ninclude: [{seed: 3}]"
    first, more = load_sweep(written(tmp_path, text)).experiments()
    assert (more.model, more.question.free, more.question.noise_sd_mg_dL) == ("ode", ("ksi", "kl"), 7)
    assert (first.seed, more.seed) == (0, 3)
    forward = load_sweep(written(tmp_path, "models: [ode]\nmodes: [forward]\ninclude: [{seed: 3}]"))
    assert cells(forward) == [("ode", "forward", "")] * 2


def test_the_file_of_a_sweep_is_none_of_an_experiment(tmp_path):
    with pytest.raises(ConfigError, match="load_sweep"):
        load_experiment(written(tmp_path, "models: [ode]\nseed: 3"))
    own = set(SweepConfig.model_fields) - set(Experiment.names()) - {"common"}
    assert own == SWEEPS_OWN


def test_plan():
    config = SweepConfig.model_validate(
        {"models": ["pinn", "ode"], "seeds": 2, "patients": "2,3,4", "sensor": {"interval_min": 30.0},
         "overrides": {"pinn": {"network": {"width": 16}}}}
    )  # fmt: skip
    pinn, ode = t1djax.experiment.plan_sweep(config, execution=t1djax.experiment.Execution(batch=4))
    assert (pinn.model, pinn.patients, pinn.seeds, pinn.runs) == ("pinn", 3, 2, 6)
    # Four fits are two patients with two seeds each.
    assert (pinn.batches, pinn.batch) == (2, 4)
    assert pinn.memory_bytes is not None
    assert ode.memory is None
    larger = config.model_copy(update={"overrides": {"pinn": {"network": {"width": 256}}}})
    other = t1djax.experiment.plan_sweep(larger, execution=t1djax.experiment.Execution(batch=4))[0]
    assert other.memory_bytes is not None
    assert other.memory_bytes > pinn.memory_bytes


def test_comparison_by_hand():
    table = pd.DataFrame(
        {
            "model": ["ode"] * 4, "mode": "inverse", "parameters": "ksi", "patient": ["A", "A", "B", "B"],
            "seed": [0, 1, 0, 1], "ok": [True, True, True, False], "ksi_error_percent": [1.0, 3.0, 2.0, 10.0],
        }
    )  # fmt: skip
    row = comparison(table).iloc[0]
    assert (row["patients"], row["seeds"], row["failed"]) == (2, 2, 1)
    assert (row["ksi_error_percent_median"], row["ksi_error_percent_worst"]) == (2.5, 10.0)
    # Over seeds sqrt(2) and 8/sqrt(2); half-way between them.
    assert row["ksi_error_percent_seed_sd"] == pytest.approx((2**0.5 + 8 / 2**0.5) / 2)


def result(seed: int, config: dict) -> dict:
    """Metadata of a result, as far as a table needs it."""
    estimates = {"ksi": {"value": 200.0 + seed, "standard_error": 1.0, "error_percent": 1.0}}
    said = {"model": "ode", "mode": "inverse", "named_parameters": ["ksi"], "patient": "A", "seed": seed, "ok": True}
    return {**said, "estimates": estimates, "metrics": {}, "wall_seconds": 1.0, "config": config}


def test_other_experiments_are_no_seeds():
    """What differs in the configuration names a row of its own; members of one experiment are its seeds."""
    first = {"seed": 0, "members": 2, "results": "a", "noise_sd_mg_dL": None}
    table = results_table(
        [
            result(0, first),
            result(1, first),
            result(0, {**first, "members": 1, "noise_sd_mg_dL": 5.0}),
            result(7, {**first, "members": 1, "seed": 7}),
        ]
    )
    compared = comparison(table)
    assert compared["settings"].tolist() == [
        "seed 0, noise_sd_mg_dL -",
        "seed 0, noise_sd_mg_dL 5",
        "seed 7, noise_sd_mg_dL -",
    ]
    assert compared["seeds"].tolist() == [2, 1, 1]
    assert results_table([result(0, first), result(1, first)])["settings"].tolist() == ["", ""]
    deep = [result(0, {"network": {"stages": [{"steps": steps} for steps in (n, n, n, n, n, last)]}}) for n, last in
            ((1, 5), (1, 6), (2, 5))]  # fmt: skip
    labels = results_table(deep)["settings"].tolist()
    assert labels[0].startswith("network.stages.0.steps 1, network.stages.1.steps 1")
    assert len(set(labels)) == 3


def test_figures_show_settings_beside_each_other():
    pytest.importorskip("matplotlib")
    table = results_table([result(0, {"noise_sd_mg_dL": None}), result(0, {"noise_sd_mg_dL": 5.0})])
    (figure,) = t1djax.plotting.plot_comparison(table).values()
    ticks = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert ticks == ["ode\nnoise_sd_mg_dL -", "ode\nnoise_sd_mg_dL 5"]


def test_dry_run_fits_nothing(tmp_path):
    plan = done("sweep", "--config", written(tmp_path, MATRIX), "--models", "ode", "--results", tmp_path / "r",
                "--dry-run", "--json").json  # fmt: skip
    assert [(p["mode"], p["parameters"], p["fits"]) for p in plan] == [
        ("forward", "", 4), ("inverse", "ksi", 4), ("inverse", "ksi+kl", 4), ("inverse", "ksi+Tu", 4),
    ]  # fmt: skip
    assert not (tmp_path / "r").exists()


def test_a_sweep_from_the_command_line(tmp_path):
    args = ("sweep", "--models", "ode", "--modes", "forward,inverse", *TWO, "--seeds", "2", "--no-figures",
            "--no-tracking", "--results", tmp_path, "--json")  # fmt: skip
    said = done(*args).json
    assert [(row["mode"], row["parameters"], row["patient"], row["seed"]) for row in said["results"]] == [
        (mode, named, patient, seed)
        for mode, named in (("forward", ""), ("inverse", "ksi"))
        for seed in (0, 1)
        for patient in ("Pat2", "Pat3")
    ]
    assert [row["ksi"] for row in said["results"][4:]] == pytest.approx([197, 274, 197, 274], rel=1e-4)
    summary = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert summary["comparison"] == said["comparison"]
    assert len(pd.read_csv(tmp_path / "summary.csv")) == 8
    assert all(Path(folder).is_dir() for folder in said["folders"])
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/metadata.json")}
    again = done(*args).json
    assert again["folders"] == said["folders"]
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/metadata.json")} == before
    other = refused(2, *args[:-1], "--seed", "5")
    assert "holds another sweep" in other
    assert "seed" in other


def test_what_is_known_is_shared_and_wrong_once() -> None:
    shared = SweepConfig(
        models=("ode", "pinn"), inverse_params=(("ksi",), ("ksi", "kl")), common={"data": "people", "known": {"M": 70}}
    )
    assert [experiment.known for experiment in shared.experiments()] == [{"M": 70.0}] * 4
    with pytest.raises(ConfigError) as refused:
        load_sweep(None, {"data": "people", "known": {"ksi": 200.0}})
    assert str(refused.value).count("ksi is to be estimated too") == 1
    one, other = (t1djax.Experiment(data="people", known={"M": mass}) for mass in (70.0, 80.0))
    assert source_of(one) != source_of(other)
