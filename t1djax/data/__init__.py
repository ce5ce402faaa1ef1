from ._records import Cohort as Cohort
from ._records import Patient as Patient
from ._records import Series as Series
from ._records import Truth as Truth
from ._records import series as series
from ._records import stack as stack
from ._splits import Masks as Masks
from ._splits import split as split
