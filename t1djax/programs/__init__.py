"""Compiled programs: each compiled once, run over patients on devices and threads."""

from ._over_cohort import at_work as at_work
from ._over_cohort import map_patients as map_patients
from ._over_cohort import over_cohort as over_cohort
from ._over_cohort import together as together
from ._programs import Effort as Effort
from ._programs import check_not_forked as check_not_forked
from ._sizes import cores as cores
from ._sizes import training_block as training_block
from ._spreading import Spread as Spread
from ._spreading import on_device as on_device
from ._spreading import spread_over as spread_over
from ._threads import Shares as Shares
