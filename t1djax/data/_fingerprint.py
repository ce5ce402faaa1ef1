"""A name for data that changes whenever the data do."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable

import numpy as np

from ._records import Patient


def fingerprint(patients: Iterable[Patient]) -> str:
    """Sixteen hexadecimal digits that change with any reading, dose, time, asserted parameter, name, or their order.

    Not a secret: who has the data can compute it.

    Args:
        patients: the records.

    Example:
        >>> import t1djax
        >>> cohort = t1djax.reference_cohort(interval_min=30)
        >>> t1djax.fingerprint(cohort) == t1djax.fingerprint(cohort.select(cohort.names[:9]))
        False

    Source: SHA-256 (FIPS 180-4), shortened.
    """
    digest = hashlib.sha256()
    for patient in patients:
        digest.update(json.dumps([patient.name, str(patient.start), sorted(patient.known.items())]).encode())
        doses = [getattr(patient.doses, field.name) for field in dataclasses.fields(patient.doses)]
        for column in (patient.time_min, patient.glucose_mg_dL, *doses):
            numbers = np.ascontiguousarray(column, dtype="<f8")
            digest.update(str(numbers.shape).encode() + numbers.tobytes())
    return digest.hexdigest()[:16]
