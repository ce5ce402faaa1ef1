"""Patients as pandas frames: in and out by the same checks as files."""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from ..data import Cohort, Patient, Truth
from ._checks import Table
from ._columns import BASAL, CLOCK, GLUCOSE, LONG_ACTING, TIME, WHO
from ._quantities import DURATIONS
from ._remarks import Step, finished, flaw, settled
from ._tables import TRUE_GLUCOSE, table_to_patient

if TYPE_CHECKING:
    import pandas as pd


def frame_to_patient(
    frame: "pd.DataFrame", name: str, *, known: Mapping[str, float] | None = None, strict: bool = False
) -> Patient:
    """A patient from a frame with the columns of a patient's file, by the same checks.

    Args:
        frame: the table; NaN, None or an empty text is an empty cell. `time` may hold timestamps or texts.
        name: who it is.
        known: asserted parameters by symbol.
        strict: whether a reading below 40 mg/dL is an error rather than a warning.

    Returns:
        The patient.

    Raises:
        DataError: listing everything wrong; rows are labels of the frame's index.
        TypeError: where it is no frame.

    Example:
        >>> import pandas as pd
        >>> from t1djax.io import frame_to_patient
        >>> frame = pd.DataFrame({"time_min": [0, 5], "glucose_mg_dL": [120, 118], "basal_U_h": 0.9,
        ...                       "bolus_U": 0, "carbs_g": 0})
        >>> frame_to_patient(frame, "Ada")
        Patient(Ada: 2 readings over 0.1 h)
    """
    _check_frame(frame)
    return settled(*finished(_patient(frame, name, known or {}, strict)))


def _patient(frame: "pd.DataFrame", name: str, known: Mapping[str, float], strict: bool) -> Step[Patient | None]:
    table = yield from frame_table(frame, name)
    return (yield from table_to_patient(table, name, known, strict))


def frame_to_cohort(
    frame: "pd.DataFrame", *, known: Mapping[str, Mapping[str, float]] | None = None, strict: bool = False
) -> Cohort:
    """A cohort from one long frame: a column `patient`, and those of a patient's file.

    Args:
        frame: the table; see `frame_to_patient`. Patients come in the order in which they first appear.
        known: asserted parameters by symbol, by patient.
        strict: whether a reading below 40 mg/dL is an error rather than a warning.

    Returns:
        The cohort.

    Raises:
        DataError: listing everything wrong with anybody; rows are labels of the frame's index.
        TypeError: where it is no frame.

    Example:
        >>> import pandas as pd
        >>> from t1djax import frame_to_cohort
        >>> frame = pd.DataFrame({"patient": ["Ada", "Ada", "Ben", "Ben"], "time_min": [0, 5, 0, 5],
        ...                       "glucose_mg_dL": [120, 118, 90, 95], "basal_U_h": 0.9, "bolus_U": 0, "carbs_g": 0})
        >>> frame_to_cohort(frame)
        Cohort(2 patients: Ada, Ben)
    """
    _check_frame(frame)
    return settled(*finished(_cohort(frame, known or {}, strict)))


def _cohort(frame: "pd.DataFrame", known: Mapping[str, Mapping[str, float]], strict: bool) -> Step[Cohort | None]:
    if WHO not in frame.columns:
        yield flaw("frame", "there is no such column", "say of each row whose it is", column=WHO)
        return None
    whose = frame[WHO].tolist()
    nobody = frame[WHO].isna().tolist()
    for label, missing in zip(frame.index.tolist(), nobody, strict=True):
        if missing:
            yield flaw("frame", "the row is nobody's", "say whose it is", column=WHO, row=label)
    rows: dict[str, list[int]] = {}
    for i, name in enumerate(whose):
        if not nobody[i]:
            rows.setdefault(str(name), []).append(i)
    for name in sorted(set(known) - set(rows)):
        yield flaw("frame", f"known has {name!r}, who has no row", f"one of {', '.join(rows)}", column=WHO)
    patients = []
    for name, at in rows.items():
        part = frame.iloc[at].drop(columns=WHO)
        # Of people with a clock and people without, each has one of the two columns.
        empty = [
            c for c in (TIME, CLOCK) if {TIME, CLOCK} <= set(part.columns) and not part[c].notna().to_numpy().any()
        ]
        patients.append((yield from _patient(part.drop(columns=empty[:1]), name, known.get(name, {}), strict)))
    return Cohort(tuple(patient for patient in patients if patient is not None))


