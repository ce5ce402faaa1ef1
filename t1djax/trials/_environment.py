"""The loop as an environment for reinforcement learning: pure functions, as users of gymnax know them."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._arguments import ArgumentError
from .._checked import check_types
from .._types import Key, Scalar
from ..data import STEPS_PER_DAY
from ..physics import AbstractPhysiology
from ._controllers import AbstractController, Action, Observation, Profile
from ._crowd import as_array, crowd_of, substeps_for
from ._life import risk
from ._loop import Rules, Subject, begin, observe, treat

FEATURES: Mapping[str, tuple[float, float]] = {
    "glucose": (0.0, 10.0),
    "change": (-10.0, 10.0),
    "age": (0.0, 300.0),
    "on_board": (-10.0, 30.0),
    "acting": (-10.0, 30.0),
    "announced": (0.0, 20.0),
    "sine": (-1.0, 1.0),
    "cosine": (-1.0, 1.0),
}
"""What a policy sees, with bounds: the reading (100 mg/dL) and its change (10 mg/dL), its age (h), insulin on board (in
tenths of a usual day's) and its action (in hundredths of it, per 5 min), announced carbohydrate (in tenths of what a
usual day's insulin covers), and the time of day as sine and cosine."""
HIGHEST_ACTION = (5.0, 0.3)
"""Highest action: basal rate in basal rates of the profile, and bolus in usual days' insulin."""
_BOUNDS_MG_DL = (10.0, 600.0)  # an episode ends outside
_RISK = 25.0  # about that of 54 and of 260 mg/dL


class Box(NamedTuple):
    """Arrays between bounds."""

    low: Float[np.ndarray, " n"]
    """Lower bounds."""
    high: Float[np.ndarray, " n"]
    """Upper bounds."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the arrays."""
        return self.low.shape


class People(NamedTuple):
    """Who may come in an episode: an array entry for each person. The parameters of an environment."""

    values: Mapping[str, Any]
    """Parameters and habits by symbol."""
    settled: Any
    """Settings."""


class EnvState(NamedTuple):
    """Where an episode stands."""

    person: Array
    """Row of the person."""
    day_key: Key
    """Random key of the days."""
    sensor_key: Key
    """Random key of the sensor."""
    life: Any
    """Where the person stands."""
    moment: Any
    """What the plan of the day has for this step."""
    before_mg_dL: Scalar
    """The reading before the last one."""
    time: Array
    """Steps since the start."""


def features(profile: Profile, seen: Observation, before_mg_dL: Scalar) -> Float[Array, " features"]:
    """What a policy sees, see `FEATURES`."""
    turn = 2 * jnp.pi * seen.minute / 1440
    found = jnp.stack([
        seen.glucose_mg_dL / 100,
        (seen.glucose_mg_dL - before_mg_dL) / 10,
        seen.age_min / 60,
        10 * seen.on_board_U / profile.daily_U,
        500 * seen.acting_U_min / profile.daily_U,
        10 * seen.announced_g / (profile.g_per_U * profile.daily_U),
        jnp.sin(turn),
        jnp.cos(turn),
    ])  # fmt: skip
    low, high = jnp.asarray(list(FEATURES.values()), found.dtype).T
    return jnp.clip(found, low, high)


def action_of(profile: Profile, action: Float[Array, " two"]) -> Action:
    """What is asked of the pump by an action: basal rate in the profile's, bolus in usual days' insulin."""
    within = jnp.clip(action, 0.0, jnp.asarray(HIGHEST_ACTION, action.dtype))
    return Action(within[0] * profile.basal_U_h, within[1] * profile.daily_U)


@dataclasses.dataclass(frozen=True, eq=False)
class Environment:
    """Episodes in closed loop; see `environment`. Pure JAX: `jit`, `vmap` and `grad` its two functions.

    An action has two numbers (`HIGHEST_ACTION`), an observation those of `FEATURES`. The reward of a step is
    `1 - risk / 25`, one at best, about zero at 54 and at 260 mg/dL; its cost, for safe learning, is one below
    70 mg/dL. An episode is terminated outside 10 to 600 mg/dL and truncated after its days.
    """

    default_params: People
    """Who comes where nobody else is given."""
    rules: Rules
    """What is the same for everybody."""
    physiology: type[AbstractPhysiology]
    """Whose bodies."""
    days: int
    """Length of an episode."""
    substeps: int
    """Into how many steps of the body 5 min are cut: as many as the fastest person needs."""

    @property
    def name(self) -> str:
        """What it is called."""
        return f"t1djax-{self.physiology.__name__.lower()}"

    @property
    def episode_steps(self) -> int:
        """Steps of 5 min after which an episode is truncated."""
        return self.days * STEPS_PER_DAY

    @property
    def num_actions(self) -> int:
        """How many numbers an action has."""
        return len(HIGHEST_ACTION)

    def action_space(self, params: People | None = None) -> Box:
        """Bounds of actions."""
        high = np.asarray(HIGHEST_ACTION, np.float32)
        return Box(np.zeros_like(high), high)

    def observation_space(self, params: People | None = None) -> Box:
        """Bounds of observations."""
        low, high = np.asarray(list(FEATURES.values()), np.float32).T
        return Box(low, high)

    def reset(self, key: Key, params: People | None = None) -> tuple[Float[Array, " features"], EnvState]:
        """A new episode with one of the people.

        Args:
            key: random key.
            params: who may come; `default_params` if not given.

        Returns:
            The observation and the state.
        """
        params = self.default_params if params is None else params
        who, day_key, sensor_key = jax.random.split(key, 3)
        person = jax.random.randint(who, (), 0, len(params.settled.fastest))
        subject = self._subject(params, person, day_key, sensor_key)
        time = jnp.asarray(0)
        life, moment = begin(subject, self.rules), subject.plan(self.rules, time).at(time)
        life, seen = observe(subject, self.rules, life, moment, subject.luck(time), time)
        state = EnvState(person, day_key, sensor_key, life, moment, seen.glucose_mg_dL, time)
        return features(subject.profile, seen, seen.glucose_mg_dL), state

    def step(
        self, key: Key, state: EnvState, action: Float[Array, " two"], params: People | None = None
    ) -> tuple[Float[Array, " features"], EnvState, Scalar, Array, Array, dict[str, Array]]:
        """Five minutes; where the episode ends with them, the next one begins.

        Args:
            key: random key, of the next episode.
            state: where the episode stands.
            action: basal rate and bolus, see `action_of`.
            params: who may come; `default_params` if not given.

        Returns:
            Observation, state, reward, whether the episode was terminated, whether it was truncated, and `info`:
            `final_observation` (before a new episode began), `cost`, `glucose_mg_dL`, `insulin_U`, `carbs_g`.
        """
        params = self.default_params if params is None else params
        after, last, reward, terminated, info = self.step_env(state, action, params)
        truncated = after.time >= self.episode_steps
        first, new = self.reset(key, params)
        pick = lambda a, b: jnp.where(terminated | truncated, a, b)
        info = info | {"terminated": terminated, "truncated": truncated, "final_observation": last}
        return pick(first, last), jax.tree.map(pick, new, after), reward, terminated, truncated, info

    def step_env(
        self, state: EnvState, action: Float[Array, " two"], params: People
    ) -> tuple[EnvState, Float[Array, " features"], Scalar, Array, dict[str, Array]]:
        """Five minutes, whatever then begins: the state, observation, reward, whether it terminated, and `info`."""
        subject = self._subject(params, state.person, state.day_key, state.sensor_key)
        wanted = action_of(subject.profile, action.astype(subject.G0.dtype))
        before = state.life.reading
        life, found = treat(subject, self.rules, state.life, state.moment, wanted, state.time, self.substeps)
        time = state.time + 1
        moment = subject.plan(self.rules, time // STEPS_PER_DAY).at(time % STEPS_PER_DAY)
        life, seen = observe(subject, self.rules, life, moment, subject.luck(time), time)
        G = subject.body.glucose(life.body)
        terminated = ~((_BOUNDS_MG_DL[0] < G) & (_BOUNDS_MG_DL[1] > G))
        info = {
            "cost": (G < 70.0).astype(G.dtype),
            "glucose_mg_dL": G,
            "insulin_U": found.trace.basal_U_h / 12 + found.trace.bolus_U,
            "carbs_g": found.trace.carbs_g,
        }
        after = state._replace(life=life, moment=moment, before_mg_dL=before, time=time)
        return after, features(subject.profile, seen, before), 1 - risk(G) / _RISK, terminated, info

    def _subject(self, params: People, person: Array, day_key: Key, sensor_key: Key) -> Subject:
        values, settled = jax.tree.map(lambda x: x[person], params)
        body = self.physiology.of(values)
        return Subject(
            body, values["G0"], values["daily_carbs"], settled.profile, settled.lead_min, day_key, sensor_key
        )


def environment(
    people: int | Mapping[str, AbstractPhysiology] = 100,
    *,
    key: Key,
    physiology: str | type[AbstractPhysiology] = "kanderian",
    days: int = 1,
    rules: Rules | None = None,
    held_out: int = 0,
) -> tuple[Environment, People]:
    """An environment, and people who never come in it unless they are given to its functions.

    Args:
        people: how many to draw of the physiology's population, or bodies by name.
        key: random key.
        physiology: whose people are drawn, by name or class.
        days: length of an episode.
        rules: habits, sensor and pump; `Rules()` if not given.
        held_out: how many of the people are kept for later, the last of them.

    Returns:
        The environment, and those who were kept, as its `params`.

    Raises:
        ArgumentError: where there is no day, or nobody is left.

    Example:
        >>> import jax
        >>> from t1djax.trials import environment
        >>> env, others = environment(4, key=jax.random.key(0), held_out=2)
        >>> seen, state = env.reset(jax.random.key(1))
        >>> action = jax.numpy.array([1.0, 0.0])
        >>> seen, state, reward, terminated, truncated, info = env.step(jax.random.key(2), state, action)
        >>> seen.shape, bool(truncated)
        ((8,), False)
    """
    check_types(environment, locals())
    if days < 1:
        raise ArgumentError("days", f"is {days}; give one or more")
    rules = Rules() if rules is None else rules
    crowd = crowd_of(people, key=key, physiology=physiology, rules=rules)
    kept = len(crowd.names) - held_out
    if not 0 < kept <= len(crowd.names):
        raise ArgumentError("held_out", f"is {held_out} of {len(crowd.names)} people; somebody must be left")
    with jax.numpy_dtype_promotion("standard"):
        every = jax.tree.map(lambda x: jnp.asarray(x, jnp.result_type(float)), People(crowd.values, crowd.settled))
    some = lambda rows: jax.tree.map(lambda x: x[rows], every)
    substeps = int(substeps_for(crowd.settled.fastest).max())
    env = Environment(
        some(slice(kept)), jax.tree.map(lambda x: jnp.asarray(as_array(x)), rules), crowd.physiology, days, substeps
    )
    return env, some(slice(kept, None))


class Policy(AbstractController):
    """A network that sees the `FEATURES` and gives an action of an `Environment`: to be tried beside other controllers.

    Example:
        >>> import jax
        >>> from t1djax.trials import Policy, trial
        >>> network = lambda features: jax.numpy.array([1.0, 0.1 * features[5]])  # basal rate, and announced meals
        >>> found = trial({"network": Policy(network)}, 2, days=1, key=jax.random.key(0))
    """

    network: Any
    """A callable of the features: any equinox or flax module, of arrays and functions."""

    def init(self, profile: Profile) -> tuple[Profile, Scalar]:
        """The settings, and no reading yet."""
        return profile, jnp.zeros_like(profile.target_mg_dL)

    def step(
        self, memory: tuple[Profile, Scalar], observation: Observation, key: Key
    ) -> tuple[tuple[Profile, Scalar], Action]:
        """Ask the network."""
        profile, before = memory
        before = jnp.where(before > 0, before, observation.glucose_mg_dL)
        action = self.network(features(profile, observation, before))
        return (profile, observation.glucose_mg_dL), action_of(profile, action)
