"""How good a fit is: errors of glucose per set of readings, residuals, and, where it is known, the truth."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float

from .._settle import doubtful_mass
from ..data import Cohort, Patient, Truth
from ..question import LogNormal
from ..records import Ensemble, Fit, PatientFit, fitted_records, quantity, record_of
from ._settings import named, settings_of

if TYPE_CHECKING:
    import pandas as pd

SETS = ("fit", "held_out", "forecast")
"""The sets of readings that are scored; see `split`."""
LOWEST_READING_MG_DL = 40.0
"""Relative errors (MARD) take readings from here on: no sensor reports less."""

_GAP_MG_DL = 0.1  # further from the equations than this, and than
_FAR_FROM_PRIOR = 3.0  # standard deviations
_GAP_SHARE = 0.05  # this share of the misfit, a network does not describe them


def glucose_errors(
    predicted: Float[np.ndarray, " rows"], observed: Float[np.ndarray, " rows"], where: Bool[np.ndarray, " rows"]
) -> dict[str, float]:
    """RMSE and MAE in mg/dL and MARD in % over the rows of a mask.

    MARD, the mean absolute relative difference, is over readings of 40 mg/dL and more. A set without readings
    gives NaN.

    Args:
        predicted: predicted glucose, mg/dL.
        observed: readings, mg/dL.
        where: the rows that count.

    Returns:
        By name: `rmse_mg_dL` and `mae_mg_dL` in mg/dL, `mard_percent` in %.

    Example:
        >>> import numpy as np
        >>> from t1djax.evaluation import glucose_errors
        >>> glucose_errors(np.array([110.0, 90.0]), np.array([100.0, 100.0]), np.array([True, True]))
        {'rmse_mg_dL': 10.0, 'mae_mg_dL': 10.0, 'mard_percent': 10.0}
    """
    error, reading = (predicted - observed)[where], observed[where]
    usable = reading >= LOWEST_READING_MG_DL
    mean = lambda x: float(np.mean(x)) if x.size else float("nan")
    return {
        "rmse_mg_dL": float(np.sqrt(mean(error**2))),
        "mae_mg_dL": mean(np.abs(error)),
        "mard_percent": 100 * mean(np.abs(error[usable]) / reading[usable]),
    }


def errors_by_set(glucose_mg_dL: Float[np.ndarray, " rows"], patient: Patient) -> dict[str, float]:
    """`rmse_s_mg_dL`, `mae_s_mg_dL`, `mard_s_percent` of glucose on a record's rows, for each set s of readings."""
    return {
        key.replace("_", f"_{name}_", 1): value
        for name in SETS
        for key, value in glucose_errors(glucose_mg_dL, patient.glucose_mg_dL, getattr(patient.masks, name)).items()
    }


def metrics(fit: PatientFit, patient: Patient | None = None, truth: Truth | None = None) -> dict[str, float]:
    """Errors of one patient's fit.

    Args:
        fit: the patient's fit.
        patient: another record of the patient on the same rows; the one that was fitted if not given.
        truth: what the simulation knows; only this function and `recovery` read it.

    Returns:
        For each set s of fit, held_out, forecast: `rmse_s_mg_dL`, `mae_s_mg_dL`, `mard_s_percent` against the
        readings, and with a truth `rmse_true_s_mg_dL` against glucose without sensor noise; then
        `rms_gap_to_equations_mg_dL`, the distance from the exact solution under the estimates, and the largest absolute
        residuals by column, such as `max_abs_residual_G_mg_dL_min`.

    Raises:
        ValueError: where the given record is of another patient, or on other rows.
    """
    patient = record_of(fit, patient)
    found = errors_by_set(fit.glucose_mg_dL, patient)
    if truth is not None:
        for name in SETS:
            errors = glucose_errors(fit.glucose_mg_dL, truth.glucose_mg_dL, getattr(patient.masks, name))
            found[f"rmse_true_{name}_mg_dL"] = errors["rmse_mg_dL"]
    found["rms_gap_to_equations_mg_dL"] = fit.gap_mg_dL
    found |= {f"max_abs_{column}": float(np.max(np.abs(x))) for column, x in fit.residuals.items()}
    return found


