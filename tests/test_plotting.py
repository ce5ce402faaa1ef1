"""Figures: what is on them, in which units, and that drawing changes nothing else."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest

import t1djax
from t1djax.plotting import plot_result, save_figures

ROWS = 60


def result(
    folder: Path, *, symbols: tuple[str, ...] = ("ksi", "G0"), truth: bool = True, **change: Any
) -> t1djax.records.Result:
    time = 100.0 + 5.0 * np.arange(ROWS)
    valid = np.full(ROWS, True)
    valid[5] = False
    masks = t1djax.data.split(time, valid)
    wave = 120 + 30 * np.sin(time / 40)
    course = {"step": np.array([0, 2, 4]), "value": np.array([250.0, 210.0, 200.0])}
    metrics = {"rmse_fit_mg_dL": 1.25, "rmse_held_out_mg_dL": None, "rmse_forecast_mg_dL": float("nan")}
    predictions = {
        "time_min": time,
        "glucose_mg_dL": wave,
        "insulin_U_dL": np.full(ROWS, 2e-3),
        "digestion_mg_dL_min": wave / 100,
        "observed_mg_dL": np.where(valid, wave + 2, np.nan),
        "mask_fit": masks.fit,
        "mask_held_out": masks.held_out,
        "mask_forecast": masks.forecast,
        "bolus_U": np.where(np.arange(ROWS) == 3, 2.0, np.where(np.arange(ROWS) == 7, 4.0, 0.0)),
        "carbs_g": np.where(np.arange(ROWS) == 4, 60.0, 0.0),
        "residual_G_mg_dL_min": wave * 1e-4,
        "residual_I_U_dL_min": wave * 1e-9,
        "residual_D_mg_dL_min2": np.zeros(ROWS),
    }
    metadata = {"patient": "Ada", "model": "pinn", "mode": "inverse", "seed": 3, "metrics": metrics}
    evolution = {s: course | ({"truth": np.asarray(201.0)} if truth else {}) for s in symbols}
    return t1djax.records.Result(folder, metadata, predictions | change, evolution)


def _labels(figure: Any) -> list[str]:
    return [" ".join(ax.get_ylabel().split()) for ax in figure.axes]


def test_figures_have_their_axes_with_units(tmp_path):
    figures = plot_result(result(tmp_path))
    assert {name: _labels(figure) for name, figure in figures.items()} == {
        "glucose": ["glucose, mg/dL", "doses"],
        "states": ["I, U/dL", "D, mg/dL/min"],
        "residuals": ["G, mg/dL/min", "I, U/dL/min", "D, mg/dL/min²"],
        "parameters": ["ksi, mg/U/min", "G0, mg/dL"],
    }
    for name, figure in figures.items():
        assert figure.axes[-1].get_xlabel() == ("step" if name == "parameters" else "time, h (shaded: forecast)")
        assert "Ada: pinn inverse, seed 3" in figure.axes[0].get_title(loc="left")


def test_forward_mode_has_no_parameters_to_draw(tmp_path):
    assert set(plot_result(result(tmp_path, symbols=()))) == {"glucose", "states", "residuals"}


def test_the_glucose_figure_shows_each_set_and_the_model(tmp_path):
    r = result(tmp_path)
    figure = plot_result(r)["glucose"]
    ax, doses = figure.axes
    p = r.predictions
    drawn = {str(c.get_label()): np.asarray(c.get_offsets()) for c in ax.collections}
    for label, mask in (
        ("readings fitted", "mask_fit"),
        ("readings held out", "mask_held_out"),
        ("readings after the forecast start", "mask_forecast"),
    ):
        wanted = np.column_stack([(p["time_min"] - 100) / 60, p["observed_mg_dL"]])[p[mask]]
        np.testing.assert_allclose(drawn[label], wanted)
    (model,) = [line for line in ax.lines if line.get_label() == "model"]
    np.testing.assert_allclose(np.asarray(model.get_ydata()), p["glucose_mg_dL"])
    assert ax.get_xlim() == pytest.approx((0.0, (p["time_min"][-1] - 100) / 60))
    title = ax.get_title(loc="left")
    assert "fit 1.25" in title
    assert "held out none" in title
    assert "forecast none" in title
    (legend,) = figure.legends
    shown = {*(k for k in drawn if not k.startswith("_")), "model", "bolus, up to 4 U", "meal, up to 60 g"}
    assert {text.get_text() for text in legend.get_texts()} == shown
    bolus, meal = ([tuple(end) for _, end in c.get_segments()] for c in doses.collections[:2])  # pyright: ignore
    hours = (p["time_min"] - 100) / 60
    np.testing.assert_allclose(bolus, [(hours[3], 0.5), (hours[7], 1.0)])
    np.testing.assert_allclose(meal, [(hours[4], -1.0)])


def test_the_states_are_drawn_in_the_units_of_their_labels(tmp_path):
    insulin, digestion = plot_result(result(tmp_path))["states"].axes
    np.testing.assert_allclose(np.asarray(insulin.lines[0].get_ydata()), 2e-3)
    np.testing.assert_allclose(
        np.asarray(digestion.lines[0].get_ydata()), result(tmp_path).predictions["digestion_mg_dL_min"]
    )


def test_truth_is_drawn_where_it_is_known(tmp_path):
    with_truth = plot_result(result(tmp_path))["parameters"].axes[0]
    assert [line.get_label() for line in with_truth.lines] == ["estimate", "truth"]
    assert np.asarray(with_truth.lines[1].get_ydata()).tolist() == [201.0, 201.0]
    without = plot_result(result(tmp_path, truth=False))["parameters"].axes[0]
    assert [line.get_label() for line in without.lines] == ["estimate"]


@pytest.mark.parametrize("symbol", [*t1djax.PARAMETERS, *t1djax.physics.INITIAL_STATES])
def test_every_parameter_can_be_drawn(tmp_path, symbol):
    (ax,) = plot_result(result(tmp_path, symbols=(symbol,)))["parameters"].axes
    unit = {**t1djax.PARAMETERS, **t1djax.physics.INITIAL_STATES}[symbol].unit
    assert ax.get_ylabel() == f"{symbol}, {unit}"


def test_saved_figures_are_pictures(tmp_path):
    paths = save_figures(result(tmp_path / "run"))
    assert [p.name for p in paths] == ["glucose.png", "states.png", "residuals.png", "parameters.png"]
    assert {p.parent for p in paths} == {tmp_path / "run"}
    for path in paths:
        pixels = mpl.image.imread(path)  # pyright: ignore[reportAttributeAccessIssue]
        assert pixels.shape[0] > 300
        assert np.ptp(pixels[..., :3]) > 0.5  # something is drawn
    (elsewhere, *_) = save_figures(result(tmp_path / "run"), tmp_path / "a" / "b")
    assert elsewhere == tmp_path / "a" / "b" / "glucose.png"


def test_awkward_results_are_drawn_too(tmp_path):
    nothing = np.full(ROWS, False)
    nan = np.full(ROWS, np.nan)
    save_figures(result(tmp_path, mask_forecast=nothing, mask_held_out=nothing))
    save_figures(result(tmp_path, glucose_mg_dL=nan, insulin_U_dL=nan, residual_G_mg_dL_min=nan))


def test_drawing_changes_no_global_state(tmp_path):
    before = dict(mpl.rcParams)
    save_figures(result(tmp_path))
    assert dict(mpl.rcParams) == before


@pytest.mark.slow
def test_neither_pyplot_nor_a_window_is_opened_and_notebooks_show_figures():
    code = (
        "import sys, t1djax, t1djax.cli, t1djax.plotting\n"
        "assert 'matplotlib' not in sys.modules, 'matplotlib is imported before it is needed'\n"
        "import tests_of_plotting as t, numpy as np, pathlib, tempfile\n"
        "t.save_figures(t.result(pathlib.Path(tempfile.mkdtemp())))\n"
        "t1djax.plotting.plot_residuals(np.arange(30.0), np.sin(np.arange(30.0)))\n"
    )
    if find_spec("IPython"):  # its shell is one for a process, and there before any figure
        code = (
            "from IPython.core.interactiveshell import InteractiveShell\n"
            "shell = InteractiveShell.instance()\n"
            f"{code}"
            "person = t1djax.reference_cohort(interval_min=60, names=['Pat2'])[0]\n"
            "shown, _ = shell.display_formatter.format(person.plot(), include={'image/png'})\n"
            "assert shown['image/png'][:4] == b'\\x89PNG'\n"
        )
    code += "assert 'matplotlib.pyplot' not in sys.modules\n"
    load = (
        "import importlib.util, sys\n"
        f"spec = importlib.util.spec_from_file_location('tests_of_plotting', {__file__!r})\n"
        "class Late:\n"
        "    @staticmethod\n"
        "    def find_spec(name, *_):\n"
        "        return spec if name == 'tests_of_plotting' else None\n"
        "sys.meta_path.append(Late)\n"
    )
    ran = subprocess.run([sys.executable, "-c", load + code], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
