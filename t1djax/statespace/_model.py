"""The Magdelaine model with disturbances, as a linear-Gaussian state-space form."""

from collections.abc import Mapping
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from ..data import Patient
from ..physics import Magdelaine, State, exact_lags
from ._hyper import StateSpaceOptions
from ._steps import Steps, inputs_of, steps_of

MINUTES_PER_DAY = 1440.0
_DOUBLINGS = 14  # a step is cut into 2^14 parts for the series, then doubled
_TERMS = 10


class Person(eqx.Module):
    """What of a person is set before the fit: the level about which the model is written, and priors of its effects.

    From the training part of the record alone.
    """

    level_mg_dL: Float[Array, "*batch"]
    """Median reading, mg/dL."""
    effect_mean: Float[Array, "*batch effects"]
    """Prior means of `c` (mg/dL/min), `p1` (mg/dL/U), `q` (mg/dL/g), `r` (mg/dL/U)."""
    effect_sd: Float[Array, "*batch effects"]
    """Their standard deviations."""


def person_of(patient: Patient, *, until_min: float) -> Person:
    """Level and priors of one patient.

    ```
    p1 = (1 +- 0.3) 1700 / TDD,   q = 3.4 +- 1,   r = (0.5 +- 0.3) p1
    c  = p1 mean(u) - q mean(carbs) - r mean(unpaired u)  +- 0.5:   no drift on average
    ```

    `TDD` is the total daily dose of the training part, U/day, between 10 and 200. The rules relate insulin effect and
    carbohydrate effect to the dose: 1700 mg/dL U/day over TDD, and 500 g U/day over TDD per unit. The spread is narrow
    for a reason: meals come with boluses, which cancel them, and wider priors let the two trade places until insulin
    raises glucose.

    Source: Davidson et al., "Analysis of guidelines for basal-bolus insulin dosing", Endocr. Pract. 14(9), 2008.
    """
    seen = patient.valid & (patient.time_min <= until_min)
    start, end = float(patient.time_min[seen][0]), float(patient.time_min[seen][-1])
    steps = steps_of(patient, until_min=until_min)
    dt = np.asarray(steps.dt_min)[np.asarray(steps.interval)]
    mean = lambda rate: float(np.sum(np.asarray(rate) * dt) / (end - start))
    u, carbs, alone = (mean(x) for x in (steps.insulin_U_min, steps.carbs_g_min, steps.unpaired_U_min))
    p1 = 1700.0 / float(np.clip(u * MINUTES_PER_DAY, 10.0, 200.0))
    q, r = 3.4, 0.5 * p1
    return Person(
        level_mg_dL=jnp.asarray(np.median(patient.glucose_mg_dL[seen])),
        effect_mean=jnp.asarray([p1 * u - q * carbs - r * alone, p1, q, r]),
        effect_sd=jnp.asarray([0.5, 0.3 * p1, 1.0, 0.3 * p1]),
    )


class Layout(NamedTuple):
    """Where each state stands in the vector."""

    names: tuple[str, ...]
    core: int
    """How many of them evolve by themselves; the rest are effects, which multiply known responses."""
    read: int
    """Which one the sensor reads."""
    driven: int
    """How many, from the first, answer to insulin and meals."""


def layout(options: StateSpaceOptions) -> Layout:
    """States of a model of this form: glucose less the level, disturbances, `c`, the rhythm, then `p1`, `q`, `r`."""
    names = ["G"] + (["Gi"] if options.sensor_lag else []) + ["fast"] + (["slow"] if options.slow_disturbance else [])
    names += ["c"]
    for n in range(1, options.daily_rhythm + 1):
        names += [f"day{n}_sin", f"day{n}_cos"]
    effects = ["p1", "q"] + (["r"] if options.unannounced_meals else [])
    driven = 2 if options.sensor_lag else 1
    return Layout((*names, *effects), len(names), driven - 1, driven)


class Matrices(NamedTuple):
    """The exact step over each of some lengths of time."""

    transition: Float[Array, "lengths core core"]
    """Of the core states."""
    noise: Float[Array, "lengths core core"]
    """Covariance that the step adds."""
    response: Float[Array, "lengths 3 driven 3"]
    """Of glucose (and its sensor) to insulin, meals, and hidden meals: to second lag, first lag, and level."""


