"""Nightscout: entries, treatments and profiles, in one file or in several."""

import datetime as dt
import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ..._types import GlucoseUnit
from .._checks import Findings, quote
from .._insulin import Sorted, is_equivalent, is_priming, kind_of_insulin, sort_injections
from .._raw import Raw, RawBasal, RawDose, RawReading
from . import _nightscout_profiles as profiles
from ._json import MS_PER_MIN, Record, Source, once, read_records
from ._rates import Command, commands_note, delivered

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


def recognise(head: str, name: str) -> bool:
    """Whether the first records are entries, treatments or profiles."""
    return bool(_SHAPE.match(head.lstrip("\ufeff")) and _KEYS.search(head))


def parse(
    path: Path,
    text: str,
    found: Findings,
    *,
    others: Sequence[tuple[Path, str]] = (),
    glucose_unit: GlucoseUnit | None = None,
) -> Raw | None:
    """One file with records of any kind, or an object with a list of each kind; and files that belong to it.

    Args:
        path: the file.
        text: its content.
        found: what is wrong.
        others: other files of the same person, and their content.
        glucose_unit: of the entries; Nightscout's own are in mg/dL.
    """
    return parse_set([(path, text), *others], found, glucose_unit=glucose_unit)


def parse_set(
    paths_and_texts: Sequence[tuple[Path, str]], found: Findings, *, glucose_unit: GlucoseUnit | None = None
) -> Raw | None:
    """The files of one person as one record.

    Basal is as delivered: the profile's schedule in its time zone, as switches choose it, under temporary rates and
    suspensions. A temporary rate in percent states the change, as Nightscout defines it: -50 is half, 100 is twice.

    Args:
        paths_and_texts: the files and their content.
        found: what is wrong.
        glucose_unit: of the entries; left out, mg/dL.
    """
    records: list[Source] = []
    for path, text in paths_and_texts:
        rows = read_records(str(path), text, found)
        records.extend(_unpacked(rows or (), found))
    kinds: dict[str, list[Source]] = {"entry": [], "treatment": [], "profile": [], "": []}
    for row in records:
        if row.data.get("isValid") is not False:
            kinds[_kind(row)].append(row)
    if found.problems or not paths_and_texts:
        return None
    paths = [path for path, _ in paths_and_texts]
    notes: list[str] = []
    warnings: list[str] = []
    if kinds[""]:
        notes.append(f"{len(kinds[''])} records are no entries, treatments or profiles and are left out")
    entries, treatments = (once(kinds[kind], IDENTITY) for kind in ("entry", "treatment"))
    readings = _readings(entries, glucose_unit, notes, warnings, found)
    given = _doses(treatments, warnings, found)
    doses = [*given.boluses, *given.meals, *given.long_acting]
    basal, zone = _basal(kinds["profile"], treatments, readings, doses, str(paths[0]), notes, found)
    if not kinds["profile"] and doses and not given.long_acting:
        notes.append("there is no profile, so the basal is unknown")
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
        notes=tuple(notes),
        warnings=tuple(warnings),
    )


def _unpacked(rows: Sequence[Source], found: Findings) -> list[Source]:
    """Records of objects that hold a list of each kind."""
    out: list[Source] = []
    for row in rows:
        lists = [key for key in row.data.keys() & _COLLECTIONS if isinstance(row.data[key], list)]
        for key in lists:
            for number, data in enumerate(row.data[key], 1):
                if isinstance(data, dict):
                    out.append(Source(row.file, number, data))
                else:
                    row.add(key, f"its record {number} is no object", "export it again", found)
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


def _readings(
    rows: Sequence[Source], unit: GlucoseUnit | None, notes: list[str], warnings: list[str], found: Findings
) -> tuple[RawReading, ...]:
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
            row.add("date", "the entry has no time in UTC", "export the entries again", found)
            continue
        value = row.number_of(key, found)
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
        notes.append(f"{errors} entries below {ERRORS:g} are numbers of sensor errors and are left out")
    if seconds:
        warnings.append(
            f"{seconds} entries have a date in seconds, where Nightscout counts milliseconds; it is read so"
        )
    if uploads:
        warnings.append(f"{uploads} entries have no date: sysTime, when they were uploaded, is taken for it")
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


def _doses(rows: Sequence[Source], warnings: list[str], found: Findings) -> _Given:
    """Boluses, meals and long-acting insulin; not what filled a tube, stands for fat and protein, or is planned."""
    out = _Given([], [], [])
    left_out: dict[str, list[float]] = {}
    unknown: Counter[str] = Counter()
    for row in rows:
        insulin, carbs = row.number_of("insulin", found) or 0.0, row.number_of("carbs", found) or 0.0
        combo = row.data.get("eventType") == "Combo Bolus"
        injected = _injected(row, insulin, found)
        insulin, slow = injected.rapid, injected.long
        if not insulin and not slow and not carbs and not combo:
            continue
        time = profiles.event_time(row, found)
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
        minutes = row.minutes_of("duration", found) or 0.0
        long = max(minutes, 1.0)
        extended = combo or str(row.data.get("type", "")).lower() in ("square", "extended")
        if slow:
            out.long_acting.append(RawDose(time, slow, row.number, injected.long_min))
        if insulin:
            out.boluses.append(RawDose(time, insulin, row.number, 1.0 if combo or not extended else long))
        if combo:
            # `insulin` is the part given at once; the rest runs at `relative` U/h.
            rate, share = row.number_of("relative", found), row.number_of("splitExt", found)
            total = row.number_of("enteredinsulin", found)
            later = rate * minutes / 60 if rate is not None else (total or 0.0) * (share or 0.0) / 100
            if (rate or later) and not minutes:
                row.add("duration", "the extended bolus has no duration", "export the treatments again", found)
            elif later:
                out.boluses.append(RawDose(time, later, row.number, long))
            if rate is None and total is None and row.data.get("insulin") is None:
                row.add("relative", "the combo bolus states no amount", "export the treatments again", found)
        if carbs:
            spread = minutes if not insulin and not combo and minutes > 0 else 1.0
            out.meals.append(RawDose(time, carbs, row.number, max(spread, 1.0)))
    for text, amounts in left_out.items():
        warnings.append(f"treatments are left out: {text.format(len(amounts), sum(amounts))}")
    for name, count in unknown.items():
        warnings.append(f"{count} injections of {quote(name)} are taken as boluses: its kind of insulin is not known")
    for those in out:
        those.sort(key=lambda dose: dose.time)
    return out


