"""One person's data removed from data, results, checkpoints and MLflow, with the proof that nothing is left."""

from ._forget import Forgotten as Forgotten
from ._forget import forget as forget
from ._person import Person as Person
from ._search import Searched as Searched
from ._search import Trace as Trace
from ._work import ForgetStep as ForgetStep
from ._work import TrainedOn as TrainedOn
