"""What was read of a file, in numbers."""

import dataclasses
from typing import Any

import numpy as np

from .._html import html_table
from ..data import Patient
from ._assemble import per_bolus
from ._clocks import at
from ._noted import Noted
from ._schedule import mean_rate

_GAP = 1.5
"""A step longer than this many intervals is a gap."""
_LISTED = 20


@dataclasses.dataclass(frozen=True)
class ReadReport:
    """What was read of a file: span, gaps, units, doses per day, and everything that is odd.

    Numbers that a file does not tell are None. Amounts per day are those from the first to the last row of the record
    (rows whose reading is left out as interpolated are among them), divided by the time between the two. They are the
    same before and after `t1djax convert`.
    """

    file: str
    """The file."""
    format: str | None
    """Name of the format; None where it is not recognised."""
    subject: str | None = None
    """Who it is."""
    first: str | None = None
    """Local time of the first reading, ISO 8601; its minute where the record has no clock."""
    last: str | None = None
    """Local time of the last reading."""
    span_h: float | None = None
    """From the first to the last reading, h."""
    time_zone: str | None = None
    """The zone by name, offsets from UTC, or words where neither is stated."""
    clock_changes: tuple[str, ...] = ()
    """Local times of the first readings after a clock change."""
    readings: int | None = None
    """Number of readings that are used."""
    interval_min: float | None = None
    """Usual time between them, min."""
    coverage: float | None = None
    """Share of the readings that the span would hold at that interval."""
    gaps: int | None = None
    """Number of steps longer than one and a half intervals."""
    longest_gap_min: float | None = None
    """The longest of them, min."""
    gap_list: tuple[tuple[str, float], ...] = ()
    """The longest twenty: when each begins, and its length, min."""
    duplicates: int | None = None
    """Number of readings left out because they repeat another."""
    conflicting_duplicates: int | None = None
    """Number of readings left out because they contradict another of the same time."""
    glucose_unit: str | None = None
    """Unit of glucose in the file."""
    glucose_unit_by: str | None = None
    """How it was decided."""
    glucose_median_mg_dL: float | None = None
    """Median of the readings, mg/dL."""
    glucose_min_mg_dL: float | None = None
    """Lowest of the readings, mg/dL."""
    glucose_max_mg_dL: float | None = None
    """Highest of the readings, mg/dL."""
    censored_share: float | None = None
    """Share of readings at a limit of the sensor: said so by the file, or up to 40 or from 400 mg/dL."""
    censored_low: int | None = None
    """Number of readings of which the file says that they are below what the sensor reports, as in LOW."""
    censored_low_mg_dL: float | None = None
    """What stands for them, mg/dL."""
    censored_high: int | None = None
    """Number of readings of which the file says that they are above what the sensor reports, as in HIGH."""
    censored_high_mg_dL: float | None = None
    """What stands for them, mg/dL."""
    glucose_step_mg_dL: float | None = None
    """Step that the readings are rounded to, mg/dL; None where they are not rounded."""
    interpolated: int | None = None
    """Number of readings that someone drew between the sensor's own."""
    interpolated_share: float | None = None
    """Their share of all readings in the file."""
    interpolation: str | None = None
    """How they are known."""
    basal_unit: str | None = None
    """Unit of the basal rate in the file."""
    basal_unit_by: str | None = None
    """How it was decided."""
    basal_U_day: float | None = None
    """Basal insulin, U/day; None where the file does not tell it from boluses."""
    bolus_U_day: float | None = None
    """Insulin of boluses, U/day; None likewise."""
    insulin_U_day: float | None = None
    """All insulin, U/day."""
    boluses_day: float | None = None
    """Number of boluses per day."""
    carbs_unit: str | None = None
    """Unit of carbohydrate in the file."""
    carbs_unit_by: str | None = None
    """How it was decided."""
    carbs_g_day: float | None = None
    """Carbohydrate, g/day; None where its unit is not known."""
    meals_day: float | None = None
    """Number of meals per day."""
    g_per_U: float | None = None
    """Median carbohydrate per unit of bolus where both were given together, g/U."""
    body_mass_kg: float | None = None
    """Body mass that is known, kg."""
    problems: tuple[str, ...] = ()
    """Why the file cannot be read as it stands; empty where it can."""
    warnings: tuple[str, ...] = ()
    """What may be wrong."""
    notes: tuple[str, ...] = ()
    """What is worth knowing."""

    def as_dict(self) -> dict[str, Any]:
        """The fields by name, for JSON."""
        return dataclasses.asdict(self)

    def _repr_html_(self) -> str:
        rows = [
            (name.replace("_", " "), ", ".join(map(str, value)) if isinstance(value, tuple) else value)
            for name, value in vars(self).items()
            if value not in (None, ()) and name not in ("file", "problems", "warnings", "notes", "gap_list")
        ]
        said = {"Problem": self.problems, "Warning": self.warnings, "Note": self.notes}
        notes = [f"{word}: {text}" for word, texts in said.items() for text in texts]
        return html_table(f"What was read of {self.file}", ["fact", "value"], rows, notes=notes)