def recovery(fit: PatientFit, truth: Truth | None) -> dict[str, dict[str, float | None]]:
    """Every estimate beside the truth, where there is one.

    Args:
        fit: of one patient.
        truth: what the patient's data were made with; None for real people.

    Returns:
        By symbol (the estimated parameters, then what follows from them): the fields of `Estimate`, `truth`, and
        `error_percent`, the absolute relative error in %; None where unknown.
    """
    known = {} if truth is None else {**truth.parameters, **fit.body.derive(truth.parameters)}
    rows: dict[str, dict[str, float | None]] = {}
    for symbol, estimate in {**fit.estimates, **fit.derived}.items():
        true = known.get(symbol)
        error = 100 * abs(estimate.value / true - 1) if true else None
        rows[symbol] = {**estimate._asdict(), "truth": true, "error_percent": error}
    return rows


def doubts(fit: PatientFit, patient: Patient | None = None, *, priors: Mapping[str, LogNormal] = {}) -> list[str]:
    """What should make a reader doubt a fit, in words; empty where nothing does.

    A misfit larger than the spread of the readings themselves, or than a sensor errs; a network far from the
    equations' own solution; an estimate far outside the population's range (below half its lower or above twice its
    upper end); a standard error larger than half the estimate; an estimate that its prior sets, or more than three of
    its standard deviations away from it, or that stands at a bound, or that goes by an assumed balance
    (`Facts.balance`); a balance below zero; a body mass that may be one in pounds.

    Args:
        fit: of one patient.
        patient: another record of the patient on the same rows; the one that was fitted if not given.
        priors: what was believed of the parameters, by symbol: those of `fit.problem`.

    Returns:
        Sentences for a reader, each with its numbers and units.

    Raises:
        ValueError: where the given record is of another patient, or on other rows.
    """
    patient = record_of(fit, patient)
    found = [] if fit.ok else [fit.message]
    seen = patient.glucose_mg_dL[patient.masks.fit]
    misfit = glucose_errors(fit.glucose_mg_dL, patient.glucose_mg_dL, patient.masks.fit)["rmse_mg_dL"]
    if dataclasses.replace(fit, patient=patient).worse_than_a_constant:
        table, meals = fit.body.parameters, fit.body.facts.need_meal
        shapes = [s for s, row in table.items() if s in meals or row.unit in ("min", "1/min")]
        assumed = [s for s in shapes if s not in fit.estimates and s not in patient.known]
        remedy = f" with the {', '.join(assumed)} that are assumed; estimate these along" if assumed else ""
        found.append(
            f"the fit misses its own readings by {misfit:.3g} mg/dL, where a constant would miss them by "
            f"{np.std(seen):.3g}: the model does not describe them{remedy}"
        )
    elif any(e.misfit for e in fit.estimates.values()):
        found.append(
            f"the fit misses its readings by {misfit:.3g} mg/dL, more than a sensor errs: standard errors take the "
            "model for right, and none is given"
        )
    if not fit.gap_mg_dL <= max(_GAP_MG_DL, _GAP_SHARE * misfit):
        found.append(
            f"the network is {fit.gap_mg_dL:.3g} mg/dL away from the equations' own solution under its estimates, "
            "which are then off: give it more units, shorter cells, a shorter window, or another seed"
        )
    b = fit.body.facts.balance
    if b is not None and b.symbol in fit.derived:
        value = fit.derived[b.symbol].value
        is_ = f"{b.more} - {b.less} = {value:.3g} {fit.body.parameters[b.more].unit}"
        if by_it := [symbol for symbol, e in fit.estimates.items() if e.c_assumed]:
            found.append(
                f"{', '.join(by_it)} goes by {is_}, which is assumed, not by the readings alone: estimate {b.more} "
                "along with it"
            )
        elif value <= 0:
            found.append(f"{is_}: {b.below_zero}, and nobody's does; doses are missing, or the model does not hold")
    found += doubtful_mass(patient, fit.estimates, fit.body)
    for symbol, e in fit.estimates.items():
        value, prior_dominated, at_bound = e.value, e.prior_dominated, e.at_bound
        standard_error = e.white_error if e.standard_error is None else e.standard_error
        row = fit.body.parameters.get(symbol)
        if row is None:
            continue
        stated = f"{symbol} = {quantity(f'{value:.4g}', row.unit)}"
        belief = priors.get(symbol)
        away = 0.0 if belief is None else (np.log(max(value, 1e-300)) - np.log(belief.median)) / belief.sd_log
        if belief is not None and not abs(away) <= _FAR_FROM_PRIOR:
            found.append(
                f"{stated} is {abs(away):.1f} standard deviations from its prior "
                f"({belief.median:.4g}): the readings and the other beliefs contradict it, or the model does not hold"
            )
        if not row.low / 2 <= value <= row.high * 2:
            usual = f"{row.low:g} to {row.high:g}"
            found.append(f"{stated} is far outside the {usual} of people")
        if at_bound:
            found.append(f"{stated} stands at its bound: the readings would have it beyond")
        if e.undetermined:
            others = " and ".join(s for s, x in fit.estimates.items() if x.undetermined)
            found.append(f"{stated}: glucose does not tell {others} apart; estimate fewer")
        elif prior_dominated:
            found.append(f"{stated} is set by a prior, not by the readings")
        elif standard_error is not None and not standard_error <= value / 2:
            error = f"a standard error of {standard_error:.2g}"
            found.append(f"{symbol} = {value:.4g} has {error}: the readings hardly determine it")
    return found


