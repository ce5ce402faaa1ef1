from ._first_order import trainable as trainable
from ._fit import fit_members as fit_members
from ._fit import fit_network as fit_network
from ._stages import Progress as Progress
from ._stages import Stage as Stage
from ._stages import default_stages as default_stages
from ._train import Trained as Trained
from ._train import train as train
