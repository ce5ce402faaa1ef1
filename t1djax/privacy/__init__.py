"""One person removed from what t1djax wrote, and everything else that carries them listed."""

from ._forget import Forgotten as Forgotten
from ._forget import forget as forget
from ._person import NamedPerson as NamedPerson
from ._plan import ForgetStep as ForgetStep
from ._plan import Trace as Trace
from ._search import Searched as Searched
