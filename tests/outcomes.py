"""What runs leave on disk, so that two of them can be compared bit for bit."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np

from t1djax.io import find_results, load_twins

TIMES = ("started", "run", "wall_seconds", "compile_seconds")
"""What of the metadata tells when, not what: the run's name ends with its time."""


def outcome(root: Path) -> dict[str, dict[str, Any]]:
    """By result, its files: metadata without times, everything else as bytes."""
    found: dict[str, dict[str, Any]] = {}
    for folder in find_results([root]):
        files: dict[str, Any] = {
            str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()
        }
        metadata = json.loads(files.pop("metadata.json"))
        assert set(TIMES) <= set(metadata)
        files["metadata.json"] = {key: value for key, value in metadata.items() if key not in TIMES}
        if (folder / "checkpoints").exists():  # its files bear random names
            files = {name: content for name, content in files.items() if not name.startswith("checkpoints")}
            leaves = jax.tree.leaves(load_twins(folder / "checkpoints").twins)
            files["checkpoints"] = [(x.shape, str(x.dtype), np.asarray(x).tobytes()) for x in leaves]
        named = "_".join(str(metadata[key]) for key in ("model", "mode", "patient", "seed"))
        assert named not in found, f"{named} is there twice"
        found[named] = files
    return found


def leftovers(root: Path) -> list[str]:
    """What a run that is over should not leave: states of training, half-written files and folders."""
    inside = [path for path in root.rglob("*") if path.name.endswith(".partial") or path.name == ".run"]
    hidden = [path for path in root.glob(".*") if path.name != ".runs"]
    states = [path for path in (root / ".runs").glob("*/batch-*") if path.is_dir()]
    return sorted(str(path.relative_to(root)) for path in (*inside, *hidden, *states))
