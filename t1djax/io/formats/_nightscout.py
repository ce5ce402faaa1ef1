"""Nightscout: entries, treatments and profiles, in one file or in several."""

import datetime as dt
import json
import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from ..._types import GlucoseUnit
from .._checks import quote
from .._insulin import Sorted, is_equivalent, is_priming, kind_of_insulin, sort_injections
from .._options import ReadOptions
from .._raw import Raw, RawBasal, RawDose, RawReading
from .._remarks import Doubt, Note, Step, flaw, sound
from . import _nightscout_profiles as profiles
from ._json import MS_PER_MIN, Record, Source, once, read_records
from ._rates import Command, delivered, say_commands
from ._sheets import Files

LOW, HIGH = 39.0, 401.0
"""What uploaders write for readings beyond 40 and 400 mg/dL."""
ERRORS = 13.0
"""Below this a reading is the number of an error of the sensor."""
TEMP, SUSPEND, RESUME = "Temp Basal", "Suspend Pump", "Resume Pump"
LISTS = ("entries", "treatments", "profiles", "profile")
OTHERS = ("devicestatus", "activity", "food", "status", "settings")
"""Collections of which nothing is read."""
_COLLECTIONS = frozenset((*LISTS, *OTHERS))
IDENTITY = ("_id", "identifier")
FIRST_MS = 1e11
"""A smaller date counts seconds."""

_WORDS = ("eventType", "type", "subType", "reason", "bolusType", "foodType")
_NAMES = ("insulinType", "insulinName", "insulin_type", "insulinBrand")
_FEW_WORDS = 3
"""Longer notes tell a story, in which a name of an insulin is no statement of its kind."""
_PLANNED = re.compile(r"\b(planned|scheduled|pending|reminder|suggested|recommended)\b", re.I)

_KEYS = re.compile(r'"(sgv|mbg|eventType|defaultProfile|carbratio)"\s*:')
_SHAPE = re.compile(r"\s*[\[{]")


def recognise(head: str) -> bool:
    """Whether the first records are entries, treatments or profiles."""
    return bool(_SHAPE.match(head.lstrip("\ufeff")) and _KEYS.search(head))


def parse(files: Files, options: ReadOptions) -> Step[Raw | None]:
    """Files with records of any kind, or objects with a list of each kind, as one record.

    Basal is as delivered: the profile's schedule in its time zone, as switches choose it, under temporary rates and
    suspensions. A temporary rate in percent states the change, as Nightscout defines it: -50 is half, 100 is twice.
    """
    paths = [path for path, _ in files]
    kinds = yield from sound(_records(files))
    if kinds is None:
        return None
    if kinds[""]:
        yield Note(f"{len(kinds[''])} records are no entries, treatments or profiles and are left out")
    entries, treatments = (once(kinds[kind], IDENTITY) for kind in ("entry", "treatment"))
    readings = yield from _readings(entries, options.glucose_unit)
    given = yield from _doses(treatments)
    doses = [*given.boluses, *given.meals, *given.long_acting]
    basal, zone = yield from _basal(kinds["profile"], treatments, readings, doses, str(paths[0]))
    if not kinds["profile"] and doses and not given.long_acting:
        yield Note("there is no profile, so the basal is unknown")
    return Raw(
        format="nightscout",
        file=str(paths[0]) if len(paths) == 1 else str(paths[0].parent),
        subject=paths[0].stem if len(paths) == 1 else paths[0].resolve().parent.name,
        readings=readings,
        basal=basal,
        boluses=tuple(given.boluses),
        meals=tuple(given.meals),
        long_acting=tuple(given.long_acting),
        glucose_unit="mg/dL",
        time_zone=zone,
        turn_dates=bool(options.day_first),
    )


def _records(files: Files) -> Step[dict[str, list[Source]]]:
    """Records by collection; empty those of no known one."""
    kinds: dict[str, list[Source]] = {"entry": [], "treatment": [], "profile": [], "": []}
    for path, text in files:
        rows = yield from read_records(str(path), text)
        for row in (yield from _unpacked(rows or ())):
            if row.data.get("isValid") is not False:
                kinds[_kind(row)].append(row)
    return kinds


