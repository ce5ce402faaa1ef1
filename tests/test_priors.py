"""Priors and bounds of free parameters: against closed forms, where the readings say nothing, and where they do."""

import dataclasses
import json
import pickle
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

import t1djax
from t1djax import LogNormal
from t1djax.config import ConfigError, load_experiment
from t1djax.experiment import _problems

from .command import done, refused

KEY = jax.random.key(0)
NAMES = ("Pat2", "Pat3")


def cohort(interval: float = 30.0, sd: float = 0.0, names: tuple[str, ...] = NAMES) -> t1djax.Cohort:
    noise = t1djax.WhiteNoise(sd) if sd else None
    return t1djax.reference_cohort(interval_min=interval, noise=noise, key=KEY, names=list(names))


def ode(people: Any, free: list[str], **options: Any) -> t1djax.Fit:
    return t1djax.fit(people, model="ode", free=free, **options)


# Against closed forms


@pytest.mark.parametrize("given", [8.0, None])
def test_posterior_of_G0_is_that_of_one_equation(given):
    """Glucose is G0 plus what is known: the posterior is a function of one number, minimised by SciPy."""
    patient = cohort(sd=10.0).patients[0]
    seen = patient.masks.fit
    preset = t1djax.presets()["Pat2"]
    with jax.enable_x64(True):
        inputs = preset.doses.inputs(0, 2880)
        rest = np.asarray(t1djax.propagate(preset.model(), inputs, jnp.asarray(patient.time_min), G0=0.0).glucose_mg_dL)
    gap, n = (patient.glucose_mg_dL - rest)[seen], int(seen.sum())
    median, sd_log = 150.0, 0.004

    def most_likely(sd: float) -> float:
        slope = lambda G0: np.sum(G0 - gap) / sd**2 + np.log(G0 / median) / (sd_log**2 * G0)
        return float(optimize.brentq(slope, 50.0, 400.0, xtol=1e-12))  # pyright: ignore[reportArgumentType]

    sd = given or 10.0
    for _ in range(0 if given else 50):
        sd = float(np.sqrt(np.sum((most_likely(sd) - gap) ** 2) / (n - 1)))
    found = ode([patient], ["G0"], priors={"G0": LogNormal(median, sd_log)}, noise_sd_mg_dL=given)["Pat2"]
    value = most_likely(sd)
    assert abs(value - np.mean(gap)) > 1.0  # the prior is felt
    assert found.estimates["G0"].value == pytest.approx(value, rel=1e-9 if given else 1e-3)
    spread = value / np.sqrt(n * value**2 / sd**2 + 1 / sd_log**2)
    assert found.estimates["G0"].white_error == pytest.approx(spread, rel=1e-6 if given else 1e-2)


def test_a_given_noise_sets_the_standard_error():
    small, large = (ode(cohort(sd=10.0), ["ksi"], noise_sd_mg_dL=sd)["Pat3"].estimates["ksi"] for sd in (5.0, 20.0))
    assert small.value == large.value
    assert small.white_error is not None
    assert large.white_error == pytest.approx(4 * small.white_error, rel=1e-9)
    assert small.misfit  # the readings err by more than was said
    assert large.standard_error == large.white_error


# Bounds


def test_wide_bounds_change_nothing_and_tight_ones_clip():
    people = cohort(sd=10.0)
    plain, wide, tight, low = (
        ode(people, ["ksi", "G0"], bounds=bounds)
        for bounds in ({}, {"ksi": (20.0, 2000.0)}, {"ksi": (220.0, 400.0)}, {"ksi": (50.0, 180.0)})
    )
    for name in NAMES:
        for symbol in ("ksi", "G0"):
            a, b = plain[name].estimates[symbol], wide[name].estimates[symbol]
            assert b.value == pytest.approx(a.value, rel=1e-6)
            assert b.standard_error == pytest.approx(a.standard_error, rel=1e-4)
            assert not b.at_bound
    assert tight["Pat2"].estimates["ksi"].value == pytest.approx(220.0, rel=1e-4)
    assert tight["Pat2"].estimates["ksi"].at_bound
    assert tight["Pat2"].ok
    assert any("ksi = 220" in doubt and "bound" in doubt for doubt in t1djax.doubts(tight["Pat2"], people["Pat2"]))
    assert tight["Pat3"].estimates["ksi"].value == pytest.approx(plain["Pat3"].estimates["ksi"].value, rel=1e-6)
    assert [low[name].estimates["ksi"].at_bound for name in NAMES] == [True, True]
    assert all(50 < low[name].estimates["ksi"].initial < 180 for name in NAMES)


