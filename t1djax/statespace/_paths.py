"""What a whole record says of a person at each time of it."""

import dataclasses
from collections.abc import Mapping

import jax
import numpy as np
from jaxtyping import Array, Float

from .._checked import check_types
from .._types import Key
from ..data import Patient
from ..programs import together
from ._body import unit_of
from ._filter import draw_paths, kalman_filter, smooth
from ._hyper import Form, layout
from ._model import build, positive
from ._person import Person
from ._records import StateSpaceFit
from ._steps import Steps, stack_steps, steps_for


@dataclasses.dataclass(frozen=True, eq=False)
class SmoothedStates:
    """States of a person given all readings of a record, at each reading and each change of the doses.

    By name: `G` (mg/dL), further pools of the body (in mg/dL of glucose), `fast`, `slow` and the sines of the rhythm
    (mg/dL/min), `c` (mg/dL/min), `p1` and `r` (mg/dL/U), `q` (mg/dL/g), the sensor's `Gi` and `error` (mg/dL).
    """

    name: str
    """The patient."""
    time_min: Float[np.ndarray, " times"]
    """Times on the record's clock, min."""
    mean: Mapping[str, Float[np.ndarray, " times"]]
    """Means by name; medians of effects that are log-normal."""
    sd: Mapping[str, Float[np.ndarray, " times"]]
    """Standard deviations by name."""
    draws: Mapping[str, Float[np.ndarray, "paths times"]]
    """Paths drawn together: each is one course of all states that the record allows, as likely as it is."""


def smoothed_states(
    fit: StateSpaceFit, patient: Patient, *, until_min: float | None = None, draws: int = 0, key: Key | None = None
) -> SmoothedStates:
    """What a person's stochastic model says of each time of a record, from the readings before and after it.

    Disturbances (`fast`, `slow`, the rhythm) are what the body and the stated doses leave unexplained. A replay keeps
    them and changes the doses; draws of them carry what is not known of it.

    Args:
        fit: the cohort's models.
        patient: a record of a patient in the fit.
        until_min: readings and doses after this time are left out, min.
        draws: how many paths to draw as well.
        key: draws them; needed where there are any.

    Returns:
        The states.

    Raises:
        KeyError: where the patient is not in the fit.
        ValueError: where draws are asked for without a key.

    Example:
        >>> import t1djax
        >>> cohort = t1djax.reference_cohort(interval_min=15, names=["Pat3"])
        >>> options = t1djax.StateSpaceOptions(horizons_min=(), max_steps=3)
        >>> fit = t1djax.fit_state_space(list(cohort), options=options)
        >>> bool(t1djax.smoothed_states(fit, cohort["Pat3"]).sd["G"].max() < 60)
        True

    Source: Rauch, Tung and Striebel 1965; Godsill, Doucet and West, JASA 99(465), 2004.
    """
    check_types(smoothed_states, locals())
    found = fit[patient.name]
    if draws and key is None:
        raise ValueError(f"smoothed_states: {draws} draws need a key, such as key=jax.random.key(0)")
    with jax.enable_x64(True):
        steps = steps_for(patient, found.form, until_min)
        padded = jax.tree.map(lambda x: x[0], stack_steps([steps]))
        key = jax.random.key(0) if key is None else key
    h = {symbol: np.asarray(e.value) for symbol, e in found.constants.items()}
    person = jax.tree.map(np.asarray, found.person)
    (mean, sd, paths), _ = together(_states, h, person, padded, key, static=(found.form, draws))
    n, names, level = len(steps.time_min), layout(found.form).names, float(found.person.level_mg_dL)
    by_name = lambda x, above: {s: x[..., :n, i] + above * (s in ("G", "Gi")) for i, s in enumerate(names)}
    time = np.asarray(steps.time_min)
    return SmoothedStates(patient.name, time, by_name(mean, level), by_name(sd, 0.0), by_name(paths, level))


def _states(
    h: dict[str, Array], person: Person, steps: Steps, key: Key, form: Form, draws: int
) -> tuple[Array, Array, Array]:
    model, _ = build(h, person, steps, form, unit_of(h, person.level_mg_dL, form))
    filtered = kalman_filter(model)
    smoothed = smooth(model, filtered)
    unit = jax.random.normal(key, (len(model.y), draws, len(model.mean)))
    paths = draw_paths(model, filtered, unit)
    core = layout(form).core
    effects = lambda x: x.at[..., core:].set(positive(x[..., core:], person, form))
    mean, sd = effects(smoothed.mean), jax.numpy.sqrt(jax.numpy.diagonal(smoothed.cov, axis1=1, axis2=2))
    if not form.exact:  # of a logarithm the error grows with the value
        sd = sd.at[:, core:].multiply(mean[:, core:] / positive(model.mean[core:], person, form))
    return mean, sd, effects(paths)
