"""Controllers: pure pairs of `init` and `step` that say what a pump is to deliver."""

import abc
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from .._types import Key, Scalar
from ..data import STEP_MIN
from ..statespace import discrete, kalman_spread, kalman_update

ON_BOARD_LAG_MIN = 55.0
"""Time constant of each of the two lags by which insulin on board is counted, min."""
_H = float(STEP_MIN)
_START_SD = 60.0  # of glucose before the first reading, mg/dL
_LEAST_LAG_MIN = 0.01


def on_board_after(first: Scalar, second: Scalar, net_U_min: Scalar, dt_min: float | Scalar) -> tuple[Scalar, Scalar]:
    """Insulin (U) in two lags after a constant rate: `first' = net - first/lag`, `second' = (first - second)/lag`.

    The rate is beyond the basal rate of the profile; insulin acts at `second / lag`.
    """
    lag = ON_BOARD_LAG_MIN
    kept = jnp.exp(-dt_min / lag)
    later = kept * second + first * dt_min / lag * kept + net_U_min * (lag * (1 - kept) - dt_min * kept)
    return kept * first + net_U_min * lag * (1 - kept), later


class Profile(NamedTuple):
    """What a person's pump is set to."""

    basal_U_h: Scalar
    """Basal rate, U/h."""
    g_per_U: Scalar
    """Carbohydrate ratio, g/U."""
    mg_dL_per_U: Scalar
    """Insulin sensitivity factor, mg/dL per U."""
    target_mg_dL: Scalar
    """Glucose aimed at, mg/dL."""
    daily_U: Scalar
    """Insulin of a usual day, U."""


class Observation(NamedTuple):
    """What a controller sees, every 5 min. Nothing in it is the truth."""

    glucose_mg_dL: Scalar
    """The last reading, mg/dL."""
    age_min: Scalar
    """How old it is, min."""
    announced_g: Scalar
    """Carbohydrate announced now, as the person counted it, g."""
    minute: Scalar
    """Time of day, min."""
    on_board_U: Scalar
    """Insulin beyond the basal rate of the profile that has not acted, U; below zero after less than that."""
    acting_U_min: Scalar
    """Rate at which that insulin acts, U/min."""


class Action(NamedTuple):
    """What the pump is to deliver over the next 5 min."""

    basal_U_h: Scalar
    """Basal rate, U/h."""
    bolus_U: Scalar
    """A bolus, U."""


class AbstractController(eqx.Module):
    """A controller: what it knows between steps starts with `init` and changes with `step`. Pure JAX for one person.

    Example:
        >>> import t1djax
        >>> from t1djax.trials import AbstractController, Action
        >>> class AlwaysBasal(AbstractController):
        ...     def init(self, profile):
        ...         return profile
        ...     def step(self, memory, observation, key):
        ...         return memory, Action(memory.basal_U_h, 0.0 * memory.basal_U_h)
    """

    @abc.abstractmethod
    def init(self, profile: Profile) -> Any:
        """What the controller knows before the first reading.

        Args:
            profile: the person's settings.

        Returns:
            A tree of arrays.
        """

    @abc.abstractmethod
    def step(self, memory: Any, observation: Observation, key: Key) -> tuple[Any, Action]:
        """Decide.

        Args:
            memory: what `init` or the step before returned.
            observation: what is seen now.
            key: random key, for controllers that draw.

        Returns:
            The memory for the next step, of the same shapes, and the action.
        """


def meal_bolus(profile: Profile, observation: Observation) -> Scalar:
    """What a bolus calculator proposes for an announced meal, U: the meal, a correction, less what is on board.

    Source: Walsh, Roberts, Bailey, J. Diabetes Sci. Technol. 5(1):129-135, 2011, for the rule and its parts.
    """
    correction = (observation.glucose_mg_dL - profile.target_mg_dL) / profile.mg_dL_per_U - observation.on_board_U
    proposed = observation.announced_g / profile.g_per_U + correction
    return jnp.where(observation.announced_g > 0, jnp.maximum(proposed, 0.0), 0.0)