def _unpacked(rows: Sequence[Source]) -> Step[list[Source]]:
    """Records of objects that hold a list of each kind."""
    out: list[Source] = []
    for row in rows:
        lists = [key for key in row.data.keys() & _COLLECTIONS if isinstance(row.data[key], list)]
        for key in lists:
            for number, data in enumerate(row.data[key], 1):
                if isinstance(data, dict):
                    out.append(Source(row.file, number, data))
                else:
                    yield row.flaw(key, f"its record {number} is no object", "export it again")
        if not lists:
            out.append(row)
    return out


def _kind(row: Source) -> str:
    """Which collection a record is of; empty where of none that is read."""
    data = row.data
    if "eventType" in data:
        return "treatment"
    if "store" in data or "defaultProfile" in data or ("basal" in data and "carbratio" in data):
        return "profile"
    if "sgv" in data or "mbg" in data or data.get("type") in ("sgv", "mbg", "cal", "sensor"):
        return "entry"
    # Treatments without a type still give insulin or carbohydrate.
    return "treatment" if "created_at" in data and ("insulin" in data or "carbs" in data) else ""


def _readings(rows: Sequence[Source], unit: GlucoseUnit | None) -> Step[tuple[RawReading, ...]]:
    out: list[RawReading] = []
    errors = seconds = uploads = 0
    coded = unit != "mmol/L" and not _looks_like_mmol(rows)
    for row in rows:
        key = "sgv" if "sgv" in row.data else "mbg"
        if key not in row.data:
            continue
        date = row.data.get("date")
        stated = date is not None or row.data.get("dateString") is not None
        time = row.time_of("date") or row.time_of("dateString") or (None if stated else row.time_of("sysTime"))
        if time is None or time.tzinfo is None:
            yield row.flaw("date", "the entry has no time in UTC", "export the entries again")
            continue
        value = yield from row.number_of(key)
        if value is None:
            continue
        seconds += str(date).replace(".", "", 1).isdecimal() and float(str(date)) < FIRST_MS
        uploads += not stated
        device = str(row.data.get("device") or "")
        if key == "mbg":
            out.append(RawReading(time, value, row.number, "", "fingerstick", device))
        elif value < ERRORS and coded:
            errors += 1
        elif value in (LOW, HIGH):
            limit = value + 1 if value == LOW else value - 1
            out.append(RawReading(time, limit, row.number, "low" if value == LOW else "high", "cgm", device))
        else:
            out.append(RawReading(time, value, row.number, "", "cgm", device))
    if errors:
        yield Note(f"{errors} entries below {ERRORS:g} are numbers of sensor errors and are left out")
    if seconds:
        yield Doubt(f"{seconds} entries have a date in seconds, where Nightscout counts milliseconds; it is read so")
    if uploads:
        yield Doubt(f"{uploads} entries have no date: sysTime, when they were uploaded, is taken for it")
    return tuple(sorted(out, key=lambda reading: reading.time))


def _looks_like_mmol(rows: Sequence[Source]) -> bool:
    """Whether values below the numbers of errors are readings: most are, or they have decimals, which no number has."""
    sgv = [x for row in rows if isinstance(x := row.data.get("sgv"), int | float) and not isinstance(x, bool)]
    low = [x for x in sgv if x < ERRORS]
    return len(low) > 0.5 * len(sgv) or sum(x != int(x) for x in low) > 0.5 * len(low)


class _Given(NamedTuple):
    """What was given, in order of time."""

    boluses: list[RawDose]
    meals: list[RawDose]
    long_acting: list[RawDose]


