"""Tidepool: records of many types, as JSON or as a CSV table with the fields of JSON in its columns."""

import datetime as dt
import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from ...physics import LONG_ACTING_MIN
from .._checks import BLANKS, Findings, quote, split_rows
from .._insulin import kind_of_insulin
from .._raw import CarbsUnit, GlucoseUnit, Raw, RawBasal, RawDose, RawReading
from . import _exports
from ._json import MS_PER_MIN, Source, once, read_records

MG_PER_MMOL = 18.01559
"""By which Tidepool divides mg/dL when it stores a reading."""
UNITS: dict[str, GlucoseUnit] = {"mmol/l": "mmol/L", "mg/dl": "mg/dL"}
READINGS: dict[str, Literal["cgm", "fingerstick"]] = {"cbg": "cgm", "smbg": "fingerstick"}
LIMITS = {"low": 40.0, "high": 400.0}
"""In mg/dL, where a record says that a reading lay beyond them and not what they are."""
USED = (*READINGS, "basal", "bolus", "wizard", "food", "insulin", "deviceEvent")

_TYPE = re.compile(
    r'"type"\s*:\s*"(cbg|smbg|basal|bolus|wizard|food|insulin|upload|(pump|cgm|controller)(Settings|Status)|deviceEvent|'
    r'physicalActivity|reportedState|dosingDecision|bloodKetone|alert|water)"'
)
_KEYS = re.compile(r'"(uploadId|deviceTime|timezoneOffset|conversionOffset|deliveryType|subType|units|deviceId)"\s*:')
_SHAPE = re.compile(r"\s*[\[{]")


def recognise(head: str, name: str) -> bool:
    """Whether the first records have types of Tidepool, or the first line has its fields."""
    text = head.lstrip("\ufeff")
    if _SHAPE.match(text):
        return bool(_TYPE.search(text) and _KEYS.search(text))
    names = {cell.strip(BLANKS + '"') for cell in text.split("\n", 1)[0].split(_exports.best_delimiter(text, "type"))}
    return {"type", "time"} <= names and bool(names & {"value", "rate", "deliveryType", "normal"})


def parse(path: Path, text: str, found: Findings) -> Raw | None:
    """Readings, basal as delivered, boluses and carbohydrate; times carry the offset of the device."""
    file = str(path)
    before = len(found.problems)
    csv = not _SHAPE.match(text.lstrip("\ufeff"))
    rows = _table(file, text, found) if csv else read_records(file, text, found)
    if rows is None or len(found.problems) > before:
        return None
    rows = once(rows, ("id", "guid"))
    timed = [(row, time) for row in rows if row.data.get("type") in USED and (time := _time(row, found)) is not None]
    timed.sort(key=lambda pair: pair[1])
    notes: list[str] = []
    readings, unit = _readings(timed, notes, found)
    slow = _long_acting(timed, found)
    basal = _basal([pair for pair in timed if pair[0].data["type"] == "basal"], notes, found)
    meals, carbs_unit = _meals(timed, file, found)
    skipped = Counter(str(row.data.get("type")) for row in rows if row.data.get("type") not in USED)
    notes.extend(f"{count} records of type {quote(kind)} are not read" for kind, count in sorted(skipped.items()))
    zones = Counter(str(row.data["timezone"]) for row in rows if row.data.get("timezone"))
    return Raw(
        format="tidepool",
        file=file,
        subject=path.stem,
        readings=readings,
        basal=basal,
        boluses=_boluses(timed, found),
        meals=meals,
        long_acting=tuple(slow),
        glucose_unit=unit,
        carbs_unit=carbs_unit,
        time_zone=zones.most_common(1)[0][0] if zones else None,
        notes=tuple(notes),
    )


