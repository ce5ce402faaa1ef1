"""Times of a file as minutes of one clock: offsets, time zones, clock changes, days and months."""

import dataclasses
import datetime as dt
import itertools
import zoneinfo
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from .._arguments import argument
from ._options import ReadOptions, zone
from ._raw import Raw
from ._remarks import Doubt, Facts, Note, Step, flaw

KINDS = ("readings", "basal", "boluses", "meals", "long_acting")
_MINUTE = dt.timedelta(minutes=1)
_HOUR = dt.timedelta(hours=1)
_SORTED_REMEDY = (
    "the rows are sorted by time, so nothing tells the two hours apart: export again in the order of recording, write "
    "times with their offset from UTC, or leave that hour out"
)
_PARTLY_REMEDY = (
    "days up to the 12th are swapped and later ones are not, as spreadsheets do it: write all dates as year-month-day "
    "from the original"
)
_FIRST_CGM = dt.date(1999, 1, 1)


@dataclasses.dataclass(frozen=True, eq=False)
class Placed:
    """Minutes of each kind of event, in the order of the file, and the clock behind them."""

    minutes: dict[str, Float[np.ndarray, " events"]]
    """By kind, since `zero`; NaN where an event has no place."""
    zero: dt.datetime | None
    """Clock of minute zero; None for a record without a clock."""
    zone: dt.tzinfo | None
    """In which local time is told."""
    changes: tuple[dt.datetime, ...] = ()
    """Local times of the first readings after a clock change."""

    def at(self, minute: float) -> dt.datetime | None:
        """Local time of a minute."""
        return at(self.zero, minute)

    def minute(self, time: dt.datetime) -> float:
        """Minute of a time; one without an offset is local.

        Raises:
            ValueError: where the record has no clock, or none with an offset.
        """
        if self.zero is None:
            raise ValueError("start: this record has no clock; give hours only")
        if time.tzinfo is not None and self.zero.tzinfo is None:
            raise ValueError("start has an offset from UTC; the record is in local time without one")
        if time.tzinfo is None and self.zero.tzinfo is not None:
            time = time.replace(tzinfo=self.zone)
        return (time - self.zero) / _MINUTE


def at(zero: dt.datetime | None, minute: float) -> dt.datetime | None:
    """Local time so many minutes after a clock time; None where there is no clock."""
    if zero is None or zero.tzinfo is None:
        return None if zero is None else zero + minute * _MINUTE
    return (zero.astimezone(dt.UTC) + minute * _MINUTE).astimezone(zero.tzinfo)


def place(raw: Raw, options: ReadOptions) -> Step[Placed | None]:
    """The events of a file on one clock; None where there is no common one."""
    events: dict[str, Sequence[Any]] = {kind: getattr(raw, kind) for kind in KINDS}
    times = {kind: [event.time for event in events[kind]] for kind in KINDS}
    if raw.turn_dates:
        if late := [t for those in times.values() for t in those if t.day > 12]:
            what = f"{late[0].date()} has no other reading, so the order of all dates cannot be turned round"
            yield flaw(raw.file, what, f"leave {argument('day_first')} out", column="time")
            return None
        times = {kind: [_swap(t) for t in those] for kind, those in times.items()}
        yield Note("day and month are swapped, as asked for")
    every = [t for those in times.values() for t in those]
    if not times["readings"]:
        return None
    stated = _stated_zone(raw, options)
    if stated is None and raw.time_zone is not None:
        yield Doubt(f"the file states time zone {raw.time_zone!a}, which is not known")
    naive = [t.tzinfo is None for t in every]
    if raw.clock:
        yield from _check_dates([t.date() for t in times["readings"]], raw.file)
    if any(naive) and not all(naive):
        if stated is None:
            what = f"{sum(naive)} times have no offset from UTC, the other {len(naive) - sum(naive)} have one"
            yield flaw(raw.file, what, f"pass {argument('time_zone')}, such as Europe/Madrid", column="time")
            return None
        times = {k: [t if t.tzinfo else t.replace(tzinfo=stated) for t in those] for k, those in times.items()}
        yield Doubt(f"{sum(naive)} times without an offset from UTC are taken as {stated.key}")
    elif all(naive):
        wheres = {kind: [event.where for event in events[kind]] for kind in KINDS}
        times, stated = yield from _localise(times, wheres, stated, raw)
    zero = min(times["readings"], key=_in_utc)
    minutes = {
        kind: np.array([(_in_utc(t) - _in_utc(zero)) / _MINUTE for t in those], dtype=np.float64)
        for kind, those in times.items()
    }
    if zero.tzinfo is None:
        return Placed(minutes, zero if raw.clock else None, None)
    local = stated or dt.timezone(zero.utcoffset() or dt.timedelta())
    yield Facts(time_zone=stated.key if isinstance(stated, zoneinfo.ZoneInfo) else _offsets(times["readings"]))
    return Placed(minutes, zero.astimezone(local), local, _changes(times["readings"], stated))