def test_values_and_coordinates_are_inverse_and_stay_inside():
    with jax.enable_x64(True):
        limits = np.log([[50.0, 600.0]] * 4)
        asked = np.array([40.0, 60.0, 599.0, 1e4])
        body = t1djax.twin.Physiology.at({}, {"ksi": jnp.asarray(asked)}, bounds={"ksi": jnp.asarray(limits)})
        values = np.asarray(body.estimates()["ksi"])
        far = body.with_free({"ksi": jnp.asarray([-1e3, -5.0, 9.0, 1e3])}).estimates()["ksi"]
    assert values[1] == pytest.approx(60.0, rel=1e-12)
    assert np.all((values > 50) & (values < 600))  # beyond: moved inside
    assert np.all((np.asarray(far) >= 50 * (1 - 1e-12)) & (np.asarray(far) <= 600 * (1 + 1e-12)))


# Where the readings cannot tell


def test_of_ksi_and_ku_Vi_the_prior_tells_one():
    people = cohort(sd=10.0)
    alone = ode(people, ["ksi"])
    both = ode(people, ["ksi", "ku_Vi"], priors={"ku_Vi": LogNormal(0.06, 0.1)}, noise_sd_mg_dL=10.0)
    for name in NAMES:
        found = both[name]
        assert found.derived["p1"].value == pytest.approx(alone[name].derived["p1"].value, rel=1e-6)
        assert not found.derived["p1"].prior_dominated
        ku_Vi, ksi = found.estimates["ku_Vi"], found.estimates["ksi"]
        assert (ku_Vi.prior_dominated, ksi.prior_dominated) == (True, True)
        assert ku_Vi.value == pytest.approx(0.06, rel=1e-6)
        assert ku_Vi.standard_error == pytest.approx(0.1 * 0.06, rel=1e-4)
        assert ksi.standard_error == pytest.approx(0.1 * ksi.value, rel=1e-3)
        doubts = t1djax.doubts(found, people[name])
        assert any("ku_Vi" in doubt and "set by a prior, not by the readings" in doubt for doubt in doubts)


@pytest.mark.parametrize(
    ("doses", "free", "median"),
    [
        (t1djax.Doses.of(basal=1.0), "Tr", 90.0),
        pytest.param(t1djax.Doses.of(basal=1.0), "kr_Vb", 0.002, marks=pytest.mark.slow),
        (t1djax.Doses.of(meals=[(60, 20.0)]), "ksi", 210.0),
    ],
)
def test_without_its_input_a_parameter_is_its_prior(doses, free, median):
    patient = dataclasses.replace(cohort(names=("Pat2",)).patients[0], doses=doses)
    with pytest.raises(t1djax.UnidentifiableError, match=f"{free}.*Pat2"):
        t1djax.pose([patient], mode="inverse", free=[free], key=KEY)
    options = t1djax.inference.LeastSquares(starts=1)
    found = ode([patient], [free], priors={free: LogNormal(median, 0.2)}, options=options)["Pat2"].estimates[free]
    assert found.value == pytest.approx(median, rel=1e-6)
    assert found.standard_error == pytest.approx(0.2 * median, rel=1e-4)
    assert found.prior_dominated


def test_what_the_readings_tell_is_not_marked():
    fit = ode(cohort(sd=10.0), ["ksi", "G0"], priors={"ksi": LogNormal(300.0, 0.3)})
    plain = ode(cohort(sd=10.0), ["ksi", "G0"])
    for name in NAMES:
        ksi, free = fit[name].estimates["ksi"], plain[name].estimates["ksi"]
        assert not ksi.prior_dominated
        assert free.standard_error is not None
        assert abs(ksi.value - free.value) < 0.05 * free.standard_error


# Subsets


@pytest.mark.parametrize(
    "free",
    [
        ["ksi", "kl", "Tu", "Tr", "kr_Vb", "G0"],
        *(
            pytest.param(x, marks=pytest.mark.slow)
            for x in (
                ["ku_Vi", "kb", "Tu", "Tr", "kr_Vb", "G0"],
                ["ksi", "M", "Tr"],
                ["ku_Vi", "kl", "G0"],
                ["kb", "Tu"],
                ["M", "kr_Vb"],
                ["kl"],
                ["G0"],
            )
        ),
    ],
    ids="+".join,
)
def test_identifiable_subsets_are_recovered_without_noise(free):
    people = cohort()
    for found in ode(people, free):
        for symbol in free:
            truth = people.truth[found.name].parameters[symbol]
            assert found.estimates[symbol].value == pytest.approx(truth, rel=1e-5), symbol
            assert not found.estimates[symbol].prior_dominated