def _table(file: str, text: str, found: Findings) -> list[Source] | None:
    """Rows of a CSV export as records: `a.b` is the field b of a, and a cell may hold JSON itself."""
    split = split_rows(file, text, found, delimiter=_exports.best_delimiter(text, "type"))
    if split is None:
        return None
    rows, lines = split
    names = [name.strip(BLANKS) for name in rows[0]]
    table = _exports.section(file, names, rows[1:], lines[1:], found)
    out: list[Source] = []
    for i, line in enumerate(table.lines):
        data: dict[str, Any] = {}
        for name in names:
            cell = table.columns[name][i].strip(BLANKS)
            if cell:
                *path, leaf = name.split(".")
                inside = data
                for part in path:
                    inside = inside.setdefault(part, {}) if isinstance(inside, dict) else {}
                if isinstance(inside, dict):
                    inside[leaf] = _cell(cell)
        out.append(Source(file, line, data))
    return out


def _cell(cell: str) -> Any:
    if cell[0] in "[{":
        try:
            return json.loads(cell)
        except ValueError:
            return cell
    return cell


def _time(row: Source, found: Findings) -> dt.datetime | None:
    """When a record was, with the offset of the device's clock where it is stated."""
    time = row.time_of("time")
    if time is None or time.tzinfo is None:
        row.add("time", f"{quote(str(row.data.get('time')))} is no time in UTC", "export the file again", found)
        return None
    offset = row.number_of("timezoneOffset", found, negative=True)
    if offset is None or abs(offset) >= 24 * 60:
        return time.astimezone(dt.UTC)
    return time.astimezone(dt.timezone(dt.timedelta(minutes=offset)))


def _readings(
    timed: Sequence[tuple[Source, dt.datetime]], notes: list[str], found: Findings
) -> tuple[tuple[RawReading, ...], GlucoseUnit | None]:
    """Readings in the unit that the file states; in mmol/L where it states both."""
    out: list[tuple[RawReading, GlucoseUnit]] = []
    for row, time in timed:
        kind = READINGS.get(row.data["type"])
        if row.data["type"] == "deviceEvent":
            if row.data.get("subType") != "calibration":
                continue
        elif kind is None:
            continue
        unit = UNITS.get(str(row.data.get("units", "")).lower())
        value = row.number_of("value", found)
        if unit is None:
            row.add("units", f"{quote(str(row.data.get('units')))} is no unit of glucose", "export again", found)
        elif value is None or value == 0:
            row.add("value", "there is no reading", "leave the record out", found)
        else:
            value, side = _beyond(row, value, unit)
            device = str(row.data.get("deviceId") or "")
            out.append((RawReading(time, value, row.number, side, kind or "calibration", device), unit))
    units = {unit for _, unit in out}
    if len(units) < 2:
        return tuple(reading for reading, _ in out), out[0][1] if out else None
    notes.append("readings are in mg/dL and in mmol/L; all are given in mmol/L")
    factor: dict[GlucoseUnit, float] = {"mg/dL": 1 / MG_PER_MMOL, "mmol/L": 1.0}
    return tuple(reading._replace(value=reading.value * factor[unit]) for reading, unit in out), "mmol/L"


def _beyond(row: Source, value: float, unit: GlucoseUnit) -> tuple[float, Literal["", "low", "high"]]:
    """The value, or the sensor's limit where the record says that glucose lay beyond it."""
    marks = row.data.get("annotations")
    for mark in marks if isinstance(marks, list) else ():
        side = mark.get("value") if isinstance(mark, dict) and mark.get("code") == "bg/out-of-range" else None
        if side in ("low", "high"):
            limit = mark.get("threshold")
            limit = float(limit) if isinstance(limit, int | float) and limit > 0 else LIMITS[side]
            # Thresholds stay in mg/dL when readings are turned into mmol/L.
            if unit == "mmol/L" and limit > 35:
                limit /= MG_PER_MMOL
            return limit, side
    return value, ""


def _basal(timed: Sequence[tuple[Source, dt.datetime]], notes: list[str], found: Findings) -> tuple[RawBasal, ...]:
    """Rates as delivered: Tidepool cuts basal into pieces, each with its rate and length."""
    out: list[RawBasal] = []
    kinds: Counter[str] = Counter()
    for row, time in timed:
        kind = str(row.data.get("deliveryType", ""))
        rate = 0.0 if kind == "suspend" else row.number_of("rate", found)
        if rate is None:
            rate = _share(row, found)
        if rate is None:
            row.add("rate", f"the basal of type {quote(kind)} states no rate", "export the file again", found)
            continue
        out.append(RawBasal(time, rate, row.number, row.minutes_of("duration", found, per_min=MS_PER_MIN)))
        kinds[kind] += 1
    notes.extend(f"{kinds[kind]} pieces of basal are of the kind {kind}" for kind in ("temp", "suspend") if kinds[kind])
    return tuple(out)


