"""Whether two records are the same data."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable

import numpy as np

from ._records import Patient


def data_hash(patient: Patient) -> str:
    """SHA-256 of what was recorded of a patient: times, readings, insulin and meals; not the name, not what is known.

    Fits of records with one hash have seen the same data, so their errors can be compared.

    Args:
        patient: the record.

    Returns:
        64 hexadecimal digits.

    Example:
        >>> import t1djax
        >>> a, b = t1djax.reference_cohort(interval_min=30, names=["Pat2", "Pat3"])
        >>> t1djax.data.data_hash(a) == t1djax.data.data_hash(b)
        False
    """
    digest = hashlib.sha256()
    columns = {"time_min": patient.time_min, "glucose_mg_dL": patient.glucose_mg_dL}
    columns |= {f.name: getattr(patient.doses, f.name) for f in dataclasses.fields(patient.doses)}
    for name, values in columns.items():
        if name.startswith("long_acting") and not len(values):
            continue  # a record without it has the hash that it had before there was such a column
        numbers = np.asarray(values, dtype="<f8") + 0.0  # no negative zero
        # Every NaN alike: its bits say where it came from.
        digest.update(f"{name}:{len(numbers)};".encode())
        digest.update(np.where(np.isnan(numbers), np.nan, numbers).tobytes())
    return digest.hexdigest()


def fingerprint(patients: Iterable[Patient]) -> str:
    """Of a cohort: `data_hash` of each with names, clocks and asserted parameters, in order, as sixteen digits.

    A run goes on only with data of the same fingerprint.

    Args:
        patients: the records.

    Returns:
        Sixteen hexadecimal digits.

    Example:
        >>> import t1djax
        >>> cohort = t1djax.reference_cohort(interval_min=30)
        >>> t1djax.data.fingerprint(cohort) == t1djax.data.fingerprint(cohort.select(cohort.names[:9]))
        False
    """
    each = [[p.name, str(p.start), sorted(p.known.items()), data_hash(p)] for p in patients]
    return hashlib.sha256(json.dumps(each).encode()).hexdigest()[:16]
