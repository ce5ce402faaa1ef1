"""Make the archives of this folder: `python tests/archives/make.py results|interrupted TO.zip`.

The person is made up: the equations' answer to a morning, rounded. It runs under any commit whose `t1djax` has what is
asked for; README.md says which archive is of which.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import jax
import numpy as np

import t1djax

CONFIG = """
model: pinn
data: cohort
inverse_params: [ksi]
results: results
network:
  width: 4
  depth: 1
  time: {octaves: 2, lags_min: [60]}
  cell_min: 60
  stages: [{steps: 6, residual_weight: [10, 1000]}]
"""


def person() -> t1djax.Patient:
    """Ten hours of somebody who does not exist."""
    time = 20.0 * np.arange(31)
    doses = t1djax.Doses.of(basal=0.9, boluses=[(30, 4.0)], meals=[(40, 45.0)])
    known = {"ksi": 200.0, "kl": 1.9, "kb": 1.5, "Tu": 90.0, "ku_Vi": 0.06, "Tr": 60.0, "kr_Vb": 0.002, "G0": 120.0}
    with jax.enable_x64(True):
        model = t1djax.Magdelaine(**{symbol: value for symbol, value in known.items() if symbol != "G0"})
        glucose = t1djax.propagate(
            model, doses.inputs(0.0, 600.0), jax.numpy.asarray(time), G0=known["G0"]
        ).glucose_mg_dL
    known.pop("ksi")
    return t1djax.Patient("Ada", time, np.round(np.asarray(glucose), 1), doses, known)


def results() -> None:
    """A result of least squares and one of a network."""
    train = [sys.executable, "-m", "t1djax.cli", "train", "--no-figures"]
    subprocess.run([*train, "--config", "config.yaml"], check=True)
    subprocess.run([*train, "--model", "ode", "--data", "cohort", "--results", "results"], check=True)


def interrupted() -> None:
    """A run that was stopped after its second chunk."""
    chunks = iter([False, True])
    execution = t1djax.experiment.Execution(
        checkpoint_every=1, checkpoints_kept=1, figures=False, stop=lambda: next(chunks)
    )
    try:
        t1djax.run(t1djax.load_experiment("config.yaml"), execution=execution)
    except t1djax.io.Stopped as e:
        print(e, file=sys.stderr)


def main(what: str, to: str) -> None:
    """Work in a folder of its own and pack it."""
    target = Path(to).absolute()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        Path("config.yaml").write_text(CONFIG, encoding="utf-8")
        t1djax.write_cohort(t1djax.Cohort((person(),)), "cohort")
        {"results": results, "interrupted": interrupted}[what]()
        for note in Path(folder).rglob("commit_success.txt"):
            note.write_text("", encoding="utf-8")  # Orbax writes the folder's path into it and reads nothing of it
        shutil.make_archive(str(target.with_suffix("")), "zip", folder)
        os.chdir(target.parent)


if __name__ == "__main__":
    main(*sys.argv[1:])