def report(
    file: str, kind: str | None, patient: Patient | None, noted: Noted, problems: tuple[str, ...], *, merged: bool
) -> ReadReport:
    """The report of a patient, or of a file that gave none.

    Args:
        file: the file.
        kind: name of the format.
        patient: what was read.
        noted: what was noticed.
        problems: what is wrong.
        merged: whether basal and bolus come as one rate.
    """
    names = {field.name for field in dataclasses.fields(ReadReport)}
    facts = {name: value for name, value in noted.facts.items() if name in names}
    if patient is not None:
        facts = _of_patient(patient, merged=merged, carbs_known=facts.get("carbs_unit_by") is not None) | facts
    return ReadReport(
        file=file,
        format=kind,
        problems=problems,
        warnings=tuple(dict.fromkeys(noted.warnings)),
        notes=tuple(dict.fromkeys(noted.notes)),
        **facts,
    )


def _of_patient(patient: Patient, *, merged: bool, carbs_known: bool) -> dict[str, Any]:
    time, glucose = patient.time_min[patient.valid], patient.glucose_mg_dL[patient.valid]
    say = lambda minute: _say(patient, minute)
    facts: dict[str, Any] = {
        "subject": patient.name,
        "first": say(float(time[0])),
        "last": say(float(time[-1])),
        "span_h": float(time[-1] - time[0]) / 60,
        "readings": len(time),
        "glucose_median_mg_dL": float(np.median(glucose)),
        "glucose_min_mg_dL": float(glucose.min()),
        "glucose_max_mg_dL": float(glucose.max()),
        "body_mass_kg": patient.known.get("M"),
    }
    if len(time) > 1:
        step = np.diff(time)
        interval = float(np.round(np.median(step), 3))
        gap = np.flatnonzero(step > _GAP * interval)
        longest = gap[np.argsort(-step[gap], kind="stable")][:_LISTED]
        facts |= {
            "interval_min": interval,
            "coverage": min(1.0, len(time) / (facts["span_h"] * 60 / interval + 1)),
            "gaps": len(gap),
            "longest_gap_min": float(step[gap].max()) if len(gap) else None,
            "gap_list": tuple((say(float(time[i])), float(step[i])) for i in longest),
        }
    first, last = float(patient.time_min[0]), float(patient.time_min[-1])
    return facts | _per_day(patient, first, last, merged=merged, carbs_known=carbs_known)


def _per_day(patient: Patient, first: float, last: float, *, merged: bool, carbs_known: bool) -> dict[str, Any]:
    doses, days = patient.doses, (last - first) / 1440
    basal = 24 * mean_rate(doses.basal_time_min, doses.basal_U_h, (first, last))
    bolus = (doses.bolus_time_min >= first) & (doses.bolus_time_min <= last)
    meal = (doses.meal_time_min >= first) & (doses.meal_time_min <= last)
    ratios = per_bolus(doses.meal_time_min, doses.carbs_g, doses.bolus_time_min, doses.bolus_U)
    bolus_U = float(doses.bolus_U[bolus].sum()) / days
    facts: dict[str, Any] = {
        "insulin_U_day": basal + bolus_U,
        "meals_day": float(meal.sum()) / days,
    }
    if not merged:
        facts |= {"basal_U_day": basal, "bolus_U_day": bolus_U, "boluses_day": float(bolus.sum()) / days}
    if carbs_known or not meal.any():
        facts["carbs_g_day"] = float(doses.carbs_g[meal].sum()) / days
        facts["g_per_U"] = float(np.median(ratios)) if len(ratios) and not merged else None
    return facts


def _say(patient: Patient, minute: float) -> str:
    clock = at(patient.start, minute)
    return f"minute {minute:g}" if clock is None else clock.isoformat(timespec="seconds")
