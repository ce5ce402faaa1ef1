"""What a parser finds in a file, before anyone judges it: times, numbers, and the units that the file states."""

import dataclasses
import datetime as dt
from collections.abc import Mapping
from typing import Literal, NamedTuple

from .._types import GlucoseUnit

BasalUnit = Literal["U/h", "U/min", "U/5min"]
"""Of a rate; `U/5min` is the dose in each five-minute row."""
CarbsUnit = Literal["g", "exchange", "exchange-10g", "exchange-12g", "exchange-15g", "g/min", "none"]
"""Of carbohydrate; an exchange is 10 g where its size is not said, `none` leaves it out (bare flags)."""


class RawReading(NamedTuple):
    """One glucose reading."""

    time: dt.datetime
    """As the file has it: naive local, or with an offset."""
    value: float
    """In the unit of the file; at the sensor's limit where it is censored."""
    where: int
    """Line of a text file, or number of the record (from 1) in another."""
    censored: Literal["", "low", "high"] = ""
    """Whether the file says that glucose lay beyond what the sensor reports."""
    kind: Literal["cgm", "scan", "fingerstick", "calibration"] = "cgm"
    """Who measured. Only the sensor's own series becomes the record's glucose; the rest is counted."""
    device: str = ""
    """Which sensor or uploader it is of, where the file says so."""


class RawBasal(NamedTuple):
    """A basal rate as delivered, which holds from a time until the next."""

    time: dt.datetime
    rate: float
    """In the basal unit of the file."""
    where: int
    duration_min: float | None = None
    """How long it is on record: it holds until the next all the same, and what is not on record is remarked on."""


class RawDose(NamedTuple):
    """A bolus or a meal."""

    time: dt.datetime
    amount: float
    """U of a bolus; carbohydrate in the unit of the file."""
    where: int
    duration_min: float = 1.0
    """Longer for an extended bolus, or a rate held over a row."""


@dataclasses.dataclass(frozen=True)
class Raw:
    """One person's file as parsed. Units are those the file states or its format documents; None where neither does."""

    format: str
    """Name of the format, such as `dexcom_clarity`."""
    file: str
    """The file, for messages."""
    subject: str
    """Who it is, for the patient's name: the file's stem where the file does not say."""
    readings: tuple[RawReading, ...]
    basal: tuple[RawBasal, ...] = ()
    boluses: tuple[RawDose, ...] = ()
    meals: tuple[RawDose, ...] = ()
    long_acting: tuple[RawDose, ...] = ()
    """Injections of long-acting insulin, U, each spread evenly over its duration."""
    glucose_unit: GlucoseUnit | None = None
    basal_unit: BasalUnit | None = "U/h"
    carbs_unit: CarbsUnit | None = "g"
    time_zone: str | None = None
    """IANA name where the file states one."""
    body_mass_kg: float | None = None
    known: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """Parameters that are asserted beside the file, by symbol."""
    merged_insulin: bool = False
    """Whether `basal` holds all insulin, boluses included, because the file gives only their sum."""
    lead_min: float = 0.0
    """From the first row to the first reading, where rows without a reading count as the record's, min."""
    trail_min: float = 0.0
    """From the last reading to the last row, likewise, min."""
    clock: bool = True
    """Whether the times are a clock's. Where they are not, they count from an arbitrary day."""
    turn_dates: bool = False
    """Whether day and month are to be turned round, as was asked for."""
