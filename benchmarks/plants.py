"""Bodies that are not the model under test, and a life with them: meals, boluses, a loop that may be closed."""

from collections.abc import Callable
from typing import Any, NamedTuple

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

import t1djax

STEP_MIN = 5.0
DAYS = 2
_STEPS = int(DAYS * 1440 / STEP_MIN)
_MG_DL_PER_MMOL_L = 18.016
_MG_PER_MMOL = 180.16
_SWING_MIN = 60.0  # correlation time of the disturbance


class Plant(NamedTuple):
    """A body: rates of its states from parameters, state, insulin (U/min), carbohydrate (mg/min) and a disturbance of
    glucose (mg/dL/min); and the glucose that is read of it."""

    rates: Callable[[Any, Array, Array, Array, Array], Array]
    glucose_mg_dL: Callable[[Any, Array], Array]


class Hovorka(NamedTuple):
    """Parameters of one person; the defaults are the published means, for 70 kg.

    Source: Hovorka et al., Physiol. Meas. 25, 2004, doi 10.1088/0967-3334/25/4/010, tables 1 and 2.
    """

    mass_kg: Any = 70.0
    EGP0: Any = 0.0161  # mmol/kg/min
    F01: Any = 0.0097  # mmol/kg/min
    k12: Any = 0.066  # 1/min
    ka: Any = (0.006, 0.06, 0.03)  # 1/min
    sensitivity: Any = (51.2e-4, 8.2e-4, 520e-4)  # of transport, disposal, endogenous production: per mU/L
    ke: Any = 0.138  # 1/min
    VI: Any = 0.12  # L/kg
    VG: Any = 0.16  # L/kg
    AG: Any = 0.8  # share of the carbohydrate that arrives
    tG: Any = 40.0  # min
    tI: Any = 55.0  # min


def _hovorka_rates(p: Hovorka, y: Array, u: Array, r: Array, d: Array) -> Array:
    Q1, Q2, S1, S2, I, x1, x2, x3, D1, D2 = y
    VG = p.VG * p.mass_kg
    G = Q1 / VG
    F01 = p.F01 * p.mass_kg * jnp.minimum(1.0, G / 4.5)
    FR = jnp.maximum(0.003 * (G - 9.0) * VG, 0.0)
    EGP = p.EGP0 * p.mass_kg * jnp.maximum(1.0 - x3, 0.0)
    swing = d * VG / _MG_DL_PER_MMOL_L
    x = jnp.stack([x1, x2, x3])
    ka, sensitivity = jnp.stack(list(p.ka)), jnp.stack(list(p.sensitivity))
    return jnp.stack(
        [
            -F01 - FR - x1 * Q1 + p.k12 * Q2 + D2 / p.tG + EGP + swing,
            x1 * Q1 - (p.k12 + x2) * Q2,
            1000.0 * u - S1 / p.tI,
            (S1 - S2) / p.tI,
            S2 / p.tI / (p.VI * p.mass_kg) - p.ke * I,
            *(ka * (sensitivity * I - x)),
            p.AG * r / _MG_PER_MMOL - D1 / p.tG,
            (D1 - D2) / p.tG,
        ]
    )


HOVORKA = Plant(_hovorka_rates, lambda p, y: y[0] / (p.VG * p.mass_kg) * _MG_DL_PER_MMOL_L)


def _magdelaine_rates(p: t1djax.Magdelaine, y: Array, u: Array, r: Array, d: Array) -> Array:
    f = t1djax.rates(p, t1djax.State(*y), u, r)
    return jnp.stack([f.G + d, f.S, f.I, f.E, f.D])


MAGDELAINE = Plant(_magdelaine_rates, lambda p, y: y[0])