def matrices(h: Mapping[str, Array], options: StateSpaceOptions, dt_min: Float[Array, " lengths"]) -> Matrices:
    """Exact discretisation of the continuous model over steps of `dt_min`.

    ```
    G'  = c - k (G - level) - p1 J + q D + r M + fast + slow + rhythm + walk w0
    Gi' = (G - Gi)/Ts                                            with a sensor lag
    fast' = -fast/fast_min + sqrt(2/fast_min) sd w1              slow alike
    J, D, M: two equal lags (Tu, Tr, Tr) of insulin (U/min), carbohydrate (g/min), boluses without a meal (U/min)
    ```

    The exponential and the noise integral come from their series over `dt / 2^14`, doubled fourteen times:
    `F(2t) = F(t)^2`, `Q(2t) = Q(t) + F(t) Q(t) F(t)'`. Unlike the single block exponential of Van Loan it stays exact
    over gaps of many time constants, since no growing exponential is formed.

    Source: Van Loan, "Computing integrals involving the matrix exponential", IEEE Trans. Autom. Control 23(3), 1978.
    """
    where = layout(options)
    at = {name: i for i, name in enumerate(where.names)}
    n = where.core
    A, spectral = jnp.zeros((n, n)), jnp.zeros(n)
    k = h.get("k", jnp.zeros(()))
    A = A.at[0, 0].set(-k).at[0, at["c"]].set(1.0)
    spectral = spectral.at[0].set(h["walk"] ** 2)
    if options.sensor_lag:
        A = A.at[1, 0].set(1 / h["Ts"]).at[1, 1].set(-1 / h["Ts"])
    for name in ("fast", "slow") if options.slow_disturbance else ("fast",):
        i = at[name]
        A = A.at[0, i].set(1.0).at[i, i].set(-1 / h[f"{name}_min"])
        spectral = spectral.at[i].set(2 * h[name] ** 2 / h[f"{name}_min"])
    for harmonic in range(1, options.daily_rhythm + 1):
        i, omega = at[f"day{harmonic}_sin"], 2 * jnp.pi * harmonic / MINUTES_PER_DAY
        A = A.at[0, i].set(1.0).at[i, i + 1].set(omega).at[i + 1, i].set(-omega)
    F, Q = jax.vmap(lambda dt: _discrete(A, spectral, dt))(dt_min)

    def response(T: Array) -> Float[Array, "lengths driven 3"]:
        m = where.driven
        B = jnp.zeros((m + 3, m + 3)).at[:m, :m].set(A[:m, :m]).at[0, m].set(1.0)
        B = B.at[m, m].set(-1 / T).at[m, m + 1].set(1 / T).at[m + 1, m + 1].set(-1 / T).at[m + 1, m + 2].set(1 / T)
        return jax.vmap(lambda dt: _exponential(B, dt)[:m, m:])(dt_min)

    each = jax.vmap(response)(jnp.stack([h["Tu"], h["Tr"], h["Tr"]]))
    return Matrices(F, Q, jnp.swapaxes(each, 0, 1))


def _exponential(A: Float[Array, "n n"], dt: Array) -> Float[Array, "n n"]:
    return jax.lax.fori_loop(0, _DOUBLINGS, lambda _, F: F @ F, _series(A * (dt / 2**_DOUBLINGS)))


def _series(X: Float[Array, "n n"]) -> Float[Array, "n n"]:
    eye = jnp.eye(X.shape[0], dtype=X.dtype)
    return jax.lax.fori_loop(0, _TERMS, lambda i, total: eye + X @ total / (_TERMS - i), eye)


def _discrete(
    A: Float[Array, "n n"], spectral: Float[Array, " n"], dt: Array
) -> tuple[Float[Array, "n n"], Float[Array, "n n"]]:
    n = A.shape[0]
    part = dt / 2**_DOUBLINGS
    block = jnp.block([[-A, jnp.diag(spectral)], [jnp.zeros((n, n)), A.T]])
    short = _series(block * part)
    F = short[n:, n:].T
    Q = F @ short[:n, n:]

    def double(_: ArrayLike, FQ: tuple[Array, Array]) -> tuple[Array, Array]:
        F, Q = FQ
        return F @ F, Q + F @ Q @ F.T

    F, Q = jax.lax.fori_loop(0, _DOUBLINGS, double, (F, Q))
    return F, (Q + Q.T) / 2


class Lags(NamedTuple):
    """What is on board at each step: second lag and first lag of insulin (U/min), meals (g/min), and hidden meals."""

    second: Float[Array, "steps 3"]
    first: Float[Array, "steps 3"]


def lags(h: Mapping[str, Array], steps: Steps) -> Lags:
    """The lags at the steps, exactly, begun with the basal insulin of the first step in equilibrium."""
    zero = jnp.zeros_like(h["Tu"])
    unit = Magdelaine(ksi=zero + 1, kl=zero, kb=zero, Tu=h["Tu"], ku_Vi=zero + 1, Tr=h["Tr"], kr_Vb=zero + 1e-3)
    basal = steps.basal_U_min[0] + zero
    y0 = State(G=zero, S=basal, I=basal, E=zero, D=zero)
    insulin, meals = exact_lags(unit, inputs_of(steps), steps.time_min, y0)
    _, hidden = exact_lags(unit, inputs_of(steps, hidden=True), steps.time_min, y0)
    pair = lambda i: jnp.stack([insulin[i], meals[i], hidden[i]], axis=-1)
    return Lags(second=pair(1), first=pair(0))


SIGNS = (-1.0, 1.0, 1.0)
"""Insulin lowers glucose, meals raise it."""