class BasalBolus(AbstractController):
    """The profile's basal rate, and a bolus calculator for meals that are announced; corrections between them."""

    high_mg_dL: float | Scalar = 270.0
    """Glucose above which a correction is taken between meals, mg/dL."""
    wait_min: float | Scalar = 180.0
    """Least time from one bolus to a correction, min."""

    def init(self, profile: Profile) -> tuple[Profile, Scalar]:
        """The profile, and the time since the last bolus, min."""
        return profile, jnp.zeros_like(profile.basal_U_h) + self.wait_min

    def step(
        self, memory: tuple[Profile, Scalar], observation: Observation, key: Key
    ) -> tuple[tuple[Profile, Scalar], Action]:
        """A bolus for a meal, or for high glucose long after one."""
        profile, since = memory
        above = (observation.glucose_mg_dL - profile.target_mg_dL) / profile.mg_dL_per_U - observation.on_board_U
        corrects = (observation.glucose_mg_dL > self.high_mg_dL) & (since >= self.wait_min)
        bolus = jnp.maximum(meal_bolus(profile, observation), jnp.where(corrects, jnp.maximum(above, 0.0), 0.0))
        since = jnp.where(bolus > 0, 0.0, since + _H)
        return (profile, since), Action(profile.basal_U_h, bolus)


class _PIDMemory(NamedTuple):
    profile: Profile
    before_mg_dL: Scalar  # the reading before
    integral_U_h: Scalar
    first_U_h: Scalar  # insulin on its way to plasma and in it, as the rate that would hold it
    plasma_U_h: Scalar


class PID(AbstractController):
    """Proportional, integral, derivative, with insulin feedback: delivery falls with insulin that is on its way.

    ```
    PID = Kp (G - target) + I + Kp TD G',    I' = Kp (G - target) / TI
    delivery = (1 + gamma) PID - gamma Ip,   Kp = gain daily_U / 24 h
    ```

    `Ip` is insulin in plasma by two lags of the delivery, as a rate. The integral starts at the basal rate and stays
    within zero and three times that. Meals are not answered unless `meal_share` of the calculator's bolus is given.

    Source: the form is that of Steil et al., Diabetes 55:3344-3350, 2006, with the feedback of Steil et al., J. Clin.
    Endocrinol. Metab. 96(5):1402-1408, 2011; the gain scales with the daily dose as in Panteleon et al., Diabetes
    55:1995-2000, 2006. The numbers are this library's, chosen on bodies drawn of Kanderian's population.
    """

    gain: float | Scalar = 0.01
    """Proportional gain, per mg/dL: the share of the mean rate of a usual day."""
    integral_min: float | Scalar = 450.0
    """Integration time, min."""
    derivative_min: float | Scalar = 60.0
    """Derivative time, min."""
    feedback: float | Scalar = 0.5
    """Share of the insulin on its way that is taken back."""
    lag_min: float | Scalar = 60.0
    """Time constant of each lag of insulin, min."""
    target_mg_dL: float | Scalar = 120.0
    """Glucose aimed at, mg/dL."""
    meal_share: float | Scalar = 0.0
    """Share of the calculator's bolus given for an announced meal."""

    def init(self, profile: Profile) -> _PIDMemory:
        """At rest under the basal rate."""
        start = jnp.zeros_like(profile.basal_U_h) + self.target_mg_dL
        return _PIDMemory(profile, start, profile.basal_U_h, profile.basal_U_h, profile.basal_U_h)

    def step(self, memory: _PIDMemory, observation: Observation, key: Key) -> tuple[_PIDMemory, Action]:
        """The equations above, five minutes long."""
        profile, G = memory.profile, observation.glucose_mg_dL
        kp = self.gain * profile.daily_U / 24
        away = G - self.target_mg_dL
        integral = jnp.clip(memory.integral_U_h + kp * away * _H / self.integral_min, 0.0, 3 * profile.basal_U_h)
        slope = jnp.where(observation.age_min > 0, 0.0, (G - memory.before_mg_dL) / _H)
        wanted = kp * away + integral + kp * self.derivative_min * slope
        rate = jnp.maximum((1 + self.feedback) * wanted - self.feedback * memory.plasma_U_h, 0.0)
        bolus = self.meal_share * meal_bolus(profile, observation)
        kept = jnp.exp(-_H / self.lag_min)
        first = kept * memory.first_U_h + (1 - kept) * (rate + 60 * bolus / _H)
        plasma = kept * memory.plasma_U_h + (1 - kept) * first
        return _PIDMemory(profile, G, integral, first, plasma), Action(rate, bolus)


class _TempBasalMemory(NamedTuple):
    profile: Profile
    before_mg_dL: Scalar
    slope_mg_dL: Scalar  # smoothed, per 5 min


