"""A person's stochastic model as plain numbers, which a fitted patient keeps."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from ..physics import AbstractPhysiology
from ..records import Cost, Estimate, Outcome
from ._hyper import Form, StateSpaceOptions
from ._person import Person
from ._records import Joint, PatientStateSpace, StateSpaceFit

_EFFECTS = ("c", "p1", "q", "r")


def model_numbers(model: PatientStateSpace) -> dict[str, float]:
    """What forecasts take of a person's stochastic model: constants, level, priors of the effects.

    Args:
        model: the person's.

    Returns:
        The constants by symbol, `level_mg_dL`, and `prior_*` and `prior_*_sd` of each effect, in the model's units.

    Raises:
        ValueError: where the model is of another form than `StateSpaceOptions()`, or its fit failed.

    Example:
        >>> import t1djax
        >>> from t1djax.statespace import model_numbers
        >>> cohort = t1djax.reference_cohort(interval_min=15, names=["Pat3"])
        >>> options = t1djax.StateSpaceOptions(horizons_min=(), max_steps=3)
        >>> fit = t1djax.fit_state_space(list(cohort), options=options)
        >>> model_numbers(fit["Pat3"])["level_mg_dL"] > 40
        True
    """
    usual = StateSpaceOptions(horizons_min=model.form.options.horizons_min, max_steps=model.form.options.max_steps)
    if model.form.options != usual or not np.isfinite(model.log_likelihood):
        raise ValueError(f"{model.name}: only models of the usual form whose fit did not fail can be kept as numbers")
    found = {symbol: e.value for symbol, e in model.constants.items()}
    found["level_mg_dL"] = float(model.person.level_mg_dL)
    for i, name in enumerate(_EFFECTS):
        found[f"prior_{name}"] = float(model.person.effect_mean[i])
        found[f"prior_{name}_sd"] = float(model.person.effect_sd[i])
    return found


def model_of_numbers(
    name: str, numbers: Mapping[str, float], physiology: type[AbstractPhysiology], *, train_until_min: float
) -> StateSpaceFit:
    """A stochastic model from its numbers, ready for `state_space_forecasts`.

    Args:
        name: the person.
        numbers: what `model_numbers` gave.
        physiology: the body.
        train_until_min: readings until then say what the sensor reads at its limits, min.

    Returns:
        The fit of this one person; it has no standard errors.

    Raises:
        KeyError: where a number is missing.

    Example:
        >>> import t1djax
        >>> from t1djax.statespace import model_numbers, model_of_numbers
        >>> cohort = t1djax.reference_cohort(interval_min=15, names=["Pat3"])
        >>> options = t1djax.StateSpaceOptions(horizons_min=(), max_steps=3)
        >>> fit = t1djax.fit_state_space(list(cohort), options=options)
        >>> model_of_numbers("Pat3", model_numbers(fit["Pat3"]), t1djax.Magdelaine, train_until_min=900.0).names
        ('Pat3',)
    """
    form = Form(physiology=physiology)
    with jax.enable_x64(True):
        level = jnp.asarray(numbers["level_mg_dL"])
        mean, sd = (jnp.asarray([numbers[f"prior_{e}{end}"] for e in _EFFECTS]) for end in ("", "_sd"))
    constants = {row.symbol: Estimate(numbers[row.symbol], row.median, np.nan) for row in form.constants}
    nothing = Joint(np.zeros(0), np.zeros((0, 0)))
    one = PatientStateSpace(
        name, Outcome.of(True, finite=True), train_until_min, constants, {}, np.nan, 0, 0,
        Person(level, mean, sd, jnp.full(3, jnp.nan)), form, nothing,
    )  # fmt: skip
    return StateSpaceFit(form, (one,), Cost(0.0, 0.0))