def effect_rows(
    response: Float[Array, "... 3 driven 3"],
    second: Float[Array, "... 3"],
    first: Float[Array, "... 3"],
    level: Float[Array, "... 3"],
) -> Float[Array, "... driven 3"]:
    """What one unit of each effect (`p1`, `q`, `r`) does to glucose over a step."""
    x = jnp.stack([second, first, level], axis=-1)
    each = jnp.sum(response * x[..., None, :], axis=-1)
    return jnp.swapaxes(each * jnp.asarray(SIGNS, each.dtype)[:, None], -1, -2)


def full_transition(
    F: Float[Array, "... core core"], rows: Float[Array, "... driven 3"], where: Layout
) -> Float[Array, "... states states"]:
    """The transition of all states: that of the core, and the effects, which stay and act on glucose."""
    n, m = len(where.names), where.core
    whole = jnp.zeros((*F.shape[:-2], n, n), F.dtype) + jnp.eye(n, dtype=F.dtype)
    whole = whole.at[..., :m, :m].set(F)
    return whole.at[..., : where.driven, m:].set(rows[..., : n - m])


def full_noise(
    Q: Float[Array, "... core core"], dt_min: Float[Array, "..."], person: Person, options: StateSpaceOptions
) -> Float[Array, "... states states"]:
    """The noise of all states: that of the core, and the random walk of `p1`, which is taken constant in a step."""
    where = layout(options)
    n, m = len(where.names), where.core
    whole = jnp.zeros((*Q.shape[:-2], n, n), Q.dtype).at[..., :m, :m].set(Q)
    walk = (options.sensitivity_walk * person.effect_mean[1]) ** 2 / MINUTES_PER_DAY
    return whole.at[..., m, m].set(walk * dt_min)


class Model(NamedTuple):
    """The linear-Gaussian model of one record: what a filter needs, and nothing else.

    ```
    x[0] ~ N(mean, cov),   x[i+1] = transition[i] x[i] + N(0, noise[i]),   y[i] = x[i][read] + N(0, sd^2)
    ```
    """

    mean: Float[Array, " states"]
    cov: Float[Array, "states states"]
    transition: Float[Array, "steps states states"]
    noise: Float[Array, "steps states states"]
    y: Float[Array, " steps"]
    """Readings less the level, mg/dL."""
    valid: Array
    """Which steps have one."""
    read: Float[Array, " states"]
    """The row that picks what the sensor reads."""
    noise_sd: Array
    """Of the sensor, mg/dL."""


def build(h: Mapping[str, Array], person: Person, steps: Steps, options: StateSpaceOptions) -> tuple[Model, Lags]:
    """The model of one record under the constants `h`, and what is on board at its steps."""
    where = layout(options)
    M = matrices(h, options, steps.dt_min)
    on_board = lags(h, steps)
    at = steps.interval
    level = jnp.stack([steps.insulin_U_min, steps.carbs_g_min, steps.unpaired_U_min], axis=-1)
    rows = effect_rows(M.response[at], on_board.second, on_board.first, level)
    mean, cov = prior(h, person, steps.time_min[0], options)
    return Model(
        mean=mean,
        cov=cov,
        transition=full_transition(M.transition[at], rows, where),
        noise=full_noise(M.noise, steps.dt_min, person, options)[at],
        y=steps.glucose_mg_dL - person.level_mg_dL,
        valid=steps.valid,
        read=jnp.eye(len(where.names))[where.read],
        noise_sd=h["noise"],
    ), on_board


_START_SD = 60.0  # of glucose about its level before the first reading, mg/dL
_RHYTHM_SD = 0.3  # of each coefficient of the first harmonic, mg/dL/min


def prior(
    h: Mapping[str, Array], person: Person, start_min: Array, options: StateSpaceOptions
) -> tuple[Float[Array, " states"], Float[Array, "states states"]]:
    """Mean and covariance of the states before the first reading: disturbances as they always are, effects as for
    `person`, the rhythm small."""
    where = layout(options)
    at = {name: i for i, name in enumerate(where.names)}
    n = len(where.names)
    mean = jnp.zeros(n).at[at["c"]].set(person.effect_mean[0])
    mean = mean.at[where.core :].set(person.effect_mean[1:][: n - where.core])
    sd = jnp.zeros(n).at[at["fast"]].set(h["fast"]).at[at["c"]].set(person.effect_sd[0])
    sd = sd.at[where.core :].set(person.effect_sd[1:][: n - where.core])
    if options.slow_disturbance:
        sd = sd.at[at["slow"]].set(h["slow"])
    for harmonic in range(1, options.daily_rhythm + 1):
        # A random phase: the same whatever the clock says at the start.
        i = at[f"day{harmonic}_sin"]
        sd = sd.at[i : i + 2].set(_RHYTHM_SD / harmonic)
    cov = jnp.diag(sd**2)
    # The sensor starts in equilibrium with glucose, about a mg/dL.
    cov = cov.at[: where.driven, : where.driven].set(_START_SD**2)
    return mean, cov + jnp.diag(jnp.zeros(n).at[: where.driven].set(1.0))
