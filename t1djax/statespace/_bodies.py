"""Several bodies fitted to the same records. None of them is the right one: their draws are taken together."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import Float

from ..data import Patient
from ..physics import AbstractPhysiology
from ._fit import fit_state_space
from ._hyper import StateSpaceOptions
from ._records import PatientStateSpace, StateSpaceFit

BODIES = "kanderian,hovorka"
"""Bodies with a set point, which differ on what glucose gives back of a dose."""

LOOKED_BACK = StateSpaceOptions(horizons_min=(), paired_ahead_min=30.0, looked_back=True)
"""Form of a model by which a record is looked back on, as replays do."""


def fit_bodies(
    patients: Sequence[Patient],
    bodies: str | type[AbstractPhysiology] | Sequence[str | type[AbstractPhysiology]] = BODIES,
    *,
    options: StateSpaceOptions,
    until_min: float = np.inf,
    on_stage: Callable[[str], None] = lambda _: None,
) -> list[StateSpaceFit]:
    """Fit each body to whole records.

    Args:
        patients: the records.
        bodies: names or classes; a text may hold several names with commas between them.
        options: form of the model.
        until_min: readings and doses after this time are left out, min.
        on_stage: is handed what begins, in words.

    Returns:
        A fit for each body.

    Raises:
        ValueError: where a record has fewer than twenty readings.
        ArgumentError: where a physiology is not known.

    Example:
        >>> import t1djax
        >>> from t1djax.statespace import fit_bodies
        >>> patient = t1djax.reference_cohort(interval_min=30, names=["Pat3"])["Pat3"]
        >>> options = t1djax.StateSpaceOptions(horizons_min=(), max_steps=2)
        >>> [fit.form.physiology.__name__ for fit in fit_bodies([patient], "magdelaine,kanderian", options=options)]
        ['Magdelaine', 'Kanderian']
    """
    each = bodies.split(",") if isinstance(bodies, str) else [bodies] if isinstance(bodies, type) else bodies
    names = [one.strip() if isinstance(one, str) else one for one in each]
    called = [one if isinstance(one, str) else one.__name__.lower() for one in names]
    on_stage(f"compiling and fitting {' and '.join(called)}")
    # Each compiles and walks on a core of its own.
    with ThreadPoolExecutor(len(names)) as pool:
        fit = lambda one: fit_state_space(patients, physiology=one, options=options, train_until_min=until_min)
        return list(pool.map(fit, names))


def weights(person: Sequence[PatientStateSpace]) -> Float[np.ndarray, " bodies"]:
    """How much each body counts for a person, by what it forecast of each next reading.

    ```
    w ~ exp(E / 10),   E = log p(y | z) - z'z/2 + log det(C)/2
    ```

    with `E` the evidence by Laplace's method, `C` the inverse curvature at the constants `z`. All bodies are wrong, and
    wrong for long at a time, so that readings say less than they seem to: hence the tenth. Fits that did not converge
    do not count.

    Source: Safe Bayes, Grunwald and van Ommen, Bayesian Analysis 12(4), 2017, on powers of likelihoods.
    """

    def evidence(p: PatientStateSpace) -> float:
        n = len(p.constants)
        z, C = p.joint.mean[:n], p.joint.cov[:n, :n]
        return p.log_likelihood - z @ z / 2 + np.linalg.slogdet(C)[1] / 2 if p.ok else -np.inf

    found = np.array([evidence(p) for p in person])
    if not np.any(np.isfinite(found)):
        return np.ones(len(found)) / len(found)
    share = np.exp((found - np.max(found)) * _POWER)
    return share / np.sum(share)


_POWER = 0.1
