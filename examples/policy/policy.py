"""A network that doses: trained by gradients through days in closed loop, tried on people it never saw."""

import argparse
import time
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

from t1djax.physics import Kanderian
from t1djax.trials import MPC, PID, BasalBolus, Policy, environment, trial

STEPS = 288  # of a day


class Network(eqx.Module):
    """A basal rate of up to five times the profile's, and a share of up to two of what a meal needs."""

    layers: eqx.nn.MLP

    def __init__(self, key):
        self.layers = eqx.nn.MLP(8, 2, 24, 2, jnp.tanh, key=key)

    def __call__(self, features):
        x = self.layers(features)
        rate, share = 5 * jax.nn.sigmoid(x[0] - jnp.log(4.0)), 2 * jax.nn.sigmoid(x[1])
        return jnp.stack([rate, share * features[5] / 10])  # features[5]: announced carbohydrate


def mean_reward(network, env, key):
    """Of a day of one person drawn anew."""
    first, state = env.reset(key)

    def step(now, _):
        seen, state = now
        state, seen, reward, _, info = env.step_env(state, network(seen), env.default_params)
        return (seen, state), reward - info["cost"]

    # What an hour needs for its gradients is computed again: memory stays small.
    hour = jax.checkpoint(lambda now, _: jax.lax.scan(step, now, length=12))
    return jax.lax.scan(hour, (first, state), length=STEPS // 12)[1].mean()


def train(env, key, iterations, batch):
    """Follow the slope of the mean reward."""
    network = Network(key)
    method = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(optax.cosine_decay_schedule(5e-3, iterations)))
    arrays, static = eqx.partition(network, eqx.is_array)

    @jax.jit
    def update(arrays, memory, key):
        def loss(arrays):
            rewards = jax.vmap(mean_reward, (None, None, 0))(
                eqx.combine(arrays, static), env, jax.random.split(key, batch)
            )
            return -rewards.mean()

        value, slope = jax.value_and_grad(loss)(arrays)
        change, memory = method.update(slope, memory)
        return optax.apply_updates(arrays, change), memory, -value

    memory = method.init(arrays)
    for i in range(iterations):
        arrays, memory, reward = update(arrays, memory, jax.random.fold_in(key, i))
        if i % max(1, iterations // 6) == 0 or i == iterations - 1:
            print(f"iteration {i:4d}: mean reward of a step {float(reward):.3f}", flush=True)
    return eqx.combine(arrays, static)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a look at the same in less time")
    parser.add_argument("--out", type=Path, default=Path("out/policy"))
    args = parser.parse_args()
    seen, unseen, iterations, batch, days = (16, 8, 6, 4, 1) if args.quick else (200, 100, 300, 32, 14)

    env, others = environment(seen + unseen, key=jax.random.key(0), held_out=unseen)
    began = time.perf_counter()
    network = train(env, jax.random.key(1), iterations, batch)
    print(f"trained on {seen} people in {time.perf_counter() - began:.0f} s")

    values = jax.device_get(others.values)
    people = {f"N{i + 1:03d}": Kanderian.of({s: x[i] for s, x in values.items()}) for i in range(unseen)}
    controllers = {
        "network": Policy(network),
        "PID": PID(),
        "PID and meals": PID(meal_share=0.8),
        "basal-bolus": BasalBolus(),
        "MPC": MPC(),
    }
    found = trial(controllers, people, days=days, key=jax.random.key(2))
    table = found.table().set_index("controller")
    print(f"{unseen} people it never saw, {days} days:")
    print(table[["in_range_percent", "low_percent", "very_low_percent", "mean_mg_dL", "gri"]].round(1).to_string())
    for other in list(controllers)[1:]:
        x = found.difference("network", other)
        print(f"network - {other}: time in range {x.mean:+.1f} points (95 %: {x.low:+.1f} to {x.high:+.1f})")
    args.out.mkdir(parents=True, exist_ok=True)
    found.outcomes.to_csv(args.out / "outcomes.csv", index=False)


if __name__ == "__main__":
    main()
