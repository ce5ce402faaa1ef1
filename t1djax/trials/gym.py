"""The environment for Gymnasium: `ClosedLoopEnv`, and many episodes at once as `ClosedLoopVectorEnv`.

Needs the extra `rl`: `pip install "t1djax[rl]"`.
"""

from typing import Any

import gymnasium
import jax
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from ._environment import Box, Environment, People


class ClosedLoopEnv(gymnasium.Env[np.ndarray, np.ndarray]):
    """One person at a time: `Environment` with the methods of Gymnasium.

    Example:
        >>> import jax
        >>> from t1djax.trials import environment
        >>> from t1djax.trials.gym import ClosedLoopEnv
        >>> env = ClosedLoopEnv(environment(2, key=jax.random.key(0))[0])
        >>> seen, info = env.reset(seed=0)
        >>> seen, reward, terminated, truncated, info = env.step(env.action_space.sample())
        >>> sorted(info)
        ['carbs_g', 'cost', 'glucose_mg_dL', 'insulin_U']
    """

    metadata = {"render_modes": []}  # noqa: RUF012 - Gymnasium's

    def __init__(self, environment: Environment, people: People | None = None) -> None:
        """An environment for Gymnasium.

        Args:
            environment: what happens.
            people: who may come; the environment's own if not given.
        """
        self._env, self._people = environment, people
        self._reset, self._step = jax.jit(environment.reset), jax.jit(environment.step_env)
        self.action_space = _space(environment.action_space())
        self.observation_space = _space(environment.observation_space())
        self._state: Any = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """A new episode."""
        super().reset(seed=seed)
        seen, self._state = self._reset(_key(self.np_random), self._people)
        return _seen(seen), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Five minutes."""
        people = self._env.default_params if self._people is None else self._people
        self._state, seen, reward, terminated, info = self._step(self._state, action, people)
        truncated = bool(self._state.time >= self._env.episode_steps)
        return _seen(seen), float(reward), bool(terminated), truncated, {k: float(x) for k, x in info.items()}


class ClosedLoopVectorEnv(VectorEnv[np.ndarray, np.ndarray, np.ndarray]):
    """Many episodes at once, as one program. Where one ends the next begins in the same step.

    Example:
        >>> import jax
        >>> from t1djax.trials import environment
        >>> from t1djax.trials.gym import ClosedLoopVectorEnv
        >>> envs = ClosedLoopVectorEnv(environment(2, key=jax.random.key(0))[0], num_envs=3)
        >>> envs.reset(seed=0)[0].shape
        (3, 8)
    """

    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_modes": []}  # noqa: RUF012 - Gymnasium's

    def __init__(self, environment: Environment, num_envs: int, people: People | None = None) -> None:
        """Environments for Gymnasium.

        Args:
            environment: what happens.
            num_envs: how many episodes.
            people: who may come; the environment's own if not given.
        """
        self.num_envs, self._people = num_envs, people
        self._reset = jax.jit(jax.vmap(environment.reset, in_axes=(0, None)))
        self._step = jax.jit(jax.vmap(environment.step, in_axes=(0, 0, 0, None)))
        self.single_action_space = _space(environment.action_space())
        self.single_observation_space = _space(environment.observation_space())
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self._state: Any = None

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """New episodes."""
        super().reset(seed=seed[0] if isinstance(seed, list) else seed)
        seen, self._state = self._reset(self._keys(), self._people)
        return _seen(seen), {}

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Five minutes of each."""
        seen, self._state, reward, terminated, truncated, info = self._step(
            self._keys(), self._state, np.asarray(actions), self._people
        )
        terminated, truncated = np.asarray(terminated), np.asarray(truncated)
        found = {name: np.asarray(x) for name, x in info.items() if name not in ("terminated", "truncated")}
        last = _seen(found.pop("final_observation"))
        if (done := terminated | truncated).any():
            found |= {"final_obs": last, "_final_obs": done}
        return _seen(seen), np.asarray(reward, np.float64), terminated, truncated, found

    def _keys(self) -> jax.Array:
        return jax.random.split(_key(self.np_random), self.num_envs)


def _key(generator: np.random.Generator) -> jax.Array:
    return jax.random.key(int(generator.integers(2**32)))


def _seen(x: Any) -> np.ndarray:
    return np.asarray(x, np.float32)


def _space(box: Box) -> gymnasium.spaces.Box:
    return gymnasium.spaces.Box(box.low, box.high, dtype=np.float32)
