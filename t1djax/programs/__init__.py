"""Compiled programs: each compiled once, run over patients on devices and threads."""

from ._blas import one_thread_per_factorisation as one_thread_per_factorisation
from ._over_cohort import map_patients as map_patients
from ._programs import Effort as Effort
from ._programs import compile_once as compile_once
from ._sizes import training_block as training_block
from ._spreading import Spread as Spread
from ._spreading import on_device as on_device
from ._spreading import spread_over as spread_over
from ._threads import Shares as Shares
