"""ReplayBG: only whether it is there. Its model has no ksi, so there is nothing to compare errors of."""

# pyright: reportMissingImports=false

from typing import Any

import py_replay_bg  # noqa: F401 - that it imports is the answer
from talk import serve


def fit(job: dict[str, Any]) -> dict[str, Any]:
    """Another model with another set of parameters: no fit of these patients."""
    status = f"not run: another model, without ksi ({len(job['patients'])} patients asked for)"
    return {"ksi": [], "seconds": [], "status": status}


if __name__ == "__main__":
    serve({"fit": fit}, ("py_replay_bg",))
