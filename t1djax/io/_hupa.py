"""The layout of the HUPA-UCM diabetes dataset: units put right, interpolated readings taken out."""

import datetime as dt
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, Float

from .._arguments import ArgumentError
from ..data import Patient
from ..physics import Doses
from ._checks import HUPA, Findings, Table, check_columns, check_order, clock, numbers
from ._columns import BASAL, BOLUS, CARBS, GLUCOSE
from ._interpolated import ROW_MIN, sensor_rows
from ._quantities import TOO_MUCH, amounts_column, first_rate, glucose_column
from ._text import read_table
from ._units import G_PER_EXCHANGE, carbs_doubt

CarbsUnit = Literal["g", "exchange", "exchange-10g", "exchange-12g", "exchange-15g", "none"]


def read_hupa(
    path: str | Path,
    *,
    carbs_unit: CarbsUnit,
    start: str | dt.datetime | None = None,
    hours: float | None = None,
    info: str | Path | None = None,
    keep_interpolated: bool = False,
) -> Patient:
    """Read a person of the HUPA-UCM dataset.

    The file has 5-min rows `time;glucose;calories;heart_rate;steps;basal_rate;bolus_volume_delivered;carb_input`
    in naive local time. Its basal is U per 5 min. Its carbohydrate is in grams for some people, in 10-g exchanges
    for most, and a mere flag for others, so the unit must be said. Two of three of its readings are straight lines
    drawn between the sensor's 15-min readings: a fit that sees them has seen the future.

    Args:
        path: the file; its stem names the patient.
        carbs_unit: `"g"`, `"exchange"` (10 g), `"exchange-12g"`, `"exchange-15g"`, or `"none"` to leave it out.
        start: first time to keep, ISO 8601 local or a naive datetime; left out, the first row.
        hours: length to keep, h, with the row at its end; left out, to the last row. Doses outside are left out.
        info: `patients_info.csv` of the dataset; the weight becomes the known `M`.
        keep_interpolated: whether to keep readings that lie between the sensor's own. Left out, a file that shows
            them keeps the sensor's readings only; a file that shows none is left as it is.

    Returns:
        The patient. Minute zero is the first row kept.

    Raises:
        DataError: listing everything wrong, by row and column; also where the carbohydrate cannot be in the unit
            stated.
        ValueError: where an argument is not one of those above; an `ArgumentError` names it.

    Example:
        >>> import pathlib, tempfile
        >>> from t1djax.io import read_hupa
        >>> text = "time;glucose;calories;heart_rate;steps;basal_rate;bolus_volume_delivered;carb_input\\n"
        >>> text += "2020-01-17T00:35:00;179.0;8.5;69;12;0.1;0;0\\n2020-01-17T00:40:00;178;8.4;70;0;0.1;4;50\\n"
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = pathlib.Path(folder, "HUPA.csv")
        ...     _ = file.write_text(text)
        ...     patient = read_hupa(file, carbs_unit="g")
        >>> patient.doses.basal_U_h.tolist(), patient.doses.carbs_g.tolist()
        ([1.2], [50.0])

    Source: Hidalgo et al., Data in Brief 55:110559 (2024), Mendeley Data doi 10.17632/3hbcscwz44.1.
    """
    if carbs_unit not in get_args(CarbsUnit):
        raise ArgumentError("carbs_unit", f"is {carbs_unit!r}; one of {', '.join(get_args(CarbsUnit))}")
    begin = _start(start)
    if hours is not None and not 0 < hours < np.inf:
        raise ValueError(f"read_hupa: hours is {hours!r}; give a length of more than zero")
    path = Path(path)
    found = Findings()
    known = {} if info is None else _mass(Path(info), path.stem, found)
    table = read_table(path, found, delimiter=";")
    patient = None
    if table is not None:
        patient = _patient(table, path.stem, carbs_unit, begin, hours, known, keep_interpolated, found)
    found.finish()
    assert patient is not None
    return patient


def _start(start: str | dt.datetime | None) -> dt.datetime | None:
    if isinstance(start, str):
        try:
            start = dt.datetime.fromisoformat(start)
        except ValueError:
            raise ValueError(f"read_hupa: start {start!r} is not ISO 8601, such as 2020-01-18T00:00") from None
    if start is not None and start.tzinfo is not None:
        raise ValueError("read_hupa: start has an offset from UTC; the dataset is in local time without one")
    return start


