"""Fitted patients made from a fit, and what glucose they expect after the end of their records."""

from ._fitted import fitted_patient as fitted_patient
from ._fitted import fitted_patients as fitted_patients
from ._live import predict_from_readings as predict_from_readings
from ._live import with_stochastic as with_stochastic
from ._predict import predict as predict