def _injected(row: Source, insulin: float, found: Findings) -> Sorted:
    """The units of a treatment by kind of insulin: of injections by name, of a mark, or of a name in the notes."""
    parts = row.data.get("insulinInjections")
    if isinstance(parts, str):
        try:
            parts = json.loads(parts)
        except ValueError:
            row.add("insulinInjections", "it is not JSON", "export the treatments again", found)
            parts = None
    named: list[tuple[str, float]] = []
    for part in parts if isinstance(parts, list) else ():
        one = Source(row.file, row.number, part if isinstance(part, dict) else {})
        named.append((str(one.data.get("insulin") or ""), one.number_of("units", found) or 0.0))
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
    notes: list[str],
    found: Findings,
) -> tuple[tuple[RawBasal, ...], str | None]:
    stored = profiles.read_documents(documents, notes, found)
    commands, ended = _commands(treatments, notes, found)
    times = [row.time for row in readings] + [dose.time for dose in doses] + [row.start for row in commands]
    if not stored or not times:
        if commands and not documents:
            what = "there are temporary basals but no profile, so the scheduled basal is unknown"
            found.add(file, what, "add the profiles (api/v1/profile.json) beside the treatments")
        return (), None
    switches = profiles.read_switches(treatments, notes, found)
    if ended:
        notes.append(f"{ended} suspensions have no end and are taken to last to the end of the file")
    first, last = min(times), max(times)
    scheduled = profiles.scheduled_basal(stored, switches, first, last, notes)
    zones = Counter(schedule.zone.key for document in stored for schedule in document.store.values())
    if len(zones) > 1:
        notes.append(f"the profiles are in several time zones: {', '.join(sorted(zones))}")
    notes.extend(commands_note(commands))
    until = last + dt.timedelta(minutes=1)
    rates = delivered(scheduled, [row._replace(end=min(row.end, until)) for row in commands])
    return tuple(rate for rate in rates if rate.time <= last), zones.most_common(1)[0][0]


def _commands(treatments: Sequence[Source], notes: list[str], found: Findings) -> tuple[list[Command], int]:
    out: list[Command] = []
    stops: list[tuple[dt.datetime, Source]] = []
    resumes: list[dt.datetime] = []
    percent_seen = False
    for row in treatments:
        kind = str(row.data.get("eventType", ""))
        if TEMP not in kind and kind not in (SUSPEND, RESUME):
            continue
        time = profiles.event_time(row, found)
        if time is None:
            continue
        if kind == SUSPEND:
            stops.append((time, row))
        elif kind == RESUME:
            resumes.append(time)
        else:
            command = _temporary(row, time, found)
            out.extend([] if command is None else [command])
            percent_seen |= command is not None and command.rate_U_h is None and command.end > command.start
    if percent_seen:
        notes.append("temporary basals in percent are read as changes, as Nightscout defines them: -50 is half")
    never = 0
    for time, row in stops:
        minutes = row.minutes_of("duration", found)
        end = min((t for t in resumes if t > time), default=None)
        if minutes:
            stop = time + dt.timedelta(minutes=minutes)
            end = stop if end is None else min(end, stop)
        never += end is None
        far = dt.datetime.max.replace(tzinfo=dt.UTC)
        out.append(Command(time, far if end is None else end, row.number, 0.0, kind="suspend"))
    return out, never


def _temporary(row: Source, time: dt.datetime, found: Findings) -> Command | None:
    """A temporary rate; one of no length ends the one before it."""
    fine = row.minutes_of("durationInMilliseconds", found, per_min=MS_PER_MIN)
    minutes = row.minutes_of("duration", found)
    if minutes is None:
        minutes = fine or 0.0
    end = time + dt.timedelta(minutes=minutes)
    # Absolute goes before percent, as in Nightscout: uploaders write both.
    rate = row.number_of("absolute", found)
    rate = row.number_of("rate", found) if rate is None else rate
    percent = row.number_of("percent", found, negative=True)
    if rate is not None:
        return Command(time, end, row.number, rate)
    if percent is None:
        if minutes > 0:
            row.add("absolute", "the temporary basal states no rate", "export the treatments again", found)
        return Command(time, time, row.number)
    if percent < -100:
        row.add("percent", f"{percent:g} would be a negative rate", "export the treatments again", found)
        return None
    return Command(time, end, row.number, factor=1 + percent / 100)