@pytest.mark.parametrize(
    ("free", "says", "priors"),
    [
        (["ksi", "Tu", "ku_Vi"], "p1 = ksi ku_Vi", ["ku_Vi"]),
        (["kl", "kb"], "c = kl - kb", ["kb"]),
        (["kl", "M", "G0"], "c = kl - kb", ["M"]),
        (["ksi", "ku_Vi", "kl", "M"], "c = kl - kb", ["ksi", "kl"]),
    ],
)
def test_other_subsets_are_refused_unless_a_prior_helps(free, says, priors):
    patients = cohort().patients
    with pytest.raises(t1djax.UnidentifiableError) as error:
        t1djax.pose(patients, mode="inverse", free=free, key=KEY)
    assert says in str(error.value)
    t1djax.identifiability.check_identifiable(patients, free, priors)


def test_one_parameter_in_two_guises_is_refused_with_any_prior():
    with pytest.raises(t1djax.UnidentifiableError, match=r"kb.*M"):
        t1djax.identifiability.check_identifiable(cohort().patients, ["kb", "M"], ["kb", "M"])


# The network


@pytest.mark.slow
@pytest.mark.parametrize("given", [10.0, None])
def test_network_and_equations_agree_with_a_prior(given):
    people = cohort(15.0, 10.0)
    options: Any = {
        "free": ["ksi", "ku_Vi", "G0"],
        "priors": {"ku_Vi": LogNormal(0.058, 0.05), "G0": LogNormal(150.0, 0.02)},
        "bounds": {"ksi": (100.0, 500.0)},
        "noise_sd_mg_dL": given,
    }
    wide = t1djax.PINNOptions(width=96, cell_min=15.0)
    a, b = t1djax.fit(people, model="ode", **options), t1djax.fit(people, options=wide, **options)
    for name in NAMES:
        assert b[name].ok
        for symbol, exact in {**a[name].estimates, **a[name].derived}.items():
            network = {**b[name].estimates, **b[name].derived}[symbol]
            if symbol == "c":
                continue
            assert exact.standard_error is not None
            assert abs(network.value - exact.value) < 0.1 * exact.standard_error, symbol
            assert network.standard_error == pytest.approx(exact.standard_error, rel=0.03), symbol
            assert network.prior_dominated == exact.prior_dominated, symbol
    assert a["Pat2"].estimates["ku_Vi"].prior_dominated
    assert not a["Pat2"].derived["p1"].prior_dominated


def test_a_first_order_stage_feels_the_prior():
    people = cohort(names=("Pat2",))
    small = t1djax.PINNOptions(width=8, depth=1, time=t1djax.networks.TimeFeatureOptions(octaves=3), cell_min=60.0)
    stages = [t1djax.Stage(trains="physiology", steps=300, optimizer="adam", learning_rate=0.02)]
    options: Any = {"free": ["kr_Vb"], "priors": {"kr_Vb": LogNormal(0.0025, 0.001)}, "noise_sd_mg_dL": 10.0}
    found = t1djax.fit(people, options=small, stages=stages, **options)["Pat2"].estimates["kr_Vb"]
    assert found.value == pytest.approx(0.0025, rel=0.01)


# What cannot be asked


@pytest.mark.parametrize(
    ("options", "argument"),
    [
        ({"priors": {"Tu": LogNormal(100.0, 0.2)}}, ("priors", "Tu")),
        ({"bounds": {"Tu": (50.0, 150.0)}}, ("bounds", "Tu")),
        ({"bounds": {"ksi": (300.0, 100.0)}}, ("bounds", "ksi")),
        ({"bounds": {"ksi": (0.0, 100.0)}}, ("bounds", "ksi")),
        ({"bounds": {"ksi": (1e5, 1e6)}}, ("bounds", "ksi")),
        ({"priors": {"ksi": LogNormal(0.2, 0.3)}}, ("priors", "ksi")),
        ({"priors": {"ksi": LogNormal(200.0, 0.3)}, "bounds": {"ksi": (250.0, 400.0)}}, ("priors", "ksi")),
        ({"priors": {"ksy": LogNormal(200.0, 0.3)}}, ("priors",)),
        ({"noise_sd_mg_dL": 0.0}, ("noise_sd_mg_dL",)),
        ({"free": ["ksi", "ksi"]}, ("free",)),
        ({"free": "k,s"}, ("free",)),
        ({"mode": "forward"}, ("free",)),
    ],
)
def test_a_question_that_makes_no_sense_is_refused_by_the_argument(options: dict[str, Any], argument):
    asked: Any = {"free": ["ksi"], **options}
    with pytest.raises(t1djax.ArgumentError) as error:
        t1djax.pose(cohort().patients, key=KEY, **asked)
    assert error.value.argument == argument
    assert pickle.loads(pickle.dumps(error.value)).argument == argument


