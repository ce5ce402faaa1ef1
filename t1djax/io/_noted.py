"""What a reader is asked for, and what it notices on the way to a patient."""

import dataclasses
import datetime as dt
import zoneinfo
from collections.abc import Mapping
from typing import Any, get_args

from ._columns import check_mapping
from ._raw import BasalUnit, CarbsUnit, GlucoseUnit


@dataclasses.dataclass(frozen=True)
class ReadOptions:
    """How to read a file; see `read_recording`."""

    glucose_unit: GlucoseUnit | None = None
    basal_unit: BasalUnit | None = None
    carbs_unit: CarbsUnit | None = None
    time_zone: str | None = None
    subject: str | None = None
    device: str | None = None
    start: dt.datetime | None = None
    hours: float | None = None
    keep_interpolated: bool = False
    day_first: bool | None = None
    swap_day_month: bool = False
    known: Mapping[str, float] = dataclasses.field(default_factory=dict)
    columns: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        for name, kind in (("glucose_unit", GlucoseUnit), ("basal_unit", BasalUnit), ("carbs_unit", CarbsUnit)):
            value = getattr(self, name)
            if value is not None and value not in get_args(kind):
                raise ValueError(f"{name} is {value!r}; one of {', '.join(get_args(kind))}")
        if self.columns is not None:
            check_mapping(self.columns)
        if self.hours is not None and not 0 < self.hours < float("inf"):
            raise ValueError(f"hours is {self.hours!r}; give a length of more than zero")
        if self.time_zone is not None:
            zone(self.time_zone)


def zone(name: str) -> zoneinfo.ZoneInfo:
    """The time zone of an IANA name.

    Raises:
        ValueError: where there is no such zone.
    """
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"time_zone {name!r} is not known; give an IANA name such as Europe/Madrid") from None


@dataclasses.dataclass
class Noted:
    """Facts of the report that the patient itself does not show, gathered on the way."""

    facts: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Fields of `ReadReport` by name."""
    warnings: list[str] = dataclasses.field(default_factory=list)
    """What may be wrong."""
    notes: list[str] = dataclasses.field(default_factory=list)
    """What is worth knowing."""
