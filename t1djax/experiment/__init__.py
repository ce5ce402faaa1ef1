from ._cohort import load_cohort as load_cohort
from ._cohort import patient_names as patient_names
from ._cohort import sensor_noise as sensor_noise
from ._fit import fit as fit
from ._fit import fit_ensemble as fit_ensemble