class TempBasal(AbstractController):
    """A temporary basal rate from where glucose will end, in the manner of oref0, with its safety limits.

    ```
    deviation = 30 min of (what glucose does - what insulin on board explains)
    eventual = G - on board * factor + deviation
    rate = basal + 2 (eventual - target) / factor per hour
    ```

    No insulin below a threshold of glucose that falls, none beyond `most_on_board_U`, and never a rate above three
    times the basal rate. Meals get the bolus of the calculator.

    Source: the reference design of OpenAPS, oref0, `lib/determine-basal`: temporary rates without micro-boluses,
    absorption of meals or sensitivity detection.
    """

    low_mg_dL: float | Scalar = 80.0
    """Glucose below which nothing is delivered, seen or foreseen, mg/dL."""
    most_on_board: float | Scalar = 0.1
    """Most insulin on board that rates add to, as a share of the daily dose."""
    most_rate: float | Scalar = 3.0
    """Highest rate, in basal rates of the profile."""

    def init(self, profile: Profile) -> _TempBasalMemory:
        """No reading yet: as if glucose were at the target."""
        return _TempBasalMemory(profile, profile.target_mg_dL, jnp.zeros_like(profile.target_mg_dL))

    def step(self, memory: _TempBasalMemory, observation: Observation, key: Key) -> tuple[_TempBasalMemory, Action]:
        """The rule above."""
        profile, G = memory.profile, observation.glucose_mg_dL
        now = jnp.where(observation.age_min > 0, memory.slope_mg_dL, G - memory.before_mg_dL)
        slope = (2 * memory.slope_mg_dL + now) / 3  # over about fifteen minutes, as oref0 averages
        explained = -observation.acting_U_min * profile.mg_dL_per_U * _H
        deviation = 30 / _H * (slope - explained)
        eventual = G - observation.on_board_U * profile.mg_dL_per_U + deviation
        wanted = (eventual - profile.target_mg_dL) / profile.mg_dL_per_U
        room = jnp.maximum(self.most_on_board * profile.daily_U - observation.on_board_U, 0.0)
        rate = profile.basal_U_h + 2 * jnp.minimum(wanted, room)
        stop = (self.low_mg_dL > G) | ((eventual < self.low_mg_dL) & (slope < 0))
        rate = jnp.where(stop, 0.0, jnp.clip(rate, 0.0, self.most_rate * profile.basal_U_h))
        return _TempBasalMemory(profile, G, slope), Action(rate, meal_bolus(profile, observation))


class _MPCMemory(NamedTuple):
    profile: Profile
    mean: Array  # what is expected now: glucose and interstitial glucose, mg/dL; drift, mg/dL/min
    cov: Array
    transition: Array  # of these in 5 min
    noise: Array
    follows: Scalar  # share of an even rise within 5 min that interstitial glucose makes
    food: tuple[Scalar, Scalar]  # two lags of announced carbohydrate, g