def _in_utc(t: dt.datetime) -> dt.datetime:
    # Order and differences of times of one zone ignore its changes; in UTC there are none.
    return t if t.tzinfo is None or t.tzinfo is dt.UTC else t.astimezone(dt.UTC)


def _stated_zone(raw: Raw, options: ReadOptions) -> zoneinfo.ZoneInfo | None:
    if options.time_zone is not None:
        return zone(options.time_zone)
    if raw.time_zone is None:
        return None
    try:
        return zone(raw.time_zone)
    except ValueError:
        return None


def _swap(t: Any) -> Any:
    return t.replace(day=t.month, month=t.day) if t.day <= 12 else t


def _check_dates(dates: Iterable[dt.date], file: str) -> Step[None]:
    """Report days that make sense only with day and month swapped, and days in the future or far past."""
    days = sorted(set(dates))
    cover = lambda d: len(d) / ((d[-1] - d[0]).days + 1)
    other = sorted({_swap(day) for day in days})
    if len(days) > 1 and cover(days) < 0.5 and cover(other) > 0.8 and len(other) == len(days):
        text = ", ".join(f"{day}" for day in days[:3])
        order = f"{argument('day_first', True)} or {argument('day_first', False)}"
        swap = f"state their order with {order}; if the dates are right, cut with start and hours"
        remedy = _PARTLY_REMEDY if any(day.day > 12 for day in days) else swap
        yield flaw(file, f"days with readings are far apart ({text}, ...): day and month look swapped", remedy,
                  column="time")  # fmt: skip
    today = dt.datetime.now(dt.UTC).date()
    if days[-1] > today + dt.timedelta(days=2):
        yield Doubt(f"the last reading is in the future ({days[-1]}): are day and month swapped?")
    if days[0] < _FIRST_CGM:
        yield Doubt(f"the first reading is of {days[0]}, when there were no such sensors; is the date right?")
    return


Times = dict[str, list[dt.datetime]]


def _localise(
    times: Times,
    wheres: dict[str, list[int]],
    stated: zoneinfo.ZoneInfo | None,
    raw: Raw,
) -> Step[tuple[Times, zoneinfo.ZoneInfo | None]]:
    """Local times without offsets: with one where a zone is stated and their clock follows it."""
    turn = _turn(times["readings"], wheres["readings"])
    doubled = None if turn else _doubled_hour(times["readings"], [r.value for r in raw.readings])
    if stated is None:
        if turn is not None:
            what = f"the clock goes back from {turn[0].isoformat(' ')} to {turn[1].isoformat(' ')}"
            remedy = f"pass {argument('time_zone')}, such as Europe/Madrid, to place the hour that stands twice"
            yield flaw(raw.file, what, remedy, column="time", row=turn[2])
        elif doubled is not None:
            what = f"the hour from {doubled.isoformat(' ')} stands twice, with two readings at one time"
            yield flaw(raw.file, what, _SORTED_REMEDY, column="time")
        elif raw.clock:
            yield from _hint(times["readings"])
        yield Facts(time_zone="local, not stated" if raw.clock else None)
        return times, None
    readings = times["readings"]
    skipped = [t for t in readings if _kind(t, stated) == "skipped"]
    if skipped:
        yield Doubt(
            f"{len(skipped)} readings stand in an hour that {stated.key} skips (the first at "
            f"{skipped[0].isoformat(' ')}): the clock was not changed; times are taken as they run"
        )
        fixed = dt.timezone(stated.utcoffset(min(readings)) or dt.timedelta())
        return {kind: [t.replace(tzinfo=fixed) for t in those] for kind, those in times.items()}, None
    if turn is not None and _kind(turn[1], stated) != "twice":
        what = f"the clock goes back from {turn[0].isoformat(' ')} to {turn[1].isoformat(' ')}"
        yield flaw(raw.file, what, f"{stated.key} does not change there: is it the zone?", column="time", row=turn[2])
    place_one = lambda t, where: t.replace(tzinfo=stated, fold=int(turn is not None and _after(t, where, turn, stated)))
    out = {k: [place_one(t, w) for t, w in zip(times[k], wheres[k], strict=True)] for k in times}
    unsure = sum(_kind(t, stated) == "twice" for t in readings)
    if turn is None and unsure:
        yield Doubt(
            f"{unsure} readings stand in an hour that {stated.key} has twice; they are taken as the first of the two"
            + ("" if doubled is None else ", where they contradict each other")
        )
    if turn is None and doubled is not None and _kind(doubled, stated) == "twice":
        yield flaw(raw.file, "the order of the rows does not tell the two hours apart", _SORTED_REMEDY, column="time")
    return out, stated


def _kind(t: dt.datetime, where: zoneinfo.ZoneInfo) -> str:
    """`skipped` in spring, `twice` in autumn, else empty."""
    first, second = (t.replace(tzinfo=where, fold=fold).utcoffset() or dt.timedelta() for fold in (0, 1))
    return "skipped" if first < second else "twice" if first > second else ""