def cohort_to_frame(cohort: Cohort) -> "pd.DataFrame":
    """One long frame of a cohort: a column `patient`, and those of `patient_to_frame`, the truth where it is known.

    Args:
        cohort: the patients, each with its truth where it is simulated.

    Returns:
        The frame; `frame_to_cohort` reads it back.

    Raises:
        ValueError: where two doses of one time differ in duration, or two rows fall on one microsecond.

    Example:
        >>> import t1djax
        >>> frame = t1djax.cohort_to_frame(t1djax.reference_cohort(interval_min=60, names=["Pat2", "Pat3"]))
        >>> frame.groupby("patient")["glucose_mg_dL"].count().tolist()
        [49, 49]
    """
    import pandas as pd  # noqa: PLC0415 - half a second at import

    frames = [patient_to_frame(patient, cohort.truth.get(patient.name)) for patient in cohort]
    for patient, frame in zip(cohort, frames, strict=True):
        frame.insert(0, WHO, patient.name)
    return pd.concat(frames, ignore_index=True)


def _check_frame(frame: object) -> None:
    if not hasattr(frame, "columns"):
        raise TypeError(f"frame is a {type(frame).__name__}; give a pandas frame, as in pandas.DataFrame(...)")


def frame_table(frame: "pd.DataFrame", name: str) -> Step[Table]:
    names = [str(column).strip() for column in frame.columns]
    file = f"frame {name}"
    for twice in sorted({column for column in names if names.count(column) > 1}):
        yield flaw(file, "there is more than one such column", "keep one", column=twice)
    if not len(frame):
        yield flaw(file, "it has no row", "give rows")
    cells = []
    for i in range(len(names)):
        values = frame.iloc[:, i]
        # The shortest text that reads back as the same number; a timestamp's isoformat.
        texts = ["" if gone else _text(x) for x, gone in zip(values.tolist(), values.isna().tolist(), strict=True)]
        cells.append(texts)
    return Table(file, names, list(zip(*cells, strict=True)), frame.index.tolist())


def _text(value: object) -> str:
    if isinstance(value, float):
        return repr(float(value))
    return value.isoformat() if isinstance(value, dt.datetime) else str(value)


def patient_to_frame(patient: Patient, truth: Truth | None = None) -> "pd.DataFrame":
    """The canonical table of a patient; NaN is an empty cell.

    A row is added for every dose that falls between rows. The rate of basal stands where it changes. Doses from
    before the first row stand above it, in rows without a rate; what begins after the last row is left out. A record
    with a clock gets `time`, to the microsecond; read back, its minute zero is the first row that states a rate.

    Args:
        patient: the record.
        truth: its truth, where it is simulated.

    Returns:
        The table.

    Raises:
        ValueError: where two doses of one time differ in duration, or two rows fall on one microsecond.

    Example:
        >>> from t1djax import presets
        >>> from t1djax.io import patient_to_frame
        >>> import numpy as np
        >>> from t1djax import Patient
        >>> rows = np.array([0.0, 450.0, 900.0])
        >>> frame = patient_to_frame(Patient("Pat2", rows, rows + 100, presets()["Pat2"].doses))
        >>> frame["bolus_U"].tolist()
        [nan, 0.5, 2.0, nan]
    """
    columns, _ = patient_columns(patient, truth)
    import pandas as pd  # noqa: PLC0415 - half a second at import

    return pd.DataFrame(columns)