def _share(row: Source, found: Findings) -> float | None:
    """A temporary rate stated as a share of the one that it takes the place of."""
    under = row.data.get("suppressed")
    part = row.number_of("percent", found)
    if part is None or not isinstance(under, dict):
        return None
    rate = Source(row.file, row.number, under).number_of("rate", found)
    return None if rate is None else part * rate


def _boluses(timed: Sequence[tuple[Source, dt.datetime]], found: Findings) -> tuple[RawDose, ...]:
    out: list[RawDose] = []
    for row, time in timed:
        if row.data["type"] == "bolus":
            now, later = row.number_of("normal", found), row.number_of("extended", found)
            length = row.minutes_of("duration", found, per_min=MS_PER_MIN)
            if now is None and later is None:
                row.add("normal", "the bolus states no amount", "export the file again", found)
            if now:
                out.append(RawDose(time, now, row.number))
            if later and length is None:
                row.add("duration", "the extended bolus has no duration", "export the file again", found)
            elif later:
                out.append(RawDose(time, later, row.number, max(length or 0.0, 1.0)))
        elif row.data["type"] == "insulin" and not _is_long(row):
            out.extend(_injection(row, time, found))
    return tuple(out)


def _is_long(row: Source) -> bool:
    formulation = row.data.get("formulation")
    simple = formulation.get("simple") if isinstance(formulation, dict) else None
    stated = simple if isinstance(simple, dict) else formulation if isinstance(formulation, dict) else {}
    words = (str(stated.get(key) or "") for key in ("actingType", "brand", "name"))
    return next((kind for word in words if (kind := kind_of_insulin(word)) is not None), None) == "long"


def _injection(row: Source, time: dt.datetime, found: Findings) -> list[RawDose]:
    dose = row.data.get("dose")
    amount = Source(row.file, row.number, dose if isinstance(dose, dict) else {}).number_of("total", found)
    if amount is None:
        row.add("dose.total", "the injection states no amount", "export the file again", found)
    return [RawDose(time, amount, row.number, LONG_ACTING_MIN if _is_long(row) else 1.0)] if amount else []


def _long_acting(timed: Sequence[tuple[Source, dt.datetime]], found: Findings) -> list[RawDose]:
    rows = [(row, time) for row, time in timed if row.data["type"] == "insulin" and _is_long(row)]
    return [dose for row, time in rows for dose in _injection(row, time, found)]


def _meals(
    timed: Sequence[tuple[Source, dt.datetime]], file: str, found: Findings
) -> tuple[tuple[RawDose, ...], CarbsUnit]:
    """Carbohydrate told to the bolus calculator, and food logged by itself."""
    out: list[RawDose] = []
    units: set[str] = set()
    for row, time in timed:
        if row.data["type"] == "wizard":
            amount = row.number_of("carbInput", found)
            unit = str(row.data.get("carbUnits", "grams"))
        elif row.data["type"] == "food":
            nutrition = row.data.get("nutrition")
            net = nutrition.get("carbohydrate") if isinstance(nutrition, dict) else None
            inside = Source(row.file, row.number, net if isinstance(net, dict) else {})
            amount, unit = inside.number_of("net", found), str(inside.data.get("units", "grams"))
        else:
            continue
        if amount:
            units.add(unit)
            out.append(RawDose(time, amount, row.number))
    known: dict[str, CarbsUnit] = {"grams": "g", "exchanges": "exchange"}
    if len(units) > 1 or not units <= set(known):
        what = f"carbohydrate is stated in {' and '.join(sorted(units))}"
        found.add(file, what, "export each device's records by themselves", column="carbUnits")
    return tuple(out), known.get(next(iter(units), "grams"), "g")
