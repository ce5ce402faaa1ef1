"""Ways to integrate a body on a cohort, by error, compile time and speed: what `solution` was chosen by.

`python -m benchmarks.integrators` prints a table for 1,000 people of Kanderian's and of Hovorka's model over 48 h, read
every 5 min: the values, and the forward sensitivities by five parameters as least squares takes them.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np

import t1djax
from t1djax.physics import AbstractPhysiology, count_steps, hovorka, kanderian, runge_kutta

_FREE = {"Kanderian": ("SI", "VG", "tauM", "EGP", "p2"), "Hovorka": ("SI1", "SI2", "SI3", "tau_G", "VG")}
_DAYS = 2
_MEALS = [(1440 * day + t, g, 15.0) for day in range(_DAYS) for t, g in ((453, 45), (751.5, 60), (1149, 70))]


def _people(body: AbstractPhysiology, n: int) -> AbstractPhysiology:
    """Bodies about one, 10 % apart in each parameter."""
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda x: jnp.asarray(float(x) * np.exp(0.1 * rng.standard_normal(n))), body)


def _ways(inputs: t1djax.physics.Inputs, ts: jax.Array) -> dict[str, Callable[[AbstractPhysiology, Any], jax.Array]]:
    def steps(longest: float) -> Callable[[AbstractPhysiology, Any], jax.Array]:
        room = count_steps(ts, inputs.break_min, longest)
        return lambda p, y0: p.glucose(runge_kutta(p.rates, inputs, ts, y0, steps=room, longest_min=longest)[0])

    def adaptive(tolerance: float) -> Callable[[AbstractPhysiology, Any], jax.Array]:
        def one(p: AbstractPhysiology, y0: Any) -> jax.Array:
            found = t1djax.simulate(
                p, inputs, ts, y0=y0, adjoint=diffrax.ForwardMode(),
                stepsize_controller=diffrax.PIDController(rtol=tolerance, atol=tolerance),
            )  # fmt: skip
            return found.glucose_mg_dL

        return one

    return {
        "Runge-Kutta 4, up to 5 min": steps(5.0),
        "Runge-Kutta 4, up to 2.5 min": steps(2.5),
        "Tsit5, rtol = atol = 1e-4": adaptive(1e-4),
        "Tsit5, rtol = atol = 1e-6": adaptive(1e-6),
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=1000)
    parser.add_argument("--block", type=int, default=128)
    args = parser.parse_args()
    with jax.enable_x64(True):
        for body in (kanderian()["1"], hovorka()):
            _table(body, args.people, args.block)


def _table(body: AbstractPhysiology, n: int, block: int) -> None:
    name, (y0, basal) = type(body).__name__, body.rest(120.0)
    boluses = [(t, g / 12, 1.0) for t, g, _ in _MEALS]
    inputs = t1djax.Doses.of(basal=float(basal), boluses=boluses, meals=_MEALS).inputs(0, 1440 * _DAYS)
    ts = jnp.arange(0.0, 1440.0 * _DAYS + 1, 5.0)
    people, free = _people(body, n), _FREE[name]
    exact = jax.jit(jax.vmap(lambda p: t1djax.simulate(p, inputs, ts, y0=y0).glucose_mg_dL))(
        jax.tree.map(lambda x: x[:8], people)
    )
    for way, solve in _ways(inputs, ts).items():

        def slopes(p: AbstractPhysiology, solve: Any = solve) -> jax.Array:
            logs = jnp.log(jnp.stack([getattr(p, s) for s in free]))
            moved = lambda z: type(p).of(p.values() | dict(zip(free, jnp.exp(z), strict=True)))
            return jax.jacfwd(lambda z: (solve(moved(z), y0),) * 2, has_aux=True)(logs)

        row = [f"{name}: {way}"]
        for what in (lambda p, solve=solve: solve(p, y0), slopes):
            some = jax.tree.map(lambda x: x[:block], people)
            began = time.perf_counter()
            program = jax.jit(jax.vmap(what)).lower(some).compile()
            compiled = time.perf_counter() - began
            found = program(some)
            began = time.perf_counter()
            for first in range(0, n - block + 1, block):
                jax.block_until_ready(program(jax.tree.map(lambda x, i=first: x[i : i + block], people)))
            seconds = (time.perf_counter() - began) / (n // block * block)
            row += [f"compile {compiled:.1f} s", f"{_DAYS / seconds:,.0f} patient-days/s"]
        value = found[1]  # the values beside the slopes
        row.insert(1, f"error {float(jnp.max(jnp.abs(value[:8] - exact))):.1e} mg/dL")
        print(" | ".join(row), flush=True)


if __name__ == "__main__":
    main()
