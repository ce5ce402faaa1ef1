"""Run one sweep as two processes that meet by `jax.distributed`, then as one, and compare the results.

On a cluster the two processes are on two machines, each with its GPUs, and a scheduler starts them (`slurm.sh`); here
they are on this machine and meet on loopback. The commands are the same.
"""

import argparse
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

from matplotlib.figure import Figure

import t1djax

HERE = Path(__file__).resolve().parent


def free_port() -> int:
    """A port of loopback that nobody uses."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def sweep(config: Path, results: Path, processes: int) -> float:
    """`t1djax sweep`, as one process or several; its seconds."""
    line = [sys.executable, "-m", "t1djax.cli", "sweep", "--config", config, "--results", results]
    line += ["--no-figures", "--no-tracking"]
    coordinator, began = f"127.0.0.1:{free_port()}", time.perf_counter()
    running = []
    for i in range(processes):
        join = ["--coordinator", coordinator, "--processes", str(processes), "--process", str(i)]
        own = [*line, *(join if processes > 1 else [])]
        print("$", " ".join(map(str, ["t1djax", *own[3:]])), flush=True)
        running.append(subprocess.Popen(own, env=os.environ | {"JAX_PLATFORMS": "cpu"}, stdout=subprocess.DEVNULL))
    codes = [process.wait() for process in running]
    if any(codes):
        sys.exit("a process failed; it says why above")
    return time.perf_counter() - began


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/gpu_cluster"))
    parser.add_argument("--config", type=Path, default=HERE / "configs" / "sweep.yaml")
    parser.add_argument("--quick", action="store_true", help="configs/quick.yaml: four patients, few readings")
    flags = parser.parse_args()
    flags.out.mkdir(parents=True, exist_ok=True)
    config = HERE / "configs" / "quick.yaml" if flags.quick else flags.config
    seconds = {}
    for name, processes in (("two processes", 2), ("one process", 1)):
        folder = flags.out / name.replace(" ", "_")
        shutil.rmtree(folder, ignore_errors=True)
        seconds[name] = sweep(config, folder, processes)
        print(f"{name}: {len(t1djax.find_results([folder]))} results in {seconds[name]:.0f} s, compilation included")

    pairs = t1djax.diff_results(flags.out / "two_processes", flags.out / "one_process").pairs
    apart = max(abs(one / two - 1) for pair in pairs for one, two in pair.estimates.values() if one and two)
    print(f"{len(pairs)} pairs of results; largest relative difference of an estimate: {apart:.1e}")

    figure = Figure(figsize=(4.2, 3), layout="constrained")
    ax = figure.subplots()
    ax.bar(list(seconds), list(seconds.values()), color=["#0072B2", "#E69F00"], width=0.5)
    ax.set_ylabel("s, start and compilation included")
    ax.set_title(f"{os.cpu_count()} cores of one machine", fontsize=9, loc="left")
    ax.spines[["top", "right"]].set_visible(False)
    figure.savefig(flags.out / "processes.png", dpi=120)
    print(f"figure in {flags.out / 'processes.png'}")
    if apart > 1e-6:
        sys.exit("the results differ by more than rounding")


if __name__ == "__main__":
    main()
