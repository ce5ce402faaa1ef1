"""Figures of days, profiles, error grids and forecasts: what is on them, in which units."""

import datetime as dt
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

import t1djax
from t1djax import plotting
from t1djax.plotting._clinical import agp
from t1djax.plotting._forecasts import autocorrelation


def person(days: float = 3.0, *, clock: bool = True) -> t1djax.Patient:
    time = 15.0 * np.arange(int(96 * days))
    glucose = 140 + 50 * np.sin(2 * np.pi * time / 1440)
    glucose[40:50] = np.nan
    doses = t1djax.Doses.of(
        basal=[(0.0, 0.8), (600.0, 1.2)], boluses=[(100.0, 3.0), (2000.0, 4.0)], meals=[(110.0, 45.0), (2000.0, 60.0)]
    )
    return t1djax.Patient("Ada", time, glucose, doses, start=dt.datetime(2026, 3, 1, 6, 0) if clock else None)


def drawn(figure: Any) -> None:
    """Render it: what cannot be drawn shows only there."""
    figure.canvas.draw()


def test_a_day_shows_readings_and_doses():
    patient = person()
    figure = plotting.plot_day(patient, start_min=0.0, hours=24.0)
    drawn(figure)
    glucose, insulin, carbs = figure.axes
    x, y = (np.asarray(v, dtype=float) for v in glucose.lines[0].get_data())
    shown = patient.valid & (patient.time_min <= 1440)
    # Six o'clock is minute zero, and no line crosses the gap.
    np.testing.assert_allclose(x[np.isfinite(y)], patient.time_min[shown] / 60 + 6)
    np.testing.assert_allclose(y[np.isfinite(y)], patient.glucose_mg_dL[shown])
    assert np.isnan(y).sum() == 1
    assert [ax.get_ylabel() for ax in figure.axes] == ["glucose, mg/dL", "insulin", "carbs, g"]
    (basal,) = insulin.patches
    np.testing.assert_allclose(basal.get_data().values, [0.8, 1.2])  # pyright: ignore[reportAttributeAccessIssue]
    np.testing.assert_allclose(np.asarray(insulin.lines[0].get_xydata()), [[100 / 60 + 6, 3]])
    np.testing.assert_allclose(np.asarray(carbs.lines[0].get_xydata()), [[110 / 60 + 6, 45]])
    assert "2026-03-01 06:00" in glucose.get_title(loc="left")
    assert carbs.get_xlabel() == "time of day"


def test_a_day_begins_at_midnight_where_a_whole_one_follows():
    patient = person(3.0)  # minute zero is six o'clock
    title = lambda p: plotting.plot_day(p).axes[0].get_title(loc="left")
    assert "2026-03-02 00:00" in title(patient)
    assert "2026-03-01 06:00" in title(person(1.0)), "there is no whole one"


def test_millimoles_and_records_without_a_clock():
    figure = plotting.plot_day(person(clock=False), unit="mmol/L")
    drawn(figure)
    y = np.asarray(figure.axes[0].lines[0].get_ydata(), dtype=float)
    assert np.nanmax(y) == pytest.approx(190 / 18.016)
    assert figure.axes[0].get_ylabel() == "glucose, mmol/L"
    assert figure.axes[-1].get_xlabel() == "time, h"
    with pytest.raises(ValueError, match="mmol/L"):
        plotting.plot_day(person(), unit="mol")
    with pytest.raises(ValueError):
        plotting.plot_day(person(), hours=0.0)


def test_the_profile_folds_days_at_the_clock():
    time = 15.0 * np.arange(96 * 4)
    start = dt.datetime(2026, 3, 1, 21, 0)
    clock = (time + 21 * 60) % 1440
    level = np.repeat([90.0, 110.0, 130.0, 150.0], 96)  # a level per day, and by hour a tenth of the clock
    patient = t1djax.Patient("Ada", time, level + clock / 10, t1djax.Doses.of(basal=1.0), start=start)
    hours, levels = agp(patient)
    assert (hours[0], hours[-1]) == (0, 24)
    at_noon = levels[:, hours == 12][:, 0]
    near = np.abs(clock - 720) <= 30
    np.testing.assert_allclose(at_noon, np.quantile((level + clock / 10)[near], (0.05, 0.25, 0.5, 0.75, 0.95)))
    np.testing.assert_allclose(levels[:, 0], levels[:, -1])  # midnight is midnight
    figure = plotting.plot_agp(patient)
    drawn(figure)
    title = figure.axes[0].get_title(loc="left")
    assert "4.0 days" in title
    assert "fewer than 14 days" in title


def test_the_profile_draws_nothing_where_there_is_little():
    hours, levels = agp(person(days=1.0))
    gap = (hours > 6 + 41 * 0.25 + 0.5) & (hours < 6 + 48 * 0.25 - 0.5)
    assert gap.any()
    assert np.isnan(levels[:, gap]).all()
    drawn(plotting.plot_agp(person(days=1.0)))


