"""Share a cohort's patients among all devices of one process, and compare with one device.

No line of the fit changes: the library shares the axis of patients, and devices do not talk within the training.
"""

import argparse
import os
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host-devices", type=int, help="make so many devices out of the CPU, to try it without GPUs")
    parser.add_argument("--out", type=Path, default=Path("out/gpu_cluster"))
    parser.add_argument("--people", type=int, default=64)
    parser.add_argument("--quick", action="store_true", help="eight people, few readings, a small network")
    flags = parser.parse_args()
    flags.out.mkdir(parents=True, exist_ok=True)
    if flags.host_devices:  # before JAX starts
        some = f"--xla_force_host_platform_device_count={flags.host_devices}"
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {some}"
        os.environ["JAX_PLATFORMS"] = "cpu"

    import jax
    import numpy as np
    from matplotlib.figure import Figure

    import t1djax

    devices = jax.devices()
    print(f"{len(devices)} devices: {', '.join(map(str, devices))}")
    people, interval = (8, 30) if flags.quick else (flags.people, 5)
    options = t1djax.PINNOptions(width=16 if flags.quick else 128, cell_min=interval)
    noise = t1djax.WhiteNoise(10.0)
    cohort = t1djax.virtual_population(people, key=jax.random.key(0), interval_min=interval, noise=noise)
    problem = t1djax.pose(tuple(cohort), mode="inverse", free=["ksi"], key=jax.random.key(1))

    estimates, seconds = {}, {}
    for name, some in (("all devices", devices), ("one device", devices[:1])):
        fits = []
        for _ in range(2):  # the first compiles
            began = time.perf_counter()
            fits = t1djax.training.fit_members(
                tuple(cohort), [problem], keys=[jax.random.key(2)], options=options, devices=some
            )
            seconds[name] = time.perf_counter() - began
        estimates[name] = np.array([f.estimates["ksi"].value for f in fits[0]])
        where = {d for leaf in jax.tree.leaves(fits[0].twins) for d in leaf.devices()}
        print(f"{name}: the networks lie on {len(where)}; {people} people in {seconds[name]:.1f} s once compiled")

    apart = np.max(np.abs(estimates["all devices"] / estimates["one device"] - 1))
    print(f"largest relative difference of ksi between them: {apart:.1e}")

    figure = Figure(figsize=(4.2, 3), layout="constrained")
    ax = figure.subplots()
    ax.bar(list(seconds), list(seconds.values()), color=["#0072B2", "#E69F00"], width=0.5)
    ax.set_ylabel(f"s for {people} people")
    ax.set_title(f"{devices[0].platform}, {len(devices)} devices, {os.cpu_count()} cores", fontsize=9, loc="left")
    ax.spines[["top", "right"]].set_visible(False)
    figure.savefig(flags.out / "sharding.png", dpi=120)
    print(f"figure in {flags.out / 'sharding.png'}")
    if apart > 1e-6:
        sys.exit("the results differ by more than rounding")


if __name__ == "__main__":
    main()
