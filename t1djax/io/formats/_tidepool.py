"""Tidepool: records of many types, as JSON or as a CSV table with the fields of JSON in its columns."""

import datetime as dt
import json
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

from ...physics import LONG_ACTING_MIN
from .._checks import BLANKS, quote, section
from .._insulin import kind_of_insulin
from .._options import ReadOptions
from .._raw import CarbsUnit, GlucoseUnit, Raw, RawBasal, RawDose, RawReading
from .._remarks import Note, Step, flaw, sound
from . import _layout
from ._json import MS_PER_MIN, Source, once, read_records
from ._sheets import Files

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
_OWN_TYPE = re.compile(r"\b(cbg|smbg|wizard|deviceEvent)\b")
_SHAPE = re.compile(r"\s*[\[{]")


def recognise(head: str) -> bool:
    """Whether the first records have types of Tidepool, or the first table has its fields."""
    text = head.lstrip("\ufeff")
    if _SHAPE.match(text):
        return bool(_TYPE.search(text) and _KEYS.search(text))
    names = set(_layout.names_of(head))
    # Other long tables have a type, a time and a value as well.
    own = names & {"deliveryType", "normal", "uploadId", "deviceId", "deviceTime"} or _OWN_TYPE.search(text)
    return {"type", "time"} <= names and bool(own)


def parse(files: Files, options: ReadOptions) -> Step[Raw | None]:
    """Readings, basal as delivered, boluses and carbohydrate; times carry the offset of the device."""
    path, text = files[0]
    file = str(path)
    csv = not _SHAPE.match(text.lstrip("\ufeff"))
    rows = yield from sound(_table(file, text) if csv else read_records(file, text))
    if rows is None:
        return None
    rows = once(rows, ("id", "guid"))
    timed: list[tuple[Source, dt.datetime]] = []
    for row in rows:
        time = (yield from _time(row)) if row.data.get("type") in USED else None
        timed += [] if time is None else [(row, time)]
    timed.sort(key=lambda pair: pair[1])
    readings, unit = yield from _readings(timed)
    slow = yield from _injections([pair for pair in timed if _is_long(pair[0])], LONG_ACTING_MIN)
    rapid = yield from _injections([pair for pair in timed if not _is_long(pair[0])], 1.0)
    basal = yield from _basal([pair for pair in timed if pair[0].data["type"] == "basal"])
    boluses = yield from _boluses([pair for pair in timed if pair[0].data["type"] == "bolus"])
    meals, carbs_unit = yield from _meals(timed, file)
    skipped = Counter(str(row.data.get("type")) for row in rows if row.data.get("type") not in USED)
    for kind, count in sorted(skipped.items()):
        yield Note(f"{count} records of type {quote(kind)} are not read")
    zones = Counter(str(row.data["timezone"]) for row in rows if row.data.get("timezone"))
    return Raw(
        format="tidepool",
        file=file,
        subject=path.stem,
        readings=readings,
        basal=basal,
        boluses=tuple(sorted([*boluses, *rapid], key=lambda dose: dose.time)),
        meals=meals,
        long_acting=tuple(slow),
        glucose_unit=unit,
        carbs_unit=carbs_unit,
        time_zone=zones.most_common(1)[0][0] if zones else None,
        turn_dates=bool(options.day_first),
    )


def _table(file: str, text: str) -> Step[list[Source] | None]:
    """Rows of a CSV export as records: `a.b` is the field b of a, and a cell may hold JSON itself."""
    found = yield from _layout.blocks(file, text)
    if not found:
        return None
    block = found[0]
    table = yield from section(file, block.names, block.rows, block.lines)
    out: list[Source] = []
    for i, line in enumerate(table.lines):
        data: dict[str, Any] = {}
        for name in block.names:
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


def _time(row: Source) -> Step[dt.datetime | None]:
    """When a record was, with the offset of the device's clock where it is stated."""
    time = row.time_of("time")
    if time is None or time.tzinfo is None:
        yield row.flaw("time", f"{quote(str(row.data.get('time')))} is no time in UTC", "export the file again")
        return None
    offset = yield from row.number_of("timezoneOffset", negative=True)
    if offset is None or abs(offset) >= 24 * 60:
        return time.astimezone(dt.UTC)
    return time.astimezone(dt.timezone(dt.timedelta(minutes=offset)))


