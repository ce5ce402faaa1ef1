"""Other systems, each in a Python environment of its own: what to install, and how they are asked."""

import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


@dataclasses.dataclass(frozen=True)
class Peer:
    """A system that is compared with."""

    name: str
    """As in the tables, and the name of its environment's folder."""
    packages: str
    """What `pip install` is given."""
    script: str
    """The file here that runs inside the environment: a job on its input, an answer on its output, both JSON."""
    model: str = "the same"
    """Which physiology it computes, where it is another one."""
    environment: dict[str, str] = dataclasses.field(default_factory=dict)
    """Variables that it wants set."""
    folder: str = ""
    """The environment's folder, where peers share one."""

    def python(self, envs: Path | None) -> Path | None:
        """Its interpreter; None where it is not installed. SciPy is at hand wherever these benchmarks run."""
        found = None if envs is None else envs.absolute() / (self.folder or self.name) / "bin" / "python"
        if found is not None and found.exists():
            return found
        return Path(sys.executable) if self.name == "scipy" else None

    def install(self, envs: Path | None) -> str:
        """The command that installs it."""
        home = f"{'ENVS' if envs is None else envs.name}/{self.folder or self.name}"
        return f"python -m venv {home} && {home}/bin/pip install {self.packages}"


_TORCH = {"DDE_BACKEND": "pytorch"}
PEERS = {
    peer.name: peer
    for peer in (
        Peer("scipy", "numpy scipy", "run_scipy.py"),
        Peer("deepxde", "deepxde torch", "run_deepxde.py", environment=_TORCH),
        Peer("deepxde-jax", "deepxde jax flax optax", "run_deepxde_jax.py", environment={"DDE_BACKEND": "jax"}),
        Peer("jinns", "jinns", "run_jinns.py"),
        Peer("numpyro", "numpyro diffrax", "run_numpyro.py"),
        Peer("simglucose", "simglucose 'setuptools<81'", "run_simglucose.py", model="UVA/Padova 2008"),
        Peer("py_replay_bg", "py_replay_bg", "run_py_replay_bg.py", model="ReplayBG"),
    )
}
"""The peers by name."""


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a peer said."""

    status: str
    """`ok`, `not installed`, `failed` or `timed out`."""
    found: dict[str, Any]
    """Its answer; empty where there is none."""
    words: str = ""
    """Why there is none: the command to install it, or the last line of its error."""
    wall_s: float = 0.0
    """From its start to its end, the interpreter's own start included."""

    @property
    def ok(self) -> bool:
        """Whether there is an answer."""
        return self.status == "ok"


def ask(name: str, job: dict[str, Any], *, envs: Path | None, timeout_s: float = 300.0) -> Answer:
    """Give a peer a job and wait for its answer; a peer that is missing, fails or takes too long says so instead.

    Args:
        name: one of `PEERS`.
        job: what its script reads, as plain JSON; `task` names the function.
        envs: folder with one environment per peer.
        timeout_s: after which it is stopped.
    """
    peer = PEERS[name]
    python = peer.python(envs)
    if python is None:
        return Answer("not installed", {}, peer.install(envs))
    # The peer must find its own packages, and not those of this process.
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")} | peer.environment
    began = time.perf_counter()
    try:
        done = subprocess.run(
            [str(python), str(HERE / peer.script)],
            input=json.dumps(job),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            env=env,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Answer("timed out", {}, f"after {timeout_s:g} s", time.perf_counter() - began)
    wall_s = time.perf_counter() - began
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        said = [line for line in done.stderr.splitlines() if line.strip()] or [f"exit {done.returncode}"]
        last = next((line for line in reversed(said) if "Error" in line), said[-1])
        if "ModuleNotFoundError" in last:
            return Answer("not installed", {}, peer.install(envs), wall_s)
        return Answer("failed", {}, last[:200], wall_s)
    return Answer("ok", json.loads(lines[-1]), wall_s=wall_s)
