"""Tables of vendors, apps and studies that are known by the names of their columns."""

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from .._columns import (
    BASAL,
    BASAL_DURATION,
    BOLUS,
    BOLUS_DURATION,
    CARBS,
    CLOCK,
    DEVICE,
    EVENT,
    GLUCOSE_MMOL,
    JOIN,
    LONG_ACTING,
    OFFSET,
    VALUE,
    WHO,
)
from . import _layout

Roles = Mapping[str, str | tuple[str, ...]]
"""By the library's name, patterns of a column's whole name; several are summed, or joined where they are a time."""


class Sheet(NamedTuple):
    """One table."""

    needs: tuple[str, ...]
    """Patterns of names that are all there."""
    roles: Roles
    events: Mapping[str, str] = {}
    """What the words of the column `event` mean, where they are the table's own."""


class Known(NamedTuple):
    """One format."""

    name: str
    description: str
    sheets: tuple[Sheet, ...]
    clean: Mapping[str, float] = {}
    """Amounts by kind above which a row is damaged; it is left out, where there are few."""


_GLOOKO = r"CGM Glucose Value \((mg/dl|mmol/l)\)"
_DAY_TIME = ("Date", "Time")
KNOWN = (
    Known("azt1d", "AZT1D dataset, one CSV per person", (
        Sheet(("EventDateTime", "Basal", "TotalBolusInsulinDelivered", "CarbSize"),
              {CLOCK: "EventDateTime", "glucose": r"CGM|Readings.*|.*glucose.*", BASAL: "Basal",
               BOLUS: "TotalBolusInsulinDelivered", CARBS: "CarbSize"}),
    ), {"basal": 15.0, "carbs": 250.0}),
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
    )),
    Known("tconnect", "Tandem t:connect, CSV export", (
        Sheet(("DeviceType", "EventDateTime", r"Readings \(.*\)"),
              {CLOCK: "EventDateTime", "glucose": r"Readings \(.*\)"}),
        Sheet(("BolusType", "CompletionDateTime", "InsulinDelivered"),
              {CLOCK: "CompletionDateTime", BOLUS: "InsulinDelivered", CARBS: "CarbSize"}),
        Sheet(("EventDateTime", r"Basal ?Rate.*"), {CLOCK: "EventDateTime", BASAL: r"Basal ?Rate.*"}),
    )),
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
    )),
    Known("t1d_uom", "T1D-UOM dataset, tables of glucose, insulin and food", (
        Sheet(("bg_ts", "value"), {CLOCK: "bg_ts", GLUCOSE_MMOL: "value"}),
        Sheet(("bolus_ts", "bolus_dose"), {CLOCK: "bolus_ts", BOLUS: "bolus_dose"}),
        Sheet(("basal_ts", "basal_dose", "insulin_kind"),
              {CLOCK: "basal_ts", VALUE: "basal_dose", EVENT: "insulin_kind"}, {"R": "basal", "L": "long_acting"}),
        Sheet(("meal_ts", "carbs_g"), {CLOCK: "meal_ts", CARBS: "carbs_g"}),
    )),
    Known("sidiary", "xDrip, table for SiDiary", (
        Sheet(("DAY", "TIME", "UDT_CGMS"),
              {CLOCK: ("DAY", "TIME"), "glucose": "UDT_CGMS", BOLUS: "BOLUS", LONG_ACTING: "BASAL", CARBS: "CH_GR"}),
    )),
    Known("brist1d", "BrisT1D, one wide row each 5 min", (
        Sheet(("p_num", "time", r"bg-0:00"), {WHO: "p_num", CLOCK: "time", GLUCOSE_MMOL: r"bg-0:00"}),
    )),
)  # fmt: skip
"""Formats that are tables."""


def known_as(names: Sequence[str]) -> Iterator[tuple[Known, Sheet]]:
    """The formats that a table with these columns can be of."""
    there = lambda pattern: any(re.fullmatch(pattern, name, re.IGNORECASE) for name in names)
    for known in KNOWN:
        for sheet in known.sheets:
            if all(map(there, sheet.needs)):
                yield known, sheet
                break


@functools.lru_cache(maxsize=4)
def formats_of(head: str) -> frozenset[str]:
    """Names of the formats that the first characters of a file can be of."""
    return frozenset(known.name for known, _ in known_as(_layout.names_of(head)))


def columns_of(sheet: Sheet, names: Sequence[str]) -> dict[str, str]:
    """Of a table, its column by the library's name; of several, their names joined."""
    out: dict[str, str] = {}
    for own, patterns in sheet.roles.items():
        each = (patterns,) if isinstance(patterns, str) else patterns
        found = [next((n for n in names if re.fullmatch(p, n, re.IGNORECASE)), None) for p in each]
        if stated := [name for name in found if name is not None]:
            out[own] = JOIN.join(stated)
    return out
