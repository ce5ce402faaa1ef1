"""Does the installed wheel work on its own? Run from outside the checkout."""

import importlib.resources
import sys
from importlib.metadata import metadata
from pathlib import Path

import jax.numpy as jnp

import t1djax


def main() -> None:
    """Simulate the packaged cohort with the package as installed."""
    package = Path(t1djax.__file__).parent
    assert package.is_relative_to(Path(sys.prefix)), f"not the installed package: {package}"
    assert importlib.resources.files("t1djax").joinpath("py.typed").is_file(), "py.typed is not in the wheel"
    assert metadata("t1djax")["License-Expression"] == "MIT"
    assert len(t1djax.presets()) == 10
    for preset in t1djax.presets().values():
        inputs = preset.doses.inputs(preset.start_min, preset.end_min)
        trajectory = t1djax.propagate(preset.model(), inputs, jnp.linspace(0.0, 2880.0, 49), G0=preset.parameters["G0"])
        assert bool(trajectory.ok), f"{preset.name} could not be simulated"
    print(f"t1djax {t1djax.__version__}: {len(t1djax.presets())} patients simulated from {package.name}/ as installed")


if __name__ == "__main__":
    main()
