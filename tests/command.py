"""`t1djax` as people call it, in this process, and arguments that several tests give it."""

import contextlib
import io
import json
import sys
from typing import Any, NamedTuple

import pytest

from t1djax import cli

TWO = ("--patients", "Pat2,Pat3", "--interval-min", "30")
NOISY = (*TWO, "--noise", "white", "--noise-sd", "10")
TINY = """
model: pinn
inverse_params: [ksi]
network:
  width: 16
  depth: 1
  time: {octaves: 3}
  cell_min: 60
  stages: [{steps: 12, residual_weight: [10, 1000]}]
"""


class Output(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out, parse_constant=lambda x: pytest.fail(f"{x} is no JSON"))


def call(*args: object) -> Output:
    """Through the entry point of the script."""
    out, err = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        patch.setattr(sys, "argv", ["t1djax", *map(str, args)])
        with pytest.raises(SystemExit) as left:
            cli.main()
    code = left.value.code
    assert code is None or isinstance(code, int)
    return Output(code or 0, out.getvalue(), err.getvalue())


def done(*args: object) -> Output:
    output = call(*args)
    assert output.code == 0, output.err
    return output


def refused(code: int, *args: object) -> str:
    """What the error says."""
    output = call(*args)
    assert output.code == code, output
    assert "Traceback" not in output.err
    return output.err
