from ._fits import SETS as SETS
from ._fits import doubts as doubts
from ._fits import glucose_errors as glucose_errors
from ._fits import metrics as metrics
from ._fits import persistence_rmse as persistence_rmse
from ._fits import recovery as recovery
from ._fits import spread as spread
from ._fits import summary as summary