def rest_of_hovorka(p: Hovorka, glucose_mg_dL: float) -> tuple[Array, Array]:
    """The insulin (U/min) that holds a glucose, by bisection, and the state there."""
    Q1 = glucose_mg_dL / _MG_DL_PER_MMOL_L * p.VG * p.mass_kg
    zero = jnp.zeros(())

    def state(u: Array) -> Array:
        S = 1000.0 * u * p.tI
        I = S / p.tI / (p.VI * p.mass_kg) / p.ke
        x1, x2, x3 = (s * I for s in p.sensitivity)
        return jnp.stack([Q1, x1 * Q1 / (p.k12 + x2), S, S, I, x1, x2, x3, zero, zero])

    def halve(_: int, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        middle = (ends[0] + ends[1]) / 2
        rises = _hovorka_rates(p, state(middle), middle, zero, zero)[0] > 0
        return jnp.where(rises, middle, ends[0]), jnp.where(rises, ends[1], middle)

    low, high = jax.lax.fori_loop(0, 50, halve, (zero, jnp.asarray(0.1)))
    return (low + high) / 2, state((low + high) / 2)


class Habits(NamedTuple):
    """How a person doses."""

    basal_U_min: Any
    g_per_U: Any
    gain: Any = 0.0  # of the loop: U/min per mg/dL above the target; zero leaves it open
    target_mg_dL: Any = 120.0
    swing_sd_mg_dL_min: Any = 0.0  # of an unknown disturbance of glucose, that fades over an hour


class Life(NamedTuple):
    """What happened, by step of five minutes."""

    glucose_mg_dL: Float[Array, " steps"]
    """Without noise, at the start of each step."""
    basal_U_min: Float[Array, " steps"]
    bolus_U: Float[Array, " steps"]
    carbs_g: Float[Array, " steps"]


def live(key: jax.Array, plant: Plant, p: Any, y0: Array, habits: Habits) -> Life:
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
    kept = jnp.exp(-STEP_MIN / _SWING_MIN)
    knocks = jax.random.normal(swing_key, (_STEPS,))

    def rates(t: Array, y: Array, args: tuple[Array, Array, Array]) -> Array:
        return plant.rates(p, y, *args)

    def step(carry: tuple[Array, Array], now: tuple[Array, ...]) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        y, d = carry
        carbs, bolus, knock, error = now
        G = plant.glucose_mg_dL(p, y)
        d = kept * d + jnp.sqrt(1 - kept**2) * habits.swing_sd_mg_dL_min * knock
        answer = habits.gain * (G + 10.0 * error - habits.target_mg_dL)
        basal = jnp.clip(habits.basal_U_min + answer, 0.0, 5.0 * habits.basal_U_min)
        args = (basal + bolus / STEP_MIN, 1000.0 * carbs / STEP_MIN, d)
        found = diffrax.diffeqsolve(
            diffrax.ODETerm(rates),  # pyright: ignore[reportArgumentType]
            diffrax.Tsit5(),
            0.0,
            STEP_MIN,
            1.25,
            y,
            args=args,
            stepsize_controller=diffrax.ConstantStepSize(),
            adjoint=diffrax.ForwardMode(),
            max_steps=8,
        )
        assert found.ys is not None
        return (found.ys[0], d), (G, basal)

    now = (carbs, bolus, knocks, jax.random.normal(read_key, (_STEPS,)))
    _, (glucose, basal) = jax.lax.scan(step, (y0, jnp.zeros(())), now)
    return Life(glucose, basal, bolus, carbs)


def record(
    name: str, life: Life, noise_mg_dL: np.ndarray, known: dict[str, float] | None = None
) -> tuple[t1djax.Patient, np.ndarray]:
    """What a person hands over of a life, and the glucose without noise."""
    t = STEP_MIN * np.arange(_STEPS, dtype=np.float64)
    glucose, basal, bolus, carbs = (np.asarray(x, np.float64) for x in life)
    change = np.flatnonzero(np.diff(basal, prepend=-1.0) != 0)
    doses = t1djax.Doses.of(
        basal=zip(t[change], 60.0 * basal[change], strict=True),
        boluses=[(t[i], bolus[i], STEP_MIN) for i in np.flatnonzero(bolus)],
        meals=[(t[i], carbs[i], STEP_MIN) for i in np.flatnonzero(carbs)],
    )
    return t1djax.Patient(name, t, glucose + noise_mg_dL, doses, known or {}), glucose
