"""The HUPA-UCM diabetes dataset, with what its table of people says."""

import datetime as dt
from pathlib import Path

import numpy as np

from ..data import Patient
from ._checks import check_columns, flag, numbers
from ._raw import CarbsUnit
from ._recording import read_recording
from ._remarks import Step, finished, flaw, settled
from ._text import read_table


def read_hupa(
    path: str | Path,
    *,
    carbs_unit: CarbsUnit,
    start: str | dt.datetime | None = None,
    hours: float | None = None,
    info: str | Path | None = None,
    keep_interpolated: bool = False,
) -> Patient:
    """Read a person of the HUPA-UCM dataset: `read_recording` in its format, with the body mass.

    The file has 5-min rows `time;glucose;calories;heart_rate;steps;basal_rate;bolus_volume_delivered;carb_input`
    in naive local time. Its basal is U per 5 min. Its carbohydrate is in grams for some people, in 10-g exchanges
    for most, and a mere flag for others, so the unit must be said. Two of three of its readings are straight lines
    drawn between the sensor's 15-min readings: a fit that sees them has seen the future.

    Args:
        path: the file; its stem names the patient.
        carbs_unit: `"g"`, `"exchange"` (10 g), `"exchange-12g"`, `"exchange-15g"`, or `"none"` to leave it out.
        start: first time to keep, ISO 8601 local or a naive datetime; left out, the first row.
        hours: length to keep, h, with the row at its end; left out, to the last row.
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
        >>> import pathlib, tempfile, warnings
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
    known = {} if info is None else settled(*finished(_mass(Path(info), Path(path).stem)))
    return read_recording(
        path, format="hupa", carbs_unit=carbs_unit, start=start, hours=hours, keep_interpolated=keep_interpolated,
        known=known,
    ).patient  # fmt: skip


def _mass(path: Path, person: str) -> Step[dict[str, float]]:
    """Body mass from `patients_info.csv`, as a known parameter."""
    table = yield from read_table(path)
    optional = ("gender", "HbA1c", "age", "dx_time", "height", "treatment")
    if table is None or not (yield from check_columns(table, ("person_id", "weight"), optional)):
        return {}
    people = table.stripped("person_id")
    if people.count(person) != 1:
        what = f"{'more than one row' if person in people else 'no row'} for {person!a}"
        yield flaw(str(path), what, f"there are {', '.join(people[:30])}", column="person_id")
        return {}
    row = people.index(person)
    mass = yield from numbers(table, "weight")
    bad = (np.arange(len(table)) == row) & ~((mass > 20) & (mass < 300))
    yield from flag(table, "weight", bad, "{} is no body mass", "give it in kg")
    return {"M": float(mass[row])}