@pytest.mark.parametrize("numbers", [(200.0, 0.0), (200.0, -1.0), (0.0, 0.3), (float("nan"), 0.3)])
def test_a_prior_has_positive_numbers(numbers):
    with pytest.raises(t1djax.ArgumentError) as error:
        LogNormal(*numbers)
    assert error.value.argument == (("median",) if numbers[1] > 0 else ("sd_log",))


def test_a_stated_value_outside_the_bounds_is_told():
    problem = t1djax.pose(cohort().patients, mode="inverse", free=["ksi"], key=KEY, bounds={"ksi": (220.0, 400.0)})
    assert any("ksi of Pat2 lies outside its bounds" in note for note in problem.notes)
    assert np.all((problem.start["ksi"] > 220) & (problem.start["ksi"] < 300))


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ({"priors": {"ksy": {"median": 200, "sd_log": 0.3}}}, "priors: unknown parameter ksy"),
        ({"priors": {"ksi": {"median": 200, "sd_log": 0}}}, "priors.ksi.sd_log: "),
        ({"priors": {"ksi": {"median": 200}}}, "priors.ksi.sd_log: "),
        ({"priors": {"ksi": {"median": 200, "sd": 1, "sd_log": 0.3}}}, "priors.ksi.sd: there is no such field"),
        ({"bounds": {"ksi": [600, 50]}}, "bounds.ksi: "),
        ({"bounds": {"ksi": [600]}}, "bounds.ksi"),
        ({"bounds": {"ksi": [-1, 50]}}, "bounds.ksi: "),
        ({"noise_sd_mg_dL": 0}, "noise_sd_mg_dL: "),
    ],
)
def test_wrong_fields_of_a_configuration_are_named(values, names):
    with pytest.raises(ConfigError) as error:
        load_experiment(None, values)
    assert f"\n  {names}" in str(error.value)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--prior", "ksi=200"], "--prior ksi=200"),
        (["--prior", "200:0.3"], "--prior"),
        (["--bounds", "ksi=50-600"], "--bounds"),
        (["--bounds", "ksi=50:600", "--bounds", "ksi=60:600"], "ksi"),
        (["--noise-level", "-1"], "--noise-level"),
        (["--prior", "Tu=100:0.3"], "--prior Tu"),
    ],
)
def test_wrong_flags_are_refused_with_their_remedy(flags, says, monkeypatch, tmp_path):
    monkeypatch.setattr(_problems, "fit_ode", lambda *_, **__: pytest.fail("the fit began"))
    command = ("train", "--model", "ode", "--patients", "2", "--interval-min", "30", "--results", tmp_path)
    assert says in refused(2, *command, *flags)


def test_from_flags_over_a_file_to_a_result(tmp_path: Path):
    file = tmp_path / "run.yaml"
    file.write_text(
        "model: ode\npatients: '2'\nsensor: {noise: white, interval_min: 30}\ninverse_params: [ksi, ku_Vi]\n"
        "priors: {ku_Vi: {median: 0.06, sd_log: 0.1}, ksi: {median: 100, sd_log: 5}}\nbounds: {ksi: [60, 900]}\n"
    )
    flags = ["--prior", "ku_Vi=0.061:0.05", "--bounds", "ksi=50:600", "--noise-level", "10", "--no-figures"]
    output = done("train", "--config", file, "--results", tmp_path / "out", *flags)
    assert "ku_Vi = 0.061 min/dL is set by a prior, not by the readings" in output.err
    (folder,) = t1djax.find_results([tmp_path / "out"])
    kept = t1djax.read_result(folder).metadata
    assert kept["config"]["priors"] == {
        "ku_Vi": {"median": 0.061, "sd_log": 0.05},
        "ksi": {"median": 100.0, "sd_log": 5.0},
    }
    assert kept["config"]["bounds"] == {"ksi": [50.0, 600.0]}
    assert kept["config"]["noise_sd_mg_dL"] == 10.0
    assert kept["estimates"]["ku_Vi"]["prior_dominated"] is True
    assert kept["estimates"]["ku_Vi"]["at_bound"] is False
    assert any("set by a prior" in doubt for doubt in kept["doubts"])
    assert load_experiment(None, kept["config"]).question.priors["ku_Vi"] == LogNormal(0.061, 0.05)
    # What an earlier version wrote does not say who set an estimate, and is read all the same.
    for entry in [*kept["estimates"].values(), *kept["derived"].values()]:
        del entry["prior_dominated"], entry["at_bound"]
    (folder / "metadata.json").write_text(json.dumps(kept))
    assert t1djax.read_result(folder).metadata["estimates"]["ku_Vi"]["value"] == pytest.approx(0.061, rel=1e-3)
