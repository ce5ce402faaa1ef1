"""Fitted patients in MLflow's model registry: versions, the gate to `champion`, and what a server answers."""

from ._answer import MOST_ROWS as MOST_ROWS
from ._answer import answer as answer
from ._promote import METRIC as METRIC
from ._promote import Promotion as Promotion
from ._promote import promote as promote
from ._register import VERSION_FILES as VERSION_FILES
from ._register import register as register
from ._register import without_patient as without_patient
from ._store import NotRegisteredError as NotRegisteredError
from ._store import RegistryError as RegistryError
from ._store import UnreachableError as UnreachableError
from ._store import default_uri as default_uri
from ._versions import PREFIX as PREFIX
from ._versions import Version as Version
from ._versions import load as load
from ._versions import versions as versions
