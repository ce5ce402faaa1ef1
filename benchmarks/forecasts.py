"""Forecasts of real people by every method: 70/30 in time, by others who never saw the person."""

import dataclasses
import warnings
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

import t1djax
from t1djax.data import readings_ahead, rolling_origins, training_end
from t1djax.evaluation import gaussian_crps, score_events
from t1djax.population import blended_forecasts, write_population
from t1djax.statespace import DoseResponses, dose_responses

from .report import Report
from .runners import Scope

HORIZONS_MIN = (30.0, 60.0, 120.0)
DAMAGED = {"Subject 1", "Subject 10", "Subject 11"}
"""People of AZT1D whose insulin is damaged as published: they are read without it."""
KEY = 0
_DRAWS = 1000
_ALARMS = (0.03, 0.06, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)
_BLOCK_MIN = 1440.0
_SENT_H, _REQUESTS, _LEAST_SENT = (6.0, 24.0, 14 * 24.0), 100, 10
_Z90 = 1.6448536269514722


def run(scope: Scope, out: Path, *, azt1d: Path, hupa: Path, boosting: bool = False) -> Report:
    """RMSE, coverage and CRPS of each person; differences of the blend with intervals of a bootstrap."""
    report = Report("forecasts", "Forecasts of real people", out, scope.settings())
    report.note(
        "Trained on the first 70 % of each record, scored on the rest, from every reading, on the readings that all "
        "methods forecast; no future inputs. What others teach never saw the person. Means over people, mg/dL."
    )
    groups = {"AZT1D": _azt1d(azt1d), "HUPA-UCM": _hupa(hupa)}
    if scope.quick:
        groups = {group: people[:2] for group, people in groups.items()}
    teachers = [patient for people in groups.values() for patient in people]
    strange = [patient.name for patient in groups["HUPA-UCM"]]  # of another sensor, and without a loop
    unseen = [*([patient.name] for patient in teachers), strange]
    options = t1djax.population.PopulationOptions(**({"steps": 20} if scope.quick else {}))
    every, *without = t1djax.fit_population(
        teachers,
        options=options,
        key=jax.random.key(KEY),
        unseen=unseen,
        checkpoint=out / "population.training",
    )
    write_population(every, out / "weights.json")
    *without, elsewhere = without
    taught = dict(zip((patient.name for patient in teachers), without, strict=True))
    for group, people in groups.items():
        made = []
        for patient in people:
            print(group, patient.name, flush=True)
            others = taught[patient.name], elsewhere if patient.name in strange else None
            made.append(_of_person(patient, others, people, teachers if boosting else (), out, scope.quick))
        _rows(report, group, people, [one for one, _ in made])
        _requests(report, group, [(p, taught[p.name]) for p in people])
        for patient, (_, moves) in zip(people, made, strict=True):
            row: dict[str, object] = {"people": patient.name, "method": "a unit / 20 g, mg/dL (right sign, %)"}
            for h, unit, carbs in zip(HORIZONS_MIN, moves.unit_mg_dL.T, moves.carbs_mg_dL.T, strict=True):
                right = 100 * (unit < 0).mean(), 100 * (carbs > 0).mean()
                row[f"rmse_{h:g}"] = f"{unit.mean():.1f} / {carbs.mean():.1f} ({right[0]:.0f} / {right[1]:.0f})"
            report.add(row)
    return report