def _readings(timed: Sequence[tuple[Source, dt.datetime]]) -> Step[tuple[tuple[RawReading, ...], GlucoseUnit | None]]:
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
        value = yield from row.number_of("value")
        if unit is None:
            yield row.flaw("units", f"{quote(str(row.data.get('units')))} is no unit of glucose", "export again")
        elif value is None or value == 0:
            yield row.flaw("value", "there is no reading", "leave the record out")
        else:
            value, side = _beyond(row, value, unit)
            device = str(row.data.get("deviceId") or "")
            out.append((RawReading(time, value, row.number, side, kind or "calibration", device), unit))
    units = {unit for _, unit in out}
    if len(units) < 2:
        return tuple(reading for reading, _ in out), out[0][1] if out else None
    yield Note("readings are in mg/dL and in mmol/L; all are given in mmol/L")
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


def _basal(timed: Sequence[tuple[Source, dt.datetime]]) -> Step[tuple[RawBasal, ...]]:
    """Rates as delivered: Tidepool cuts basal into pieces, each with its rate and length."""
    out: list[RawBasal] = []
    kinds: Counter[str] = Counter()
    for row, time in timed:
        kind = str(row.data.get("deliveryType", ""))
        rate = 0.0 if kind == "suspend" else (yield from row.number_of("rate"))
        if rate is None:
            rate = yield from _share(row)
        if rate is None:
            yield row.flaw("rate", f"the basal of type {quote(kind)} states no rate", "export the file again")
            continue
        out.append(RawBasal(time, rate, row.number, (yield from row.minutes_of("duration", per_min=MS_PER_MIN))))
        kinds[kind] += 1
    for kind in ("temp", "suspend"):
        if kinds[kind]:
            yield Note(f"{kinds[kind]} pieces of basal are of the kind {kind}")
    return tuple(out)


def _share(row: Source) -> Step[float | None]:
    """A temporary rate stated as a share of the one that it takes the place of."""
    under = row.data.get("suppressed")
    part = yield from row.number_of("percent")
    if part is None or not isinstance(under, dict):
        return None
    rate = yield from row.inside(under).number_of("rate")
    return None if rate is None else part * rate


def _boluses(timed: Sequence[tuple[Source, dt.datetime]]) -> Step[list[RawDose]]:
    out: list[RawDose] = []
    for row, time in timed:
        now, later = (yield from row.number_of("normal")), (yield from row.number_of("extended"))
        length = yield from row.minutes_of("duration", per_min=MS_PER_MIN)
        if now is None and later is None:
            yield row.flaw("normal", "the bolus states no amount", "export the file again")
        if now:
            out.append(RawDose(time, now, row.number))
        if later and length is None:
            yield row.flaw("duration", "the extended bolus has no duration", "export the file again")
        elif later:
            out.append(RawDose(time, later, row.number, max(length or 0.0, 1.0)))
    return out


def _is_long(row: Source) -> bool:
    formulation = row.data.get("formulation")
    simple = formulation.get("simple") if isinstance(formulation, dict) else None
    stated = simple if isinstance(simple, dict) else formulation if isinstance(formulation, dict) else {}
    words = (str(stated.get(key) or "") for key in ("actingType", "brand", "name"))
    return next((kind for word in words if (kind := kind_of_insulin(word)) is not None), None) == "long"


def _injections(timed: Sequence[tuple[Source, dt.datetime]], minutes: float) -> Step[list[RawDose]]:
    out: list[RawDose] = []
    for row, time in timed:
        if row.data["type"] == "insulin":
            amount = yield from row.inside(row.data.get("dose")).number_of("total")
            if amount is None:
                yield row.flaw("dose.total", "the injection states no amount", "export the file again")
            out += [RawDose(time, amount, row.number, minutes)] if amount else []
    return out


def _meals(timed: Sequence[tuple[Source, dt.datetime]], file: str) -> Step[tuple[tuple[RawDose, ...], CarbsUnit]]:
    """Carbohydrate told to the bolus calculator, and food logged by itself."""
    out: list[RawDose] = []
    units: set[str] = set()
    for row, time in timed:
        if row.data["type"] == "wizard":
            amount = yield from row.number_of("carbInput")
            unit = str(row.data.get("carbUnits", "grams"))
        elif row.data["type"] == "food":
            nutrition = row.data.get("nutrition")
            net = nutrition.get("carbohydrate") if isinstance(nutrition, dict) else None
            inside = row.inside(net)
            amount, unit = (yield from inside.number_of("net")), str(inside.data.get("units", "grams"))
        else:
            continue
        if amount:
            units.add(unit)
            out.append(RawDose(time, amount, row.number))
    known: dict[str, CarbsUnit] = {"grams": "g", "exchanges": "exchange"}
    if len(units) > 1 or not units <= set(known):
        what = f"carbohydrate is stated in {' and '.join(sorted(units))}"
        yield flaw(file, what, "export each device's records by themselves", column="carbUnits")
    return tuple(out), known.get(next(iter(units), "grams"), "g")