def _doses(rows: Sequence[Source]) -> Step[_Given]:
    """Boluses, meals and long-acting insulin; not what filled a tube, stands for fat and protein, or is planned."""
    out = _Given([], [], [])
    left_out: dict[str, list[float]] = {}
    unknown: Counter[str] = Counter()
    for row in rows:
        insulin, carbs = (yield from row.number_of("insulin")) or 0.0, (yield from row.number_of("carbs")) or 0.0
        combo = row.data.get("eventType") == "Combo Bolus"
        injected = yield from _injected(row, insulin)
        insulin, slow = injected.rapid, injected.long
        if not insulin and not slow and not carbs and not combo:
            continue
        time = yield from profiles.event_time(row)
        if time is None:
            continue
        word = " ".join(str(row.data.get(key) or "") for key in _WORDS)
        if insulin and is_priming(word):
            left_out.setdefault("{} fill a tube or a cannula, {:g} U", []).append(insulin)
            insulin = 0.0
        if carbs and (row.data.get("isFPU") is True or row.data.get("fpuID") or is_equivalent(word)):
            left_out.setdefault("{} stand for fat and protein, {:g} g", []).append(carbs)
            carbs = 0.0
        if _PLANNED.search(word):
            left_out.setdefault("{} are only planned, {:g} U and g", []).append(insulin + carbs + slow)
            continue
        unknown.update(injected.unknown)
        minutes = (yield from row.minutes_of("duration")) or 0.0
        long = max(minutes, 1.0)
        extended = combo or str(row.data.get("type", "")).lower() in ("square", "extended")
        if slow:
            out.long_acting.append(RawDose(time, slow, row.number, injected.long_min))
        if insulin:
            out.boluses.append(RawDose(time, insulin, row.number, 1.0 if combo or not extended else long))
        if combo:
            # `insulin` is the part given at once; the rest runs at `relative` U/h.
            rate, share = (yield from row.number_of("relative")), (yield from row.number_of("splitExt"))
            total = yield from row.number_of("enteredinsulin")
            later = rate * minutes / 60 if rate is not None else (total or 0.0) * (share or 0.0) / 100
            if (rate or later) and not minutes:
                yield row.flaw("duration", "the extended bolus has no duration", "export the treatments again")
            elif later:
                out.boluses.append(RawDose(time, later, row.number, long))
            if rate is None and total is None and row.data.get("insulin") is None:
                yield row.flaw("relative", "the combo bolus states no amount", "export the treatments again")
        if carbs:
            spread = minutes if not insulin and not combo and minutes > 0 else 1.0
            out.meals.append(RawDose(time, carbs, row.number, max(spread, 1.0)))
    for text, amounts in left_out.items():
        yield Doubt(f"treatments are left out: {text.format(len(amounts), sum(amounts))}")
    for name, count in unknown.items():
        yield Doubt(f"{count} injections of {quote(name)} are taken as boluses: its kind of insulin is not known")
    for those in out:
        those.sort(key=lambda dose: dose.time)
    return out


def _injected(row: Source, insulin: float) -> Step[Sorted]:
    """The units of a treatment by kind of insulin: of injections by name, of a mark, or of a name in the notes."""
    parts = row.data.get("insulinInjections")
    if isinstance(parts, str):
        try:
            parts = json.loads(parts)
        except ValueError:
            yield row.flaw("insulinInjections", "it is not JSON", "export the treatments again")
            parts = None
    named: list[tuple[str, float]] = []
    for part in parts if isinstance(parts, list) else ():
        one = row.inside(part)
        named.append((str(one.data.get("insulin") or ""), (yield from one.number_of("units")) or 0.0))
    rest = insulin - sum(units for _, units in named)
    if rest > 0.005:
        named.append((_insulin_name(row.data, bool(named)), rest))
    return sort_injections(named)


def _insulin_name(data: Record, named: bool) -> str:
    """What a treatment calls its insulin; that of a bolus where it does not."""
    if data.get("isBasalInsulin") is True:
        return (
            str(data.get("notes") or "") if kind_of_insulin(str(data.get("notes") or "")) == "long" else "long-acting"
        )
    stated = next((str(data[key]) for key in _NAMES if isinstance(data.get(key), str) and data[key]), "")
    notes = str(data.get("notes") or "")
    kind = str(data.get("eventType") or "")
    if not stated and not named and not data.get("carbs") and len(notes.split()) <= _FEW_WORDS:
        stated = notes if kind_of_insulin(notes) == "long" else ""
    if not stated and TEMP not in kind and kind_of_insulin(kind) == "long":
        stated = kind
    return stated or "bolus"


