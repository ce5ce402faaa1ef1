"""The basal that Nightscout's profiles schedule: by time of day, in the profile's zone, as switches choose."""

import datetime as dt
import json
import zoneinfo
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from .._checks import quote
from .._raw import RawBasal
from .._remarks import Note, Step
from ._json import Source

DAY_S = 24 * 3600
SWITCH = "Profile Switch"
_HOUR = dt.timedelta(hours=1)
_DAY = dt.timedelta(days=1)


class Schedule(NamedTuple):
    """One profile's basal over the day."""

    steps: tuple[tuple[int, float], ...]
    """Seconds from midnight and U/h from then on; the first at 0."""
    zone: zoneinfo.ZoneInfo
    where: int

    def at(self, time: dt.datetime) -> float:
        """The rate at a time, U/h."""
        local = time.astimezone(self.zone)
        second = local.hour * 3600 + local.minute * 60 + local.second
        return next(rate for start, rate in reversed(self.steps) if start <= second)

    def scaled(self, factor: float, later_s: int) -> "Schedule":
        """The schedule in percent, and moved to later in the day."""
        steps = sorted(((start + later_s) % DAY_S, rate * factor) for start, rate in self.steps)
        if steps[0][0] != 0:
            steps = [(0, steps[-1][1]), *steps]
        return self._replace(steps=tuple(steps))


class Document(NamedTuple):
    """Profiles as stored at one time."""

    start: dt.datetime
    default: str
    store: Mapping[str, Schedule]


class Switch(NamedTuple):
    """A profile chosen from a time on, or for a time."""

    start: dt.datetime
    end: dt.datetime | None
    name: str
    schedule: Schedule | None
    """The one that the event itself carries."""
    factor: float
    later_s: int


def read_documents(rows: Sequence[Source]) -> Step[list[Document]]:
    """Profile documents in order of time."""
    out: list[Document] = []
    for row in rows:
        start = row.time_of("startDate") or row.time_of("mills") or row.time_of("created_at")
        if start is None:
            yield row.flaw("startDate", "the profile has no time", "export the profiles again")
            continue
        store = row.data.get("store")
        # The first versions kept one profile, without a store.
        plain = store if isinstance(store, dict) else {"Default": row.data}
        default = str(row.data.get("defaultProfile") or next(iter(plain), ""))
        kept: dict[str, Schedule] = {}
        for name, data in plain.items():
            if (schedule := (yield from _schedule(row, str(name), data))) is not None:
                kept[str(name)] = schedule
        if default not in plain:
            yield row.flaw("defaultProfile", f"{quote(default)} is not in the store", "export again")
        elif default in kept:
            out.append(Document(_aware(start), default, kept))
    return sorted(out, key=lambda document: document.start)


def read_switches(rows: Sequence[Source]) -> Step[list[Switch]]:
    """Events that choose a profile, in order of time."""
    out: list[Switch] = []
    for row in rows:
        if row.data.get("eventType") != SWITCH or row.data.get("isValid") is False:
            continue
        start = yield from event_time(row)
        minutes = (yield from row.minutes_of("duration")) or 0.0
        percent = yield from row.number_of("percentage")
        shift = (yield from row.number_of("timeshift", negative=True)) or 0.0
        name = str(row.data.get("profile") or "")
        schedule = None
        if row.data.get("profileJson"):
            data = row.data["profileJson"]
            try:
                data = json.loads(data) if isinstance(data, str) else data
            except ValueError:
                yield row.flaw("profileJson", "it is not JSON", "export the treatments again")
                continue
            schedule = yield from _schedule(row, name, data)
        # AndroidAPS 2 marks its switches and counts a shift in hours, the other way round; 3 counts milliseconds.
        old = bool(row.data.get("CircadianPercentageProfile"))
        applies = old or schedule is not None
        hours = (-shift if old else int(shift / 3.6e6)) % 24
        if start is not None:
            end = start + dt.timedelta(minutes=minutes) if minutes > 0 else None
            factor = percent / 100 if applies and percent else 1.0
            out.append(Switch(start, end, name, schedule, factor, int(hours * 3600) if applies else 0))
    return sorted(out, key=lambda switch: switch.start)


def event_time(row: Source) -> Step[dt.datetime | None]:
    """When a treatment was, in UTC."""
    for key in ("created_at", "mills", "date", "timestamp"):
        time = row.time_of(key)
        if time is not None:
            return _aware(time)
    yield row.flaw("created_at", f"{quote(str(row.data.get('created_at')))} is no time", "export the treatments again")
    return None


