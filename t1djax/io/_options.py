"""What a reader is asked for."""

import dataclasses
import datetime as dt
import zoneinfo
from collections.abc import Mapping
from typing import ClassVar, get_args

from .._arguments import ArgumentError
from ._columns import check_mapping
from ._raw import BasalUnit, CarbsUnit, GlucoseUnit


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """How to read a person's file; see `read_recording`.

    Example:
        >>> from t1djax import Experiment
        >>> from t1djax.io import ReadOptions
        >>> Experiment(data="ada.csv", layout="auto", reading=ReadOptions(hours=48)).reading.hours
        48

    Raises:
        ArgumentError: naming the field that is not one of those below.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    glucose_unit: GlucoseUnit | None = None
    """Layout auto: glucose is in mg/dL or mmol/L; left out, what the file states or its values tell."""
    basal_unit: BasalUnit | None = None
    """Layout auto: basal is in U/h, U/min or U/5min; left out, what the file states."""
    carbs_unit: CarbsUnit | None = None
    """Layout hupa or auto: carbohydrate is in g, exchange (10 g), or none. It differs from person to person."""
    time_zone: str | None = None
    """Layout auto: IANA zone of local times."""
    day_first: bool | None = None
    """Layout auto: order of dates, where the file does not tell."""
    subject: str | None = None
    """Layout auto: the patient's name, and whom to read of a file with several people."""
    device: str | None = None
    """Layout auto: whose readings to take of several sensors: its name in the file, or "1 of 2"."""
    start: str | dt.datetime | None = None
    """Layout hupa or auto: first time to keep, ISO 8601 local."""
    hours: float | None = None
    """Layout hupa or auto: length of the window, h."""
    keep_interpolated: bool = False
    """Layout hupa or auto: keep readings that were drawn between the sensor's own."""
    columns: Mapping[str, str] | None = None
    """Layout auto: which column of a table of another make is which."""

    def __post_init__(self) -> None:
        for name, kind in (("glucose_unit", GlucoseUnit), ("basal_unit", BasalUnit), ("carbs_unit", CarbsUnit)):
            value = getattr(self, name)
            if value is not None and value not in get_args(kind):
                raise ArgumentError(name, f"is {value!r}; one of {', '.join(get_args(kind))}")
        if self.columns is not None:
            check_mapping(self.columns)
        if self.hours is not None and not 0 < self.hours < float("inf"):
            raise ArgumentError("hours", f"is {self.hours!r}; give a length of more than zero")
        if self.time_zone is not None:
            zone(self.time_zone)
        if self.start is not None:
            moment(self.start)


def moment(start: str | dt.datetime) -> dt.datetime:
    """The time of a text.

    Raises:
        ArgumentError: where it is none.
    """
    if not isinstance(start, str):
        return start
    try:
        return dt.datetime.fromisoformat(start)
    except ValueError:
        raise ArgumentError("start", f"{start!r} is not ISO 8601, such as 2020-01-18T00:00") from None


def zone(name: str) -> zoneinfo.ZoneInfo:
    """The time zone of an IANA name.

    Raises:
        ArgumentError: where there is no such zone.
    """
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ArgumentError("time_zone", f"{name!r} is not known; give an IANA name such as Europe/Madrid") from None