def summary(fit: Fit, cohort: Cohort | None = None) -> "pd.DataFrame":
    """One row per patient: estimates, their errors where truth is known, and the errors of glucose.

    Args:
        fit: of the cohort.
        cohort: the patients with their truth, where it is known: a fit keeps records and no truth.

    Returns:
        A table with the columns `patient, ok`, for each estimated parameter `{symbol}, {symbol}_se` (in its unit) and
        `{symbol}_error_percent`, then those of `metrics`. `{symbol}_se` is the standard error of `Estimate`, blank
        where the model misses its readings.

    Raises:
        ValueError: where a patient of the fit is not in the cohort, or on other rows.

    Example:
        >>> import t1djax
        >>> cohort = t1djax.reference_cohort(interval_min=30, names=["Pat2"])
        >>> fit = t1djax.fit(cohort, model="ode", mode="inverse", free=["ksi"])
        >>> round(t1djax.summary(fit, cohort).loc[0, "ksi"], 2)
        np.float64(197.0)
    """
    import pandas as pd  # noqa: PLC0415 - costs half a second at import

    rows, truths = [], {} if cohort is None else cohort.truth
    for patient_fit, patient in zip(fit, fitted_records(fit, cohort), strict=True):
        truth = truths.get(patient_fit.name)
        row: dict[str, object] = {"patient": patient_fit.name, "ok": patient_fit.ok}
        for symbol, entry in recovery(patient_fit, truth).items():
            if symbol in fit.problem.start:
                row[symbol], row[f"{symbol}_se"] = entry["value"], _number(entry["standard_error"])
                row[f"{symbol}_error_percent"] = entry["error_percent"]
        rows.append(row | metrics(patient_fit, patient, truth))
    return pd.DataFrame(rows)


def _number(x: float | None) -> float:
    return np.nan if x is None else x


def results_table(metadata: Iterable[Mapping[str, Any]]) -> "pd.DataFrame":
    """One row per result, from what its folder says.

    `settings` tells experiments of one model, mode and set of parameters apart, by the fields of the configuration in
    which they differ, such as `noise_sd_mg_dL 5, seed 0`; it is empty where there is one such experiment.

    Args:
        metadata: the `metadata` of results; see `read_result`.

    Returns:
        A table with the columns `model, mode, parameters, settings, patient, seed, ok`, then those of `summary`, and
        `wall_seconds`.
    """
    import pandas as pd  # noqa: PLC0415 - costs half a second at import

    rows, each = [], list(metadata)
    for m, settings in zip(each, settings_of(each), strict=True):
        row: dict[str, object] = {"model": m["model"], "mode": m["mode"], "parameters": named(m), "settings": settings}
        row |= {key: m[key] for key in ("patient", "seed", "ok")}
        for symbol, entry in m["estimates"].items():
            row[symbol], row[f"{symbol}_se"] = entry["value"], _number(entry["standard_error"])
            row[f"{symbol}_error_percent"] = entry["error_percent"]
        rows.append(row | dict(m["metrics"]) | {"wall_seconds": m["wall_seconds"]})
    return pd.DataFrame(rows)


COMPARED = ("rmse_fit_mg_dL", "rmse_held_out_mg_dL", "rmse_forecast_mg_dL")
"""Errors that `comparison` shows, beside those of the parameters."""