def scheduled_basal(
    documents: Sequence[Document],
    switches: Sequence[Switch],
    first: dt.datetime,
    last: dt.datetime,
) -> Step[tuple[RawBasal, ...]]:
    """The rate as scheduled between two times, each until the next.

    A switch holds from its time until the next, or for its duration, after which the switch before it holds again.
    A newer document ends the switches before it: its default profile holds until the next switch.
    """
    if first < documents[0].start:
        yield Note(f"before {documents[0].start.isoformat()} there is no profile; the first one is taken for it")
    edges = {first, *(document.start for document in documents), *(switch.start for switch in switches)}
    edges |= {switch.end for switch in switches if switch.end is not None}
    inside = [edge for edge in sorted(edges) if first <= edge <= last]
    lost: set[str] = set()
    out: list[RawBasal] = []
    for begin, end in zip(inside, [*inside[1:], last + dt.timedelta(microseconds=1)], strict=True):
        schedule = _active(documents, switches, begin, lost)
        for time in [begin, *_steps(schedule, begin, end)]:
            rate = schedule.at(time)
            if not out or out[-1].rate != rate:
                out.append(RawBasal(time, rate, schedule.where))
    for name in lost:
        yield Note(f"the profile {quote(name)} is not stored; the default profile is taken for it")
    return tuple(out)


def _active(documents: Sequence[Document], switches: Sequence[Switch], time: dt.datetime, lost: set[str]) -> Schedule:
    document = next((d for d in reversed(documents) if d.start <= time), documents[0])
    live = [s for s in switches if document.start <= s.start <= time and (s.end is None or time < s.end)]
    if not live:
        return document.store[document.default]
    switch = live[-1]
    schedule = switch.schedule or document.store.get(switch.name)
    if schedule is None:
        lost.add(switch.name)
        schedule = document.store[document.default]
    return schedule.scaled(switch.factor, switch.later_s)


def _steps(schedule: Schedule, begin: dt.datetime, end: dt.datetime) -> list[dt.datetime]:
    """Times between two at which the rate can step: the steps of each day, and changes of the clock."""
    out: set[dt.datetime] = set()
    day = begin.astimezone(schedule.zone).date() - _DAY
    until = end.astimezone(schedule.zone).date()
    while day <= until:
        midnight = dt.datetime(day.year, day.month, day.day, tzinfo=schedule.zone)
        for second, _ in schedule.steps:
            local = midnight + dt.timedelta(seconds=second)
            out |= {local.replace(fold=fold).astimezone(dt.UTC) for fold in (0, 1)}
        noon = midnight.astimezone(dt.UTC)
        next_noon = (midnight + _DAY).astimezone(dt.UTC)
        if next_noon - noon != _DAY:
            hours = [noon + hour * _HOUR for hour in range(int((next_noon - noon) / _HOUR) + 1)]
            offset = [hour.astimezone(schedule.zone).utcoffset() for hour in hours]
            out |= {hour for hour, a, b in zip(hours[1:], offset, offset[1:], strict=False) if a != b}
        day += _DAY
    return sorted(time for time in out if begin < time < end)


def _schedule(row: Source, name: str, data: Any) -> Step[Schedule | None]:
    key = f"store.{name}.basal"
    if not isinstance(data, dict):
        yield row.flaw(key, "the profile is no object", "export the profiles again")
        return None
    entries = data.get("basal")
    if not isinstance(entries, list):
        entries = [{"time": "00:00", "value": entries}]
    steps: list[tuple[int, float]] = []
    for entry in entries:
        part = row.inside(entry)
        rate = yield from part.number_of("value")
        second = _second(part)
        if rate is None or second is None:
            yield row.flaw(
                key, f"{quote(str(entry))} is no time of day and rate", "correct the profile and export again"
            )
            return None
        steps.append((second, rate))
    steps.sort()
    if not steps or steps[0][0] != 0:
        yield row.flaw(key, "no rate is stated for midnight", "correct the profile and export again")
        return None
    zone = yield from _zone(row, name, data.get("timezone") or row.data.get("timezone"))
    return None if zone is None else Schedule(tuple(steps), zone, row.number)


def _second(entry: Source) -> int | None:
    text = entry.data.get("time")
    if isinstance(text, str) and text.count(":") in (1, 2) and text.replace(":", "").isdecimal():
        parts = [int(part) for part in text.split(":")]
        second = parts[0] * 3600 + parts[1] * 60 + (parts[2] if len(parts) > 2 else 0)
    else:
        try:
            second = int(entry.data.get("timeAsSeconds", -1))
        except (TypeError, ValueError):
            return None
    return second if 0 <= second < DAY_S else None


def _zone(row: Source, name: str, stated: object) -> Step[zoneinfo.ZoneInfo | None]:
    if not stated:
        yield Note("a profile states no time zone: its times of day are taken in UTC")
        return zoneinfo.ZoneInfo("UTC")
    try:
        return zoneinfo.ZoneInfo(str(stated))
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        # Uploaders write ETC/GMT-3.
        names = {known.casefold(): known for known in zoneinfo.available_timezones()}
        known = names.get(str(stated).casefold())
        if known is not None:
            return zoneinfo.ZoneInfo(known)
    remedy = "write a zone such as Europe/Madrid"
    yield row.flaw(f"store.{name}.timezone", f"{quote(str(stated))} is no time zone", remedy)
    return None


def _aware(time: dt.datetime) -> dt.datetime:
    """Nightscout keeps UTC; some uploaders leave the Z out."""
    return time.replace(tzinfo=dt.UTC) if time.tzinfo is None else time.astimezone(dt.UTC)
