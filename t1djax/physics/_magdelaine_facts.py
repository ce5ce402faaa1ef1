"""What is stated of the model of Magdelaine et al. (2015): parameters, population, facts."""

import dataclasses
from collections.abc import Collection, Mapping
from types import MappingProxyType

from ._facts import Balance, Derived, Facts, Proxy, Symmetry, Together
from ._parameters import BODY_MASS, Parameter, parameter_table, row_table
from ._prior import Prior, prior_table

KB_BODY_MASS = 128.0
"""Glucose use of the brain, mg/dL/min times kg: `kb = 128 / M` (Magdelaine et al. 2015, section II)."""

PARAMETERS: Mapping[str, Parameter] = parameter_table(
    dataclasses.replace(BODY_MASS, meaning="body mass (kb = 128 / M)"),
    Parameter("ksi", "mg/U/min", "insulin sensitivity", "ksi", 152.0, 320.0, 150.0, 300.0),
    Parameter("kl", "mg/dL/min", "liver glucose output at zero insulin", "kl", 1.58, 2.07, 1.7, 2.07),
    Parameter("kb", "mg/dL/min", "glucose use of the brain", "kb", 1.16, 1.98, 1.16, 1.6),
    Parameter("Tu", "min", "time constant of insulin absorption", "Tu_min", 67.0, 144.0, 67.0, 144.0,
              real=(45.0, 85.0)),  # fits of the stochastic model to 11 people of AZT1D and HUPA-UCM
    Parameter("ku_Vi", "min/dL", "insulin clearance time over volume", "ku_Vi", 0.057, 0.065, 0.057, 0.065),
    Parameter("Tr", "min", "time constant of meal absorption", "Tr_min", 1.0, 259.0, 40.0, 200.0,
              prior_range=(40.0, 200.0), real=(25.0, 80.0)),  # at a minute, no meal is absorbed; likewise
    Parameter("kr_Vb", "1/dL", "carbohydrate bioavailability over volume", "kr_Vb", 0.0018, 0.0026, 0.0018, 0.0026),
)  # fmt: skip
"""The parameters that a table may assert and a fit may estimate, by symbol.

Ranges: mean and two standard deviations over Pat2..Pat11, as an earlier study of the model drew its starts; starts of
`kl` and `kb` are kept apart so that `kl > kb`, starts of `Tr` to times at which meals are in fact absorbed.
"""

TYPICAL_C = PARAMETERS["kl"].typical - PARAMETERS["kb"].typical
"""The population's balance `c = kl - kb`, mg/dL/min: that of the middles, within 2 % of the mean over Pat2..Pat11.

Glucose tells `c` and neither of the two, and people's `kl` and `kb` spread as far as `c` is large. So what is assumed
of a person is `c`, and the one of `kl` and `kb` that nobody stated follows the other.
"""


INITIAL_STATES: Mapping[str, Parameter] = row_table(
    Parameter("S0", "U/dL", "insulin on its way to the blood at the start", "S0_U_dL", 0.0, 0.02, 5e-4, 4e-3),
    Parameter("I0", "U/dL", "insulin in the blood at the start", "I0_U_dL", 0.0, 0.02, 5e-4, 4e-3),
    Parameter("E0", "mg/dL/min", "food on its way to the blood at the start", "E0_mg_dL_min", 0.0, 5.0, 0.2, 0.2),
    Parameter(
        "D0", "mg/dL/min", "glucose entering the blood from meals at the start", "D0_mg_dL_min", 0.0, 5.0, 0.2, 0.2
    ),
)
"""The rest of the state at the start of a window, estimated on request: a real window does not begin at rest."""