def comparison(table: "pd.DataFrame") -> "pd.DataFrame":
    """Models side by side: one row per model, mode, set of parameters and settings.

    Args:
        table: see `results_table`.

    Returns:
        A table with the columns `model, mode, parameters, settings, patients, seeds, failed`, and for each of
        `COMPARED` and each `{symbol}_error_percent` that is there `{measure}_median` and `{measure}_worst` over
        patients and seeds, and `{measure}_seed_sd`, the standard deviation over seeds (with n - 1), median over
        patients; NaN for one seed. Measures keep their units.

    Example:
        >>> import t1djax
        >>> cohort = t1djax.reference_cohort(interval_min=30, names=["Pat2", "Pat3"])
        >>> table = t1djax.summary(t1djax.fit(cohort, model="ode"), cohort)
        >>> table = table.assign(model="ode", mode="inverse", parameters="ksi", seed=0)
        >>> t1djax.evaluation.comparison(table)[["patients", "seeds", "failed"]].loc[0].tolist()
        [2, 1, 0]
    """
    import pandas as pd  # noqa: PLC0415 - costs half a second at import

    measures = [c for c in table.columns if c in COMPARED or c.endswith("_error_percent")]
    rows = []
    keys = [key for key in ("model", "mode", "parameters", "settings") if key in table]
    groups: Any = table.groupby(keys, sort=False)
    for group, part in groups:
        row: dict[str, object] = dict(zip(keys, group, strict=True))
        row |= {"patients": part["patient"].nunique(), "seeds": part["seed"].nunique()}
        row["failed"] = int((~part["ok"].astype(bool)).sum())
        for measure in measures:
            values = part[measure].astype(float)
            row[f"{measure}_median"], row[f"{measure}_worst"] = values.median(), values.max()
            row[f"{measure}_seed_sd"] = values.groupby(part["patient"]).std().median()
        rows.append(row)
    return pd.DataFrame(rows)


def spread(ensemble: Ensemble) -> "pd.DataFrame":
    """One row per patient: how the members of an ensemble differ.

    It says how far the answer depends on starts and initial weights. It says nothing of the sensor's noise, which all
    members share: that is the standard error's.

    Args:
        ensemble: see `fit_ensemble`.

    Returns:
        A table with the columns `patient, ok` (whether all are), for each estimated parameter `{symbol}` (mean over
        members), `{symbol}_sd` (with n - 1), `{symbol}_low`, `{symbol}_high`, `{symbol}_start_sd` (spread of the
        starts), all in its unit, and `glucose_sd_mg_dL`, the standard deviation over members, root mean square over the
        rows.

    Example:
        >>> import t1djax
        >>> cohort = t1djax.reference_cohort(interval_min=30, names=["Pat2"])
        >>> list(t1djax.evaluation.spread(t1djax.fit_ensemble(cohort, seeds=[0, 1], model="ode")))[:4]
        ['patient', 'ok', 'ksi', 'ksi_sd']
    """
    import pandas as pd  # noqa: PLC0415 - costs half a second at import

    rows, one_less = [], min(len(ensemble) - 1, 1)
    for name in (patient.name for patient in ensemble.members[0]):
        fits = [member[name] for member in ensemble]
        row: dict[str, object] = {"patient": name, "ok": all(fit.ok for fit in fits)}
        for symbol in ensemble.members[0].problem.start:
            values, starts = np.array([fit.estimates[symbol][:2] for fit in fits]).T
            sds = {f"{symbol}_sd": values.std(ddof=one_less), f"{symbol}_start_sd": starts.std(ddof=one_less)}
            row |= {symbol: values.mean()} | sds
            row |= {f"{symbol}_low": values.min(), f"{symbol}_high": values.max()}
        glucose = np.stack([fit.glucose_mg_dL for fit in fits])
        row["glucose_sd_mg_dL"] = float(np.sqrt(np.mean(glucose.var(axis=0, ddof=one_less))))
        rows.append(row)
    return pd.DataFrame(rows)


def persistence_rmse(patient: Patient) -> float:
    """RMSE (mg/dL) of the simplest forecast: the last reading before the forecast start holds on.

    Args:
        patient: the record; its readings are split as `split` does.

    Returns:
        The root mean square error over the forecast readings, mg/dL; NaN where there are none.
    """
    masks = patient.masks
    last = patient.glucose_mg_dL[masks.fit | masks.held_out][-1]
    return glucose_errors(np.full(patient.time_min.shape, last), patient.glucose_mg_dL, masks.forecast)["rmse_mg_dL"]
