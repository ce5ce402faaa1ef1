"""Whether a neural correction of the stochastic model's forecasts helps people that it never saw."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

import t1djax

from .report import Report
from .runners import Scope

HORIZONS_MIN = (30.0, 60.0, 120.0)
"""Those that are scored; forecasts are at `t1djax.data.HORIZONS_MIN`."""
STATED = 2 / 3
"""Share of the virtual people's meals that their records state."""


class Group(NamedTuple):
    """People, and the stochastic model's forecasts from each of their readings."""

    people: tuple[t1djax.Patient, ...]
    forecasts: tuple[t1djax.records.RollingForecasts, ...]


def run(scope: Scope, out: Path, *, hupa: Path | None = None) -> Report:
    """RMSE before and after, on the part of each record that nothing was learnt from."""
    report = Report("discrepancy", "A neural correction on people never seen", out, scope.settings())
    report.note(
        "Mean over people of the RMSE (mg/dL) after the training part, before and after correction. Virtual people "
        "live 7 days with a reading each 15 min, AR(1) noise of 6 mg/dL, and a third of their meals off the record."
    )
    options = t1djax.statespace.DiscrepancyOptions(steps=10) if scope.quick else t1djax.statespace.DiscrepancyOptions()
    count, others, days = (2, 2, 3) if scope.quick else (10, 12, 7)
    ten = _group(_virtual(count, 7, days), quick=scope.quick)
    twelve = _group(_virtual(others, 8, days), quick=scope.quick)
    _transfer(report, ("virtual", ten), ("other virtual", twelve), options)
    if not scope.quick:
        _folds(report, "virtual", ten, 5, options)
        _folds(report, "other virtual", twelve, 4, options)
    if hupa is not None:
        files = [hupa / f"HUPA{who}P.csv" for who in ("0022", "0002", "0004")]
        real = _group([t1djax.io.read_hupa(file, carbs_unit="g") for file in files], quick=scope.quick)
        _transfer(report, ("virtual", ten), ("HUPA-UCM", real), options)
        _folds(report, "HUPA-UCM", real, 3, options)
    return report


def _virtual(n: int, seed: int, days: int) -> list[t1djax.Patient]:
    cohort = t1djax.virtual_population(
        n, key=jax.random.key(seed), days=days, interval_min=15.0, noise=t1djax.AR1Noise(6.0)
    )
    rng, people = np.random.default_rng(seed), []
    for patient in cohort:
        doses = patient.doses
        stated = rng.random(len(doses.meal_time_min)) > 1 - STATED
        columns = ("meal_time_min", "carbs_g", "meal_duration_min")
        some = dataclasses.replace(doses, **{name: getattr(doses, name)[stated] for name in columns})
        people.append(dataclasses.replace(patient, doses=some))
    return people


def _group(people: Sequence[t1djax.Patient], *, quick: bool) -> Group:
    form = t1djax.StateSpaceOptions(horizons_min=(), max_steps=3) if quick else t1djax.StateSpaceOptions()
    fit = t1djax.fit_state_space(people, options=form)
    every = (t1djax.data.rolling_origins(p, after_min=-np.inf) for p in people)
    each = (t1djax.state_space_forecasts(fit, p, origin_min=t) for p, t in zip(people, every, strict=True))
    return Group(tuple(people), tuple(each))


def _learn(
    group: Group, names: Sequence[str], options: t1djax.statespace.DiscrepancyOptions
) -> t1djax.statespace.Discrepancy:
    some = [(f, p) for f, p in zip(group.forecasts, group.people, strict=True) if p.name in names]
    return t1djax.statespace.fit_discrepancy(
        [f for f, _ in some], [p for _, p in some], options=options, key=jax.random.key(0)
    )


def _transfer(
    report: Report, source: tuple[str, Group], target: tuple[str, Group], options: t1djax.statespace.DiscrepancyOptions
) -> None:
    learnt = _learn(source[1], [p.name for p in source[1].people], options)
    _row(report, f"{len(learnt.people)} {source[0]}", target[0], target[1], [learnt] * len(target[1].people))


def _folds(report: Report, label: str, group: Group, folds: int, options: t1djax.statespace.DiscrepancyOptions) -> None:
    learnt: dict[str, t1djax.statespace.Discrepancy] = {}
    for fold in t1djax.statespace.people_split([p.name for p in group.people], folds):
        learnt |= dict.fromkeys(fold.unseen, _learn(group, fold.train, options))
    _row(report, f"{label}, {folds} folds", label, group, [learnt[p.name] for p in group.people])


def _row(
    report: Report, source: str, target: str, group: Group, learnt: Sequence[t1djax.statespace.Discrepancy]
) -> None:
    after = [c.correct(f, p) for c, f, p in zip(learnt, group.forecasts, group.people, strict=True)]
    before, corrected = (np.array([_rmse(f, p) for f, p in zip(each, group.people, strict=True)])
                         for each in (group.forecasts, after))  # fmt: skip
    row: dict[str, object] = {"learnt from": source, "judged on": target, "people": len(group.people)}
    for h, horizon in enumerate(HORIZONS_MIN):
        one, two = before[:, h], corrected[:, h]
        row[f"{horizon:g} min"] = f"{one.mean():.2f} to {two.mean():.2f}"
        row[f"better at {horizon:g} min"] = int(np.sum(two < one))
    report.add(row | {"steps": " ".join(str(c.steps) for c in dict.fromkeys(learnt))})


def _rmse(forecasts: t1djax.records.RollingForecasts, patient: t1djax.Patient) -> np.ndarray:
    later = forecasts.origin_min > t1djax.data.training_end(patient)
    at = np.isin(forecasts.horizon_min, HORIZONS_MIN)
    miss = (forecasts.mean_mg_dL - forecasts.observed_mg_dL)[later][:, at]
    return np.sqrt(np.nanmean(miss**2, axis=0))
