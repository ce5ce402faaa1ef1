"""What was read of a file, in numbers."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from .._html import html_table
from ..data import Patient
from ._carbs import per_bolus
from ._clocks import at
from ._coverage import coverage, days_of_sources, mean_over, on_pens, since
from ._remarks import Remarks

_GAP = 1.5
"""A step longer than this many intervals is a gap."""
_LISTED = 20


@dataclasses.dataclass(frozen=True)
class ReadReport:
    """What was read of a file: span, gaps, units, doses per day, and everything that is odd.

    Numbers that a file does not tell are None. Amounts per day are those of the days that are covered: from the first
    to the last row of the record (rows whose reading is left out as interpolated are among them), without stretches of
    more than a day that have no reading, and without whole days in stretches of more than a day that have no dose. They
    are the same before and after `t1djax convert`.
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
    days_covered: float | None = None
    """Days that amounts per day are of."""
    days_readings: int | None = None
    """Number of days with a reading."""
    days_boluses: int | None = None
    """Number of days with a bolus."""
    days_meals: int | None = None
    """Number of days with a meal."""
    days_long_acting: int | None = None
    """Number of days with an injection of long-acting insulin."""
    copies: int | None = None
    """Number of readings left out because they repeat one nearby, as when two programs upload one sensor."""
    other_sensors: int | None = None
    """Number of readings left out because they are of another sensor."""
    long_acting_U_day: float | None = None
    """Long-acting insulin as injected, U/day; what of it acts in the record is in `basal_U_day`."""
    basal_U_day: float | None = None
    """Basal insulin as it acts, long-acting with it, U/day; None where the file does not tell it from boluses. Of a
    person on pens from the first injection on."""
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
    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Of a table of no known format, the guess: columns by the library's names."""
    columns_unplaced: tuple[str, ...] = ()
    """Columns that the guess could not place."""
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
        by_kind = {"Problem": self.problems, "Warning": self.warnings, "Note": self.notes}
        notes = [f"{word}: {text}" for word, texts in by_kind.items() for text in texts]
        return html_table(f"What was read of {self.file}", ["fact", "value"], rows, notes=notes)


def report(file: str, kind: str | None, patient: Patient | None, remarks: Remarks, *, merged: bool) -> ReadReport:
    """The report of a patient, or of a file that gave none."""
    names = {field.name for field in dataclasses.fields(ReadReport)}
    facts = {name: value for name, value in remarks.facts.items() if name in names}
    if patient is not None:
        facts = _of_patient(patient, merged=merged, carbs_known=facts.get("carbs_unit_by") is not None) | facts
    return ReadReport(
        file=file,
        format=kind,
        problems=tuple(map(str, remarks.problems)),
        warnings=tuple(dict.fromkeys(remarks.warnings)),
        notes=tuple(dict.fromkeys(remarks.notes)),
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
    return facts | days_of_sources(patient) | _per_day(patient, merged=merged, carbs_known=carbs_known)


def _per_day(patient: Patient, *, merged: bool, carbs_known: bool) -> dict[str, Any]:
    doses, found = patient.doses, coverage(patient)
    days = found.days()
    spans = since(found.doses, float(doses.long_acting_time_min.min())) if on_pens(doses) else found.doses
    basal = mean_over(*doses.background, spans) * 24 if len(spans) else 0.0
    bolus, meal, long = (found.inside(time) for time, _, _ in doses.events)
    ratios = per_bolus(doses.meal_time_min, doses.carbs_g, doses.bolus_time_min, doses.bolus_U)
    bolus_U = float(doses.bolus_U[bolus].sum()) / days
    facts: dict[str, Any] = {
        "days_covered": days,
        "insulin_U_day": basal + bolus_U,
        "meals_day": float(meal.sum()) / days,
        "long_acting_U_day": float(doses.long_acting_U[long].sum()) / days if len(doses.long_acting_U) else None,
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