def patient_columns(patient: Patient, truth: Truth | None) -> tuple[dict[str, Sequence[Any]], int]:
    """Columns of the canonical table, and the number of doses that begin after its last row."""
    first, last = float(patient.time_min[0]), float(patient.time_min[-1])
    doses = patient.doses
    basal = _schedule(doses.basal_time_min, doses.basal_U_h, first, last)
    each = [_events(patient.name, c, *e, last) for c, e in zip(DURATIONS, doses.events, strict=True)]
    stated = np.array([*basal, *(time for events, _ in each for time in events)])
    rows = np.unique(np.concatenate([patient.time_min, stated]))

    def spread(times: Any, values: Any) -> list[float]:
        out = np.full(len(rows), np.nan)
        out[np.searchsorted(rows, np.asarray(times, dtype=np.float64))] = np.asarray(values, dtype=np.float64)
        return out.tolist()

    columns: dict[str, Sequence[Any]] = {}
    if patient.start is None:
        columns[TIME] = rows.tolist()
    else:
        columns[CLOCK] = _stamps(patient.name, patient.start, rows)
    columns[GLUCOSE] = spread(patient.time_min, patient.glucose_mg_dL)
    columns[BASAL] = spread([*basal], [*basal.values()])
    for (amount, (duration, usual)), (events, _) in zip(DURATIONS.items(), each, strict=True):
        if amount == LONG_ACTING and not events:
            continue
        columns[amount] = spread([*events], [amount for amount, _ in events.values()])
        if any(minutes != usual for _, minutes in events.values()):
            columns[duration] = spread([*events], [minutes for _, minutes in events.values()])
    if truth is not None:
        for name, values in {TRUE_GLUCOSE: truth.glucose_mg_dL, **truth.states}.items():
            columns[name] = spread(patient.time_min, values)
    return columns, sum(lost for _, lost in each)


def _schedule(
    times: Float[np.ndarray, " basals"], rates: Float[np.ndarray, " basals"], first: float, last: float
) -> dict[float, float]:
    """Rates by time where they change, from the one in force at the first row."""
    now = max(int(np.searchsorted(times, first, side="right")) - 1, 0)
    out = {first: float(rates[now])}
    rate = out[first]
    for time, new in zip(times[now + 1 :].tolist(), rates[now + 1 :].tolist(), strict=True):
        if first < time <= last and new != rate:
            out[time] = rate = new
    return out


def _events(
    name: str,
    column: str,
    times: Float[np.ndarray, " doses"],
    amounts: Float[np.ndarray, " doses"],
    durations: Float[np.ndarray, " doses"],
    last: float,
) -> tuple[dict[float, tuple[float, float]], int]:
    """Amount and duration by time, doses of one time merged; and how many begin after the last row."""
    out: dict[float, tuple[float, float]] = {}
    lost = 0
    given = amounts > 0
    order = np.argsort(times[given], kind="stable")
    columns = (column[given][order].tolist() for column in (times, amounts, durations))
    for time, amount, duration in zip(*columns, strict=True):
        if time > last:
            lost += 1
            continue
        earlier, same = out.get(time, (0.0, duration))
        if same != duration:
            raise ValueError(
                f"patient {name}, minute {time:g}: doses in {column} over {same:g} and {duration:g} min cannot stand "
                "in one row; move one of them by a second"
            )
        out[time] = (earlier + amount, duration)
    return out, lost


def _stamps(name: str, start: dt.datetime, rows: Float[np.ndarray, " rows"]) -> list[dt.datetime]:
    offset = start.utcoffset()
    local = start.tzinfo
    if offset is not None:  # a clock that springs forward cannot be added to
        start = start.astimezone(dt.UTC)
    try:
        stamps = [start + dt.timedelta(minutes=minutes) for minutes in rows.tolist()]
        stamps = stamps if offset is None else [_fixed(stamp.astimezone(local)) for stamp in stamps]
    except OverflowError:
        raise ValueError(f"patient {name}: a row is beyond the calendar; drop the patient's start") from None
    if len(set(stamps)) < len(stamps):
        raise ValueError(f"patient {name}: two rows fall on one microsecond; drop the patient's start")
    return stamps


def _fixed(stamp: dt.datetime) -> dt.datetime:
    """With its own offset: times of one zone are equal in the hour that stands twice."""
    return stamp.replace(tzinfo=dt.timezone(stamp.utcoffset() or dt.timedelta()))
