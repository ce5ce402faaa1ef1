"""Clocks of files: an hour twice, an hour skipped, offsets, zones, days taken for months."""

import datetime as dt
import zoneinfo
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from t1djax import DataError, DataWarning, read_recording

from .files import every, frame, quietly, walk

MADRID = zoneinfo.ZoneInfo("Europe/Madrid")
AUTUMN = dt.datetime(2024, 10, 26, 20, tzinfo=dt.UTC)
SPRING = dt.datetime(2024, 3, 30, 20, tzinfo=dt.UTC)


def local(start: dt.datetime, n: int = 144, minutes: float = 5) -> list[dt.datetime]:
    """What a clock in Madrid shows every few minutes."""
    return [t.astimezone(MADRID).replace(tzinfo=None, fold=0) for t in every(minutes, n, start)]


@pytest.mark.parametrize("minutes", [5, 15])
@pytest.mark.parametrize("newest_first", [False, True])
def test_an_hour_that_stands_twice(put: Callable[..., Path], minutes: float, newest_first: bool) -> None:
    n = int(720 / minutes)
    when, glucose = local(AUTUMN, n, minutes), walk(n)
    rows = ["Time,CGM,CHO,insulin"]
    body = [
        f"{t.isoformat(' ')},{v:g},{6 if i == n // 2 else 0},0.02"
        for i, (t, v) in enumerate(zip(when, glucose, strict=True))
    ]
    file = put("\n".join(rows + (body[::-1] if newest_first else body)) + "\n")
    with pytest.raises(
        DataError, match=r"the clock goes back from 2024-10-27 02:(55|45):00 to 2024-10-27 02:00:00; pass time_zone"
    ):
        read_recording(file)
    recording = read_recording(file, time_zone="Europe/Madrid")
    assert recording.patient.time_min == pytest.approx(minutes * np.arange(n))
    assert np.array_equal(recording.patient.glucose_mg_dL, glucose)
    assert recording.patient.doses.meal_time_min.tolist() == [minutes * (n // 2)]
    assert recording.report.clock_changes == ("2024-10-27T02:00:00+01:00",)
    with pytest.raises(DataError, match="Asia/Tokyo does not change there"):
        read_recording(file, time_zone="Asia/Tokyo")


def test_an_hour_that_stands_twice_and_was_sorted(put: Callable[..., Path]) -> None:
    """Sorted rows do not tell the two hours apart: refused with and without a zone."""
    pairs = sorted(zip(local(AUTUMN), walk(144).tolist(), strict=True), key=lambda pair: pair[0])
    text = "Time,CGM,CHO,insulin\n" + "".join(f"{t.isoformat(' ')},{v:g},0,0.02\n" for t, v in pairs)
    with pytest.raises(
        DataError, match="the hour from 2024-10-27 02:00:00 stands twice, with two readings at one time"
    ):
        read_recording(put(text))
    with pytest.raises(DataError, match="the order of the rows does not tell the two hours apart"):
        read_recording(put(text), time_zone="Europe/Madrid")


def test_an_hour_that_is_skipped(put: Callable[..., Path]) -> None:
    file = put(frame(local(SPRING), walk(144)))
    # The rows are off no grid of 5 min, and the gap is named.
    with pytest.warns(DataWarning, match="a gap of an hour begins at 2024-03-31 01:55:00, the night of a clock change"):
        blind = read_recording(file)
    assert blind.report.gaps == 1
    seeing = read_recording(file, time_zone="Europe/Madrid")
    assert seeing.patient.time_min == pytest.approx(5.0 * np.arange(144))
    assert (seeing.report.gaps, seeing.report.clock_changes) == (0, ("2024-03-31T03:00:00+02:00",))
    # A clock that nobody changed has readings in the hour that does not exist.
    unchanged = put(frame(every(5, 144, dt.datetime(2024, 3, 30, 21)), walk(144)))
    assert read_recording(unchanged).report.gaps == 0
    with pytest.warns(
        DataWarning, match="12 readings stand in an hour that Europe/Madrid skips .*the clock was not changed"
    ):
        flat = read_recording(unchanged, time_zone="Europe/Madrid")
    assert flat.patient.time_min == pytest.approx(5.0 * np.arange(144))


def test_offsets_from_utc(put: Callable[..., Path]) -> None:
    aware = [t.astimezone(MADRID) for t in every(5, 144, AUTUMN)]
    recording = read_recording(put(frame(aware, walk(144))))
    assert recording.patient.time_min == pytest.approx(5.0 * np.arange(144))
    assert recording.report.time_zone == "UTC+01:00, UTC+02:00"
    assert recording.report.clock_changes == ("2024-10-27T02:00:00+01:00",)
    mixed = put(frame([*aware[:70], *(t.replace(tzinfo=None) for t in aware[70:])], walk(144)))
    with pytest.raises(DataError, match=r"148 times have no offset from UTC, the other 140 have one; pass time_zone"):
        read_recording(mixed)
    with pytest.raises(ValueError, match="time_zone: 'Madrid' is not known"):
        read_recording(mixed, time_zone="Madrid")


@pytest.mark.parametrize("order", ["all", "up to the twelfth"])
def test_day_and_month_swapped(put: Callable[..., Path], order: str) -> None:
    days = 8 if order == "all" else 20
    when = every(15, 96 * days, dt.datetime(2024, 5, 3))
    swap = lambda t: t.replace(day=t.month, month=t.day) if t.day <= 12 else t
    text = "Time,CGM,CHO,insulin\n"
    text += "".join(f"{swap(t).isoformat(' ')},{v:g},0,0.02\n" for t, v in zip(when, walk(len(when)), strict=True))
    file = put(text)
    remedy = "state their order" if order == "all" else "days up to the 12th are swapped and later ones are not"
    with pytest.raises(DataError, match=rf"days with readings are far apart .* day and month look swapped; {remedy}"):
        read_recording(file)
    if order == "all":
        right = quietly(file, day_first=True)
        assert right.patient.time_min == pytest.approx(15.0 * np.arange(len(when)))


def test_days_that_cannot_be(put: Callable[..., Path]) -> None:
    soon = dt.datetime.now() + dt.timedelta(days=40)
    with pytest.warns(DataWarning, match="the last reading is in the future"):
        read_recording(put(frame(every(5, 60, soon.replace(minute=0, second=0, microsecond=0)), walk(60))))
    with pytest.warns(DataWarning, match="the first reading is of 1961-04-12"):
        read_recording(put(frame(every(5, 60, dt.datetime(1961, 4, 12)), walk(60))))
