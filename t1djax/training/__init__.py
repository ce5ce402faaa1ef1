from ._fit import fit_pinn as fit_pinn
from ._stages import PINNOptions as PINNOptions
from ._stages import Progress as Progress
from ._stages import Stage as Stage
from ._stages import default_stages as default_stages
from ._train import Trained as Trained
from ._train import train as train
from ._train import trainable as trainable