def _basal(
    documents: Sequence[Source],
    treatments: Sequence[Source],
    readings: Sequence[RawReading],
    doses: Sequence[RawDose],
    file: str,
) -> Step[tuple[tuple[RawBasal, ...], str | None]]:
    stored = yield from profiles.read_documents(documents)
    commands, ended = yield from _commands(treatments)
    times = [row.time for row in readings] + [dose.time for dose in doses] + [row.start for row in commands]
    if not stored or not times:
        if commands and not documents:
            what = "there are temporary basals but no profile, so the scheduled basal is unknown"
            yield flaw(file, what, "add the profiles (api/v1/profile.json) beside the treatments")
        return (), None
    switches = yield from profiles.read_switches(treatments)
    if ended:
        yield Note(f"{ended} suspensions have no end and are taken to last to the end of the file")
    first, last = min(times), max(times)
    scheduled = yield from profiles.scheduled_basal(stored, switches, first, last)
    zones = Counter(schedule.zone.key for document in stored for schedule in document.store.values())
    if len(zones) > 1:
        yield Note(f"the profiles are in several time zones: {', '.join(sorted(zones))}")
    yield from say_commands(commands)
    until = last + dt.timedelta(minutes=1)
    rates = delivered(scheduled, [row._replace(end=min(row.end, until)) for row in commands])
    return tuple(rate for rate in rates if rate.time <= last), zones.most_common(1)[0][0]


def _commands(treatments: Sequence[Source]) -> Step[tuple[list[Command], int]]:
    out: list[Command] = []
    stops: list[tuple[dt.datetime, Source]] = []
    resumes: list[dt.datetime] = []
    percent_seen = False
    for row in treatments:
        kind = str(row.data.get("eventType", ""))
        if TEMP not in kind and kind not in (SUSPEND, RESUME):
            continue
        time = yield from profiles.event_time(row)
        if time is None:
            continue
        if kind == SUSPEND:
            stops.append((time, row))
        elif kind == RESUME:
            resumes.append(time)
        else:
            command = yield from _temporary(row, time)
            out.extend([] if command is None else [command])
            percent_seen |= command is not None and command.rate_U_h is None and command.end > command.start
    if percent_seen:
        yield Note("temporary basals in percent are read as changes, as Nightscout defines them: -50 is half")
    never = 0
    for time, row in stops:
        minutes = yield from row.minutes_of("duration")
        end = min((t for t in resumes if t > time), default=None)
        if minutes:
            stop = time + dt.timedelta(minutes=minutes)
            end = stop if end is None else min(end, stop)
        never += end is None
        far = dt.datetime.max.replace(tzinfo=dt.UTC)
        out.append(Command(time, far if end is None else end, row.number, 0.0, kind="suspend"))
    return out, never


def _temporary(row: Source, time: dt.datetime) -> Step[Command | None]:
    """A temporary rate; one of no length ends the one before it."""
    fine = yield from row.minutes_of("durationInMilliseconds", per_min=MS_PER_MIN)
    minutes = yield from row.minutes_of("duration")
    if minutes is None:
        minutes = fine or 0.0
    end = time + dt.timedelta(minutes=minutes)
    # Absolute goes before percent, as in Nightscout: uploaders write both.
    rate = yield from row.number_of("absolute")
    rate = (yield from row.number_of("rate")) if rate is None else rate
    percent = yield from row.number_of("percent", negative=True)
    if rate is not None:
        return Command(time, end, row.number, rate)
    if percent is None:
        if minutes > 0:
            yield row.flaw("absolute", "the temporary basal states no rate", "export the treatments again")
        return Command(time, time, row.number)
    if percent < -100:
        yield row.flaw("percent", f"{percent:g} would be a negative rate", "export the treatments again")
        return None
    return Command(time, end, row.number, factor=1 + percent / 100)