class MPC(AbstractController):
    """Model-predictive control with a linear model: insulin and food through two lags each, and a drift that fades.

    ```
    G'  = drift - factor (insulin acting) + factor/ratio (food arriving),   Gi' = (G - Gi)/lag
    drift' = -drift/fades + sqrt(2/fades) sd w,     reading = Gi + noise
    least  sum (G - target)^2 + (weight (u - basal))^2   over `horizon_min`, 0 <= u <= most
    ```

    The Kalman filter of `t1djax.statespace` follows glucose, the sensor and the drift; a reading that is lost changes
    nothing in it. The least is found by projected gradients, always the same number of them. Meals get the bolus of
    the calculator.

    Source: the form is that of Hovorka et al., Physiol. Meas. 25:905-920, 2004, with a linear model; numbers are this
    library's.
    """

    horizon_min: int = eqx.field(default=180, static=True)
    """How far ahead, min."""
    moves: int = eqx.field(default=12, static=True)
    """Rates that are free, each for 15 min; the basal rate after them."""
    weight: float | Scalar = 15.0
    """What a U/h away from the basal rate costs, in mg/dL."""
    noise_sd_mg_dL: float | Scalar = 10.0
    """Standard deviation of a reading's error, taken as white, mg/dL."""
    lag_min: float | Scalar = 7.0
    """Time constant of interstitial glucose, min; zero for none."""
    drift_sd_mg_dL_min: float | Scalar = 1.0
    """Standard deviation of the drift, mg/dL/min."""
    fades_min: float | Scalar = 60.0
    """Its time constant, min."""
    food_min: float | Scalar = 40.0
    """Time constant of each lag of food, min."""
    most_rate: float | Scalar = 5.0
    """Highest rate, in basal rates of the profile."""
    iterations: int = eqx.field(default=20, static=True)
    """Of projected gradients."""

    def init(self, profile: Profile) -> _MPCMemory:
        """At the target, little known."""
        zero, one = jnp.zeros_like(profile.basal_U_h), jnp.ones_like(profile.basal_U_h)
        lag, fades = jnp.maximum(zero + self.lag_min, _LEAST_LAG_MIN), zero + self.fades_min
        sd, target = zero + self.drift_sd_mg_dL_min, profile.target_mg_dL
        rates = [[zero, zero, one], [1 / lag, -1 / lag, zero], [zero, zero, -1 / fades]]
        matrix = lambda rows: jnp.stack([jnp.stack(row) for row in rows])
        transition, noise = discrete(matrix(rates), jnp.stack([zero, zero, 2 * sd**2 / fades]), zero + _H)
        level = zero + _START_SD**2
        cov = matrix([[level, level, zero], [level, level, zero], [zero, zero, sd**2]])
        follows = 1 - lag / _H * (1 - jnp.exp(-_H / lag))
        start = jnp.stack([target, target, zero])
        return _MPCMemory(profile, start, cov, transition, noise, follows, (zero, zero))

    def step(self, memory: _MPCMemory, observation: Observation, key: Key) -> tuple[_MPCMemory, Action]:
        """Filter, predict, and take the first of the rates that do best."""
        profile, (eaten, arriving) = memory.profile, memory.food
        bolus = meal_bolus(profile, observation)
        per_g = profile.mg_dL_per_U / profile.g_per_U
        zero, one = jnp.zeros_like(bolus), jnp.ones_like(bolus)
        var, sensor = zero + jnp.square(self.noise_sd_mg_dL), jnp.stack([zero, one, zero])
        reading, fresh = observation.glucose_mg_dL, observation.age_min <= 0
        found = kalman_update(memory.mean, memory.cov, sensor, var, reading, fresh, zero)
        G, _, drift = found.mean
        eaten = eaten + observation.announced_g
        ahead = _H * jnp.arange(1, self.horizon_min // STEP_MIN + 1)
        # What is left of a unit delivered t ago, two lags: (1 + t/lag) exp(-t/lag). First lag and second of what is
        # on board: acting = second / lag.
        second = observation.acting_U_min * ON_BOARD_LAG_MIN
        first = observation.on_board_U - second + bolus
        acted = lambda a, b, lag: a * (1 - (1 + ahead / lag) * jnp.exp(-ahead / lag)) + b * (1 - jnp.exp(-ahead / lag))
        explained = per_g * acted(eaten, arriving, self.food_min)
        explained = explained - profile.mg_dL_per_U * acted(first, second, ON_BOARD_LAG_MIN)
        free = G + drift * self.fades_min * (1 - jnp.exp(-ahead / self.fades_min)) + explained
        block = 15.0
        since = ahead[:, None] - block * jnp.arange(self.moves)[None]
        # A rate held for a block is a unit spread over it: taken at its middle.
        since = jnp.maximum(since - block / 2, 0.0) / ON_BOARD_LAG_MIN
        effect = -profile.mg_dL_per_U * block / 60 * (1 - (1 + since) * jnp.exp(-since))
        H = effect.T @ effect + self.weight**2 * jnp.eye(self.moves)
        g = effect.T @ (free - profile.target_mg_dL)
        length = 1 / jnp.max(jnp.sum(jnp.abs(H), axis=1))
        low, high = -profile.basal_U_h, (self.most_rate - 1) * profile.basal_U_h

        def descend(_: Any, v: Any) -> Any:
            return jnp.clip(v - length * (H @ v + g), low, high)

        v = jax.lax.fori_loop(0, self.iterations, descend, jnp.zeros_like(g))
        rate = jnp.where(observation.glucose_mg_dL < 70, 0.0, profile.basal_U_h + v[0])
        kept = jnp.exp(-_H / self.food_min)
        arriving = kept * (arriving + _H / self.food_min * eaten)
        mean = memory.transition @ found.mean + explained[0] * jnp.stack([one, memory.follows, zero])
        cov = kalman_spread(found.cov, memory.transition, memory.noise)
        return memory._replace(mean=mean, cov=cov, food=(kept * eaten, arriving)), Action(rate, bolus)