Turn = tuple[dt.datetime, dt.datetime, int, bool]


def _turn(times: Sequence[dt.datetime], wheres: Sequence[int]) -> Turn | None:
    """Where the clock is set back by up to an hour, in a file that otherwise runs one way: before, after, line."""
    if len(times) < 10:
        return None
    down = times[-1] < times[0]
    rows = list(zip(times, wheres, strict=True))[:: -1 if down else 1]
    steps = [b[0] - a[0] for a, b in itertools.pairwise(rows)]
    usual = float(np.median([step / _MINUTE for step in steps]))
    back = [i for i, step in enumerate(steps) if step < dt.timedelta()]
    if len(back) > max(5, 0.05 * len(steps)):  # shuffled rows
        return None
    # A lone reading out of order is followed by a leap forward; a clock set back runs on from there.
    for i in back:
        size = -steps[i] / _MINUTE
        ahead = rows[i + 1 : i + 1 + max(2, int(20 / max(usual, 1)))]
        runs_on = all(b[0] > a[0] for a, b in itertools.pairwise(ahead)) and ahead[-1][0] <= rows[i][0] + _HOUR
        if 60 - 1.6 * max(usual, 5) <= size <= 60 and runs_on and len(ahead) > 1:
            return rows[i][0], rows[i + 1][0], rows[i + 1][1], down
    return None


def _after(t: dt.datetime, where: int, turn: Turn, stated: zoneinfo.ZoneInfo) -> bool:
    """Whether an event lies behind the turn: by its place in the file, where its hour stands twice."""
    _, _, line, down = turn
    return _kind(t, stated) == "twice" and (where <= line if down else where >= line)


def _doubled_hour(times: Sequence[dt.datetime], values: Sequence[float]) -> dt.datetime | None:
    """A clock hour in which most times carry two readings that differ; None where there is none."""
    seen: dict[dt.datetime, float] = {}
    hours: dict[dt.datetime, int] = {}
    for t, value in zip(times, values, strict=True):
        if seen.setdefault(t, value) != value:
            hour = t.replace(minute=0, second=0, microsecond=0)
            hours[hour] = hours.get(hour, 0) + 1
    if not hours or len(hours) > 2:
        return None
    hour = max(hours, key=lambda h: hours[h])
    there = len({t for t in times if hour <= t < hour + _HOUR})
    return hour if there >= 3 and hours[hour] >= 0.6 * there else None


def _hint(times: Sequence[dt.datetime]) -> Step[None]:
    """Say where a clock may have changed unseen: an hour's gap in a night of March, or a span across a change."""
    ordered = sorted(times)
    steps = [b - a for a, b in itertools.pairwise(ordered)]
    usual = float(np.median([step / _MINUTE for step in steps])) if steps else 0.0
    for before, step in zip(ordered, steps, strict=False):
        size = step / _MINUTE - usual
        if 55 <= size <= 65 and before.hour < 3 and _spring(before.date()):
            yield Doubt(
                f"a gap of an hour begins at {before.isoformat(' ')}, the night of a clock change: if the clock was "
                f"set forward there, pass {argument('time_zone')}"
            )
    days = {(ordered[0] + i * dt.timedelta(days=1)).date() for i in range((ordered[-1] - ordered[0]).days + 2)}
    if any(_spring(day) or _autumn(day) for day in days):
        crosses = "times are local without a zone, and the span crosses a clock change of Europe or America"
        yield Note(f"{crosses}; {argument('time_zone')} settles it")
    return


def _spring(day: dt.date) -> bool:
    last_of_march = day.month == 3 and day.weekday() == 6 and day.day > 24
    second_of_march = day.month == 3 and day.weekday() == 6 and 8 <= day.day <= 14
    return last_of_march or second_of_march


def _autumn(day: dt.date) -> bool:
    last_of_october = day.month == 10 and day.weekday() == 6 and day.day > 24
    first_of_november = day.month == 11 and day.weekday() == 6 and day.day <= 7
    return last_of_october or first_of_november


def _offsets(times: Iterable[dt.datetime]) -> str:
    """Offsets from UTC as the file states them."""
    found = sorted({t.utcoffset() or dt.timedelta() for t in times})
    names = [str(dt.timezone(offset)) for offset in found]
    return ", ".join(names) + (" (the place is not stated)" if names == ["UTC"] else "")


def _changes(times: Iterable[dt.datetime], stated: zoneinfo.ZoneInfo | None) -> tuple[dt.datetime, ...]:
    """Clock changes within the span: first local time after each."""
    local = sorted(map(_in_utc, times)) if stated is not None else sorted(times, key=_in_utc)
    local = local if stated is None else [t.astimezone(stated) for t in local]
    offsets = [t.utcoffset() for t in local]
    return tuple(t for t, a, b in zip(local[1:], offsets, offsets[1:], strict=False) if a != b)
