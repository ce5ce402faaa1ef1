"""What the tests share: the folder of reference facts, and JAX at its strictest."""

import os
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference facts and example files, which stands beside a checkout and is not part of it."""
    folder = Path(os.environ.get("T1DJAX_SHARED", Path(__file__).resolve().parents[2] / "shared"))
    if not folder.is_dir():
        pytest.skip("no shared/ folder beside the checkout; name it in T1DJAX_SHARED")
    return folder


@pytest.fixture
def strict_jax() -> Iterator[None]:
    """No silent promotion of types or ranks."""
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield
