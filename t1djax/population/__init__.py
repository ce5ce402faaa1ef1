"""Forecasters that are learnt from people and forecast others."""

from ._blend import blended_forecasts as blended_forecasts
from ._files import learnt_from as learnt_from
from ._files import read_population as read_population
from ._files import shipped_forecaster as shipped_forecaster
from ._files import write_population as write_population
from ._fit import Course as Course
from ._fit import fit_population as fit_population
from ._forecast import population_forecasts as population_forecasts
from ._network import KNOTS_MIN as KNOTS_MIN
from ._network import PopulationForecaster as PopulationForecaster
from ._network import PopulationNetwork as PopulationNetwork
from ._network import PopulationOptions as PopulationOptions
from ._people import PeopleFold as PeopleFold
from ._people import people_split as people_split
