"""Tables of vendors, apps and studies that are known by the names of their columns."""

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .._checks import HUPA
from .._columns import (
    BASAL,
    BASAL_DURATION,
    BOLUS,
    BOLUS_DURATION,
    CARBS,
    CLOCK,
    DEVICE,
    EVENT,
    GLUCOSE,
    GLUCOSE_MMOL,
    JOIN,
    LONG_ACTING,
    OFFSET,
    TIME,
    VALUE,
    WHO,
)
from .._raw import BasalUnit
from .._remarks import Note, Step, flaw
from . import _layout


class Sheet(NamedTuple):
    """One table."""

    needs: tuple[str, ...] = ()
    """Patterns of names that are all there."""
    roles: Mapping[str, str | tuple[str, ...]] = {}
    """By the library's name, patterns of a column's whole name; several are summed, or joined where they are words."""
    events: Mapping[str, str] = {}
    """What a row may hold by the words of the column `event`: kinds for a pattern, none for what is passed over."""
    units: Mapping[str, Any] = {}
    """By kind, as documented."""
    clean: Mapping[str, float] = {}
    """Amounts by kind above which a row is damaged; it is left out, where there are few."""
    row_min: float | None = None
    """Spacing of rows whose amounts are those of a row, min; 0 where it may be any."""
    over_rows: tuple[str, ...] = ()
    """Kinds of doses that last for their row."""
    merged: bool = False
    """Whether `basal` holds all insulin."""
    basal_unit_of: Callable[[str, Mapping[str, Any]], Step[Any]] | None = None
    """Tells the unit of basal from the amounts."""
    notes: tuple[str, ...] = ()
    """For the report; `{row}` becomes the spacing of the rows."""


class Known(NamedTuple):
    """One format."""

    name: str
    description: str
    sheets: tuple[Sheet, ...]
    joins: bool = False
    """Whether one person has a file for each table."""


def _basal_of_glupredkit(file: str, amounts: Mapping[str, Any]) -> Step[BasalUnit | None]:
    """In which unit basal and bolus sum to insulin; None, with an error, where in neither."""
    insulin, basal, bolus = (np.nan_to_num(amounts[kind]) for kind in ("insulin", "basal", "bolus"))
    units: tuple[tuple[BasalUnit, float], ...] = (("U/5min", 1.0), ("U/h", 12.0))
    for unit, rows in units:
        if np.mean(np.abs(insulin - bolus - basal / rows) < 1e-4 + 1e-3 * np.abs(insulin)) > 0.99:
            yield Note(f"basal is in {unit}: with it, insulin is the sum of basal and bolus")
            return unit
    remedy = "put them right, or drop basal and bolus to read insulin as delivered"
    yield flaw(file, "it is not the sum of basal and bolus, per 5 min or per hour", remedy, column="insulin")
    return None