@pytest.mark.parametrize(
    ("grid", "most", "edge"),
    [("clarke", 500, 400), ("parkes1", 500, 550), ("parkes2", 380, 400), ("dts", 500, 550), ("dts", 380, 400)],
)
def test_an_error_grid_shows_every_pair_in_its_zone(grid, most, edge):
    rng = np.random.default_rng(0)
    pairs = t1djax.error_grid(rng.uniform(20, most, 300), rng.uniform(20, most, 300), grid=grid)
    figure = plotting.plot_error_grid(pairs, title="these")
    drawn(figure)
    (ax,) = figure.axes
    shown = {str(c.get_label())[0]: len(np.asarray(c.get_offsets())) for c in ax.collections}
    assert shown == {zone: int((pairs.zone == zone).sum()) for zone in "ABCDE"}
    assert ax.get_xlim() == ax.get_ylim() == (0, edge)
    assert f"A {pairs.percent['A']:.1f} %" in {str(c.get_label()) for c in ax.collections}
    # Every letter stands in the zone it names.
    for text in ax.texts:
        x, y = (np.array([float(v)]) for v in text.get_position())
        assert t1djax.error_grid(x, y, grid=grid).zone[0] == text.get_text()


def test_an_empty_grid_is_drawn_too():
    drawn(plotting.plot_error_grid(t1djax.error_grid(np.array([np.nan]), np.array([1.0]))))


@pytest.fixture(scope="module")
def forecasts() -> list[t1djax.records.RollingForecasts]:
    return [t1djax.baseline_forecasts(person(), method) for method in t1djax.evaluation.BASELINES]


def test_fans_hold_the_forecasts(forecasts):
    ridge = forecasts[2]
    figure = plotting.plot_forecasts(ridge, person(), hours=8.0)
    drawn(figure)
    (ax,) = figure.axes
    fans = [line for line in ax.lines if len(np.asarray(line.get_xdata())) == 6]
    assert len(fans) == 2  # each 240 min long, none on another
    np.testing.assert_allclose(np.asarray(fans[0].get_ydata())[1:], ridge.mean_mg_dL[0])
    start = float(np.asarray(fans[0].get_xdata())[0])
    assert start == pytest.approx(ridge.origin_min[0] / 60 + 6)
    wide = np.asarray(ax.collections[0].get_paths()[0].vertices)
    assert np.max(wide[:, 1]) == pytest.approx(np.max(ridge.mean_mg_dL[0] + 1.6449 * ridge.sd_mg_dL[0]), rel=1e-3)
    assert "no later insulin or meals" in ax.get_title(loc="left")
    with pytest.raises(ValueError):
        plotting.plot_forecasts(ridge, person(), start_min=0.0, hours=1.0)
    with pytest.raises(ValueError, match="Ada"):
        plotting.plot_forecasts(ridge, t1djax.reference_cohort(interval_min=60, names=["Pat2"])["Pat2"])


def test_residuals_are_shown_with_their_autocorrelation():
    rng = np.random.default_rng(0)
    noise = np.zeros(4000)
    for i, e in enumerate(rng.normal(0, 1, 4000)):
        noise[i] = 0.7 * noise[i - 1] + e if i else e
    rho = autocorrelation(noise, 3)
    np.testing.assert_allclose(rho, 0.7 ** np.arange(4), atol=0.05)
    centred = noise - noise.mean()
    assert rho[2] == pytest.approx((centred[:-2] * centred[2:]).mean() / centred.var())
    figure = plotting.plot_residuals(5.0 * np.arange(4000), noise, title="AR(1)")
    drawn(figure)
    assert [ax.get_xlabel() for ax in figure.axes] == ["time, h", "lag, readings", "normal quantile", "residual, mg/dL"]
    assert "lag-1 autocorrelation 0.7" in figure.get_suptitle()
    dots = np.asarray(figure.axes[2].collections[0].get_offsets())
    assert np.all(np.diff(dots, axis=0) >= 0)
    drawn(plotting.plot_residuals(np.arange(20.0), np.zeros(20)))
    with pytest.raises(ValueError):
        plotting.plot_residuals(np.arange(20.0), np.full(20, np.nan))


def test_methods_are_drawn_against_the_horizon(forecasts):
    scores = t1djax.score_forecasts(forecasts)
    twice = pd.concat([scores, scores.assign(patient="Bo", rmse_mg_dL=3 * scores["rmse_mg_dL"])])
    figure = plotting.plot_horizons(twice)
    drawn(figure)
    (ax,) = figure.axes
    named = {str(line.get_label()): line for line in ax.lines if not str(line.get_label()).startswith("_")}
    assert [*named] == [*t1djax.evaluation.BASELINES]
    own = scores[(scores["method"] == "ridge") & (scores["range"] == "all")]
    np.testing.assert_allclose(np.asarray(named["ridge"].get_ydata()), 2 * own["rmse_mg_dL"])
    assert ax.get_ylabel() == "RMSE, mg/dL"
    drawn(plotting.plot_horizons(scores, measure="coverage_90_percent"))
    with pytest.raises(ValueError):
        plotting.plot_horizons(scores, measure="luck")


def test_drawing_changes_no_global_state(forecasts):
    before = dict(mpl.rcParams)
    plotting.plot_day(person())
    plotting.plot_agp(person())
    plotting.plot_forecasts(forecasts[0], person())
    assert dict(mpl.rcParams) == before
