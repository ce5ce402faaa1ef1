"""Examples run, shrunk, from the installed package."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def test_custom_network(tmp_path):
    script = EXAMPLES / "custom_network" / "custom_network.py"
    out = tmp_path / "out"
    said = subprocess.run(
        [sys.executable, script, "--quick", "--out", out], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert "read back bit for bit" in said.stdout
    assert (out / "glucose.png").stat().st_size > 10_000
    table = pd.read_csv(out / "estimates.csv")
    network, equations = (np.asarray(table[f"ksi_error_percent_{which}"]) for which in ("network", "equations"))
    assert np.all(network < equations + 0.5)
