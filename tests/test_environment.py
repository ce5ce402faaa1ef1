"""The loop as an environment: it is that of a trial, and what Gymnasium and gymnax ask of one holds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import t1djax
from t1djax.trials import CGM, HIGHEST_ACTION, AbstractController, Policy, Rules, environment
from t1djax.trials._life import live

STEADY = jnp.array([1.0, 0.0])


@pytest.fixture(scope="module")
def made():
    rules = Rules(cgm=CGM(noise_sd_mg_dL=5.0))
    return environment(4, key=jax.random.key(0), rules=rules, held_out=1)


@pytest.fixture(scope="module")
def episode(made):
    """A day and ten minutes of steady insulin."""
    env, _ = made

    def step(carry, key):
        state, done = carry
        seen, state, reward, terminated, truncated, info = env.step(key, state, STEADY)
        return (state, done), (seen, reward, terminated, truncated, info, state.time)

    first, state = jax.jit(env.reset)(jax.random.key(1))
    keys = jax.random.split(jax.random.key(2), 290)
    found = jax.jit(lambda state: jax.lax.scan(step, (state, False), keys)[1])(state)
    return first, state, jax.device_get(found)


def test_an_episode_is_a_day_of_a_trial(made, episode):
    env, _ = made
    _, state, (_, _, _, _, info, _) = episode
    policy = Policy(lambda features: STEADY)

    @jax.jit
    def run(person, day_key, sensor_key):
        subject = env._subject(env.default_params, person, day_key, sensor_key)
        return live(policy, subject, jax.random.key(0), env.rules, 1, True, 1, None)

    tally, trace = run(state.person, state.day_key, state.sensor_key)
    np.testing.assert_allclose(info["glucose_mg_dL"][:287], trace.glucose_mg_dL[1:], rtol=1e-5)
    assert info["insulin_U"][:288].sum() == pytest.approx(float(tally.insulin_U), rel=1e-4)


def test_an_episode_ends_and_the_next_begins_in_the_same_step(made, episode):
    env, _ = made
    first, _, (seen, reward, terminated, truncated, info, time) = episode
    assert first.shape == env.observation_space().shape == (8,)
    assert not terminated.any()
    assert np.flatnonzero(truncated).tolist() == [287]
    assert time[[286, 287, 288]].tolist() == [287, 0, 1]
    assert not np.array_equal(info["final_observation"][287], seen[287])
    np.testing.assert_array_equal(info["final_observation"][286], seen[286])
    assert (reward <= 1).all()
    assert set(np.unique(info["cost"])) <= {0.0, 1.0}
    np.testing.assert_array_equal(info["cost"] == 1, info["glucose_mg_dL"] < 70)


def test_held_out_people_come_when_they_are_given(made):
    env, others = made
    assert len(env.default_params.settled.fastest) == 3
    assert len(others.settled.fastest) == 1
    assert float(others.values["SI"][0]) not in env.default_params.values["SI"].tolist()
    _, state = jax.jit(env.reset)(jax.random.key(5), others)
    assert int(state.person) == 0
    with pytest.raises(t1djax.ArgumentError) as refused:
        environment(2, key=jax.random.key(0), held_out=2)
    assert refused.value.argument == ("held_out",)


@pytest.mark.slow
def test_a_reward_has_a_slope_by_earlier_actions(made):
    env, _ = made

    def gained(action):
        _, state = env.reset(jax.random.key(1))
        step = lambda state, key: env.step(key, state, action)[1:3]
        return jax.lax.scan(step, state, jax.random.split(jax.random.key(2), 40))[1].sum()

    slope = jax.jit(jax.grad(gained))(STEADY)
    assert jnp.isfinite(slope).all()
    assert (slope != 0).all()


def test_a_network_is_a_controller(made):
    assert isinstance(Policy(jnp.zeros), AbstractController)
    assert len(HIGHEST_ACTION) == made[0].num_actions


@pytest.fixture(scope="module")
def gym():
    pytest.importorskip("gymnasium", reason="gymnasium is not installed")
    from t1djax.trials import gym  # noqa: PLC0415 - it needs the extra

    return gym


@pytest.mark.filterwarnings("ignore::UserWarning")  # of Gymnasium, that episodes are made without `gymnasium.make`
def test_gymnasium_finds_nothing_wrong(made, gym):
    from gymnasium.utils.env_checker import check_env  # noqa: PLC0415 - it needs the extra

    check_env(gym.ClosedLoopEnv(made[0]), skip_render_check=True)


def test_many_episodes_at_once_are_those_of_one(made, gym):
    env, _ = made
    envs, one = gym.ClosedLoopVectorEnv(env, num_envs=2), gym.ClosedLoopEnv(env)
    seen, _ = envs.reset(seed=3)
    assert envs.observation_space.contains(seen)
    again, _ = envs.reset(seed=3)
    np.testing.assert_array_equal(seen, again)
    steady = np.tile(np.asarray(STEADY), (2, 1))
    for _ in range(287):
        envs.step(steady)
    seen, _, terminated, truncated, info = envs.step(steady)
    assert truncated.all()
    assert not terminated.any()
    assert info["_final_obs"].all()
    assert not np.array_equal(info["final_obs"], seen)
    first, _ = one.reset(seed=3)
    assert one.observation_space.contains(first)
    _, reward, _, _, info = one.step(np.asarray(STEADY))
    assert reward <= 1
    assert isinstance(info["cost"], float)
