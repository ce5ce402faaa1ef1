from ._features import dose_memories as dose_memories
from ._features import fourier_octaves as fourier_octaves
from ._surrogates import PINN as PINN
from ._surrogates import AbstractSurrogate as AbstractSurrogate
from ._surrogates import Window as Window
