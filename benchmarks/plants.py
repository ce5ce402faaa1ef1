"""A life with any body: meals, boluses, a loop that may be closed, a disturbance that nobody records."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

import t1djax
from t1djax.physics import AbstractPhysiology, Inputs, runge_kutta

STEP_MIN = 5.0
DAYS = 2
_STEPS = int(DAYS * 1440 / STEP_MIN)
_PARTS = 4  # of a step, for the equations


class Habits(NamedTuple):
    """How a person doses, and what nobody knows of."""

    basal_U_min: Any
    g_per_U: Any
    gain: Any = 0.0  # of the loop: U/min per mg/dL above the target; zero leaves it open
    target_mg_dL: Any = 120.0
    error_sd_mg_dL: Any = 10.0  # of what the loop reads
    swing_sd_mg_dL_min: Any = 0.0  # of a disturbance of glucose
    swing_min: Any = 60.0  # in which it fades


class Life(NamedTuple):
    """What happened, by step of five minutes."""

    glucose_mg_dL: Float[Array, " steps"]
    """Without noise, at the start of each step."""
    error_mg_dL: Float[Array, " steps"]
    """What the loop read beside it."""
    basal_U_min: Float[Array, " steps"]
    bolus_U: Float[Array, " steps"]
    carbs_g: Float[Array, " steps"]


def live(key: jax.Array, body: AbstractPhysiology, y0: Any, habits: Habits) -> Life:
    """Two days with three meals a day, each counted with an error of 15 % for its bolus; pure JAX, `vmap` it."""
    meal_key, count_key, read_key, swing_key = jax.random.split(key, 4)
    at = jnp.asarray([450.0, 750.0, 1140.0])[None] + 1440.0 * jnp.arange(DAYS)[:, None]
    at = at + 30.0 * jax.random.normal(meal_key, at.shape)
    grams = jnp.asarray([45.0, 60.0, 70.0]) * (1 + 0.2 * jax.random.truncated_normal(meal_key, -2.0, 2.0, at.shape))
    counted = grams * (1 + 0.15 * jax.random.truncated_normal(count_key, -2.0, 2.0, at.shape))
    late = 20.0 * jax.random.uniform(count_key, at.shape)
    steps = jnp.arange(_STEPS)
    on = lambda when, what: jnp.sum(
        jnp.where(steps[:, None] == jnp.round(when.ravel() / STEP_MIN).astype(int), what.ravel(), 0.0), axis=1
    )
    carbs, bolus = on(at, grams), on(at + late, counted / habits.g_per_U)
    kept = jnp.exp(-STEP_MIN / habits.swing_min)
    knocks = jax.random.normal(swing_key, (_STEPS,))

    def step(carry: tuple[Any, Array], now: tuple[Array, ...]) -> tuple[tuple[Any, Array], tuple[Array, Array]]:
        y, d = carry
        carbs, bolus, knock, error = now
        G = body.glucose(y)
        d = kept * d + jnp.sqrt(1 - kept**2) * habits.swing_sd_mg_dL_min * knock
        answer = habits.gain * (G + error - habits.target_mg_dL)
        basal = jnp.clip(habits.basal_U_min + answer, 0.0, 5.0 * habits.basal_U_min)
        given = Inputs(jnp.zeros(1), (basal + bolus / STEP_MIN)[None], (1000.0 * carbs / STEP_MIN)[None])
        # In a body whose glucose is a multiple of one state, this state is what is disturbed.
        reads = jax.grad(body.glucose)(y)
        size = sum(jnp.sum(x**2) for x in jax.tree.leaves(reads))
        rates = lambda y, u, r: jax.tree.map(lambda f, x: f + d * x / size, body.rates(y, u, r), reads)
        after, _ = runge_kutta(rates, given, jnp.asarray([STEP_MIN]), y, steps=_PARTS, longest_min=STEP_MIN / _PARTS)
        return (jax.tree.map(lambda x: x[0], after), d), (G, basal)

    errors = habits.error_sd_mg_dL * jax.random.normal(read_key, (_STEPS,))
    now = (carbs, bolus, knocks, errors)
    _, (glucose, basal) = jax.lax.scan(step, (y0, jnp.zeros(())), now)
    return Life(glucose, errors, basal, bolus, carbs)


def answers(body: AbstractPhysiology, glucose_mg_dL: Array) -> tuple[Array, Array]:
    """How glucose moves within six hours of one unit, and of one gram, from rest, mg/dL by minute."""
    y0, basal = body.steady(glucose_mg_dL)
    ts = jnp.arange(361.0)

    def after(insulin_U: float, carbs_g: float) -> Array:
        first = jnp.asarray([1.0, 0.0])
        inputs = Inputs(ts[:2], basal / 60 + insulin_U * first, 1000.0 * carbs_g * first)
        return body.solution(inputs, ts, y0, steps=len(ts)).glucose_mg_dL - glucose_mg_dL

    return after(1.0, 0.0), after(0.0, 1.0)


def record(
    name: str, life: Life, noise_mg_dL: np.ndarray, known: dict[str, float] | None = None
) -> tuple[t1djax.Patient, np.ndarray]:
    """What a person hands over of a life, and the glucose without noise."""
    t = STEP_MIN * np.arange(_STEPS, dtype=np.float64)
    glucose, _, basal, bolus, carbs = (np.asarray(x, np.float64) for x in life)
    change = np.flatnonzero(np.diff(basal, prepend=-1.0) != 0)
    doses = t1djax.Doses.of(
        basal=zip(t[change], 60.0 * basal[change], strict=True),
        boluses=[(t[i], bolus[i], STEP_MIN) for i in np.flatnonzero(bolus)],
        meals=[(t[i], carbs[i], STEP_MIN) for i in np.flatnonzero(carbs)],
    )
    return t1djax.Patient(name, t, glucose + noise_mg_dL, doses, known or {}), glucose