_SOURCE = "Magdelaine et al., IEEE Trans. Biomed. Eng. 62(6), 2015, doi 10.1109/TBME.2015.2393105"
_COHORT = "mean and standard deviation over Pat2..Pat11 (`PARAMETERS`), cut off at two standard deviations"
TRAITS = prior_table(
    Prior("M", "kg", "body mass", 85.0, 12.5, 65.0, 110.0, False, _COHORT + "; from 65 kg, so that kb < 2"),
    Prior("ksi", "mg/U/min", "insulin sensitivity", 236.0, 42.0, 152.0, 320.0, True, _COHORT),
    Prior("Tu", "min", "time constant of insulin absorption", 105.5, 19.0, 67.0, 144.0, True, _COHORT),
    Prior("ku_Vi", "min/dL", "insulin clearance time over volume", 0.061, 0.002, 0.057, 0.065, False, _COHORT),
    Prior("Tr", "min", "time constant of meal absorption", 80.0, 40.0, 40.0, 190.0, True,
          "spans the two published patients, 49 min (IF3) and 183 min (IF2): " + _SOURCE),
    Prior("kr_Vb", "1/dL", "carbohydrate bioavailability over volume", 0.0022, 0.0002, 0.0018, 0.0026, False, _COHORT),
    Prior("basal", "U/kg/day", "basal need by body mass", 0.28, 0.07, 0.12, 0.54, True,
          "around the equilibrium of the published patients, 0.28 (IF2) and 0.32 (IF3): " + _SOURCE
          + "; 0.23 on average in titrated type 1 and 2: King, Diabetes 68(Suppl. 1):1108-P, 2019"),
)  # fmt: skip
FACTS = Facts(
    source=_SOURCE,
    sensitivity="ksi",
    insulin_states=("S", "I"),
    meal_states=("E", "D"),
    learnt=("G", "I", "D"),
    together=(
        Together(
            frozenset({"ksi", "ku_Vi"}),
            "only their product p1 = ksi ku_Vi shows in glucose; estimate one of them with the other known (p1 is "
            "reported either way)",
        ),
        Together(
            frozenset({"kl", "kb"}),
            "only their difference c = kl - kb shows in glucose; estimate kl with kb known (c is reported either way)",
        ),
        Together(
            frozenset({"kl", "M"}),
            "M enters through kb = 128 / M alone, and only c = kl - kb shows in glucose; estimate kl with M known",
        ),
        Together(frozenset({"kb", "M"}), "they are one parameter, kb = 128 / M; estimate one of them", one=True),
    ),
    need_meal=frozenset({"Tr", "kr_Vb"}),
    need_insulin=frozenset({"ksi", "ku_Vi"}),
    derived=(
        Derived(
            "p1",
            "mg/dL/U",
            "fall of glucose that a unit of insulin makes (ksi ku_Vi)",
            frozenset({"ksi", "ku_Vi"}),
            lambda v: v["ksi"] * v["ku_Vi"],
        ),
        Derived(
            "c",
            "mg/dL/min",
            "rise of glucose at zero insulin (kl - kb)",
            frozenset({"kl", "kb"}),
            lambda v: v["kl"] - v["kb"],
        ),
    ),
    proxies=(Proxy("M", "kb", "128 / {}"),),
    balance=Balance(
        "c",
        "kl",
        "kb",
        TYPICAL_C,
        frozenset({"ksi", "ku_Vi", "kr_Vb"}),
        "glucose would fall without insulin",
        lambda name, kl, kb: f"kl = {kl:.4g} of {name} against kb = {kb:.4g} (128/M of M = {KB_BODY_MASS / kb:.4g} kg)",
    ),
    followed=MappingProxyType({"Tu": (70.0, 0.35), "Tr": (45.0, 0.35)}),  # as real people show
    linear=True,
    coefficients=frozenset({"Tu", "Tr"}),
    exact=True,
)


def symmetries(free: Collection[str], values: Mapping[str, float]) -> list[Symmetry]:
    """Changes of free parameters that leave glucose as it is, as far as the record and the known ones let them.

    `(ksi, I, ku/Vi) -> (ksi/a, a I, a ku/Vi)` and `(kl, kb) -> (kl + d, kb + d)`, by substitution into equations (1) to
    (3) of Magdelaine et al. 2015.
    """
    found, v = [], values
    along = [s for s in ("ku_Vi", "I0", "S0") if s in free]
    if "ksi" in free and along:
        stays = ", ".join(f"ksi*{s}" for s in along)
        found.append(Symmetry({"ksi": -1.0} | dict.fromkeys(along, 1.0), stays, {"ksi": 1.0, along[0]: 1.0}))
    if "kl" in free:
        c = abs(v["kl"] - v["kb"]) or 1.0
        move, slope = {"kl": 1 / v["kl"]}, {"kl": v["kl"] / c}
        if "kb" in free:
            found.append(Symmetry(move | {"kb": 1 / v["kb"]}, "kl - kb", slope | {"kb": -v["kb"] / c}))
        if "M" in free:
            found.append(Symmetry(move | {"M": -1 / v["kb"]}, "kl - 128/M", slope | {"M": v["kb"] / c}))
    return found
