"""Constraints for pip: `python .ci/oldest.py oldest` pins JAX to the oldest of pyproject.toml, `newest` nothing."""

import re
import sys
import tomllib
from pathlib import Path


def constraints(which: str) -> list[str]:
    """Lines of a constraints file."""
    if which == "newest":
        return []
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lowest = next(match[1] for text in project["dependencies"] if (match := re.fullmatch(r"jax>=([\d.]+)", text)))
    return [f"jax=={lowest}", f"jaxlib=={lowest}"]


if __name__ == "__main__":
    if sys.argv[1:] not in (["oldest"], ["newest"]):
        sys.exit(__doc__)
    print("\n".join(constraints(sys.argv[1])))