def _azt1d(folder: Path) -> list[t1djax.Patient]:
    alone = "time=EventDateTime,glucose=CGM,carbs_g=CarbSize"
    files = [folder / f"Subject {k}.csv" for k in range(1, 13)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", t1djax.DataWarning)
        return [t1djax.read_recording(f, columns=alone if f.stem in DAMAGED else None).patient for f in files]


def _hupa(folder: Path) -> list[t1djax.Patient]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", t1djax.DataWarning)
        return [t1djax.io.read_hupa(folder / f"HUPA{k}P.csv", carbs_unit="g") for k in ("0002", "0004", "0022")]


Person = dict[str, t1djax.records.RollingForecasts]


def _of_person(
    patient: t1djax.Patient,
    others: tuple[t1djax.population.PopulationForecaster, t1djax.population.PopulationForecaster | None],
    group: Sequence[t1djax.Patient],
    boosted: Sequence[t1djax.Patient],
    out: Path,
    quick: bool,
) -> tuple[Person, DoseResponses]:
    end, origins = training_end(patient), rolling_origins(patient, after_min=-np.inf)
    each, moves = _own(patient, origins, out / f"{patient.name}.npz", quick)
    own, announced = each["none"], each["announced"]
    ask = {"horizon_min": HORIZONS_MIN, "train_until_min": end}
    taught = t1djax.population_forecasts(others[0], patient, origin_min=origins, **ask)
    new = {"horizon_min": HORIZONS_MIN, "train_until_min": float(patient.time_min[0]) - 1}
    made = {
        "blend": blended_forecasts(taught, own, train_until_min=end).after(end),
        "population": taught.after(end),
        "population, nothing of the person": t1djax.population_forecasts(
            others[0], patient, origin_min=origins, **new
        ).after(end),
        "population, without doses": t1djax.population_forecasts(
            others[0], dataclasses.replace(patient, doses=t1djax.Doses.of()), origin_min=origins, **ask
        ).after(end),
        "stochastic": own.after(end),
        "blend, announced": blended_forecasts(taught, own, train_until_min=end, announced=announced).after(end),
        "stochastic, announced": announced.after(end),
        "pooled autoregression": t1djax.evaluation.pooled_forecasts(patient, group, **ask),
    }
    if others[1] is not None:
        other = t1djax.population_forecasts(others[1], patient, origin_min=origins, **ask)
        made["population, of the other cohort alone"] = other.after(end)
        made["blend, of the other cohort alone"] = blended_forecasts(other, own, train_until_min=end).after(end)
    made |= {m: t1djax.baseline_forecasts(patient, m, **ask) for m in ("autoregression", "ridge", "persistence")}
    if boosted:
        made["boosting, nothing of the person"] = _boosted(patient, [p for p in boosted if p.name != patient.name], end)
    return made, moves


def _own(patient: t1djax.Patient, origins: np.ndarray, kept: Path, quick: bool) -> tuple[Person, DoseResponses]:
    """The stochastic model's forecasts and responses, which take longest and are kept beside the table."""
    if not kept.is_file():
        form = t1djax.StateSpaceOptions(horizons_min=(), max_steps=3) if quick else t1djax.StateSpaceOptions()
        fit = t1djax.fit_state_space([patient], options=form)
        ask = {"origin_min": origins, "horizon_min": HORIZONS_MIN}
        each = {f: t1djax.state_space_forecasts(fit, patient, future_inputs=f, **ask) for f in ("none", "announced")}
        moves = dose_responses(fit, patient, horizon_min=HORIZONS_MIN)
        found = {
            f"{f}_{key}": x for f, one in each.items() for key, x in (("mean", one.mean_mg_dL), ("sd", one.sd_mg_dL))
        }
        np.savez(kept, **found, **moves._asdict())
    observed, horizons = readings_ahead(patient, origins, HORIZONS_MIN), np.asarray(HORIZONS_MIN)
    with np.load(kept) as there:
        each = {
            f: t1djax.records.RollingForecasts(
                patient.name, "stochastic", f, origins, horizons, there[f"{f}_mean"], there[f"{f}_sd"], observed
            )
            for f in ("none", "announced")
        }
        return each, DoseResponses(there["unit_mg_dL"], there["carbs_mg_dL"])


def _boosted(patient: t1djax.Patient, people: Sequence[t1djax.Patient], end: float) -> t1djax.records.RollingForecasts:
    """scikit-learn's histogram boosting on the same columns, each 15 min of the others' records."""
    from sklearn.ensemble import HistGradientBoostingRegressor  # noqa: PLC0415 - a reference, no dependency

    from t1djax.population._known import known_at  # noqa: PLC0415

    origins = rolling_origins(patient, after_min=end)
    asked = known_at(patient, origins)
    at = [rolling_origins(p, after_min=-np.inf, every_min=15.0) for p in people]
    each = [known_at(p, t) for p, t in zip(people, at, strict=True)]
    mean = []
    for h in HORIZONS_MIN:
        ahead = [
            (readings_ahead(p, t, (h,))[:, 0] - k.now_mg_dL) / k.spread_mg_dL
            for p, t, k in zip(people, at, each, strict=True)
        ]
        y, x = np.concatenate(ahead), np.concatenate([k.columns for k in each])
        trees = HistGradientBoostingRegressor(
            max_iter=150, learning_rate=0.06, max_leaf_nodes=15, min_samples_leaf=100, l2_regularization=1.0,
            random_state=0,
        ).fit(x[np.isfinite(y)], y[np.isfinite(y)])  # fmt: skip
        mean.append(asked.now_mg_dL + asked.spread_mg_dL * trees.predict(asked.columns))
    means = np.stack(mean, axis=1)
    return t1djax.records.RollingForecasts(
        patient.name, "boosting", "none", origins, np.asarray(HORIZONS_MIN), means, np.full_like(means, np.nan),
        readings_ahead(patient, origins, HORIZONS_MIN),
    )  # fmt: skip


def _rows(report: Report, group: str, patients: Sequence[t1djax.Patient], people: Sequence[Person]) -> None:
    methods = list(people[0])
    scored = [
        np.isfinite(np.stack([f.mean_mg_dL for f in one.values()])).all(axis=0)
        & np.isfinite(one["blend"].observed_mg_dL)
        for one in people
    ]
    squares = {m: [_square(one[m], use) for one, use in zip(people, scored, strict=True)] for m in methods}
    rmse = {m: np.array([np.sqrt(np.nanmean(x, axis=0)) for x in squares[m]]) for m in methods}
    for method in methods:
        row: dict[str, object] = {"people": f"{group}, {len(people)}", "method": method}
        cover, crps = zip(*(_spread(one[method], use) for one, use in zip(people, scored, strict=True)), strict=True)
        for j, h in enumerate(HORIZONS_MIN):
            row[f"rmse_{h:g}"] = round(float(rmse[method][:, j].mean()), 2)
        for j, h in enumerate(HORIZONS_MIN):
            row[f"coverage_90_{h:g}"] = round(float(np.mean(cover, axis=0)[j]), 1)
            row[f"crps_{h:g}"] = round(float(np.mean(crps, axis=0)[j]), 2)
            low, high = _bootstrap(people, squares["blend"], squares[method], j)
            gain = 100 * (rmse["blend"][:, j].mean() / rmse[method][:, j].mean() - 1)
            better = int((rmse["blend"][:, j] < rmse[method][:, j]).sum())
            row[f"blend_beside_{h:g}"] = f"{gain:+.1f} % ({low:+.1f} to {high:+.1f}), better in {better}"
        if np.isfinite(people[0][method].sd_mg_dL).any():
            row |= _events([one[method] for one in people], patients)
        report.add(row)
    for one, k in zip(people, range(len(people)), strict=True):
        row = {"people": one["blend"].name, "method": "blend / stochastic / autoregression"}
        for j, h in enumerate(HORIZONS_MIN):
            row[f"rmse_{h:g}"] = " / ".join(f"{rmse[m][k, j]:.1f}" for m in ("blend", "stochastic", "autoregression"))
            row[f"coverage_90_{h:g}"] = round(float(_spread(one["blend"], scored[k])[0][j]), 1)
        report.add(row)


def _requests(
    report: Report, group: str, people: Sequence[tuple[t1djax.Patient, t1djax.population.PopulationForecaster]]
) -> None:
    """Forecasts from the last hours or days alone, as a server is asked for them, by forecasters of others."""
    for hours in _SENT_H:
        errors, inside = [], []
        for patient, others in people:
            origins = rolling_origins(patient)
            origins = origins[np.isfinite(readings_ahead(patient, origins, HORIZONS_MIN)).all(axis=1)]
            since = np.searchsorted(patient.time_min[patient.valid], [origins - 60 * _SENT_H[0], origins])
            origins = origins[np.diff(since, axis=0)[0] >= _LEAST_SENT]
            origins = origins[np.linspace(0, len(origins) - 1, _REQUESTS).astype(int)]
            ask = [{"origin_min": np.array([t]), "horizon_min": HORIZONS_MIN, "train_until_min": t} for t in origins]
            sent = [
                t1djax.population_forecasts(others, _sent(patient, t, hours), **how)
                for t, how in zip(origins, ask, strict=True)
            ]
            mean, sd = (np.concatenate([getattr(one, what) for one in sent]) for what in ("mean_mg_dL", "sd_mg_dL"))
            apart = mean - readings_ahead(patient, origins, HORIZONS_MIN)
            errors.append(np.sqrt(np.mean(apart**2, axis=0)))
            inside.append(100 * np.mean(np.abs(apart) <= _Z90 * sd, axis=0))
        row: dict[str, object] = {"people": f"{group}, {len(people)}", "method": f"population, {hours:g} h sent"}
        row |= {f"rmse_{h:g}": round(float(x), 2) for h, x in zip(HORIZONS_MIN, np.mean(errors, axis=0), strict=True)}
        for h, x, least in zip(HORIZONS_MIN, np.mean(inside, axis=0), np.min(inside, axis=0), strict=True):
            row |= {f"coverage_90_{h:g}": round(float(x), 1), f"coverage_least_{h:g}": round(float(least), 1)}
        report.add(row)


def _sent(patient: t1djax.Patient, last: float, hours: float) -> t1djax.Patient:
    since = last - 60 * hours
    rows, doses = (patient.time_min > since) & (patient.time_min <= last), patient.doses
    events = [[x[columns[0] > since] for x in columns] for columns in doses.events]
    return dataclasses.replace(
        patient,
        time_min=patient.time_min[rows],
        glucose_mg_dL=patient.glucose_mg_dL[rows],
        doses=t1djax.Doses(doses.basal_time_min, doses.basal_U_h, *(x for columns in events for x in columns)),
    )


def _events(
    forecasts: Sequence[t1djax.records.RollingForecasts], patients: Sequence[t1djax.Patient]
) -> dict[str, object]:
    """Share of hypoglycaemic events with an alarm at 30 min, and its lead, at so many false alarms a day.

    Between the probabilities of alarm in `_ALARMS`, the same for everybody, they are interpolated.
    """
    curve, events = [], 0
    for probability in _ALARMS:
        each = [
            score_events(f, p, alarm_probability=probability).iloc[0] for f, p in zip(forecasts, patients, strict=True)
        ]
        events = sum(int(one["events"]) for one in each)
        caught = sum(one["recall_percent"] * one["events"] for one in each if one["events"])
        false, lead = (np.array([one[key] for one in each]) for key in ("false_alarms_per_day", "lead_min"))
        curve.append((false.mean(), caught / max(events, 1), np.nanmedian(lead)))
    false, recall, lead = np.array(sorted(curve)).T
    found: dict[str, object] = {"events": events}
    for rate in (0.5, 1.0):
        found[f"recall_percent_{rate:g}"] = round(float(np.interp(rate, false, recall)), 1)
        found[f"lead_min_{rate:g}"] = round(float(np.interp(rate, false, lead)), 1)
    return found


def _square(one: t1djax.records.RollingForecasts, use: np.ndarray) -> np.ndarray:
    return np.where(use, (one.mean_mg_dL - one.observed_mg_dL) ** 2, np.nan)


def _spread(one: t1djax.records.RollingForecasts, use: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    apart = np.abs(one.mean_mg_dL - one.observed_mg_dL)
    inside = np.where(use, apart <= _Z90 * one.sd_mg_dL, np.nan)
    crps = np.where(use, gaussian_crps(one.mean_mg_dL, one.sd_mg_dL, one.observed_mg_dL), np.nan)
    return 100 * np.nanmean(inside, axis=0), np.nanmean(crps, axis=0)


def _bootstrap(people: Sequence[Person], ours: list, theirs: list, j: int) -> tuple[float, float]:
    """95 % interval of the relative difference: people are drawn, and of each whole days."""
    rng, days = np.random.default_rng(0), []
    for one, a, b in zip(people, ours, theirs, strict=True):
        day = ((one["blend"].origin_min - one["blend"].origin_min[0]) // _BLOCK_MIN).astype(int)
        there = np.isfinite(a[:, j])
        total = lambda x, day=day, there=there: np.bincount(day[there], x[there], minlength=day.max() + 1)
        days.append(np.stack([total(a[:, j]), total(b[:, j]), total(np.ones(len(a)))]))
    found = np.empty(_DRAWS)
    for draw in range(_DRAWS):
        mean = np.zeros(2)
        for k in rng.integers(len(people), size=len(people)):
            some = days[k][:, rng.integers(days[k].shape[1], size=days[k].shape[1])].sum(axis=1)
            mean += np.sqrt(some[:2] / max(some[2], 1.0))
        found[draw] = 100 * (mean[0] / mean[1] - 1)
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)
