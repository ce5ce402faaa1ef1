from ._birnn import BIRNN as BIRNN
from ._birnn import BIRNNOptions as BIRNNOptions
from ._check import check_network as check_network
from ._features import TimeFeatureOptions as TimeFeatureOptions
from ._features import TimeFeatures as TimeFeatures
from ._features import dose_memories as dose_memories
from ._features import waves as waves
from ._flax import FlaxOptions as FlaxOptions
from ._flax import FlaxSurrogate as FlaxSurrogate
from ._layers import Dense as Dense
from ._modified_mlp import ModifiedMLP as ModifiedMLP
from ._modified_mlp import ModifiedMLPOptions as ModifiedMLPOptions
from ._pinn import PINN as PINN
from ._pinn import PINNOptions as PINNOptions
from ._surrogates import AbstractFeatures as AbstractFeatures
from ._surrogates import AbstractSurrogate as AbstractSurrogate
from ._surrogates import NetworkOptions as NetworkOptions
from ._surrogates import Window as Window
from ._surrogates import check_numbers as check_numbers

ARCHITECTURES: dict[str, type[NetworkOptions]] = {o.model: o for o in (PINNOptions, ModifiedMLPOptions, BIRNNOptions)}
"""Options by name of the architecture, of those that can be named on the command line."""