_GLOOKO = r"CGM Glucose Value \((mg/dl|mmol/l)\)"
_DAY_TIME = ("Date", "Time")
_CLARITY = r"Glucose Value \((mg/dL|mmol/L)\)"
_CLARITY_TIME = r"Timestamp \(YYYY-MM-DDThh:mm:ss\)"
_FRAME = ("date", "CGM", "insulin", "carbs")
_MERGED = "the file gives basal and bolus as one delivered rate"
KNOWN = (
    Known("dexcom_clarity", "Dexcom Clarity, CSV export", (
        Sheet((_CLARITY_TIME, "Event Type", "Event Subtype", _CLARITY),
              {CLOCK: _CLARITY_TIME, EVENT: ("Event Type", "Event Subtype"), "glucose": _CLARITY,
               BOLUS: r"Insulin Value \(u\)", LONG_ACTING: r"Insulin Value \(u\)", CARBS: r"Carb Value \(grams\)"},
              {"Fasting Glucose.*": "fingerstick",
               "(Exercise|Activity|Health|Notes|Alert|Device|Sensor|FirstName|LastName|DateOfBirth|Medication|Meal).*":
               ""}),
    )),
    Known("hupa", "HUPA-UCM dataset, 5-min rows", (
        Sheet(HUPA, {CLOCK: "time", GLUCOSE: "glucose", "basal": "basal_rate", BOLUS: "bolus_volume_delivered",
                     "carbs": "carb_input"}, units={"basal": "U/5min"}, row_min=5.0),
    )),
    Known("replaybg", "ReplayBG, 5-min rows", (
        Sheet(("t", "glucose", "cho", "bolus", "basal"),
              {CLOCK: "t", GLUCOSE: "glucose", "basal": "basal", BOLUS: "bolus", "carbs": "cho"},
              units={"basal": "U/min", "bolus": "U/min", "carbs": "g/min"}, row_min=0.0, over_rows=("bolus", "carbs"),
              notes=("boluses and meals are rates held over {row:g}-min rows",)),
    )),
    Known("simglucose", "simglucose, results of a simulation", (
        Sheet(("Time", "CGM", "CHO", "insulin"), {CLOCK: "Time", GLUCOSE: "CGM", "basal": "insulin", "carbs": "CHO"},
              units={"basal": "U/min", "carbs": "g/min"}, row_min=0.0, over_rows=("carbs",), merged=True,
              notes=(_MERGED, "meals are rates held over {row:g}-min rows")),
        Sheet(("min", "Gsub_mgdl", "CHO_announced_g", "insulin_U_per_min"),
              {TIME: "min", GLUCOSE: "Gsub_mgdl", "basal": "insulin_U_per_min", CARBS: "CHO_announced_g"},
              units={"basal": "U/min"}, over_rows=("carbs",), merged=True,
              notes=(_MERGED, "glucose is the simulation's own under the skin, without noise")),
    )),
    Known("glupredkit", "GluPredKit or MetaboNet, 5-min rows", (
        Sheet((*_FRAME, "basal", "bolus"),
              {WHO: "id", CLOCK: "date", GLUCOSE: "CGM", "insulin": "insulin", "basal": "basal", BOLUS: "bolus",
               CARBS: "carbs"}, row_min=5.0, basal_unit_of=_basal_of_glupredkit),
        Sheet(_FRAME, {WHO: "id", CLOCK: "date", GLUCOSE: "CGM", "basal": "insulin", CARBS: "carbs"},
              units={"basal": "U/5min"}, row_min=5.0, merged=True,
              notes=("basal and bolus are taken as one delivered rate",)),
    )),
    Known("azt1d", "AZT1D dataset, one CSV per person", (
        Sheet(("EventDateTime", "Basal", "TotalBolusInsulinDelivered", "CarbSize"),
              {CLOCK: "EventDateTime", "glucose": r"CGM|Readings.*|.*glucose.*", BASAL: "Basal",
               BOLUS: "TotalBolusInsulinDelivered", CARBS: "CarbSize"}, clean={"basal": 15.0, "carbs": 250.0}),
    )),
    Known("glooko", "Glooko, zip or folder of CSV files", (
        Sheet(("Timestamp", _GLOOKO), {CLOCK: "Timestamp", "glucose": _GLOOKO, DEVICE: "Serial Number"}),
        Sheet(("Timestamp", r"Insulin Delivered \(U\)", r"Carbs Input \(g\)"),
              {CLOCK: "Timestamp", BOLUS: r"Insulin Delivered \(U\)", CARBS: r"Carbs Input \(g\)"}),
        Sheet(("Timestamp", r"Duration \(minutes\)", "Rate"),
              {CLOCK: "Timestamp", BASAL: "Rate", BASAL_DURATION: r"Duration \(minutes\)"}),
        Sheet(("Timestamp", r"Carbs \(g\)"), {CLOCK: "Timestamp", CARBS: r"Carbs \(g\)"}),
        Sheet(("Timestamp", r"Insulin Type|Medication Type", r"(Value|Insulin Value|Units|Insulin) *(\(U(nits)?\))?"),
              {CLOCK: "Timestamp", EVENT: "Insulin Type|Medication Type",
               VALUE: r"(Value|Insulin Value|Units|Insulin) *(\(U(nits)?\))?"}),
    ), joins=True),
    Known("tconnect", "Tandem t:connect, CSV export", (
        Sheet(("DeviceType", "EventDateTime", r"Readings \(.*\)"),
              {CLOCK: "EventDateTime", "glucose": r"Readings \(.*\)"}),
        Sheet(("BolusType", "CompletionDateTime", "InsulinDelivered"),
              {CLOCK: "CompletionDateTime", BOLUS: "InsulinDelivered", CARBS: "CarbSize"}),
        Sheet(("EventDateTime", r"Basal ?Rate.*"), {CLOCK: "EventDateTime", BASAL: r"Basal ?Rate.*"}),
    ), joins=True),
    Known("mysugr", "mySugr, CSV export", (
        Sheet((*_DAY_TIME, r"Blood Sugar Measurement \(.*\)"),
              {CLOCK: _DAY_TIME, "glucose": r"Blood Sugar Measurement \(.*\)",
               BOLUS: (r"Insulin Injection Units \(pen\)", r"Insulin Injection Units \(pump\)"),
               LONG_ACTING: "Basal Injection Units", "carbs": "Meal Carbohydrates.*"}),
    )),
    Known("iglu", "table of the R package iglu", (
        Sheet(("id", "time", "gl"), {WHO: "id", CLOCK: "time", "glucose": "gl"}),
    )),
    Known("jaeb", "table of a JAEB study, one for all people", (
        Sheet(("PtID", "(UTC|Device|Data)?DtTm", "CGMVal|GlucoseValue|CGM|Glucose|Value"),
              {WHO: "PtID", CLOCK: "(UTC|Device|Data)?DtTm", OFFSET: "TmZnOffset", EVENT: "RecordType",
               "glucose": "CGMVal|GlucoseValue|CGM|Glucose|Value"}),
    )),
    Known("babelbetes", "babelbetes, tables of glucose, boluses and basal", (
        Sheet(("patient_id", "datetime", "cgm"), {WHO: "patient_id", CLOCK: "datetime", "glucose": "cgm"}),
        Sheet(("patient_id", "datetime", "bolus"),
              {WHO: "patient_id", CLOCK: "datetime", BOLUS: "bolus", BOLUS_DURATION: "delivery_duration"}),
        Sheet(("patient_id", "datetime", "basal_rate"), {WHO: "patient_id", CLOCK: "datetime", BASAL: "basal_rate"}),
    ), joins=True),
    Known("t1d_uom", "T1D-UOM dataset, tables of glucose, insulin and food", (
        Sheet(("bg_ts", "value"), {CLOCK: "bg_ts", GLUCOSE_MMOL: "value"}),
        Sheet(("bolus_ts", "bolus_dose"), {CLOCK: "bolus_ts", BOLUS: "bolus_dose"}),
        Sheet(("basal_ts", "basal_dose", "insulin_kind"),
              {CLOCK: "basal_ts", VALUE: "basal_dose", EVENT: "insulin_kind"},
              {"R": "basal", "L": "long_acting"}, {"basal": "U/h"}),
        Sheet(("meal_ts", "carbs_g"), {CLOCK: "meal_ts", CARBS: "carbs_g"}),
    ), joins=True),
    Known("sidiary", "xDrip, table for SiDiary", (
        Sheet(("DAY", "TIME", "UDT_CGMS"),
              {CLOCK: ("DAY", "TIME"), "glucose": "UDT_CGMS", BOLUS: "BOLUS", LONG_ACTING: "BASAL", CARBS: "CH_GR"}),
    )),
    Known("brist1d", "BrisT1D, one wide row each 5 min", (
        Sheet(("p_num", "time", r"bg-0:00"), {WHO: "p_num", CLOCK: "time", GLUCOSE_MMOL: r"bg-0:00"}),
    )),
)  # fmt: skip
"""Formats that are tables."""


def sheet_of(known: Known, names: Sequence[str]) -> Sheet | None:
    """Which of a format's tables has these columns; None where none has."""
    there = lambda pattern: any(re.fullmatch(pattern, name, re.IGNORECASE) for name in names)
    return next((sheet for sheet in known.sheets if all(map(there, sheet.needs))), None)


@functools.lru_cache(maxsize=4)
def formats_of(head: str) -> frozenset[str]:
    """Names of the formats that the first characters of a file can be of."""
    names = _layout.names_of(head)
    return frozenset(known.name for known in KNOWN if sheet_of(known, names) is not None)


def columns_of(sheet: Sheet, names: Sequence[str]) -> dict[str, str]:
    """Of a table, its column by the library's name; of several, their names joined."""
    out: dict[str, str] = {}
    for own, patterns in sheet.roles.items():
        each = (patterns,) if isinstance(patterns, str) else patterns
        found = [next((n for n in names if re.fullmatch(p, n, re.IGNORECASE)), None) for p in each]
        if stated := [name for name in found if name is not None]:
            out[own] = JOIN.join(stated)
    return out