def _patient(
    table: Table,
    name: str,
    carbs_unit: CarbsUnit,
    begin: dt.datetime | None,
    hours: float | None,
    known: dict[str, float],
    keep_interpolated: bool,
    found: Findings,
) -> Patient | None:
    before = len(found.problems)
    if not check_columns(table, HUPA, ("calories", "heart_rate", "steps"), found):
        if GLUCOSE in table.names:
            found.add(table.file, "this is a canonical table, not the HUPA-UCM layout", "read it with read_cohort")
        return None
    time_min, first = _times(table, found)
    glucose = glucose_column(table, "glucose", found)
    amounts = lambda column, most: amounts_column(table, column, most, "check the unit", found)
    # Pumps step by fractions of a U/h; the twelfths in the file are rounded back to them.
    basal = np.round(amounts("basal_rate", TOO_MUCH[BASAL] * ROW_MIN / 60) * 60 / ROW_MIN, 9)
    first_rate(table, "basal_rate", found)
    bolus = amounts("bolus_volume_delivered", TOO_MUCH[BOLUS])
    carbs = np.zeros(len(table))
    if carbs_unit != "none":
        stated = amounts("carb_input", TOO_MUCH[CARBS])
        _carbs_unit(table, stated, bolus, carbs_unit, found)
        carbs = stated * G_PER_EXCHANGE.get(carbs_unit, 1.0)
    if len(found.problems) > before or first is None:
        return None
    if not keep_interpolated:
        glucose = np.where(sensor_rows(time_min, glucose), glucose, np.nan)
    offset = 0.0 if begin is None else (begin - first) / dt.timedelta(minutes=1)
    end = np.inf if hours is None else max(offset, 0.0) + 60 * hours
    window = (time_min >= offset) & (time_min <= end)
    span = f"the file runs from {first.isoformat()} over {time_min[-1] / 60:.1f} h"
    if window.sum() < 2:
        found.add(table.file, "there are fewer than two rows in the window", span, column="time")
    elif not np.isfinite(glucose[window]).any():
        found.add(table.file, "there is no reading in the window", span, column="glucose")
    if len(found.problems) > before:
        return None
    return _cut(name, first, time_min, glucose, basal, bolus, carbs, window, known)


def _cut(
    name: str,
    first: dt.datetime,
    time_min: Float[np.ndarray, " rows"],
    glucose: Float[np.ndarray, " rows"],
    basal: Float[np.ndarray, " rows"],
    bolus: Float[np.ndarray, " rows"],
    carbs: Float[np.ndarray, " rows"],
    window: Bool[np.ndarray, " rows"],
    known: dict[str, float],
) -> Patient:
    """The rows of the window, with the clock set to zero at the first of them."""
    stated = np.isfinite(basal)
    held = basal[np.flatnonzero(stated)[np.cumsum(stated) - 1]][window]
    zero = float(time_min[window][0])
    t = time_min[window] - zero
    change = np.concatenate([[True], np.diff(held) != 0])
    events = []
    for amounts in (bolus[window], carbs[window]):
        given = amounts > 0
        events += [t[given], amounts[given], np.ones(int(given.sum()))]
    doses = Doses(t[change], held[change], *events)
    return Patient(name, t, glucose[window], doses, known, first + dt.timedelta(minutes=zero))


def _times(table: Table, found: Findings) -> tuple[Float[np.ndarray, " rows"], dt.datetime | None]:
    time_min, first = clock(table, "time", found)
    check_order(table, "time", time_min, found)
    step = np.diff(time_min, prepend=np.nan)
    mend = "basal is a dose per 5 min: resample the file"
    found.flag(table, "time", (step > 0) & (step % ROW_MIN != 0), "{} is off the 5-min grid of this layout", mend)
    if first is not None and first.tzinfo is not None:
        found.add(table.file, "times have an offset from UTC", "this layout is in local time", column="time")
    return time_min, first


def _carbs_unit(
    table: Table,
    stated: Float[np.ndarray, " rows"],
    bolus: Float[np.ndarray, " rows"],
    unit: CarbsUnit,
    found: Findings,
) -> None:
    """Report carbohydrate that cannot be in the unit stated."""
    both = (stated > 0) & (bolus > 0)
    doubt = carbs_doubt(stated[stated > 0], stated[both] / bolus[both], unit)
    if doubt is not None:
        found.add(table.file, *doubt, column="carb_input")


def _mass(path: Path, person: str, found: Findings) -> dict[str, float]:
    """Body mass from `patients_info.csv`, as a known parameter."""
    table = read_table(path, found)
    optional = ("gender", "HbA1c", "age", "dx_time", "height", "treatment")
    if table is None or not check_columns(table, ("person_id", "weight"), optional, found):
        return {}
    people = [str(cell).strip() for cell in table.columns["person_id"]]
    if people.count(person) != 1:
        what = f"{'more than one row' if person in people else 'no row'} for {person!a}"
        found.add(str(path), what, f"there are {', '.join(people[:30])}", column="person_id")
        return {}
    row = people.index(person)
    mass = numbers(table, "weight", found)
    bad = (np.arange(len(table)) == row) & ~((mass > 20) & (mass < 300))
    found.flag(table, "weight", bad, "{} is no body mass", "give it in kg")
    return {} if bad.any() else {"M": float(mass[row])}
